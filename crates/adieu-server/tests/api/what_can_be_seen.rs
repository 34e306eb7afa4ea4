//! The staleness and the activity of a node are visible from outside: in `/readyz`, as metrics and in the log.

use std::collections::BTreeMap;

use adieu::time::Timestamp;
use serde_json::json;

use crate::{
    audit::capture,
    support::{TestApp, credentials},
};

/// The metrics of a server by name and labels, as Prometheus would read them.
fn metrics(app: &TestApp) -> BTreeMap<String, f64> {
    let text = app.node.metrics.render().unwrap();
    assert!(text.ends_with("# EOF\n"), "{text}");
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    samples
        .map(|line| line.rsplit_once(' ').unwrap())
        .map(|(name, value)| (name.to_owned(), value.parse().unwrap()))
        .collect()
}

#[tokio::test]
async fn a_node_says_how_fresh_it_is() {
    let app = TestApp::with(&[("max_staleness", "1h")]).await.with_user("jose").await;
    let tokens = app.log_in("jose").await;
    app.post("/logout").token(&tokens.access).send().await.is(200);
    let answer = app.get("/readyz").send().await;
    answer.is(200);
    let mut body = answer.json();
    assert!(body["revocations"]["staleness_ms"].take().as_u64().unwrap() < 3_600_000);
    let revocations = json!({
        "stale": false, "staleness_ms": null, "max_staleness_ms": 3_600_000, "stale_policy": "reject", "entries": 1,
    });
    assert_eq!(body, json!({"status": "ready", "ready": true, "accounts_available": true, "revocations": revocations}));
}

#[tokio::test]
async fn what_users_do_is_counted() {
    let app = TestApp::start().await.with_user("jose").await;
    let other = TestApp::start().await;
    let tokens = app.log_in("jose").await;
    app.post("/login").json(credentials("jose", "wrong")).send().await.is(401);
    let refreshed = app.post("/refresh").token(&tokens.refresh).send().await.tokens();
    app.verify(&refreshed.access).await.is(204);
    app.post("/logout").token(&refreshed.access).send().await.is(200);
    for _ in 0..3 {
        app.verify(&refreshed.access).await.is_revoked();
    }
    app.get("/verify").send().await.is(401);
    app.verify("x").await.is(401);
    app.get("/sessions/7/none").send().await.is(404);
    app.call("BREW".parse().unwrap(), "/verify").send().await.is(401);

    let counted = metrics(&app);
    for (name, value) in [
        ("adieu_logins_total", 1.0),
        ("adieu_failed_logins_total", 1.0),
        ("adieu_refreshes_total", 1.0),
        ("adieu_logouts_total", 1.0),
        ("adieu_revocations_appended_total", 1.0),
        ("adieu_index_entries", 1.0),
        ("adieu_index_max_staleness_seconds", 2.0),
        ("adieu_rejections_total{reason=\"revoked\"}", 3.0),
        ("adieu_rejections_total{reason=\"missing\"}", 2.0),
        ("adieu_rejections_total{reason=\"invalid\"}", 1.0),
        ("adieu_accepted_while_stale_total", 0.0),
        ("adieu_http_requests_total{method=\"GET\",route=\"/verify\",status=\"204\"}", 1.0),
        ("adieu_http_requests_total{method=\"GET\",route=\"/verify\",status=\"401\"}", 5.0),
        ("adieu_http_requests_total{method=\"other\",route=\"/verify\",status=\"401\"}", 1.0),
        ("adieu_http_requests_total{method=\"GET\",route=\"none\",status=\"404\"}", 1.0),
        ("adieu_http_requests_total{method=\"POST\",route=\"/logout\",status=\"200\"}", 1.0),
    ] {
        assert_eq!(counted.get(name), Some(&value), "{name} of {counted:#?}");
    }
    assert!(counted["adieu_index_staleness_seconds"] < 60.0);
    assert_eq!(metrics(&other)["adieu_logins_total"], 0.0, "each server has its own");
}

#[tokio::test]
async fn appends_to_the_log_are_measured() {
    const APPENDS: &str = "adieu_log_append_duration_seconds_count";
    let app = TestApp::start().await.with_user("jose").await;
    let (first, second) = (app.log_in("jose").await, app.log_in("jose").await);
    app.post("/refresh").token(&first.refresh).send().await.is(200);
    app.verify(&first.access).await.is(204);
    let before = metrics(&app);
    assert_eq!(before[APPENDS], 0.0, "a login, a refresh and a request append nothing");
    app.post("/logout").token(&first.access).send().await.is(200);
    app.post("/logout").token(&second.access).send().await.is(200);
    let after = metrics(&app);
    assert_eq!(after[APPENDS], 2.0);
    assert!(after["adieu_log_append_duration_seconds_sum"] > 0.0);
    for (name, added) in [
        ("adieu_store_commit_operations_count", 2.0),
        ("adieu_store_commit_operations_sum", 2.0),
        ("adieu_store_commit_operations_bucket{le=\"1.0\"}", 2.0),
    ] {
        assert_eq!(after[name] - before[name], added, "{name}");
    }
    app.node.core.log().prune(Timestamp::MAX).await.unwrap();
    // The last entry stays, so that its position is not assigned again.
    assert_eq!(metrics(&app)["adieu_log_pruned_entries_total"], 1.0);
}

#[tokio::test]
async fn what_is_done_while_stale_is_counted() {
    for (stale_policy, accepted, refused) in [("reject", 0.0, 2.0), ("accept", 2.0, 0.0)] {
        let settings = [("max_staleness", "1s"), ("stale_policy", stale_policy)];
        let app = TestApp::with(&settings).await.with_user("jose").await;
        let tokens = app.log_in("jose").await;
        app.break_log();
        while app.get("/readyz").send().await.json()["revocations"]["stale"] == false {}
        for _ in 0..2 {
            app.verify(&tokens.access).await;
        }
        let counted = metrics(&app);
        assert_eq!(counted["adieu_accepted_while_stale_total"], accepted);
        assert_eq!(counted["adieu_rejected_while_stale_total"], refused);
        assert_eq!(counted.get("adieu_rejections_total{reason=\"stale\"}").copied().unwrap_or_default(), refused);
        assert!(counted["adieu_index_staleness_seconds"] > counted["adieu_index_max_staleness_seconds"]);
    }
}

/// Logged once per change, not once per request. On one thread, so that the log of this test's server alone is captured.
#[tokio::test(flavor = "current_thread")]
async fn that_the_policy_begins_and_ends_to_matter_is_logged_once() {
    for (stale_policy, consequence) in
        [("reject", "tokens are rejected"), ("accept", "tokens are accepted that may have been revoked")]
    {
        let (lines, _capturing) = capture();
        let app =
            TestApp::with(&[("max_staleness", "1s"), ("stale_policy", stale_policy)]).await.with_user("jose").await;
        let tokens = app.log_in("jose").await;
        let is_stale = async || app.get("/readyz").send().await.json()["revocations"]["stale"] == true;
        for round in 1..=2 {
            app.break_log();
            while !is_stale().await {}
            for _ in 0..5 {
                app.verify(&tokens.access).await;
            }
            assert_eq!(lines.count(consequence), round, "{stale_policy}");
            app.mend_log();
            while is_stale().await {}
            while app.verify(&tokens.access).await.status != 204 || is_stale().await {}
            assert_eq!(lines.count("up to date again"), round, "{stale_policy}");
        }
    }
}
