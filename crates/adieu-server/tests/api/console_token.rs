//! What the console says of a pasted token comes from a check of it.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Value, json};

use crate::{
    pages::Browser,
    provider::now,
    support::{PASSWORD, TestApp},
};

/// Returns a token of `issuer` that nobody has signed.
fn forged(issuer: &str, key: &str) -> String {
    let part = |value: Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let header = part(json!({"alg": "EdDSA", "kid": key, "typ": "at+jwt"}));
    let claims = part(json!({"iss": issuer, "sub": "boss", "iat": now(), "nbf": now(), "exp": now() + 600, "jti": "x",
        "sid": "x", "type": "access", "fresh": true, "is_admin": true}));
    format!("{header}.{claims}.{}", BASE64_URL_SAFE_NO_PAD.encode([7; 64]))
}

/// Pastes a token, and returns the page.
async fn explain(boss: &Browser<'_>, token: &str) -> String {
    let form = [("token", token), ("csrf_token", boss.cookie("__Host-csrf_access_token")), ("password", PASSWORD)];
    let response = boss.post("/console/token", &form, &[]).await;
    assert_eq!(response.status(), 200);
    response.text().await.unwrap()
}

#[tokio::test]
async fn a_forged_token_is_not_shown_as_signed_while_the_node_is_stale() {
    let settings = [("max_staleness", "1s"), ("stale_policy", "accept")];
    let app = TestApp::with(&settings).await.with_admin("boss").await;
    let boss = Browser::logged_in(&app, "boss").await;
    let token = forged("adieu", "nobody");
    assert!(!explain(&boss, &token).await.contains("by the key"));
    app.break_log();
    while app.node.sessions.verifier().is_fresh() {
        tokio::task::yield_now().await;
    }
    let page = explain(&boss, &token).await;
    assert!(!page.contains("by the key"), "{page}");
    assert!(page.contains("too old to tell"), "{page}");
    let page = explain(&boss, boss.cookie("__Host-access_token")).await;
    assert!(page.contains("by the key"), "{page}");
}

#[tokio::test]
async fn nor_is_one_of_an_issuer_without_keys_or_of_no_issuer() {
    let issuers = r#"[{ name = "shop", jwks_url = "http://127.0.0.1:1/jwks", audience = "api" }]"#;
    let app = TestApp::with(&[("trusted_issuer", issuers)]).await.with_admin("boss").await;
    let boss = Browser::logged_in(&app, "boss").await;
    for issuer in ["shop", "nobody"] {
        let page = explain(&boss, &forged(issuer, "nobody")).await;
        assert!(!page.contains("by the key"), "{issuer}: {page}");
    }
}

#[tokio::test]
async fn the_session_of_another_issuer_is_not_said_to_have_ended() {
    const SECRET: &str = "a secret of at least 256 bits......";
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("shop.secret");
    std::fs::write(&file, SECRET).unwrap();
    let issuers = format!(
        r#"[{{ name = "shop", secret_file = "{}", audience = "api", accept_generic_type = true }}]"#,
        file.display()
    );
    let app = TestApp::with(&[("trusted_issuer", &issuers)]).await.with_admin("boss").await;
    let boss = Browser::logged_in(&app, "boss").await;
    let claims = json!({"iss": "shop", "sub": "jose", "aud": "api", "sid": "their-session", "jti": "1", "type": "access", "iat": now(),
        "exp": now() + 600});
    let token = encode(&Header::default(), &claims, &EncodingKey::from_secret(SECRET.as_bytes())).unwrap();
    app.verify(&token).await.is(204);
    let page = explain(&boss, &token).await;
    assert!(page.contains("by the key") && page.contains("none that this server knows"), "{page}");
    assert!(!page.contains("has ended"), "{page}");
}
