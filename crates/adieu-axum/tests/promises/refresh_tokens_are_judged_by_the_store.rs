//! A handler that takes a refresh token gets one that is valid now, which only the store knows, not the index.

use std::time::Duration;

use adieu::session::Scope;
use adieu_axum::{AnyToken, RefreshToken};
use axum::{Router, routing::get};

use crate::support::{App, send, send_with};

const DAY: Duration = Duration::from_secs(86_400);

fn router(app: &App) -> Router {
    Router::new()
        .route("/refresh", get(async |token: RefreshToken| token.subject.to_string()))
        .route("/any", get(async |token: AnyToken| format!("{} {}", token.subject(), token.token_type)))
        .route("/optional", get(async |token: Option<RefreshToken>| format!("{}", token.is_some())))
        .with_state(app.state(app.guard()))
}

#[tokio::test]
async fn each_type_is_taken_for_what_it_is() {
    let app = App::new();
    let router = router(&app);
    let pair = app.log_in().await;
    assert_eq!(send_with(&router, "GET /refresh", &pair.refresh).await.text(), "200 jose");
    assert_eq!(send_with(&router, "GET /any", &pair.refresh).await.text(), "200 jose refresh");
    assert_eq!(send_with(&router, "GET /any", &pair.access).await.text(), "200 jose access");
    assert_eq!(send_with(&router, "GET /optional", &pair.refresh).await.text(), "200 true");
    assert_eq!(send(&router, "GET /optional", &[], "").await.text(), "200 false");
    for line in ["GET /refresh", "GET /optional"] {
        assert!(send_with(&router, line, &pair.access).await.body.contains("invalid_token"));
    }
    for line in ["GET /refresh", "GET /any"] {
        assert_eq!(send(&router, line, &[], "").await.status, 401);
    }
    // Extracting it has not used it up.
    let token = app.sessions.inspect(&pair.refresh).unwrap();
    assert!(app.sessions.refresh(&token).await.is_ok());
}

#[tokio::test]
async fn long_after_a_logout_it_is_still_refused() {
    let app = App::new();
    let router = router(&app);
    let pair = app.log_in().await;
    app.sessions.log_out(&pair.access, Scope::This).await.unwrap();
    // The revocation has expired with the access tokens; the refresh token would live for weeks.
    app.pass(7 * DAY);
    while app.verifier().index().drop_lapsed(app.verifier().now()) {}
    for line in ["GET /refresh", "GET /any", "GET /optional"] {
        let answer = send_with(&router, line, &pair.refresh).await;
        assert!(answer.body.contains("token_revoked"), "{line} {}", answer.text());
    }
}

#[tokio::test]
async fn one_that_was_used_up_ends_its_session() {
    let app = App::new();
    let router = router(&app);
    let first = app.log_in().await;
    let token = app.sessions.inspect(&first.refresh).unwrap();
    let second = app.sessions.refresh(&token).await.unwrap();
    app.pass(Duration::from_secs(11));
    assert_eq!(send_with(&router, "GET /refresh", &first.refresh).await.status, 200, "its successor is not used");
    let token = app.sessions.inspect(&second.refresh).unwrap();
    app.sessions.refresh(&token).await.unwrap();
    assert_eq!(send_with(&router, "GET /refresh", &second.refresh).await.status, 200);
    assert!(send_with(&router, "GET /refresh", &first.refresh).await.body.contains("token_revoked"));
    assert!(send_with(&router, "GET /refresh", &second.refresh).await.body.contains("token_revoked"));
    assert!(send_with(&router, "GET /any", &second.access).await.body.contains("token_revoked"));
}
