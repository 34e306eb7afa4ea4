//! Tokens are revoked by the key that has signed them, and by a claim that they have.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "support/forge.rs"]
mod forge;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use adieu::{
    Issuer, Node, Subject,
    revocation::{Freshness, Index, Revocation, RevokedBy, RevokedClaim, Target, TokenClaims, TokenFacts},
    session::{RevocationRequest, RevocationTarget, Scope},
    store::Memory,
    time::{Clock, ManualClock, Timestamp},
    token::{
        Algorithm, CacheLimits, Claims, DEFAULT_SKEW, Decoder, KeyId, KeySet, Rules, Scratch, SigningKey, StalePolicy,
        TokenError, TokenType, Verifier, VerifyingKey, encode,
    },
};
use forge::{SECRET, forge};
use serde_json::json;

const NOON: Timestamp = Timestamp::from_unix(1_800_000_000);
const HOUR: Duration = Duration::from_secs(3600);

fn issuer(name: &str) -> Issuer {
    Issuer::new(name).unwrap()
}

fn claims(of: &str, custom: serde_json::Value) -> Claims {
    let mut claims = Claims::new(issuer(of), Subject::new("jose").unwrap(), TokenType::Access, NOON, HOUR);
    claims.custom = custom.as_object().unwrap().clone();
    claims
}

fn until(target: RevocationTarget, of: &str) -> Vec<RevocationRequest> {
    vec![RevocationRequest::new(target).with_issuer(issuer(of))]
}

fn tenant(value: &str) -> RevokedClaim {
    RevokedClaim::new("tenant", value).unwrap()
}

/// A node that accepts the tokens of another issuer, none of whose claims it trusts.
struct Setup {
    node: Node,
    clock: ManualClock,
    theirs: SigningKey,
}

impl Setup {
    async fn start() -> Self {
        let clock = ManualClock::at(NOON);
        let theirs = SigningKey::generate(Algorithm::EdDSA).unwrap().with_key_id(KeyId::new("kid-1").unwrap());
        let keys = KeySet::new([theirs.verifying_key().clone()]).unwrap();
        let them = Decoder::new(Rules::new(issuer("them")), keys).with_cache(CacheLimits::default());
        let node = Node::builder(issuer("us"))
            .with_clock(Arc::new(clock.clone()))
            .with_issuer(them)
            .start(Memory::new())
            .await
            .unwrap();
        Self { node, clock, theirs }
    }

    async fn advance(&self, duration: Duration) {
        self.clock.advance(duration);
        while !self.node.verifier().is_fresh() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    fn token(&self, custom: serde_json::Value) -> String {
        encode(&self.theirs, &claims("them", custom)).unwrap()
    }

    fn refusal(&self, token: &str) -> Option<TokenError> {
        let first = self.node.verifier().verify(token).err();
        assert_eq!(first, self.node.verifier().verify(token).err(), "remembered or not");
        first
    }
}

#[tokio::test]
async fn a_key_revokes_what_it_has_signed_and_what_it_signs_later() {
    let setup = Setup::start().await;
    let token = setup.token(json!({}));
    assert_eq!(setup.refusal(&token), None);
    let key = RevocationTarget::Key(KeyId::new("kid-1").unwrap());
    setup.node.sessions().revoke(until(key.clone(), "us")).await.unwrap();
    assert_eq!(setup.refusal(&token), None, "a key of this name of another issuer");
    setup.node.sessions().revoke(until(key, "them")).await.unwrap();
    assert_eq!(setup.refusal(&token), Some(TokenError::Revoked(RevokedBy::Key)));
    setup.advance(HOUR / 2).await;
    let mut later = claims("them", json!({}));
    later.issued_at = Some(setup.clock.now());
    let later = encode(&setup.theirs, &later).unwrap();
    assert_eq!(setup.refusal(&later), Some(TokenError::Revoked(RevokedBy::Key)));
    let own = setup.node.sessions().log_in(Subject::new("jose").unwrap()).await.unwrap();
    assert_eq!(setup.refusal(&own.access), None);
}

/// The key that verified the token counts, and not what its header names.
#[test]
fn also_a_token_whose_header_names_no_key() {
    let key = VerifyingKey::from_secret(Algorithm::HS256, SECRET).unwrap().with_key_id(KeyId::new("kid-1").unwrap());
    let rules = Rules::new(issuer("them")).accept_generic_type();
    let decoder = Decoder::new(rules, KeySet::new([key]).unwrap());
    let exp = NOON.plus(HOUR).as_unix();
    let claims = json!({"iss": "them", "sub": "jose", "jti": "1", "type": "access", "exp": exp, "tenant": ["acme", 7]});
    let token = forge(r#"{"alg":"HS256"}"#, &claims.to_string());
    assert_eq!(decoder.decode(&token, NOON).unwrap().key_id().map(KeyId::as_str), Some("kid-1"));

    let mut scratch = Scratch::default();
    let parsed = decoder.decode_in(&token, NOON, &mut scratch).unwrap();
    assert_eq!(parsed.key_id().map(KeyId::as_str), Some("kid-1"));
    assert!(parsed.has("tenant", &mut |value| value == "7"));
    assert!(!parsed.has("tenant", &mut |value| value == "8"));
    assert!(!parsed.has("sub", &mut |_| true));
}

#[tokio::test]
async fn a_removed_key_is_revoked_for_those_who_were_given_it() {
    let setup = Setup::start().await;
    let node = &setup.node;
    let old = node.signing_key();
    let token = node.sessions().log_in(Subject::new("jose").unwrap()).await.unwrap().access;

    let id = old.key_id().unwrap().as_str().to_owned();
    assert!(node.remove_key("another").await.unwrap().is_none());
    assert!(node.log().read(None, Duration::ZERO).await.unwrap().entries.is_empty());
    node.remove_key(&id).await.unwrap().unwrap();
    let entries = node.log().read(None, Duration::ZERO).await.unwrap().entries;
    assert_eq!(entries, [Revocation::of_key(issuer("us"), KeyId::new(&id).unwrap())]);

    let index = Arc::new(Index::new(NOON));
    let freshness = Freshness::never();
    freshness.complete_at(setup.clock.moment());
    let keys = KeySet::new([old.verifying_key().clone()]).unwrap();
    let decoder = Decoder::new(Rules::new(issuer("us")), keys).with_cache(CacheLimits::default());
    let clock = Arc::new(setup.clock.clone());
    let given = Verifier::new(decoder, Arc::clone(&index), freshness, clock, HOUR, StalePolicy::Reject);
    assert!(given.verify(&token).is_ok());
    index.extend(&entries);
    assert_eq!(given.verify(&token).unwrap_err(), TokenError::Revoked(RevokedBy::Key));
}

#[tokio::test]
async fn a_claim_revokes_the_tokens_that_have_it_until_now() {
    let setup = Setup::start().await;
    let [acme, among, other] =
        [json!({"tenant": "acme"}), json!({"tenant": ["x", "acme"]}), json!({"tenant": "acne", "x": "acme"})]
            .map(|custom| setup.token(custom));
    assert_eq!(setup.refusal(&acme), None);
    setup.node.sessions().revoke(until(RevocationTarget::Claim(tenant("acme")), "them")).await.unwrap();
    for token in [&acme, &among] {
        assert_eq!(setup.refusal(token), Some(TokenError::Revoked(RevokedBy::Claim)));
        let refused = setup.node.sessions().log_out(token, Scope::This).await;
        assert!(refused.is_err(), "it is the same evaluator");
    }
    assert_eq!(setup.refusal(&other), None);
    let seen = setup.node.verifier().verify(&other).unwrap();
    assert!(seen.custom.is_empty(), "untrusted claims are not passed on: {:?}", seen.custom);

    setup.advance(HOUR / 2).await;
    let mut later = claims("them", json!({"tenant": "acme"}));
    later.issued_at = Some(setup.clock.now());
    assert_eq!(setup.refusal(&encode(&setup.theirs, &later).unwrap()), None);
}

/// As long as any token that may have the claim: the longest-lived session decides.
#[tokio::test]
async fn the_revocation_of_a_claim_outlives_the_sessions() {
    let setup = Setup::start().await;
    let sessions = setup.node.sessions();
    sessions.log_in(Subject::new("jose").unwrap()).await.unwrap();
    sessions.revoke(vec![RevocationTarget::Claim(tenant("acme")).into()]).await.unwrap();
    let entries = setup.node.log().read(None, Duration::ZERO).await.unwrap().entries;
    let [Revocation { target: Target::Claim { claim, issued_until }, lapses_at, .. }] = &*entries else {
        panic!("{entries:?}")
    };
    // A node whose clock is ahead may have issued tokens with it.
    assert_eq!((claim, *issued_until), (&tenant("acme"), NOON.plus(DEFAULT_SKEW)));
    assert!(*lapses_at > NOON.plus(HOUR), "{lapses_at:?}");
}

/// Says how often it was asked for a claim.
#[derive(Debug, Default)]
struct Counted(AtomicUsize);

impl TokenClaims for Counted {
    fn has(&self, _: &str, _: &mut dyn FnMut(&str) -> bool) -> bool {
        self.0.fetch_add(1, Ordering::Relaxed);
        false
    }
}

#[test]
fn claims_are_looked_at_only_for_names_in_force() {
    let index = Index::new(NOON);
    let asked = Counted::default();
    let check = || {
        let before = asked.0.load(Ordering::Relaxed);
        let found = index.check(&TokenFacts {
            issuer: "them",
            token_id: "x",
            session: None,
            subject: "jose",
            issued_at: None,
            expires_at: NOON.plus(HOUR),
            key_id: Some("kid-1"),
            claims: Some(&asked),
        });
        assert_eq!(found, None);
        asked.0.load(Ordering::Relaxed) - before
    };
    let insert = |target, lapses_at| index.insert(&Revocation { issuer: issuer("them"), target, lapses_at });
    assert_eq!(check(), 0);
    insert(Target::Subject { id: Subject::new("rolf").unwrap(), issued_until: NOON }, NOON.plus(HOUR * 9));
    assert_eq!(check(), 0);
    for claim in [tenant("a"), tenant("b"), RevokedClaim::new("device", "a").unwrap()] {
        insert(Target::Claim { claim, issued_until: NOON }, NOON.plus(HOUR));
    }
    assert_eq!(check(), 2);
    while index.drop_lapsed(NOON.plus(HOUR * 2)) {}
    assert_eq!(check(), 0, "no name is in force any more");
}
