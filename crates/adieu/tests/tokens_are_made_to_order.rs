//! A token can have its own lifetime, claims and header; the members that determine how it is read, and how long its session lasts, can't
//! be overridden.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{sync::Arc, time::Duration};

use adieu::{
    Error, Issuer, Node, Subject,
    session::{Origin, Scope, SessionError, SessionSettings, TokenOptions},
    store::Memory,
    time::{Clock, ManualClock, Timestamp},
    token::{
        Algorithm, Claims, Decoder, Expiry, Fresh, KeySet, Rules, SigningKey, TokenError, TokenType, dangerous, encode,
        encode_with_header,
    },
};
use serde_json::{Map, Value, json};

const HOUR: Duration = Duration::from_secs(3600);

async fn node() -> (Node, ManualClock) {
    let clock = ManualClock::at(Timestamp::from_unix(1_800_000_000));
    let node = Node::builder(issuer()).with_clock(Arc::new(clock.clone())).start(Memory::new()).await.unwrap();
    (node, clock)
}

fn issuer() -> Issuer {
    Issuer::new("https://adieu.test").unwrap()
}

fn jose() -> Subject {
    Subject::new("jose").unwrap()
}

fn map(value: serde_json::Value) -> Map<String, serde_json::Value> {
    serde_json::from_value(value).unwrap()
}

#[tokio::test]
async fn both_tokens_are_as_the_options_have_them() {
    let (node, clock) = node().await;
    let options = TokenOptions::new()
        .with_access_claims(map(json!({"role": "admin"})))
        .with_refresh_claims(map(json!({"device": "phone"})))
        .with_header(map(json!({"tenant": "shop"})))
        .with_access_lifetime(2 * HOUR)
        .with_refresh_lifetime(3 * HOUR)
        .with_fresh(Fresh::Until(clock.now().plus(HOUR)));
    let pair = node.sessions().log_in_with(jose(), Origin::default(), &options).await.unwrap();
    let claims = node.verifier().verify_fresh(&pair.access).unwrap();
    assert_eq!(*claims, pair.claims);
    assert_eq!((claims.expires_at, &claims.custom["role"]), (clock.now().plus(2 * HOUR), &json!("admin")));
    let (refresh, expiry) = node.verifier().read_claims(&pair.refresh).unwrap();
    assert_eq!((refresh.expires_at, &refresh.custom), (clock.now().plus(3 * HOUR), &options.refresh_claims));
    assert_eq!(expiry, Expiry::Live);
    for token in [&pair.access, &pair.refresh] {
        let header = dangerous::unverified_header(token).unwrap();
        assert_eq!(header["tenant"], "shop");
        assert_eq!(header.len(), 4, "{header:?}");
    }
    // None of it is stored.
    let token = node.sessions().inspect(&pair.refresh).unwrap();
    let next = node.sessions().refresh(&token).await.unwrap();
    assert_eq!((next.claims.custom, next.claims.fresh), (Map::new(), Fresh::No));
}

#[tokio::test]
async fn the_end_of_a_session_is_remembered_for_as_long_as_its_longest_token_lives() {
    let (node, clock) = node().await;
    let options = TokenOptions::default().with_access_lifetime(24 * HOUR);
    let pair = node.sessions().log_in_with(jose(), Origin::default(), &options).await.unwrap();
    node.sessions().log_out(&pair.access, Scope::This).await.unwrap();
    clock.advance(24 * HOUR - Duration::from_secs(1));
    while node.verifier().index().drop_lapsed(clock.now()) {}
    adieu::run_maintenance(&**node.log(), node.sessions().store(), clock.now()).await.unwrap();
    let page = node.log().read(None, Duration::ZERO).await.unwrap();
    assert_eq!(page.entries.len(), 1);
    assert!(matches!(node.verifier().verify(&pair.access), Err(TokenError::Revoked(_) | TokenError::Stale)));
}

#[tokio::test]
async fn no_token_outlives_its_session_and_none_is_dead_on_arrival() {
    let (node, clock) = node().await;
    let session = SessionSettings::new(issuer()).session_lifetime;
    let options = TokenOptions::default().with_access_lifetime(session * 2).with_refresh_lifetime(session * 2);
    let pair = node.sessions().log_in_with(jose(), Origin::default(), &options).await.unwrap();
    assert_eq!(pair.claims.expires_at, clock.now().plus(session));
    assert_eq!(node.verifier().read_claims(&pair.refresh).unwrap().0.expires_at, clock.now().plus(session));

    let short = TokenOptions::default().with_access_lifetime(Duration::from_millis(999));
    let result = node.sessions().log_in_with(jose(), Origin::default(), &short).await;
    assert!(matches!(result, Err(Error::InvalidSetting(_))));
}

#[test]
fn a_header_can_not_change_how_the_token_is_read() {
    let key = SigningKey::generate(Algorithm::EdDSA).unwrap();
    let now = Timestamp::from_unix(1_800_000_000);
    let claims = Claims::new(issuer(), jose(), TokenType::Access, now, HOUR);
    for name in ["alg", "kid", "typ", "crit", "b64", "jwk", "jku", "x5c", "x5u", "enc", "zip", "cty", "x5t", "x5t#S256"]
    {
        let result = encode_with_header(&key, &claims, &map(json!({ name: "x" })));
        assert!(result.unwrap_err().to_string().contains(name));
    }
    assert_eq!(encode_with_header(&key, &claims, &Map::new()).unwrap(), encode(&key, &claims).unwrap());
}

#[test]
fn what_an_unverified_header_says_is_bounded_and_no_panic() {
    for (token, refusal) in [
        ("", "there are not three parts"),
        ("e30", "there are not three parts"),
        ("?.e30.", "canonical base64url"),
        ("W10.e30.", "not a JSON object"),
    ] {
        assert!(dangerous::unverified_header(token).unwrap_err().to_string().contains(refusal), "{token}");
    }
    assert_eq!(dangerous::unverified_header(&"x".repeat(9000)), Err(TokenError::TooLong));
    assert_eq!(dangerous::unverified_header("e30.forged.forged"), Ok(Map::new()));
}

#[tokio::test]
async fn reading_a_token_says_nothing_of_revocations_and_much_of_the_signature() {
    let (node, clock) = node().await;
    let pair = node.sessions().log_in(jose()).await.unwrap();
    node.sessions().log_out(&pair.access, Scope::This).await.unwrap();
    assert_eq!(node.verifier().read_claims(&pair.access).unwrap().0.token_id, pair.claims.token_id);
    clock.advance(HOUR);
    assert_eq!(node.verifier().read_claims(&pair.access).unwrap().1, Expiry::Expired);
    assert!(node.verifier().read_claims(&pair.access[..pair.access.len() - 2]).is_err());
}

#[tokio::test]
async fn an_access_token_is_renewed_only_while_its_session_is_there() {
    let (node, _clock) = node().await;
    let pair = node.sessions().log_in(jose()).await.unwrap();
    let (renewed, claims) = node.sessions().renew(&pair.access, &TokenOptions::default()).await.unwrap();
    assert_eq!((claims.session, claims.fresh), (pair.claims.session, Fresh::No));
    assert!(matches!(
        node.sessions().renew(&pair.refresh, &TokenOptions::default()).await,
        Err(SessionError::InvalidToken(TokenError::WrongTokenType { .. }))
    ));
    node.sessions().log_out(&pair.refresh, Scope::This).await.unwrap();
    assert!(matches!(node.verifier().verify(&renewed), Err(TokenError::Revoked(_))));
    for token in [&pair.access, &renewed] {
        assert!(matches!(
            node.sessions().renew(token, &TokenOptions::default()).await,
            Err(SessionError::InvalidToken(TokenError::Revoked(_)))
        ));
    }
}

#[tokio::test]
async fn a_token_of_another_issuer_with_the_same_session_is_not_renewed_into_one_of_ours() {
    use adieu::{
        revocation::{Freshness, Index},
        session::Sessions,
        token::{Decoder, KeySet, Rules, StalePolicy, Verifier},
    };
    let clock = ManualClock::at(Timestamp::from_unix(1_800_000_000));
    let freshness = Freshness::never();
    freshness.complete_at(clock.moment());
    let (ours, theirs) =
        (SigningKey::generate(Algorithm::EdDSA).unwrap(), SigningKey::generate(Algorithm::EdDSA).unwrap());
    let other = Issuer::new("https://other.test").unwrap();
    let decoder = |issuer: &Issuer, key: &SigningKey| {
        Decoder::new(Rules::new(issuer.clone()), KeySet::new([key.verifying_key().clone()]).unwrap())
    };
    let verifier = Verifier::new(
        decoder(&issuer(), &ours),
        Arc::new(Index::new(clock.now())),
        freshness,
        Arc::new(clock.clone()),
        Duration::from_secs(2),
        StalePolicy::Reject,
    )
    .with_issuer(decoder(&other, &theirs))
    .unwrap();
    let sessions = Sessions::new(
        Arc::new(Memory::new()),
        Arc::new(verifier),
        ours,
        SessionSettings::new(issuer()),
        Arc::new(clock.clone()),
    )
    .unwrap();
    let pair = sessions.log_in(jose()).await.unwrap();
    let forged = encode(&theirs, &{
        let mut claims = pair.claims;
        claims.issuer = other;
        claims
    })
    .unwrap();
    assert!(sessions.verifier().verify(&forged).is_ok());
    assert!(matches!(
        sessions.renew(&forged, &TokenOptions::default()).await,
        Err(SessionError::InvalidToken(TokenError::WrongIssuer))
    ));
}

#[test]
fn a_claim_can_not_make_it_another_type_of_token() {
    let key = SigningKey::generate(Algorithm::EdDSA).unwrap();
    let now = Timestamp::from_unix(1_800_000_000);
    let encoded = |token_type, name: &str, value: Value| {
        let mut claims = Claims::new(issuer(), jose(), token_type, now, HOUR);
        claims.custom = map(json!({ name: value }));
        encode(&key, &claims)
    };
    let decoder = Decoder::new(Rules::new(issuer()), KeySet::new([key.verifying_key().clone()]).unwrap());
    for name in ["token_type", "token_use", "typ"] {
        for (token_type, value) in [
            (TokenType::Access, json!("Bearer")),
            (TokenType::Access, json!("access")),
            (TokenType::Refresh, json!("Refresh")),
        ] {
            let token = encoded(token_type, name, value.clone()).unwrap();
            assert_eq!(decoder.decode(&token, now).unwrap().custom[name], value, "it stays a claim");
        }
        for (token_type, value) in [
            (TokenType::Access, json!("refresh")),
            (TokenType::Refresh, json!("access")),
            (TokenType::Access, json!("ID")),
            (TokenType::Access, json!(7)),
        ] {
            let error = encoded(token_type, name, value).unwrap_err();
            assert!(error.to_string().contains(name), "{error}");
        }
    }
}
