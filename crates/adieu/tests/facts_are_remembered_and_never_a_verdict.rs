//! A decoder caches only two facts about a valid token: that its signature was valid, and its claims. Everything that can change is
//! checked each time.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{num::NonZeroUsize, sync::Arc, time::Duration};

use adieu::{
    Issuer, SessionId, Subject,
    revocation::{Follower, Index, Revocation, RevokedBy, Target},
    store::Memory,
    time::{Clock, ManualClock, Timestamp},
    token::{
        Algorithm, CacheLimits, Claims, Decoder, Fresh, KeyId, KeySet, Rules, SigningKey, StalePolicy, TokenError,
        TokenType, Verifier, encode,
    },
};

const NOON: Timestamp = Timestamp::from_unix(1_800_000_000);
const MINUTE: Duration = Duration::from_secs(60);
const MAX_STALENESS: Duration = Duration::from_secs(2);

fn issuer() -> Issuer {
    Issuer::new("https://adieu.test").unwrap()
}

fn claims() -> Claims {
    let mut claims = Claims::new(issuer(), Subject::new("jose").unwrap(), TokenType::Access, NOON, MINUTE * 15);
    claims.session = Some(SessionId::random());
    claims
}

fn key() -> SigningKey {
    SigningKey::generate(Algorithm::EdDSA).unwrap()
}

fn keys<'k>(keys: impl IntoIterator<Item = &'k SigningKey>) -> KeySet {
    KeySet::new(keys.into_iter().map(|key| key.verifying_key().clone())).unwrap()
}

fn limits(entries: usize, bytes: usize) -> CacheLimits {
    CacheLimits::new(NonZeroUsize::new(entries).unwrap(), NonZeroUsize::new(bytes).unwrap())
}

fn decoder(key: &SigningKey) -> Decoder {
    Decoder::new(Rules::new(issuer()), keys([key])).with_cache(CacheLimits::default())
}

/// Decodes a token so that it is cached, and checks that it is.
fn remember(decoder: &Decoder, token: &str, now: Timestamp) {
    decoder.decode_shared(token, now).unwrap();
    let hits = decoder.cache_stats().hits;
    decoder.decode_shared(token, now).unwrap();
    assert_eq!(decoder.cache_stats().hits, hits + 1, "remembered");
}

#[test]
fn a_remembered_token_says_what_it_said() {
    let key = key();
    let decoder = decoder(&key);
    let mut claims = claims();
    claims.fresh = Fresh::Until(NOON.plus(MINUTE));
    claims.audience = vec![];
    claims.custom.insert("roles".into(), serde_json::json!(["a", { "b": 1.5 }]));
    let token = encode(&key, &claims).unwrap();
    remember(&decoder, &token, NOON);
    assert_eq!(*decoder.decode_shared(&token, NOON).unwrap(), claims);
}

#[test]
fn the_whole_token_is_compared() {
    let key = key();
    let decoder = decoder(&key);
    let token = encode(&key, &claims()).unwrap();
    remember(&decoder, &token, NOON);
    // Each character changed, dropped and doubled once: header, claims and signature alike.
    for at in 0..token.len() {
        let (before, rest) = token.split_at(at);
        let (character, after) = rest.split_at(1);
        let other = if character == "A" { "B" } else { "A" };
        for changed in [
            format!("{before}{other}{after}"),
            format!("{before}{after}"),
            format!("{before}{character}{character}{after}"),
        ] {
            if changed != token {
                assert!(decoder.decode_shared(&changed, NOON).is_err(), "changed at {at}: {changed}");
            }
        }
    }
    let stats = decoder.cache_stats();
    assert_eq!((stats.entries, stats.hits), (1, 1), "a stranger's tokens neither come in nor hit");
}

#[test]
fn strangers_push_nobody_out() {
    let (key, stranger) = (key(), key());
    let decoder = Decoder::new(Rules::new(issuer()), keys([&key])).with_cache(limits(8, 1 << 16));
    let token = encode(&key, &claims()).unwrap();
    remember(&decoder, &token, NOON);
    let expired = {
        let mut claims = claims();
        claims.expires_at = NOON.minus(MINUTE);
        claims
    };
    let elsewhere = {
        let mut claims = claims();
        claims.issuer = Issuer::new("elsewhere").unwrap();
        claims
    };
    for _ in 0..100 {
        assert!(decoder.decode_shared(&encode(&stranger, &claims()).unwrap(), NOON).is_err());
        assert!(decoder.decode_shared(&encode(&key, &expired).unwrap(), NOON).is_err());
        assert!(decoder.decode_shared(&encode(&key, &elsewhere).unwrap(), NOON).is_err());
    }
    assert_eq!(decoder.cache_stats().entries, 1);
    decoder.decode_shared(&token, NOON).unwrap();
    assert_eq!(decoder.cache_stats().hits, 2);
}

#[test]
fn it_is_bounded_in_entries_and_in_bytes() {
    let key = key();
    let decode = |limits, payload: usize| {
        let decoder = Decoder::new(Rules::new(issuer()), keys([&key])).with_cache(limits);
        for _ in 0..300 {
            let mut claims = claims();
            claims.custom.insert("payload".into(), "x".repeat(payload).into());
            decoder.decode_shared(&encode(&key, &claims).unwrap(), NOON).unwrap();
            let stats = decoder.cache_stats();
            assert!(stats.entries <= limits.entries.get().next_multiple_of(8), "{stats:?}");
            assert!(stats.bytes <= limits.bytes.get(), "{stats:?}");
        }
        decoder.cache_stats()
    };
    let by_entries = decode(limits(64, 1 << 20), 1);
    assert!(by_entries.entries > 32, "it is used: {by_entries:?}");
    // The text of the payload is in the claims, and encoded in the token: twice eight of them, or none.
    let by_bytes = decode(limits(64, 150_000), 3_000);
    assert!((9..=16).contains(&by_bytes.entries), "{by_bytes:?}");
    assert_eq!(decode(limits(64, 60_000), 3_000).entries, 0, "one that is too large is not remembered");
}

#[test]
fn what_was_used_last_stays() {
    let key = key();
    let decoder = Decoder::new(Rules::new(issuer()), keys([&key])).with_cache(limits(8, 1 << 20));
    let busy = encode(&key, &claims()).unwrap();
    for _ in 0..50 {
        decoder.decode_shared(&busy, NOON).unwrap();
        decoder.decode_shared(&encode(&key, &claims()).unwrap(), NOON).unwrap();
    }
    let stats = decoder.cache_stats();
    assert_eq!((stats.entries, stats.hits), (8, 49));
}

#[test]
fn it_never_outlives_exp() {
    let key = key();
    for leeway in [Duration::ZERO, Duration::from_secs(30)] {
        let rules = Rules::new(issuer()).with_leeway(leeway).unwrap();
        let decoder = Decoder::new(rules, keys([&key])).with_cache(CacheLimits::default());
        let claims = claims();
        let token = encode(&key, &claims).unwrap();
        remember(&decoder, &token, NOON);

        let end = claims.expires_at.plus(leeway);
        assert!(decoder.decode_shared(&token, end.minus(Duration::from_secs(1))).is_ok());
        assert_eq!(decoder.decode_shared(&token, end), Err(TokenError::Expired));
        assert_eq!(decoder.cache_stats().entries, 0, "and it is gone");
    }
}

#[test]
fn a_clock_that_goes_back_makes_a_remembered_token_one_from_the_future() {
    let key = key();
    let decoder = decoder(&key);
    let token = encode(&key, &claims()).unwrap();
    remember(&decoder, &token, NOON);
    assert_eq!(decoder.decode_shared(&token, NOON.minus(MINUTE)), Err(TokenError::NotYetValid));
}

#[test]
fn it_never_outlives_its_key() {
    let (old, new) = (key(), key());
    let decoder = decoder(&old);
    let token = encode(&old, &claims()).unwrap();
    remember(&decoder, &token, NOON);

    decoder.replace_keys(keys([&old, &new]));
    decoder.decode_shared(&token, NOON).unwrap();
    assert_eq!(decoder.cache_stats().hits, 2, "its key has stayed, and so has it");

    decoder.replace_keys(keys([&new]));
    assert_eq!(decoder.cache_stats().entries, 0, "its key has gone, and so has it");
    assert_eq!(decoder.decode_shared(&token, NOON), Err(TokenError::UnknownKey));
}

#[test]
fn a_key_of_the_same_name_is_another_key() {
    let named = |key: SigningKey| key.with_key_id(KeyId::new("the key").unwrap());
    let (old, new) = (named(key()), named(key()));
    let decoder = decoder(&old);
    let token = encode(&old, &claims()).unwrap();
    remember(&decoder, &token, NOON);
    decoder.replace_keys(keys([&new]));
    assert_eq!(decoder.decode_shared(&token, NOON), Err(TokenError::BadSignature));

    decoder.replace_keys(keys([&old]));
    remember(&decoder, &token, NOON);
    decoder.replace_keys(keys([&old.with_key_id(KeyId::new("another name").unwrap())]));
    assert_eq!(decoder.decode_shared(&token, NOON), Err(TokenError::UnknownKey));
}

#[test]
fn what_a_secret_signed_and_what_is_used_once_is_not_remembered() {
    let secret = SigningKey::generate(Algorithm::HS256).unwrap();
    let decoder = decoder(&secret);
    let token = encode(&secret, &claims()).unwrap();
    for _ in 0..2 {
        decoder.decode_shared(&token, NOON).unwrap();
    }
    assert_eq!(decoder.cache_stats().entries, 0);

    let key = key();
    let decoder = Decoder::new(Rules::new(issuer()), keys([&secret, &key])).with_cache(CacheLimits::default());
    decoder.decode_shared(&token, NOON).unwrap();
    decoder
        .decode_shared(
            &encode(&key, &{
                let mut claims = claims();
                claims.token_type = TokenType::Refresh;
                claims
            })
            .unwrap(),
            NOON,
        )
        .unwrap();
    assert_eq!(decoder.cache_stats().entries, 0);
}

#[tokio::test]
async fn a_verdict_is_never_remembered() {
    let clock = ManualClock::at(NOON);
    let shared: Arc<dyn Clock> = Arc::new(clock.clone());
    let index = Arc::new(Index::new(NOON));
    let follower = Follower::start(Arc::new(Memory::new()), Arc::clone(&index), Arc::clone(&shared), MAX_STALENESS);
    follower.ready().await.unwrap();
    let key = key();
    let verifier = Verifier::new(
        decoder(&key),
        Arc::clone(&index),
        follower.freshness(),
        shared,
        MAX_STALENESS,
        StalePolicy::Reject,
    );
    let good = |claims: &Claims| {
        let token = encode(&key, claims).unwrap();
        let hits = verifier.decoder().cache_stats().hits;
        verifier.verify(&token).unwrap();
        verifier.verify(&token).unwrap();
        assert_eq!(verifier.decoder().cache_stats().hits, hits + 1, "remembered");
        token
    };

    // Revoked: rejected at the very next check, whatever revoked it.
    for by in [RevokedBy::Token, RevokedBy::Session, RevokedBy::Subject, RevokedBy::Everything] {
        let claims = {
            let mut claims = claims();
            claims.subject = Subject::new(format!("{by:?}")).unwrap();
            claims
        };
        let token = good(&claims);
        let target = match by {
            RevokedBy::Token => Target::Token { id: claims.token_id, expires_at: Some(claims.expires_at) },
            RevokedBy::Session => Target::Session { id: claims.session.unwrap() },
            RevokedBy::Subject => Target::Subject { id: claims.subject, issued_until: NOON },
            _ => Target::Everything { issued_until: NOON },
        };
        let lapses_at = Revocation::lapse_for(claims.expires_at);
        index.insert(&Revocation { issuer: issuer(), target, lapses_at });
        assert_eq!(verifier.verify(&token), Err(TokenError::Revoked(by)));
    }

    // Too stale.
    clock.advance(Duration::from_secs(1));
    let now = clock.now();
    let later = |fresh| {
        let mut claims = claims();
        claims.issued_at = Some(now);
        claims.not_before = Some(now);
        claims.fresh = fresh;
        claims
    };
    while !verifier.is_fresh() {
        tokio::task::yield_now().await;
    }
    let token = good(&later(Fresh::Until(now.plus(Duration::from_secs(1)))));
    assert!(verifier.verify_fresh(&token).is_ok());
    clock.advance(Duration::from_secs(1));
    while !verifier.is_fresh() {
        tokio::task::yield_now().await;
    }
    assert_eq!(verifier.verify_fresh(&token), Err(TokenError::NotFresh));

    // Without a follower, the index is never fresh again.
    drop(follower);
    clock.advance(MAX_STALENESS * 2);
    assert_eq!(verifier.verify(&token), Err(TokenError::Stale));
}

#[test]
fn nothing_of_it_is_shown() {
    let key = key();
    let decoder = decoder(&key);
    let mut claims = claims();
    claims.custom.insert("password".into(), "hunter2".into());
    let token = encode(&key, &claims).unwrap();
    remember(&decoder, &token, NOON);
    let shown = format!("{decoder:?}");
    for part in token.split('.').skip(1).chain([claims.token_id.as_str(), claims.subject.as_str(), "hunter2"]) {
        assert!(!shown.contains(part), "{part} in {shown}");
    }
}
