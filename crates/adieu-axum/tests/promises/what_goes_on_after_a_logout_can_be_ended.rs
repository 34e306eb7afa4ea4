//! Work that began before a logout, such as a WebSocket or a stream of events, is notified when it must end.

use std::time::Duration;

use adieu::{session::Scope, token::TokenError};
use adieu_axum::TokenEnd;
use axum::{Extension, Router, routing::get};
use tokio::sync::mpsc;

use crate::support::{App, send, send_with};

fn router(app: &App) -> (Router, mpsc::UnboundedReceiver<TokenEnd>) {
    let (begun, ends) = mpsc::unbounded_channel();
    let begin = async |end: TokenEnd, Extension(begun): Extension<mpsc::UnboundedSender<TokenEnd>>| {
        begun.send(end).unwrap();
    };
    (Router::new().route("/", get(begin)).layer(Extension(begun)).with_state(app.state(app.guard())), ends)
}

#[tokio::test(start_paused = true)]
async fn by_a_logout_or_by_the_end_of_the_token() {
    let app = App::new();
    let (router, mut ends) = router(&app);
    let pair = app.log_in().await;
    assert_eq!(send(&router, "GET /", &[], "").await.status, 401);

    assert_eq!(send_with(&router, "GET /", &pair.access).await.status, 200);
    let going_on = tokio::spawn(ends.recv().await.unwrap().wait());
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(!going_on.is_finished());
    app.sessions.log_out(&pair.refresh, Scope::This).await.unwrap();
    assert!(matches!(going_on.await.unwrap(), TokenError::Revoked(_)));

    let pair = app.log_in().await;
    assert_eq!(send_with(&router, "GET /", &pair.access).await.status, 200);
    let going_on = tokio::spawn(ends.recv().await.unwrap().wait());
    app.pass(Duration::from_secs(900));
    assert_eq!(going_on.await.unwrap(), TokenError::Expired);

    let pair = app.log_in().await;
    assert_eq!(send_with(&router, "GET /", &pair.access).await.status, 200);
    let going_on = tokio::spawn(ends.recv().await.unwrap().wait());
    app.clock.advance(Duration::from_secs(3));
    assert_eq!(going_on.await.unwrap(), TokenError::Stale);
}
