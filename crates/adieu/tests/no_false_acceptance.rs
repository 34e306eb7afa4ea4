//! Promises 7 and 9, of the index: whatever is inserted and dropped, and wherever the clock jumps, a revoked token is never
//! accepted, and a token that was not revoked is never rejected.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::time::Duration;

use adieu::{
    Issuer, SessionId, Subject, TokenId,
    revocation::{Index, Revocation, RevokedBy, RevokedClaim, Target, TokenFacts},
    time::Timestamp,
    token::KeyId,
};
use proptest::{collection::vec, prelude::*};
use serde_json::Map;

const START: u64 = 1_800_000_000;
const LEEWAY: Duration = Duration::from_secs(60);

/// Few enough different values that most facts apply to some token.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Token {
    issuer: u8,
    id: u8,
    session: Option<u8>,
    subject: u8,
    issued_at: Option<Timestamp>,
    expires_at: Timestamp,
}

const NAMES: [&str; 4] = ["a", "ab", "b", "a-name-that-is-longer-than-one-block-of-the-hash"];

impl Token {
    fn facts(&self) -> TokenFacts<'_> {
        TokenFacts {
            issuer: NAMES[usize::from(self.issuer)],
            token_id: NAMES[usize::from(self.id)],
            session: self.session.map(|session| NAMES[usize::from(session)]),
            subject: NAMES[usize::from(self.subject)],
            issued_at: self.issued_at,
            expires_at: self.expires_at,
            key_id: None,
            claims: None,
        }
    }

    /// Returns the kind of revocation that a fact is for this token, if it applies.
    fn ended_by(&self, fact: &Revocation) -> Option<RevokedBy> {
        let token = self.facts();
        let cut_off = |until: Timestamp| token.issued_at.is_none_or(|issued_at| issued_at <= until);
        if fact.issuer.as_str() != token.issuer {
            return None;
        }
        let (ends, by) = match &fact.target {
            Target::Token { id, expires_at } => {
                (id.as_str() == token.token_id && expires_at.is_none_or(|at| at == token.expires_at), RevokedBy::Token)
            }
            Target::Session { id } => (token.session == Some(id.as_str()), RevokedBy::Session),
            Target::Subject { id, issued_until } => {
                (id.as_str() == token.subject && cut_off(*issued_until), RevokedBy::Subject)
            }
            Target::Everything { issued_until } => (cut_off(*issued_until), RevokedBy::Everything),
            _ => (false, RevokedBy::Token),
        };
        ends.then_some(by)
    }

    fn refused_by(&self, index: &Index) -> bool {
        index.check(&self.facts()).is_some() || self.expires_at.plus(LEEWAY) <= index.pruned_through()
    }
}

#[derive(Clone, Debug)]
enum Step {
    Insert(Revocation),
    /// The clock is set, forward or back, and expired facts are dropped.
    Drop(Timestamp),
    /// The log reports that it has pruned everything that expired until then.
    Raise(Timestamp),
}

/// Mostly near the start; sometimes anywhere from 1970 to 9999.
fn times() -> impl Strategy<Value = Timestamp> {
    let near = (0_u64..40).prop_map(|step| START + step * 50);
    let far = prop_oneof![0..START * 2, Just(0), Just(u64::MAX), (0_u64..40).prop_map(|days| START + days * 86_400)];
    prop_oneof![6 => near, 1 => far].prop_map(Timestamp::from_unix)
}

fn names() -> impl Strategy<Value = u8> {
    0..NAMES.len() as u8
}

fn tokens() -> impl Strategy<Value = Token> {
    (0..2_u8, names(), prop::option::of(names()), names(), prop::option::weighted(0.9, times()), times()).prop_map(
        |(issuer, id, session, subject, issued_at, expires_at)| Token {
            issuer,
            id,
            session,
            subject,
            issued_at,
            expires_at,
        },
    )
}

/// A fact about a token, kept for at least as long as it must be.
fn facts_about(tokens: Vec<Token>) -> impl Strategy<Value = Revocation> {
    (prop::sample::select(tokens), 0..5_u8, times(), prop_oneof![3 => Just(0_u64), 1 => 0..10_000_u64]).prop_map(
        |(token, kind, time, longer)| {
            let names = token.facts();
            let target = match kind {
                0 => Target::Token { id: TokenId::new(names.token_id).unwrap(), expires_at: Some(token.expires_at) },
                1 => Target::Token { id: TokenId::new(names.token_id).unwrap(), expires_at: None },
                2 => Target::Session { id: SessionId::new(names.session.unwrap_or("another")).unwrap() },
                3 => Target::Subject { id: Subject::new(names.subject).unwrap(), issued_until: time },
                _ => Target::Everything { issued_until: time },
            };
            Revocation {
                issuer: Issuer::new(names.issuer).unwrap(),
                target,
                lapses_at: token.expires_at.plus(LEEWAY).plus(Duration::from_secs(longer)),
            }
        },
    )
}

fn stories() -> impl Strategy<Value = (Vec<Token>, Vec<Step>)> {
    vec(tokens(), 1..12).prop_flat_map(|tokens| {
        let step = prop_oneof![
            6 => facts_about(tokens.clone()).prop_map(Step::Insert),
            3 => times().prop_map(Step::Drop),
            1 => times().prop_map(Step::Raise),
        ];
        (Just(tokens), vec(step, 1..60))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn the_index_agrees_with_a_plain_list_of_all_facts((tokens, steps) in stories()) {
        let index = Index::new(Timestamp::from_unix(START));
        let mut facts: Vec<Revocation> = Vec::new();
        for step in steps {
            let refused: Vec<bool> = tokens.iter().map(|token| token.refused_by(&index)).collect();
            let mark = index.pruned_through();
            match &step {
                Step::Insert(fact) => {
                    index.insert(fact);
                    facts.push(fact.clone());
                    for (token, refused) in tokens.iter().zip(refused) {
                        prop_assert!(token.refused_by(&index) || !refused, "{fact:?} revived {token:?}");
                    }
                }
                Step::Drop(now) => {
                    index.drop_lapsed(*now);
                }
                Step::Raise(until) => index.raise_pruned_through(*until),
            }
            prop_assert!(index.pruned_through() >= mark);

            for token in &tokens {
                let ends = |fact: &&Revocation| token.ended_by(fact).is_some();
                let must = facts.iter().filter(ends).any(|fact| token.expires_at.plus(LEEWAY) <= fact.lapses_at);
                prop_assert!(token.refused_by(&index) || !must, "after {step:?}, {token:?} is accepted");

                if let Some(by) = index.check(&token.facts()) {
                    // A slot may also hold a token's id with another `exp`; to its issuer, that is the same token.
                    let same_id = |fact: &Revocation| Token { expires_at: expiry_of(fact, token), ..*token }.ended_by(fact);
                    prop_assert!(facts.iter().any(|fact| same_id(fact) == Some(by)), "{token:?} is refused as {by:?}");
                }
            }
        }
        index.drop_lapsed(Timestamp::MAX);
        prop_assert_eq!(index.stats().entries, 0);
    }
}

fn expiry_of(fact: &Revocation, token: &Token) -> Timestamp {
    match fact.target {
        Target::Token { expires_at: Some(expires_at), .. } => expires_at,
        _ => token.expires_at,
    }
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_unix(START + seconds)
}

fn session_token(session: &str) -> TokenFacts<'_> {
    TokenFacts {
        issuer: "issuer",
        token_id: "token",
        session: Some(session),
        subject: "jose",
        issued_at: Some(at(0)),
        expires_at: at(900),
        key_id: None,
        claims: None,
    }
}

#[test]
fn of_several_cut_offs_the_latest_holds() {
    let index = Index::new(at(0));
    for issued_until in [at(50), at(100), at(70)] {
        let target = Target::Subject { id: Subject::new("jose").unwrap(), issued_until };
        index.insert(&Revocation { issuer: Issuer::new("issuer").unwrap(), target, lapses_at: at(2_000) });
    }
    let issued = |seconds| TokenFacts { issued_at: Some(at(seconds)), ..session_token("any") };
    assert_eq!(index.check(&issued(100)), Some(RevokedBy::Subject));
    assert_eq!(index.check(&issued(101)), None);
    assert_eq!(index.check(&TokenFacts { issued_at: None, ..issued(0) }), Some(RevokedBy::Subject));
    assert_eq!(index.check(&TokenFacts { subject: "rolf", ..issued(0) }), None);
    assert_eq!(index.check(&TokenFacts { issuer: "other", ..issued(0) }), None);
    assert_eq!(index.stats().entries, 1);
}

#[test]
fn a_clock_that_jumps_back_after_dropping_revives_nothing() {
    let index = Index::new(at(0));
    let id = TokenId::new("token").unwrap();
    let target = Target::Token { id, expires_at: Some(at(900)) };
    index.insert(&Revocation { issuer: Issuer::new("issuer").unwrap(), target, lapses_at: at(960) });

    index.drop_lapsed(at(100_000));
    index.drop_lapsed(at(0));
    assert_eq!(index.check(&session_token("any")), None);
    assert!(at(900).plus(LEEWAY) <= index.pruned_through());
    // A clock that was wrong for a moment does not cause the rejection of a token that was never revoked.
    assert!(index.pruned_through() < at(1_100));
}

/// A hundred thousand of each kind: enough for leaves to grow, split and share a bucket's overflow many times over.
#[test]
fn every_one_of_many_is_found_and_no_other() {
    let index = Index::new(at(0));
    let revocations = |name: String, number: u64| {
        let issuer = Issuer::new("issuer").unwrap();
        let expires_at = at(number % 900);
        let targets = [
            Target::Token { id: TokenId::new(&name).unwrap(), expires_at: Some(expires_at) },
            Target::Session { id: SessionId::new(&name).unwrap() },
            Target::Subject { id: Subject::new(&name).unwrap(), issued_until: expires_at },
            Target::Key { id: KeyId::new(&name).unwrap() },
            Target::Claim { claim: RevokedClaim::new("tenant", &name).unwrap(), issued_until: expires_at },
        ];
        targets.map(|target| Revocation { issuer: issuer.clone(), target, lapses_at: at(960) })
    };
    let all: Vec<Revocation> = (0..100_000).flat_map(|number| revocations(format!("id-{number}"), number)).collect();
    index.extend(&all);
    index.extend(&all[..1_000]);
    assert_eq!(index.stats().entries, all.len());

    for number in 0..100_000 {
        let name = format!("id-{number}");
        let unknown = session_token("unknown");
        let expires_at = at(number % 900);
        let check = |token: TokenFacts<'_>| index.check(&TokenFacts { expires_at, ..token });
        assert_eq!(check(TokenFacts { token_id: &name, ..unknown }), Some(RevokedBy::Token));
        assert_eq!(check(TokenFacts { session: Some(&name), ..unknown }), Some(RevokedBy::Session));
        let issued_at = Some(expires_at);
        assert_eq!(check(TokenFacts { subject: &name, issued_at, ..unknown }), Some(RevokedBy::Subject));
        assert_eq!(check(TokenFacts { key_id: Some(&name), ..unknown }), Some(RevokedBy::Key));
        let tenant = |name: &str| Map::from_iter([("tenant".to_owned(), name.into())]);
        let claims = tenant(&name);
        let has_claim = TokenFacts { claims: Some(&claims), issued_at, ..unknown };
        assert_eq!(check(has_claim), Some(RevokedBy::Claim));
        assert_eq!(check(TokenFacts { issued_at: Some(expires_at.plus(LEEWAY)), ..has_claim }), None);
        let other = format!("no-{number}");
        let claims = tenant(&other);
        let unknown = TokenFacts { key_id: Some(&other), claims: Some(&claims), ..unknown };
        assert_eq!(check(TokenFacts { token_id: &other, session: Some(&other), subject: &other, ..unknown }), None);
    }
}
