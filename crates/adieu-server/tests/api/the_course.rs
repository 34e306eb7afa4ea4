//! The course's table, row by row.

use insta::assert_snapshot;
use serde_json::json;

use crate::support::{PASSWORD, TestApp, credentials};

#[tokio::test]
async fn register() {
    let app = TestApp::start().await;
    let register = || app.post("/register").json(credentials("jose", PASSWORD)).send();
    assert_snapshot!(register().await, @r#"201 {"message":"User created successfully."}"#);
    assert_snapshot!(register().await, @r#"409 {"code":409,"message":"A user with that username already exists.","status":"Conflict"}"#);
    assert_snapshot!(
        app.post("/register").json(json!({"username": "jose"})).send().await,
        @r#"422 {"code":422,"errors":{"json":{"password":["Missing data for required field."]}},"status":"Unprocessable Entity"}"#
    );
    assert_snapshot!(
        app.post("/register").text("{").send().await,
        @r#"400 {"code":400,"errors":{"json":["Invalid JSON body."]},"message":"EOF while parsing an object at line 1 column 1","status":"Bad Request"}"#
    );
}

#[tokio::test]
async fn login_gives_a_fresh_access_token_and_a_refresh_token() {
    let app = TestApp::start().await.with_user("jose").await;
    let answer = app.post("/login").json(credentials("jose", PASSWORD)).send().await;
    let fields = ["access_token", "expires_in", "refresh_expires_in", "refresh_token"];
    assert_eq!(answer.json().as_object().unwrap().keys().collect::<Vec<_>>(), fields);
    let claims = app.claims(&answer.tokens());
    assert_eq!(claims.fresh, adieu::token::Fresh::Yes);
    assert!(claims.custom.is_empty(), "not an administrator");

    for (username, password) in [("jose", "4321"), ("anna", PASSWORD)] {
        let answer = app.post("/login").json(credentials(username, password)).send().await;
        answer.reads(r#"401 {"code":401,"message":"Invalid credentials.","status":"Unauthorized"}"#);
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    }
}

#[tokio::test]
async fn refresh_gives_a_stale_access_token_and_uses_the_refresh_token_up() {
    let app = TestApp::with(&[("rotation_grace", "0s")]).await.with_user("jose").await;
    let first = app.log_in("jose").await;
    let refresh = |token: String| app.post("/refresh").token(&token).send();

    let second = refresh(first.refresh.clone()).await.tokens();
    assert_ne!(second.refresh, first.refresh);
    assert_eq!(app.claims(&second).fresh, adieu::token::Fresh::No);
    refresh(first.refresh).await.is_revoked();
    refresh(second.refresh).await.is_revoked();
    app.verify(&second.access).await.is_revoked();
}

#[tokio::test]
async fn within_the_grace_two_tabs_get_the_same_successor() {
    let app = TestApp::start().await.with_user("jose").await;
    let first = app.log_in("jose").await;
    let one = app.post("/refresh").token(&first.refresh).send().await.tokens();
    let other = app.post("/refresh").token(&first.refresh).send().await.tokens();
    assert_eq!(one.refresh, other.refresh);
    app.verify(&one.access).await.is(204);
    app.verify(&other.access).await.is(204);
}

#[tokio::test]
async fn refresh_does_not_take_an_access_token() {
    let app = TestApp::start().await.with_user("jose").await;
    let tokens = app.log_in("jose").await;
    assert_snapshot!(
        app.post("/refresh").token(&tokens.access).send().await,
        @r#"401 {"message":"Signature verification failed.","error":"invalid_token"}"#
    );
}

#[tokio::test]
async fn a_logout_is_told_once() {
    let app = TestApp::start().await.with_user("jose").await;
    let tokens = app.log_in("jose").await;
    let log_out = || app.post("/logout").token(&tokens.access).send();
    assert_snapshot!(log_out().await, @r#"200 {"message":"Successfully logged out"}"#);
    log_out().await.is_revoked();
    assert_snapshot!(
        app.post("/logout").token("nonsense").send().await,
        @r#"401 {"message":"Signature verification failed.","error":"invalid_token"}"#
    );
}

#[tokio::test]
async fn a_user_sees_and_deletes_itself_only() {
    let app = TestApp::start().await.with_user("jose").await.with_user("anna").await;
    let (jose, anna) = (app.log_in("jose").await, app.log_in("anna").await);
    let path = format!("/user/{}", app.user_id(&jose));

    let shown = app.get(&path).token(&jose.access).send().await;
    assert_eq!(shown.json(), json!({"id": app.user_id(&jose), "username": "jose"}));
    app.get(&path).send().await.is(401);
    for path in [path.as_str(), "/user/unknown"] {
        app.get(path).token(&anna.access).send().await.reads(r#"404 {"code":404,"status":"Not Found"}"#);
        app.delete(path).token(&anna.access).send().await.reads(r#"404 {"code":404,"status":"Not Found"}"#);
    }
    assert_snapshot!(app.delete(&path).token(&jose.access).send().await, @r#"200 {"message":"User deleted."}"#);
    app.get(&path).token(&jose.access).send().await.is_revoked();
}

/// A call that requires a fresh token rejects a refreshed one, and gives that reason only if the token is otherwise valid.
#[tokio::test]
async fn deleting_oneself_takes_a_fresh_token() {
    let app = TestApp::start().await.with_user("jose").await.with_admin("boss").await;
    let (jose, boss) = (app.log_in("jose").await, app.log_in("boss").await);
    let path = format!("/user/{}", app.user_id(&jose));
    let refreshed = app.post("/refresh").token(&jose.refresh).send().await.tokens();
    let refused = app.delete(&path).token(&refreshed.access).send().await;
    assert_snapshot!(refused, @r#"401 {"description":"The token is not fresh.","error":"fresh_token_required"}"#);
    assert_eq!(
        refused.header("www-authenticate"),
        Some(r#"Bearer error="insufficient_user_authentication", error_description="The token is not fresh.""#)
    );
    app.verify(&refreshed.access).await.is(204);
    app.post("/logout").token(&refreshed.refresh).send().await.is(200);
    app.delete(&path).token(&refreshed.access).send().await.is_revoked();

    let refreshed = app.post("/refresh").token(&boss.refresh).send().await.tokens();
    app.delete(&path).token(&refreshed.access).send().await.is(200);
}

#[tokio::test]
async fn tokens_are_not_cached() {
    let app = TestApp::start().await.with_user("jose").await;
    let login = app.post("/login").json(credentials("jose", PASSWORD)).send().await;
    let refresh = app.post("/refresh").token(&login.tokens().refresh).send().await;
    for answer in [login, refresh] {
        assert_eq!((answer.header("cache-control"), answer.header("pragma")), (Some("no-store"), Some("no-cache")));
    }
    assert_eq!(app.get("/.well-known/jwks.json").send().await.header("cache-control"), Some("public, max-age=300"));
}
