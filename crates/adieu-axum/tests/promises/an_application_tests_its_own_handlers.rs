//! What a [`TestNode`] gives is what its name says, for the reason that it says.

use std::time::Duration;

use adieu::{
    Issuer,
    session::SessionSettings,
    store::Memory,
    time::{Clock as _, SystemClock},
};
use adieu_axum::{AccessToken, testing::TestNode};
use axum::{Router, routing::get};

use crate::support::send_with;

fn router(node: &TestNode) -> Router {
    Router::new()
        .route("/", get(|token: AccessToken| async move { token.subject().to_string() }))
        .with_state(node.sessions().clone())
}

#[tokio::test]
async fn each_token_is_judged_as_its_name_says() {
    let node = TestNode::new();
    let router = router(&node);
    assert_eq!(send_with(&router, "GET /", &node.login_as("jose").await.access).await.text(), "200 jose");
    let expired = send_with(&router, "GET /", &node.expired_token("jose").await).await;
    assert_eq!((expired.status, expired.json()["error"].as_str()), (401, Some("token_expired")));
    let revoked = send_with(&router, "GET /", &node.revoked_token("jose").await).await;
    assert_eq!((revoked.status, revoked.json()["error"].as_str()), (401, Some("token_revoked")));
}

#[tokio::test]
async fn the_test_decides_how_time_passes() {
    let node = TestNode::new();
    let router = router(&node);
    let token = node.login_as("jose").await.access;
    node.fall_behind();
    assert_eq!(send_with(&router, "GET /", &token).await.status, 503);
    node.catch_up();
    assert_eq!(send_with(&router, "GET /", &token).await.status, 200);
    node.advance(Duration::from_secs(86_400));
    let expired = send_with(&router, "GET /", &token).await;
    assert_eq!((expired.status, expired.json()["error"].as_str()), (401, Some("token_expired")));
}

#[tokio::test]
async fn an_application_has_its_own_settings() {
    let mut settings = SessionSettings::new(Issuer::new("https://shop.example").unwrap());
    settings.audience.push("shop".to_owned());
    settings.access_lifetime = Duration::from_secs(60);
    let node = TestNode::on(Memory::new(), settings, SystemClock.now());
    let claims = node.login_as("jose").await.claims;
    assert_eq!(claims.expires_at.since(claims.issued_at.unwrap()), Duration::from_secs(60));
    let router = router(&node);
    assert_eq!(send_with(&router, "GET /", &node.login_as("jose").await.access).await.text(), "200 jose");
    let expired = send_with(&router, "GET /", &node.expired_token("jose").await).await;
    assert_eq!((expired.status, expired.json()["error"].as_str()), (401, Some("token_expired")));
}
