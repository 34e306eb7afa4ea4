//! How often one may fail.

use insta::assert_snapshot;

use crate::support::{PASSWORD, TestApp, credentials};

#[tokio::test]
async fn an_account_can_not_be_guessed_at() {
    let app = TestApp::with(&[("login_attempts_per_account", "2 per 1h")]).await.with_user("jose").await;
    let log_in = |password: &'static str| app.post("/login").json(credentials("jose", password)).send();
    log_in("guess").await.is(401);
    log_in("guess").await.is(401);
    let refused = log_in(PASSWORD).await;
    assert_snapshot!(refused, @r#"429 {"code":429,"message":"Too many attempts. Try again later.","status":"Too Many Requests"}"#);
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=1800).contains(&wait), "{wait}");
}

#[tokio::test]
async fn a_success_costs_nothing() {
    let app = TestApp::with(&[("login_attempts_per_account", "2 per 1h")]).await.with_user("jose").await;
    for _ in 0..5 {
        app.log_in("jose").await;
    }
}

#[tokio::test]
async fn an_address_can_not_try_many_names() {
    let app = TestApp::with(&[("login_attempts_per_address", "2 per 1h")]).await;
    for (username, status) in [("one", 401), ("two", 401), ("three", 429)] {
        app.post("/login").json(credentials(username, "guess")).send().await.is(status);
    }
}

#[tokio::test]
async fn an_address_can_not_register_without_end() {
    let app = TestApp::with(&[("login_attempts_per_address", "2 per 1h")]).await;
    for (username, status) in [("one", 201), ("two", 201), ("three", 429)] {
        app.post("/register").json(credentials(username, PASSWORD)).send().await.is(status);
    }
    app.log_in("one").await;
}
