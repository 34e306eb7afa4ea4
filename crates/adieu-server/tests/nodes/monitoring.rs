//! The table of metrics in `docs/monitoring.md` is complete, and alerts and dashboard use only its metrics.

mod json_log;
mod status;
mod traces;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::Command,
};

use reqwest::Method;
use serde_json::{Value, json};
use test_servers::{
    adieu::{Adieu, Credentials},
    make_certificate,
};

use crate::adieu;

/// The types and labels of metrics, by the names that queries use.
type Metrics = BTreeMap<String, (String, BTreeSet<String>)>;

fn file(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    std::fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The table: name, type, labels, question.
fn documented() -> Metrics {
    let page = file("docs/monitoring.md");
    let rows = page.lines().filter(|line| line.starts_with("| `adieu_") || line.starts_with("| `process_"));
    let mut documented = Metrics::new();
    for row in rows {
        let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [name, kind, labels, question] = cells[..] else { panic!("four cells: {row}") };
        assert!(!question.is_empty(), "{row}");
        let labels = labels.split(',').map(|label| label.trim().trim_matches('`').to_owned());
        let labels = labels.filter(|label| !label.is_empty()).collect();
        let earlier = documented.insert(name.trim_matches('`').to_owned(), (kind.to_owned(), labels));
        assert_eq!(earlier, None, "two rows: {row}");
    }
    documented
}

/// What a server exposes.
fn exposed(text: &str) -> Metrics {
    assert!(text.ends_with("# EOF\n"), "{text}");
    let mut exposed = Metrics::new();
    let (mut family, mut kind) = ("", "");
    for line in text.lines() {
        if let Some(typed) = line.strip_prefix("# TYPE ") {
            (family, kind) = typed.split_once(' ').unwrap();
            continue;
        }
        if line.starts_with('#') {
            continue;
        }
        let sample = line.split(['{', ' ']).next().unwrap();
        assert!(sample.starts_with(family), "{line} is not of {family}");
        let name = if kind == "histogram" { family } else { sample };
        let labels = line.split_once('{').map_or("", |(_, rest)| rest.rsplit_once('}').unwrap().0);
        // No value in this test has a comma or an equals sign.
        let labels = labels.split(',').filter_map(|label| Some(label.split_once('=')?.0.to_owned()));
        let labels: BTreeSet<_> = labels.filter(|label| label != "le").collect();
        exposed.entry(name.to_owned()).or_insert_with(|| (kind.to_owned(), BTreeSet::new())).1.extend(labels);
    }
    exposed
}

/// A node on PostgreSQL and Redis that has done everything that a metric counts.
async fn busy_node() -> Adieu {
    let redis = test_servers::redis_database().await;
    let node = adieu().with("ADIEU_STORE", test_servers::postgres_database().await).with("ADIEU_REVOCATIONS", redis);
    let node = node.with("ADIEU_MAX_BODY_BYTES", "1000").with("ADIEU_MAX_STALENESS", "1h");
    let secret = node.data().with_file_name("whsec");
    std::fs::write(&secret, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
    // Nothing listens there.
    let (url, file) = ("http://127.0.0.1:1", secret.display());
    let webhook = format!(r#"[{{ name = "shop", url = "{url}", secret_file = "{file}", allow_private = true }}]"#);
    let node = node.with("ADIEU_WEBHOOK", webhook).with("ADIEU_OTLP_ENDPOINT", url);
    let (node, [shop]) = node.with_metrics().start_with_clients(["shop"]).await;
    node.register("jose").await;
    assert_eq!(node.verify("x").await.0, 401);
    let too_long = json!({"username": "x".repeat(2_000), "password": "x"});
    assert_eq!(node.ask(Method::POST, "/login", None, Some(too_long)).await.0, 413);
    assert_eq!(node.ask(Method::POST, "/backchannel-logout", None, Some(json!({}))).await.0, 400);
    assert_eq!(node.read_feed(&shop, "follower=one&max_staleness=3600000").await.0, 200);
    assert_eq!(node.revoke(&shop, "", json!({"token_id": "one"})).await.0, 200);
    node.becomes("failing to deliver", async || node.metrics().await.contains("adieu_deliveries_total")).await;
    node
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_table_has_every_metric_and_no_other() {
    let node = busy_node().await;
    let (documented, mut exposed) = (documented(), exposed(&node.metrics().await));
    exposed.extend(of_a_server_with_a_certificate().await);
    let is_missing =
        |metric: &(&String, &(String, BTreeSet<String>)), there: &Metrics| there.get(metric.0) != Some(metric.1);
    let undocumented: Vec<_> = exposed.iter().filter(|metric| is_missing(metric, &documented)).collect();
    let unexposed: Vec<_> = documented.iter().filter(|metric| is_missing(metric, &exposed)).collect();
    assert!(
        undocumented.is_empty() && unexposed.is_empty(),
        "exposed, but not so in docs/monitoring.md: {undocumented:#?}\nin docs/monitoring.md, but not so exposed: {unexposed:#?}"
    );
}

/// The metrics that only a server with certificates has: one for its clients, and one for the node that it follows.
async fn of_a_server_with_a_certificate() -> Metrics {
    const EXPIRIES: [&str; 2] =
        ["adieu_tls_certificate_expiry_timestamp_seconds", "adieu_follow_certificate_expiry_timestamp_seconds"];
    let folder = tempfile::tempdir().unwrap();
    make_certificate(folder.path(), "127.0.0.1");
    let file = |name: &str| folder.path().join(name).display().to_string();
    let server = adieu().with_metrics().with("ADIEU_TLS_CERTIFICATE", file("certificate.pem"));
    let server = server.with("ADIEU_TLS_KEY", file("key.pem"));
    // Nothing listens there.
    let at_node = Credentials { name: "relay".to_owned(), secret: "secret".to_owned() };
    let server =
        server.following("https://127.0.0.1:1", &at_node).with("ADIEU_FOLLOW_CERTIFICATE", file("certificate.pem"));
    let mut server = server.with("ADIEU_FOLLOW_KEY", file("key.pem"));
    let openssl = "date -d \"$(openssl x509 -in \"$0\" -enddate -noout | cut -d= -f2)\" +%s";
    let end = Command::new("sh").args(["-c", openssl, &file("certificate.pem")]).output().unwrap();
    let end = String::from_utf8(end.stdout).unwrap();
    server.spawn();
    let metrics = server.first_metrics().await;
    for expiry in EXPIRIES {
        let value = metrics.lines().find_map(|line| line.strip_prefix(expiry)?.strip_prefix(' ')).expect(&metrics);
        assert_eq!(value.trim_end_matches(".0"), end.trim_end(), "{expiry}");
    }
    exposed(&metrics).into_iter().filter(|(name, _)| EXPIRIES.contains(&name.as_str())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_lags_by_what_it_has_not_applied() {
    let node = adieu().with("ADIEU_MAX_STALENESS", "1h").with_metrics();
    let (node, [shop]) = node.start_with_clients(["shop"]).await;
    let follower = "follower=one&max_staleness=3600000";
    let cursor = async |query: &str| {
        let (status, page) = node.read_feed(&shop, query).await;
        assert_eq!(status, 200, "{page}");
        page["cursor"].as_str().unwrap().to_owned()
    };
    for token in ["one", "two"] {
        assert_eq!(node.revoke(&shop, "", json!({"token_id": token})).await.0, 200);
    }
    let end = cursor(follower).await;
    let lag = async || {
        let text = node.metrics().await;
        let value = |name: &str| {
            let sample = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix("{client=\"shop\"} "));
            sample.unwrap_or_else(|| panic!("{name}: {text}")).to_owned()
        };
        (value("adieu_followers"), value("adieu_follower_lag_entries"))
    };
    // The node itself applies them a moment later.
    node.becomes("at position 2", async || node.metrics().await.contains("\nadieu_log_position 2\n")).await;
    assert_eq!(lag().await, ("1.0".to_owned(), "2.0".to_owned()), "it has not confirmed anything");
    cursor(&format!("{follower}&after={end}")).await;
    assert_eq!(lag().await, ("1.0".to_owned(), "0.0".to_owned()));
}

/// The words of an expression that are names of metrics, without the suffixes of a histogram.
fn names(expression: &str) -> impl Iterator<Item = &str> {
    let words = expression.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    let names = words.filter(|word| word.starts_with("adieu_") || word.starts_with("process_"));
    names.map(|name| {
        let suffixes = ["_bucket", "_sum", "_count"];
        suffixes.iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name)
    })
}

#[test]
fn alerts_use_documented_metrics_and_have_a_section() {
    let (metrics, page, rules) = (documented(), file("docs/monitoring.md"), file("alerts/adieu.rules.yml"));
    let unknown: Vec<_> = names(&rules).filter(|name| !metrics.contains_key(*name)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");

    let value = |line: &str, key: &str| Some(line.trim_start_matches([' ', '-']).strip_prefix(key)?.trim().to_owned());
    let alerts: Vec<_> = rules.lines().filter_map(|line| value(line, "alert:")).collect();
    let runbooks: Vec<_> = rules.lines().filter_map(|line| value(line, "runbook_url:")).collect();
    assert!(alerts.len() >= 9 && alerts.len() == runbooks.len(), "{alerts:?} {runbooks:?}");
    let tests = file("alerts/adieu.test.yml");
    for (alert, runbook) in alerts.iter().zip(runbooks) {
        assert!(runbook.ends_with(&format!("docs/monitoring.md#{}", alert.to_lowercase())), "{runbook}");
        assert!(page.lines().any(|line| line == format!("### {alert}")), "{alert} has no section");
        let tested = tests.lines().filter_map(|line| value(line, "alertname:"));
        // Once where it fires, and once where it does not.
        assert!(tested.filter(|name| name == alert).count() >= 2, "{alert} has fewer than two tests");
    }
}

#[test]
fn the_dashboard_uses_documented_metrics() {
    let metrics = documented();
    let dashboard: Value = serde_json::from_str(&file("dashboards/adieu.json")).unwrap();
    let mut expressions = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        let targets = panel["targets"].as_array();
        assert_eq!(panel["type"] == "row", targets.is_none(), "{panel}");
        for target in targets.into_iter().flatten() {
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{panel}");
            expressions.push(target["expr"].as_str().unwrap());
        }
    }
    for expression in &expressions {
        assert!(names(expression).next().is_some(), "{expression}");
        let unknown: Vec<_> = names(expression).filter(|name| !metrics.contains_key(*name)).collect();
        assert!(unknown.is_empty(), "{expression}: {unknown:?}");
    }
    // A panel for each metric would hide the important ones; but what the panels ask about is there.
    assert!(expressions.len() >= 15);
}
