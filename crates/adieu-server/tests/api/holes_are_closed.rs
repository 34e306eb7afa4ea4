//! The five holes in the course's own logout.

use insta::assert_snapshot;
use serde_json::json;

use crate::support::{PASSWORD, TestApp, credentials};

/// "The blocklist is a set in one process." The durability of the store is tested with the store; here a second node on the same file
/// sees this server's logouts.
#[tokio::test]
async fn a_logout_is_known_to_a_second_node() {
    let app = TestApp::start().await.with_user("jose").await;
    let tokens = app.log_in("jose").await;
    app.post("/logout").token(&tokens.access).send().await.is(200);

    let data = app.folder.path().join("data");
    let flags = adieu_server::config::Flags { data: Some(data.to_str().unwrap().into()), ..Default::default() };
    let settings = adieu_server::config::Settings::load(&flags, []).unwrap();
    let second = adieu_server::node::Node::open(&settings).await.unwrap();
    let refusal = second.sessions.verifier().verify(&tokens.access).unwrap_err();
    assert_eq!(refusal.code(), "token_revoked");
}

/// "Logout kills one access token."
#[tokio::test]
async fn a_logout_ends_the_refresh_token_and_every_token_minted_with_it() {
    let app = TestApp::start().await.with_user("jose").await;
    let first = app.log_in("jose").await;
    let second = app.post("/refresh").token(&first.refresh).send().await.tokens();
    app.post("/logout").token(&first.access).send().await.is(200);
    app.verify(&first.access).await.is_revoked();
    app.verify(&second.access).await.is_revoked();
    app.post("/refresh").token(&first.refresh).send().await.is_revoked();
    app.post("/refresh").token(&second.refresh).send().await.is_revoked();
}

/// "A deleted user's tokens still work; so do those from before a password change."
#[tokio::test]
async fn a_deleted_user_has_no_tokens() {
    let app = TestApp::start().await.with_user("jose").await;
    let (one, other) = (app.log_in("jose").await, app.log_in("jose").await);
    app.delete(&format!("/user/{}", app.user_id(&one))).token(&one.access).send().await.is(200);
    for tokens in [one, other] {
        app.verify(&tokens.access).await.is_revoked();
        app.post("/refresh").token(&tokens.refresh).send().await.is_revoked();
    }
    app.post("/login").json(credentials("jose", PASSWORD)).send().await.is(401);
}

#[tokio::test]
async fn a_password_change_ends_the_other_sessions() {
    let app = TestApp::start().await.with_user("jose").await;
    let (here, elsewhere) = (app.log_in("jose").await, app.log_in("jose").await);
    let change = json!({"password": PASSWORD, "new_password": "5678"});
    app.post("/password").token(&here.access).json(change).send().await.is(200);
    app.verify(&here.access).await.is(204);
    app.verify(&elsewhere.access).await.is_revoked();
    app.post("/refresh").token(&elsewhere.refresh).send().await.is_revoked();
}

/// "Logging out with an expired access token is an error."
#[tokio::test]
async fn an_expired_access_token_ends_its_session() {
    let app = TestApp::start().await.with_user("jose").await;
    let tokens = app.log_in("jose").await;
    let expired = app.expired(&tokens);
    assert_snapshot!(
        app.post("/logout").token(&expired).send().await,
        @r#"200 {"message":"Successfully logged out"}"#
    );
    app.post("/refresh").token(&tokens.refresh).send().await.is_revoked();
    app.post("/logout").token(&expired).send().await.is_revoked();
}

/// "An empty username and an empty password can register."
#[tokio::test]
async fn nobody_without_a_name_or_a_password_registers() {
    let app = TestApp::start().await;
    assert_snapshot!(
        app.post("/register").json(credentials("", "")).send().await,
        @r#"422 {"code":422,"errors":{"json":{"password":["Shorter than minimum length 1."],"username":["Shorter than minimum length 1."]}},"status":"Unprocessable Entity"}"#
    );
}
