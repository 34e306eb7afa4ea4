use std::{path::Path, time::Duration};

use adieu::{
    Issuer, TokenId,
    time::{Clock as _, SystemClock},
    token::{Decoder, KeySet, KeyStore as _, Rules, SigningKey, encode},
};
use adieu_sqlite::Sqlite;
use serde_json::json;

use crate::{
    expired, invalid_token, message, no_token, not_found, revoked,
    server::{Server, Tokens},
};

#[tokio::test]
async fn without_a_token() {
    let server = Server::start().await;
    assert_eq!(server.get("/item", "").await, no_token());
    assert_eq!(server.post("/item", "", json!({})).await, no_token());
    assert_eq!(server.get("/item/1", "").await, no_token());
    assert_eq!(server.delete("/item/1", "").await, no_token());
    assert_eq!(server.refresh("").await, no_token());
    assert_eq!(server.log_out("").await, no_token());
}

#[tokio::test]
async fn with_a_wrong_token() {
    let server = Server::start().await;
    let tokens = server.user("jose").await;
    let mut forged = tokens.access.clone();
    forged.insert(forged.rfind('.').unwrap() + 1, 'A');
    for wrong in ["nonsense", &forged, &tokens.refresh] {
        assert_eq!(server.get("/item", wrong).await, invalid_token());
    }
    assert_eq!(server.refresh(&tokens.access).await, invalid_token());
    assert_eq!(server.log_out("nonsense").await, invalid_token());
}

#[tokio::test]
async fn a_logout_ends_every_token_of_the_session_and_no_other() {
    let server = Server::start().await;
    let first = server.user("jose").await;
    let elsewhere = server.log_in("jose").await;
    let second = Tokens::of(server.refresh(&first.refresh).await);

    assert_eq!(server.log_out(&second.access).await, message(200, "Successfully logged out"));
    for token in [&first.access, &second.access] {
        assert_eq!(server.get("/item", token).await, revoked());
        assert_eq!(server.log_out(token).await, revoked());
        // A token that is revoked and not fresh is rejected as revoked.
        assert_eq!(server.post("/item", token, json!({})).await, revoked());
    }
    assert_eq!(server.refresh(&second.refresh).await, revoked());
    assert_eq!(server.get("/item", &elsewhere.access).await, (200, json!([])));
}

#[tokio::test]
async fn what_is_not_there_is_said_in_the_same_way() {
    let server = Server::start().await;
    assert_eq!(server.get("/nowhere", "").await, not_found());
    assert_eq!(server.get("/login", "").await, (405, json!({"code": 405, "status": "Method Not Allowed"})));
}

/// Returns another access token of the same session, which expired a minute ago, signed with the key in the server's store.
async fn expired_like(token: &str, data: &Path) -> String {
    let store = Sqlite::open(data.join("adieu.sqlite")).await.unwrap();
    let key = SigningKey::try_from(&store.keys().await.unwrap()[0]).unwrap();
    let keys = KeySet::new([key.verifying_key().clone()]).unwrap();
    let now = SystemClock.now();
    let claims = Decoder::new(Rules::new(Issuer::new("stores").unwrap()), keys).decode(token, now).unwrap();
    let issued_at = Some(now.minus(Duration::from_secs(16 * 60)));
    let expires_at = now.minus(Duration::from_secs(60));
    let token_id = TokenId::random();
    encode(&key, &{
        let mut claims = claims;
        claims.issued_at = issued_at;
        claims.not_before = issued_at;
        claims.expires_at = expires_at;
        claims.token_id = token_id;
        claims
    })
    .unwrap()
}

#[tokio::test]
async fn an_expired_token_is_good_for_logging_out_and_for_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start_on(folder.path()).await;
    let tokens = server.user("jose").await;
    let old = expired_like(&tokens.access, folder.path()).await;
    assert_eq!(server.get("/item", &old).await, expired());

    assert_eq!(server.log_out(&old).await, message(200, "Successfully logged out"));
    assert_eq!(server.get("/item", &tokens.access).await, revoked());
    assert_eq!(server.refresh(&tokens.refresh).await, revoked());
    assert_eq!(server.log_out(&old).await, revoked());
}
