//! `adieu status`

use std::{
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
};

use serde_json::{Value, json};

use crate::adieu;

/// Runs the command, and returns its status, its output and its errors.
async fn status(arguments: &[&str]) -> (i32, String, String) {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_adieu"));
    let output = command.env_clear().arg("status").args(arguments).output().await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn cells(line: &str) -> Vec<&str> {
    line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_a_relay_and_one_that_is_gone() {
    let node = adieu().with_metrics().with("ADIEU_MAX_STALENESS", "5s");
    let (node, [relaying]) = node.start_with_clients(["relaying"]).await;
    let relay = adieu().with_metrics().with("ADIEU_MAX_STALENESS", "5s");
    let relay = relay.following(&node.url(""), &relaying).start().await;
    node.register("jose").await;
    let token = node.log_in("jose").await;
    assert_eq!(node.post("/logout", &token).await.0, 200);
    assert_eq!(node.verify(&token).await.0, 401);
    let followed =
        ["log_position 1", "followers{client=\"relaying\"} 1.0", "follower_lag_entries{client=\"relaying\"} 0.0"];
    for expected in followed {
        node.becomes(expected, async || node.metrics().await.contains(&format!("\nadieu_{expected}\n"))).await;
    }
    relay.becomes("at position 1", async || relay.metrics().await.contains("\nadieu_log_position 1\n")).await;

    // Found by its settings.
    let table = node.command(&["status"]).await;
    let [headings, row] = table.lines().map(cells).collect::<Vec<_>>().try_into().unwrap();
    let expected = [
        "NODE",
        "STATE",
        "STALENESS",
        "POSITION",
        "REVOCATIONS",
        "FOLLOWERS",
        "BEHIND",
        "LOGINS",
        "LOGOUTS",
        "REJECTED",
    ];
    assert_eq!(headings, expected);
    assert_eq!((row[0], row[1], &row[3..]), (&*node.metrics_url(), "fresh", &["1", "1", "1", "0", "1", "1", "1"][..]));

    // With a path too, as Prometheus is configured.
    let (code, objects, _) =
        status(&["--json", &format!("{}/metrics", node.metrics_url()), &relay.metrics_url()]).await;
    assert_eq!(code, 0);
    let objects: Vec<Value> = objects.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(objects.iter().all(|object| object["staleness_ms"].as_u64().unwrap() <= 5_000), "{objects:?}");
    let counts = |object: &Value| ["state", "position", "followers", "logouts"].map(|field| object[field].clone());
    assert_eq!(counts(&objects[0]), [json!("fresh"), json!(1), json!(1), json!(1)]);
    assert_eq!(counts(&objects[1]), [json!("fresh"), json!(1), json!(0), json!(0)]);

    let node_url = node.metrics_url();
    node.stop().await;
    relay.becomes("stale", async || relay.get("/readyz", None).await == 503).await;
    let (code, table, error) = status(&[&node_url, &relay.metrics_url()]).await;
    assert_eq!(code, 1);
    let states: Vec<_> = table.lines().skip(1).map(|line| cells(line)[1]).collect();
    assert_eq!(states, ["unknown", "stale"], "{table}");
    assert!(error.starts_with(&format!("error: {node_url}: ")), "{error}");
    assert!(error.ends_with(&format!("; {} is stale\n", relay.metrics_url())) && error.lines().count() == 1, "{error}");

    relay.freeze();
    let (code, _, error) = status(&["--timeout", "200ms", &relay.metrics_url()]).await;
    relay.thaw();
    assert_eq!((code, error), (1, format!("error: {}: no response within 200ms\n", relay.metrics_url())));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_a_node_is_told_in_one_line() {
    let node = adieu().with_metrics().start().await;
    for (arguments, expected) in [
        (&[&*node.url("")][..], ": status 404"),
        (&["ftp://127.0.0.1"], "a URL must begin with https:// or http://, or unix: and a path"),
        (&[], "metrics_listen is not set, so the server serves no metrics; set it, or name a URL"),
    ] {
        let (code, _, error) = status(arguments).await;
        assert_eq!(code, 1);
        assert!(error.ends_with(&format!("{expected}\n")) && error.lines().count() == 1, "{error}");
    }
    assert_eq!(status(&["--watch", "--json"]).await.0, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_it_is_watched_the_rates_are_of_the_last_second() {
    let node = adieu().with_metrics().start().await;
    node.register("jose").await;
    let mut command = Command::new(env!("CARGO_BIN_EXE_adieu"));
    let mut watching =
        command.env_clear().args(["status", "--watch", &node.metrics_url()]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(watching.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut next = || {
        let headings = lines.next().unwrap();
        assert_eq!(cells(&headings)[7..], ["LOGINS/S", "LOGOUTS/S", "REJECTED/S"]);
        let row = lines.next().unwrap();
        cells(&row)[7..].iter().map(|&cell| cell.to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(next(), ["-", "-", "-"], "no second has passed");
    let token = node.log_in("jose").await;
    assert_eq!(node.post("/logout", &token).await.0, 200);
    let mut logouts = || next()[1].parse::<f64>().unwrap();
    while logouts() == 0.0 {}
    while logouts() > 0.0 {}
    watching.kill().unwrap();
    watching.wait().unwrap();
}
