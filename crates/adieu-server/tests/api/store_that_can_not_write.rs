//! Writes to a broken store are not acknowledged, and calls that need no store succeed.

use adieu_server::{
    accounts::Role,
    clients::Capability,
    text::{Password, Username},
};
use insta::assert_snapshot;
use serde_json::json;

use crate::{
    provider::{EVERY_KIND, Provider},
    support::{PASSWORD, TestApp, credentials},
};

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

#[tokio::test]
async fn what_could_not_be_written_uses_up_no_quota() {
    let provider = Provider::start().await;
    let settings = ["client_revocation_quota", "client_reset_quota", "login_attempts_per_address"];
    let settings = [&settings.map(|name| (name, "1 per 1h"))[..], &[("max_staleness", "1h")]].concat();
    let app = provider.app_with(&format!("events = {EVERY_KIND}"), &settings).await;
    let password = Password::typed(PASSWORD.into()).unwrap();
    app.node.accounts.add(Username::new("jose").unwrap(), &password, Role::User, None).await.unwrap();
    let can = [Capability::Revoke, Capability::ResetPassword];
    let (one, two, three) =
        (app.client("one", &can).await, app.client("two", &can).await, app.client("three", &can).await);
    let reset_token = |client| app.post("/password/reset-token").by(client).json(json!({"username": "jose"}));
    let token = reset_token(&two).send().await.json()["reset_token"].clone();
    let alias = json!({"issuer": provider.issuer, "subject": "jose", "format": "email", "value": "jose@example.com"});
    let calls = || {
        [
            app.post("/revocations").by(&one).json(json!({"token_id": "a"})),
            app.post("/aliases").by(&two).json(alias.clone()),
            app.post("/aliases/remove").by(&three).json(alias.clone()),
            app.post("/password/reset").json(json!({"token": token, "new_password": "a new one"})),
            reset_token(&one),
            app.post("/register").json(credentials("ana", PASSWORD)),
        ]
    };
    let tables = ["revocation", "alias", "account"];
    let _done = tables.map(|table| app.execute(&format!("ALTER TABLE {table} RENAME TO {table}_out_of_reach")));
    for _ in 0..3 {
        for call in calls() {
            call.send().await.is(503);
        }
    }
    let _done = tables.map(|table| app.execute(&format!("ALTER TABLE {table}_out_of_reach RENAME TO {table}")));
    for (call, status) in calls().into_iter().zip([200, 200, 200, 200, 200, 201]) {
        call.send().await.is(status);
    }
    for call in calls() {
        call.send().await.is(429);
    }
}
