//! `jsonwebtoken` accepts the tokens of this crate, and this crate accepts those of `jsonwebtoken`, for every algorithm.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::time::Duration;

use adieu::{
    Issuer, SessionId, Subject,
    time::{Clock, SystemClock},
    token::{
        Algorithm, Claims, Decoder, Fresh, Jwk, KeySet, Rules, SigningKey, TokenError, TokenType, VerifyingKey, encode,
    },
};
use jsonwebtoken::{DecodingKey, EncodingKey, Header, Validation};
use serde_json::{Map, Value, json};

/// A key for each algorithm; making those of RSA is slow, so they share one.
fn keys() -> Vec<SigningKey> {
    let rsa = SigningKey::generate(Algorithm::RS256).unwrap().to_pkcs8_der().unwrap();
    Algorithm::ALL
        .into_iter()
        .map(|algorithm| match algorithm.as_str().as_bytes() {
            [b'R' | b'P', ..] => SigningKey::from_pkcs8_der(algorithm, rsa.as_slice()).unwrap(),
            _ => SigningKey::generate(algorithm).unwrap(),
        })
        .collect()
}

fn their_algorithm(key: &SigningKey) -> jsonwebtoken::Algorithm {
    key.algorithm().as_str().parse().unwrap()
}

fn their_verifying_key(key: &SigningKey) -> DecodingKey {
    match (key.verifying_key().to_jwk(), key.to_secret_bytes()) {
        (Some(jwk), None) => {
            let jwk = serde_json::from_value(serde_json::to_value(jwk).unwrap()).unwrap();
            DecodingKey::from_jwk(&jwk).unwrap()
        }
        (None, Some(secret)) => DecodingKey::from_secret(secret.as_slice()),
        other => panic!("neither a public key nor a secret: {other:?}"),
    }
}

fn their_signing_key(key: &SigningKey) -> EncodingKey {
    let Some(pkcs8) = key.to_pkcs8_der() else {
        return EncodingKey::from_secret(key.to_secret_bytes().unwrap().as_slice());
    };
    let pkcs8 = pkcs8.as_slice();
    match key.algorithm() {
        Algorithm::ES256 | Algorithm::ES384 => EncodingKey::from_ec_der(pkcs8),
        Algorithm::EdDSA => EncodingKey::from_ed_der(pkcs8),
        // `jsonwebtoken` expects the PKCS#1 key inside the PKCS#8 wrapper.
        _ => EncodingKey::from_rsa_der(&pkcs8[26..]),
    }
}

#[test]
fn ours_are_accepted_by_them() {
    let now = SystemClock.now();
    for key in keys() {
        let mut claims = Claims::new(
            Issuer::new("https://us.example").unwrap(),
            Subject::new("josé \"the\" user").unwrap(),
            TokenType::Access,
            now,
            Duration::from_secs(600),
        );
        claims.session = Some(SessionId::random());
        claims.audience = vec!["api".to_owned(), "admin".to_owned()];
        claims.fresh = Fresh::Until(claims.expires_at);
        claims.custom.insert("is_admin".to_owned(), true.into());

        let mut validation = Validation::new(their_algorithm(&key));
        validation.set_issuer(&["https://us.example"]);
        validation.set_audience(&["api"]);
        validation.set_required_spec_claims(&["exp", "nbf", "iss", "sub", "aud"]);
        let token = encode(&key, &claims).unwrap();
        let theirs =
            jsonwebtoken::decode::<Map<String, Value>>(&token, &their_verifying_key(&key), &validation).unwrap();

        assert_eq!(theirs.header.typ.as_deref(), Some("at+jwt"));
        assert_eq!(theirs.header.kid.as_deref(), key.key_id().map(|id| id.as_str()));
        assert_eq!(
            Value::Object(theirs.claims),
            json!({
                "iss": "https://us.example",
                "sub": "josé \"the\" user",
                "aud": ["api", "admin"],
                "iat": now.as_unix(),
                "nbf": now.as_unix(),
                "exp": now.as_unix() + 600,
                "jti": claims.token_id.as_str(),
                "sid": claims.session.as_ref().unwrap().as_str(),
                "type": "access",
                "fresh": now.as_unix() + 600,
                "is_admin": true,
            })
        );

        let rules = Rules::new(claims.issuer.clone()).with_audience("admin");
        let decoder = Decoder::new(rules, KeySet::new([key.verifying_key().clone()]).unwrap());
        assert_eq!(decoder.decode(&token, now), Ok(claims));
    }
}

#[test]
fn theirs_are_accepted_by_us() {
    let now = SystemClock.now();
    let rules = Rules::new(Issuer::new("them").unwrap());
    for key in keys() {
        let decoder = Decoder::new(rules.clone(), KeySet::new([key.verifying_key().clone()]).unwrap());
        let claims = json!({
            "iss": "them", "sub": "jose", "jti": "1", "exp": now.as_unix() + 600, "roles": ["a", {"b": null}], "x": "é\u{1F600}\n",
        });
        for kid in [None, key.key_id().map(|id| id.as_str().to_owned())] {
            let header = Header { typ: Some("at+jwt".to_owned()), kid, ..Header::new(their_algorithm(&key)) };
            let token = jsonwebtoken::encode(&header, &claims, &their_signing_key(&key)).unwrap();

            let decoded = decoder.decode(&token, now).unwrap();
            assert_eq!(decoded.subject.as_str(), "jose");
            assert_eq!(decoded.custom.len(), 2);
            assert_eq!(decoded.custom["roles"], claims["roles"]);
            assert_eq!(decoded.custom["x"], claims["x"]);
        }
    }
}

/// The newer name of the algorithm (RFC 9864), which `jsonwebtoken` does not know.
#[test]
fn the_newer_name_of_ed25519_is_read() {
    let now = SystemClock.now();
    let key = SigningKey::generate(Algorithm::EdDSA).unwrap();
    let decoder =
        Decoder::new(Rules::new(Issuer::new("them").unwrap()), KeySet::new([key.verifying_key().clone()]).unwrap());
    // {"alg":"Ed25519","typ":"at+jwt"} and {"iss":"them","sub":"jose","jti":"1","exp":253402300799}
    let signing_input = "eyJhbGciOiJFZDI1NTE5IiwidHlwIjoiYXQrand0In0.\
                         eyJpc3MiOiJ0aGVtIiwic3ViIjoiam9zZSIsImp0aSI6IjEiLCJleHAiOjI1MzQwMjMwMDc5OX0";
    let signature =
        jsonwebtoken::crypto::sign(signing_input.as_bytes(), &their_signing_key(&key), jsonwebtoken::Algorithm::EdDSA)
            .unwrap();
    assert!(decoder.decode(&format!("{signing_input}.{signature}"), now).is_ok());
    assert_eq!(
        decoder.decode(&format!("{}.{signature}", signing_input.replacen("eyJh", "eyJi", 1)), now),
        Err(TokenError::Malformed("the header names no algorithm"))
    );
}

#[test]
fn keys_survive_being_stored_and_published() {
    for key in keys() {
        let restored = match (key.to_pkcs8_der(), key.to_secret_bytes()) {
            (Some(pkcs8), None) => SigningKey::from_pkcs8_der(key.algorithm(), pkcs8.as_slice()),
            (None, Some(secret)) => SigningKey::from_secret(key.algorithm(), secret.as_slice()),
            other => panic!("stored as both or neither: {other:?}"),
        }
        .unwrap();
        assert_eq!(restored.key_id(), key.key_id());

        let published = serde_json::to_string(&KeySet::new([key.verifying_key().clone()]).unwrap().jwks()).unwrap();
        let read: adieu::token::Jwks = serde_json::from_str(&published).unwrap();
        match &read.keys[..] {
            [] => assert!(key.algorithm().is_symmetric()),
            [jwk] => {
                let read = VerifyingKey::from_jwk(jwk).unwrap();
                assert_eq!((read.algorithm(), read.key_id()), (key.algorithm(), key.key_id()));
                let bare = Jwk { kid: None, ..jwk.clone() };
                assert_eq!(VerifyingKey::from_jwk(&bare).unwrap().key_id(), key.key_id(), "the id is the thumbprint");
            }
            more => panic!("{more:?}"),
        }
    }
}
