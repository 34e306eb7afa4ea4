//! An issuer signs with a new key before this node has read it: no logout reports success that revokes nothing.

use serde_json::json;

use crate::{
    provider::{Key, Provider, appended},
    support::{Answer, TestApp},
};

/// An access token of a user and a session, signed with another key than the one that the provider began with.
fn signed_with(key: &Key, provider: &Provider, session: &str) -> String {
    key.sign(Some("at+jwt"), &provider.access_claims("jose", session))
}

async fn revoke(app: &TestApp, token: &str) -> Answer {
    app.post("/revoke").form(format!("token={token}")).send().await
}

async fn log_out(app: &TestApp, token: &str) -> Answer {
    app.post("/logout").token(token).send().await
}

#[tokio::test]
async fn a_logout_waits_until_the_keys_have_been_read_again() {
    for old in [Key::new("2026"), Key::new(None)] {
        let named = old.id.is_some();
        let provider = Provider::with_key(old).await;
        let app = provider.app().await;
        let new = Key::new(named.then_some("2027"));
        provider.publish(&[&new]);
        let (first, second) = (signed_with(&new, &provider, "s1"), signed_with(&new, &provider, "s2"));
        let (revoked, logged_out) = tokio::join!(revoke(&app, &first), log_out(&app, &second));
        revoked.is(200);
        logged_out.is(200);
        assert_eq!(appended(&app.node), 4, "the token and its session, of each");
        app.verify(&first).await.is_revoked();
        app.verify(&second).await.is_revoked();
        app.verify(&signed_with(&new, &provider, "s3")).await.is(204);
    }
}

#[tokio::test]
async fn a_key_that_the_issuer_does_not_have_is_a_wrong_one() {
    for old in [Key::new("2026"), Key::new(None)] {
        let invented = Key::new(old.id.map(|_| "invented"));
        let provider = Provider::with_key(old).await;
        let app = provider.app().await;
        let token = signed_with(&invented, &provider, "s1");
        let (revoked, logged_out) = tokio::join!(revoke(&app, &token), log_out(&app, &token));
        revoked.is(200);
        assert_eq!((logged_out.status, &logged_out.json()["error"]), (401, &json!("invalid_token")), "{logged_out}");
        assert_eq!(appended(&app.node), 0);
    }
}

#[tokio::test]
async fn while_the_keys_can_not_be_read_the_answer_is_503() {
    let provider = Provider::start().await;
    let app = provider.app().await;
    let new = Key::new("2027");
    provider.go_down();
    let token = signed_with(&new, &provider, "s1");
    let (revoked, logged_out) = tokio::join!(revoke(&app, &token), log_out(&app, &token));
    for answer in [revoked, logged_out] {
        assert_eq!(answer.status, 503, "{answer}");
        assert!(answer.header("retry-after").is_some(), "{answer}");
    }
    provider.publish(&[&new]);
    while revoke(&app, &token).await.status != 200 {}
    app.verify(&token).await.is_revoked();
}

/// Events, whose senders do not come again after a 4xx.
#[tokio::test]
async fn an_event_without_a_kid_waits_too() {
    let provider = Provider::with_key(Key::new(None)).await;
    let app = provider.app().await;
    let access = provider.access("jose", "s1");
    let new = Key::new(None);
    let logout_token = new.sign(Some("logout+jwt"), &provider.logout_claims(json!({"sid": "s1"})));
    let send = async || app.post("/backchannel-logout").form(format!("logout_token={logout_token}")).send().await;
    provider.go_down();
    assert_eq!(send().await.status, 503);
    provider.publish(&[&new]);
    send().await.is(200);
    app.verify(&access).await.is(401);
    app.verify(&signed_with(&new, &provider, "s1")).await.is_revoked();
}
