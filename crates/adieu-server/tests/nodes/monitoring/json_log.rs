//! With `log_format = "json"`, each line has the fields that `docs/operating.md` lists, and no others.

use std::collections::{BTreeMap, BTreeSet};

use reqwest::Method;
use serde_json::{Map, Value, json};
use test_servers::adieu::Adieu;

use super::file;
use crate::adieu;

/// The type of a field, and the kinds of lines that may have it.
type Fields = BTreeMap<String, (String, BTreeSet<String>)>;

/// The table: field, type, lines, meaning.
fn documented() -> Fields {
    let page = file("docs/operating.md");
    let (_, table) = page.split_once("| field | type | lines | meaning |").expect("the table");
    let rows = table.lines().skip(2).take_while(|line| line.starts_with("| `"));
    let mut documented = Fields::new();
    for row in rows {
        let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [name, kind, lines, meaning] = cells[..] else { panic!("four cells: {row}") };
        assert!(!meaning.is_empty(), "{row}");
        let lines = lines.split(", ").map(str::to_owned).collect();
        let earlier = documented.insert(name.trim_matches('`').to_owned(), (kind.to_owned(), lines));
        assert_eq!(earlier, None, "two rows: {row}");
    }
    documented
}

fn kind(line: &Map<String, Value>) -> &'static str {
    match line["target"].as_str().unwrap() {
        "adieu::request" => "request",
        "adieu::rejection" => "rejection",
        "adieu::audit" => "audit",
        _ => "other",
    }
}

/// Checks every line of a log against the table.
fn check(log: &str, documented: &Fields) -> Vec<Map<String, Value>> {
    let lines: Vec<Map<String, Value>> =
        log.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect();
    for line in &lines {
        let text = json!(line);
        for (name, value) in line {
            let (expected, kinds) =
                documented.get(name).unwrap_or_else(|| panic!("{name} is not in the table: {text}"));
            let found = match value {
                Value::String(_) => "text",
                Value::Number(_) => "number",
                other => panic!("{name} is {other}: {text}"),
            };
            assert_eq!(found, expected, "{name}: {text}");
            assert!(kinds.contains("all") || kinds.contains(kind(line)), "{name} is not for this line: {text}");
        }
        for (name, (_, kinds)) in documented {
            assert!(!kinds.contains("all") || line.contains_key(name) || name == "message", "no {name}: {text}");
        }
    }
    lines
}

/// Makes a server write every kind of line.
async fn busy(node: Adieu) -> Adieu {
    let (node, [shop]) = node.start_with_clients(["shop"]).await;
    node.register("jose").await;
    let (first, second) = (node.log_in_for_both("jose").await, node.log_in_for_both("jose").await);
    let wrong = json!({"username": "jose", "password": "wrong"});
    assert_eq!(node.ask(Method::POST, "/login", None, Some(wrong)).await.0, 401);
    let renewed = node.refresh(&first.refresh).await.unwrap();
    let again = node.refresh(&renewed.refresh).await.unwrap();
    assert_eq!(node.refresh(&first.refresh).await, Err(401), "used twice before");
    assert_eq!(node.verify(&again.access).await.0, 401);
    assert_eq!(node.post("/logout", &second.access).await.0, 200);
    assert_eq!(node.revoke(&shop, "", json!({"token_id": "one"})).await.0, 200);
    let introspect = node.request(Method::POST, "/introspect").basic_auth(&shop.name, Some(&shop.secret));
    let introspect = introspect.header("content-type", "application/x-www-form-urlencoded");
    assert_eq!(introspect.body(format!("token={}", second.access)).send().await.unwrap().status(), 200);
    node.add_client("later", "follow").await;
    node.command(&["key", "rotate"]).await;
    node
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_line_has_the_fields_of_the_table_and_no_others() {
    let documented = documented();
    let redis = test_servers::Redis::start().await;
    let node = adieu().with("ADIEU_LOG_FORMAT", "json").with("ADIEU_LOG_LEVEL", "info");
    let node = node.with("ADIEU_REVOCATIONS", redis.url()).with("ADIEU_ROTATION_GRACE", "0s");
    let node = busy(node.with("ADIEU_MAX_STALENESS", "1s")).await;
    let has = |node: &Adieu, text: &str| node.log().contains(text);
    node.becomes("aware of the client and the key", async || has(&node, "client_added") && has(&node, "key_added"))
        .await;
    let token = node.log_in("jose").await;
    drop(redis);
    node.becomes("stale", async || node.verify(&token).await.0 == 503).await;
    assert_eq!(node.post("/logout", &token).await.0, 503);
    assert_eq!(node.try_log_in("jose").await, Some(Err(503)));

    let lines = check(&node.log(), &documented);
    let has = |target: &str, field: &str, value: Value| {
        lines.iter().any(|line| line["target"] == target && line.get(field) == Some(&value))
    };
    for event in
        ["account_added", "login", "login_failed", "refresh_reused", "logout", "revoked", "client_added", "key_added"]
    {
        assert!(has("adieu::audit", "event", json!(event)), "{event}");
    }
    assert!(has("adieu::request", "status", json!(201)));
    assert!(has("adieu::rejection", "status", json!(401)));
    assert!(has("adieu::rejection", "status", json!(503)));
    assert!(has("adieu::rejection", "client", json!("shop")));
    assert!(has("adieu::failure", "message", json!("unavailable")));
    let is_slow =
        |line: &Map<String, Value>| line.get("duration_us").and_then(Value::as_u64).is_some_and(|time| time > 0);
    assert!(lines.iter().any(is_slow));
    let lost = lines
        .iter()
        .find(|line| line.get("message").is_some_and(|message| message == "the revocation log can't be read"))
        .expect("an outage");
    assert!(lost["error"].as_str().unwrap().contains(": "), "an error has its causes: {lost:?}");
}
