//! An application that already has a key and tokens builds a node around them.
#![allow(clippy::unwrap_used)]

use adieu::{
    Error, Issuer, Node, NodeBuilder, Subject,
    session::Scope,
    store::Memory,
    time::{Clock as _, SystemClock},
    token::{Algorithm, KeyStore as _, Rules, SigningKey, TokenError},
};
use jsonwebtoken::{EncodingKey, Header};
use serde_json::json;

const SECRET: &[u8] = b"a secret of at least thirty-two bytes";

fn builder() -> NodeBuilder {
    Node::builder(Issuer::new("https://adieu.test").unwrap())
        .with_signing_key(SigningKey::from_secret(Algorithm::HS256, SECRET).unwrap())
}

/// A token as Flask-JWT-Extended makes it.
fn foreign_token() -> String {
    let now = SystemClock.now().as_unix();
    let claims = json!({
        "fresh": false, "iat": now, "nbf": now, "exp": now + 900,
        "jti": "d8b3a0a2-3c5b-4d27-8e0d-0c1f2b6a7e11", "type": "access", "sub": "jose", "csrf": "aside",
    });
    jsonwebtoken::encode(&Header::default(), &claims, &EncodingKey::from_secret(SECRET)).unwrap()
}

#[tokio::test]
async fn it_signs_with_the_key_and_does_not_write_it_down() {
    let store = Memory::new();
    let node = builder().start(store.clone()).await.unwrap();
    let pair = node.sessions().log_in(Subject::new("jose").unwrap()).await;
    let pair = pair.unwrap();
    let header = jsonwebtoken::decode_header(&pair.access).unwrap();
    assert_eq!((header.alg, header.kid), (jsonwebtoken::Algorithm::HS256, None));
    assert_eq!(node.signing_keys().len(), 1);
    assert!(store.keys().await.unwrap().is_empty());

    // Another node with the same key on the same store continues the same sessions.
    let other = builder().start(store).await.unwrap();
    assert!(other.verifier().verify(&pair.access).is_ok());
    other.sessions().log_out(&pair.refresh, Scope::This).await.unwrap();
    assert!(matches!(other.verifier().verify(&pair.access), Err(TokenError::Revoked(_))));
}

#[tokio::test]
async fn tokens_from_before_are_accepted_when_the_rules_say_so_and_can_be_logged_out() {
    let token = foreign_token();
    let strict = builder().start(Memory::new()).await.unwrap();
    assert!(strict.verifier().verify(&token).is_err());

    let node = builder().with_rules(|rules| rules.accept_generic_type().accept_missing_issuer());
    let node = node.start(Memory::new()).await.unwrap();
    assert_eq!(node.verifier().verify(&token).unwrap().subject.as_str(), "jose");
    node.sessions().log_out(&token, Scope::This).await.unwrap();
    assert!(matches!(node.verifier().verify(&token), Err(TokenError::Revoked(_))));
}

#[tokio::test]
async fn rules_for_somebody_else_are_refused_at_the_start() {
    let somebody_else = |_| Rules::new(Issuer::new("https://elsewhere.test").unwrap());
    let refused = builder().with_rules(somebody_else).start(Memory::new()).await;
    assert!(matches!(refused, Err(Error::InvalidSetting(_))));
}
