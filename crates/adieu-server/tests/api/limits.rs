//! Limits of failed logins.

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

/// A guesser at one address, and many guessers at many addresses.
#[tokio::test]
async fn strangers_lock_nobody_out_not_even_after_a_restart() {
    let settings =
        [("trusted_proxies", "127.0.0.1/32"), ("registration", "open"), ("login_attempts_per_account", "3 per 1h")];
    let app = TestApp::with(&settings).await.with_user("jose").await;
    let log_in = async |app: &TestApp, from: &str, password: &str| {
        let call = app.post("/login").header("x-forwarded-for", from).json(credentials("jose", password));
        call.send().await.status
    };
    assert_eq!(log_in(&app, "192.0.2.1", PASSWORD).await, 200, "at home");

    let app = app.start_again(&settings).await;
    for _ in 0..3 {
        assert_eq!(log_in(&app, "203.0.113.1", "guess").await, 401);
    }
    assert_eq!(log_in(&app, "203.0.113.1", "guess").await, 429);
    for number in 2..20 {
        assert_eq!(log_in(&app, &format!("203.0.113.{number}"), "guess").await, 401);
    }
    // The known address has all attempts, other addresses a few.
    for _ in 0..3 {
        assert_eq!(log_in(&app, "192.0.2.1", "a slip").await, 401);
    }
    assert_eq!(log_in(&app, "192.0.2.1", PASSWORD).await, 429);
    assert_eq!(log_in(&app, "198.51.100.7", "a slip").await, 401);
    for _ in 0..5 {
        assert_eq!(log_in(&app, "198.51.100.7", PASSWORD).await, 200);
    }
}
