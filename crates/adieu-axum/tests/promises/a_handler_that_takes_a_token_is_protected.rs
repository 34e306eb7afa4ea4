//! A handler that takes a token is protected: a request without a valid one gets one of a few responses, and the operator gets a line in
//! the log.

use std::{
    io,
    ops::Deref,
    sync::{Arc, Mutex},
    time::Duration,
};

use adieu::session::{Scope, TokenPair};
use adieu_axum::{AccessToken, BearerToken, FreshAccessToken, REJECTION_LOG_TARGET};
use axum::{
    Router,
    routing::{get, post},
};

use crate::support::{self, send};

struct App {
    app: support::App,
    router: Router,
}

impl Deref for App {
    type Target = support::App;

    fn deref(&self) -> &support::App {
        &self.app
    }
}

impl App {
    fn new() -> Self {
        let app = support::App::new();
        let router = Router::new()
            .route("/access", get(async |token: AccessToken| token.subject().to_string()))
            .route("/fresh", get(async |token: FreshAccessToken| token.subject().to_string()))
            .route("/optional", get(async |token: Option<AccessToken>| format!("{}", token.is_some())))
            .route("/bearer", post(async |token: BearerToken| format!("{token:?} {}", token.as_str().len())))
            .with_state(Arc::clone(&app.sessions));
        Self { app, router }
    }

    async fn refreshed(&self, pair: &TokenPair) -> TokenPair {
        let token = self.sessions.inspect(&pair.refresh).unwrap();
        self.sessions.refresh(&token).await.unwrap()
    }

    /// Returns status, body and challenge.
    async fn get(&self, path: &str, authorization: &[&str]) -> String {
        let method = if path == "/bearer" { "POST" } else { "GET" };
        let headers: Vec<_> = authorization.iter().map(|value| ("authorization", *value)).collect();
        let answer = send(&self.router, &format!("{method} {path}"), &headers, "").await;
        let (challenge, retry_after) = (answer.header("www-authenticate"), answer.header("retry-after"));
        format!("{} {challenge}{retry_after}", answer.text()).trim_end().to_owned()
    }

    async fn get_with(&self, path: &str, token: &str) -> String {
        self.get(path, &[&format!("Bearer {token}")]).await
    }
}

const MISSING: &str =
    r#"401 {"description":"Request does not contain an access token.","error":"authorization_required"} Bearer"#;
const INVALID: &str = r#"401 {"message":"Signature verification failed.","error":"invalid_token"} Bearer error="invalid_token", error_description="Signature verification failed.""#;
const REVOKED: &str = r#"401 {"description":"The token has been revoked.","error":"token_revoked"} Bearer error="invalid_token", error_description="The token has been revoked.""#;

#[tokio::test]
async fn a_good_token_gets_through_and_notes_that_the_session_is_used() {
    let app = App::new();
    let pair = app.log_in().await;
    app.pass(Duration::from_secs(60));
    for path in ["/access", "/fresh"] {
        assert_eq!(app.get_with(path, &pair.access).await, "200 jose");
    }
    app.sessions.flush_last_seen().await.unwrap();
    let session = app.sessions.store().session(&pair.claims.session.unwrap()).await.unwrap().unwrap();
    assert_eq!(session.last_seen_at.since(session.created_at), Duration::from_secs(60));
}

#[tokio::test]
async fn without_a_token_there_is_no_error_code() {
    let app = App::new();
    for path in ["/access", "/fresh", "/bearer"] {
        for authorization in [&[][..], &["Basic am9zZToxMjM0"], &["Bearer"], &["bearer  "], &["Bearerx y"]] {
            assert_eq!(app.get(path, authorization).await, MISSING, "{path} {authorization:?}");
        }
    }
}

#[tokio::test]
async fn absent_is_fine_and_bad_is_not() {
    let app = App::new();
    let pair = app.log_in().await;
    assert_eq!(app.get("/optional", &[]).await, "200 false");
    assert_eq!(app.get_with("/optional", &pair.access).await, "200 true");
    assert_eq!(app.get_with("/optional", "nonsense").await, INVALID);
    app.sessions.log_out(&pair.access, Scope::This).await.unwrap();
    assert_eq!(app.get_with("/optional", &pair.access).await, REVOKED);
}

#[tokio::test]
async fn the_scheme_is_written_in_any_case_and_two_tokens_are_none() {
    let app = App::new();
    let pair = app.log_in().await;
    for scheme in ["Bearer", "bearer", "BEARER", "BeArEr "] {
        assert_eq!(app.get("/access", &[&format!("{scheme} {}", pair.access)]).await, "200 jose", "{scheme}");
    }
    let token = format!("Bearer {}", pair.access);
    for path in ["/access", "/optional", "/bearer"] {
        assert_eq!(
            app.get(path, &[&token, &token]).await,
            r#"400 {"code":400,"message":"Send one Authorization header only.","status":"Bad Request"} Bearer error="invalid_request", error_description="Send one Authorization header only.""#
        );
    }
}

#[tokio::test]
async fn whatever_is_no_access_token_is_one_answer() {
    let app = App::new();
    let pair = app.log_in().await;
    let long = "x".repeat(100_000);
    for token in [pair.refresh.as_str(), &pair.access[1..], "a b", "ü", "..", &long] {
        assert_eq!(app.get_with("/access", token).await, INVALID);
    }
}

#[tokio::test]
async fn an_expired_token_is_told_so() {
    let app = App::new();
    let pair = app.log_in().await;
    app.pass(Duration::from_secs(15 * 60));
    assert_eq!(
        app.get_with("/access", &pair.access).await,
        r#"401 {"message":"The token has expired.","error":"token_expired"} Bearer error="invalid_token", error_description="The token has expired.""#
    );
}

#[tokio::test]
async fn a_token_from_a_refresh_is_not_fresh_and_a_revoked_one_is_revoked_first() {
    let app = App::new();
    let pair = app.log_in().await;
    let refreshed = app.refreshed(&pair).await;
    assert_eq!(app.get_with("/access", &refreshed.access).await, "200 jose");
    assert_eq!(
        app.get_with("/fresh", &refreshed.access).await,
        r#"401 {"description":"The token is not fresh.","error":"fresh_token_required"} Bearer error="insufficient_user_authentication", error_description="The token is not fresh.""#
    );
    app.sessions.log_out(&refreshed.refresh, Scope::This).await.unwrap();
    assert_eq!(app.get_with("/fresh", &refreshed.access).await, REVOKED);
}

#[tokio::test]
async fn a_node_that_does_not_know_enough_says_when_to_come_back() {
    let app = App::new();
    let pair = app.log_in().await;
    app.node.fall_behind();
    assert_eq!(
        app.get_with("/access", &pair.access).await,
        r#"503 {"code":503,"message":"Whether the token has been revoked is not known just now. Try again.","status":"Service Unavailable"} 1"#
    );
}

#[tokio::test]
async fn a_token_that_is_not_verified_is_not_shown() {
    let app = App::new();
    assert_eq!(app.get_with("/bearer", "anything").await, "200 BearerToken(…) 8");
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_refusal_is_logged_once_with_its_true_cause_and_without_the_token() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    let _capturing = tracing::subscriber::set_default(subscriber);

    let app = App::new();
    let pair = app.log_in().await;
    app.get_with("/access", &pair.access).await;
    app.get_with("/access", &pair.refresh).await;
    let log = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    assert_eq!(log.lines().count(), 1, "{log}");
    assert!(log.contains(REJECTION_LOG_TARGET) && log.contains("expected a token of type `access`"), "{log}");
    assert!(!log.contains(&pair.refresh) && !log.contains(pair.refresh.rsplit('.').next().unwrap()), "{log}");
}
