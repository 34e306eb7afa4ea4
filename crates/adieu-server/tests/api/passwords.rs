//! Users change their passwords.

use insta::assert_snapshot;
use serde_json::json;

use crate::support::{PASSWORD, TestApp, credentials};

#[tokio::test]
async fn the_new_password_is_good_and_the_old_one_is_not() {
    let app = TestApp::start().await.with_user("jose").await;
    let tokens = app.log_in("jose").await;
    let change = json!({"password": PASSWORD, "new_password": "5678"});
    assert_snapshot!(
        app.post("/password").token(&tokens.access).json(change).send().await,
        @r#"200 {"message":"Password changed."}"#
    );
    app.post("/login").json(credentials("jose", PASSWORD)).send().await.is(401);
    app.post("/login").json(credentials("jose", "5678")).send().await.is(200);
    app.post("/refresh").token(&tokens.refresh).send().await.is(200);
}

#[tokio::test]
async fn a_stolen_token_is_not_enough_and_guessing_is_limited() {
    let app = TestApp::with(&[("login_attempts_per_account", "2 per 1h")]).await.with_user("jose").await;
    let (here, elsewhere) = (app.log_in("jose").await, app.log_in("jose").await);
    let guess = || {
        let change = json!({"password": "guess", "new_password": "mine"});
        app.post("/password").token(&here.access).json(change).send()
    };
    assert_snapshot!(
        guess().await,
        @r#"422 {"code":422,"errors":{"json":{"password":["Not the current password."]}},"status":"Unprocessable Entity"}"#
    );
    guess().await.is(422);
    guess().await.is(429);
    app.verify(&elsewhere.access).await.is(204);
}
