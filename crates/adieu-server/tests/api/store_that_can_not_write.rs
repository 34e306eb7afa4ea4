//! Writes to a broken store are not acknowledged, and calls that need no store succeed.

use insta::assert_snapshot;
use serde_json::json;

use crate::support::TestApp;

#[tokio::test]
async fn a_logout_that_is_not_durable_is_no_success() {
    let app = TestApp::with(&[("max_staleness", "1h")]).await.with_user("jose").await;
    let tokens = app.log_in("jose").await;
    app.get("/readyz").send().await.is(200);
    app.break_log();

    let refused = app.post("/logout").token(&tokens.access).send().await;
    assert_snapshot!(refused, @r#"503 {"code":503,"message":"Temporarily unavailable. Try again.","status":"Service Unavailable"}"#);
    assert_eq!(refused.header("retry-after"), Some("1"));
    app.verify(&tokens.access).await.is(204);
    app.get("/livez").send().await.is(200);

    app.mend_log();
    app.get("/readyz").send().await.is(200);
    app.post("/logout").token(&tokens.access).send().await.is(200);
    app.verify(&tokens.access).await.is_revoked();
}

#[tokio::test]
async fn a_store_that_can_not_be_read_is_not_ready() {
    let app = TestApp::with(&[("max_staleness", "1h")]).await;
    app.execute("ALTER TABLE revocation_log_state RENAME TO out_of_reach");
    let answer = app.get("/readyz").send().await;
    answer.is(503);
    let body = answer.json();
    assert_eq!((&body["code"], &body["ready"]), (&json!(503), &json!(false)));
    assert_eq!(body["message"], "The store can't be read and written.");
    assert_eq!(body["revocations"]["stale"], false);
    app.execute("ALTER TABLE out_of_reach RENAME TO revocation_log_state");
    app.get("/readyz").send().await.is(200);
}

#[tokio::test]
async fn after_a_failed_write_it_is_ready_when_a_write_succeeds() {
    let app = TestApp::with(&[("max_staleness", "1h")]).await.with_user("jose").await;
    let tokens = app.log_in("jose").await;
    app.execute("ALTER TABLE revocation_log_state RENAME COLUMN probes TO out_of_reach");
    app.get("/readyz").send().await.is(200);
    app.break_log();
    app.post("/logout").token(&tokens.access).send().await.is(503);
    app.get("/readyz").send().await.is(503);
    app.mend_log();
    app.execute("ALTER TABLE revocation_log_state RENAME COLUMN out_of_reach TO probes");
    app.get("/readyz").send().await.is(200);
}
