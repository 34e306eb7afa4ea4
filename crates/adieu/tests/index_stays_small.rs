//! Promise 6, of the index: it keeps a revocation for as long as it must and not much longer, and needs little memory for many entries,
//! for few entries, and for long-lived ones.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::time::Duration;

use adieu::{
    Issuer, SessionId, Subject, TokenId,
    revocation::{Index, Revocation, Target, TokenFacts},
    time::Timestamp,
};
use proptest::prelude::*;

const START: u64 = 1_800_000_000;
const KEPT_AFTER_EXPIRY: u64 = 90;
const DAY: u64 = 86_400;

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_unix(START + seconds)
}

fn token_fact(id: &str, expires_at: Timestamp) -> Revocation {
    Revocation {
        issuer: Issuer::new("issuer").unwrap(),
        target: Target::Token { id: TokenId::new(id).unwrap(), expires_at: Some(expires_at) },
        lapses_at: expires_at.plus(Duration::from_secs(KEPT_AFTER_EXPIRY)),
    }
}

fn session_fact(id: &str, lapses_at: Timestamp) -> Revocation {
    let target = Target::Session { id: SessionId::new(id).unwrap() };
    Revocation { issuer: Issuer::new("issuer").unwrap(), target, lapses_at }
}

fn knows(index: &Index, name: &str, expires_at: Timestamp) -> bool {
    let token = TokenFacts {
        issuer: "issuer",
        token_id: name,
        session: Some(name),
        subject: "jose",
        issued_at: Some(at(0)),
        expires_at,
        key_id: None,
        claims: None,
    };
    index.check(&token).is_some()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Tokens that live for a minute to a month, revoked at any moment of their lives, in mixed order.
    #[test]
    fn a_lapsed_token_is_gone_after_a_quarter_of_its_life_or_a_minute(
        lives in prop::collection::vec((0..5_000_u64, prop_oneof![60..1_000_u64, 1_000..DAY, DAY..30 * DAY]), 1..50),
    ) {
        let index = Index::new(at(0));
        let mut facts = Vec::new();
        let mut now = 0;
        for (number, (later, life)) in lives.into_iter().enumerate() {
            now += later;
            index.drop_lapsed(at(now));
            let revocation = token_fact(&number.to_string(), at(now + life));
            index.insert(&revocation);
            let remaining = life + KEPT_AFTER_EXPIRY;
            facts.push((number, now + life, now + life + KEPT_AFTER_EXPIRY, (remaining / 4).max(64)));
        }
        let moments = facts.iter().flat_map(|&(_, _, lapses_at, slack)| [lapses_at - 1, lapses_at + slack]);
        let mut moments: Vec<u64> = moments.filter(|&moment| moment >= now).collect();
        moments.sort_unstable();
        for moment in moments {
            index.drop_lapsed(at(moment));
            for &(number, expires_at, lapses_at, slack) in &facts {
                let known = knows(&index, &number.to_string(), at(expires_at));
                prop_assert!(known || lapses_at <= moment, "forgotten too early");
                prop_assert!(!known || moment < lapses_at + slack, "kept {} s too long", moment - lapses_at);
            }
        }
    }

    /// Facts that every look-up searches are kept in few slots, so they may stay for up to two thirds of their life longer.
    #[test]
    fn a_lapsed_session_is_gone_after_two_thirds_of_its_life_or_four_minutes(
        lives in prop::collection::vec((0..500_u64, 30..20_000_u64), 1..50),
    ) {
        let index = Index::new(at(0));
        let mut now = 0;
        let mut facts = Vec::new();
        for (number, (later, life)) in lives.into_iter().enumerate() {
            now += later;
            index.drop_lapsed(at(now));
            index.insert(&session_fact(&number.to_string(), at(now + life)));
            facts.push((number, now + life, (life * 2 / 3).max(256)));
        }
        let mut moments: Vec<u64> = facts.iter().map(|&(_, lapses_at, slack)| lapses_at + slack).collect();
        moments.retain(|&moment| moment >= now);
        moments.sort_unstable();
        for moment in moments {
            index.drop_lapsed(at(moment));
            for &(number, lapses_at, slack) in &facts {
                let known = knows(&index, &number.to_string(), at(lapses_at));
                prop_assert!(known || lapses_at <= moment, "forgotten too early");
                prop_assert!(!known || moment < lapses_at + slack, "kept {} s too long", moment - lapses_at);
            }
        }
    }
}

#[test]
fn at_every_size_an_id_costs_at_most_sixteen_bytes() {
    let index = Index::new(at(0));
    let mut worst: f64 = 0.0;
    for number in 0..300_000_u64 {
        index.insert(&token_fact(&number.to_string(), at(600)));
        // From two thousand on; below that the fixed kilobytes weigh more than the entries.
        if number >= 2_000 && number % 97 == 0 {
            let stats = index.stats();
            worst = worst.max(stats.bytes as f64 / stats.entries as f64);
        }
    }
    assert!(worst <= 16.0, "{worst} bytes an entry");
}

#[test]
fn an_empty_or_nearly_empty_index_takes_next_to_nothing() {
    let index = Index::new(at(0));
    assert!(index.stats().bytes < 4_000, "{:?}", index.stats());

    // A few logouts in each minute of a quarter of an hour.
    for number in 0..60 {
        index.insert(&token_fact(&number.to_string(), at(number * 15)));
        index.insert(&session_fact(&number.to_string(), at(number * 15 + 90)));
    }
    let stats = index.stats();
    assert!(stats.bytes < 10_000 && stats.slots <= 24, "{stats:?}");
}

#[test]
fn thirty_days_do_not_cost_a_table_a_minute() {
    let index = Index::new(at(0));
    let mut most = 0;
    for minute in 0..45 * 24 * 60 {
        let now = at(minute * 60);
        index.drop_lapsed(now);
        index.insert(&token_fact(&minute.to_string(), now.plus(Duration::from_secs(30 * DAY))));
        most = most.max(index.stats().slots);
    }
    // A slot of three days holds what expires within it; nothing that expired before is left.
    assert!(most <= 12, "{most} slots");
    let stats = index.stats();
    assert!(stats.entries <= 34 * 24 * 60, "{stats:?}");
    assert!(stats.bytes <= stats.entries * 16, "{stats:?}");
}

/// A client that may revoke chooses the worst expiry times: each of a hundred thousand ids has a different `exp`, from 1970 to
/// 9999, with lifetimes of every kind.
#[test]
fn no_choice_of_times_costs_a_table_each() {
    let index = Index::new(at(0));
    for number in 0..100_000_u64 {
        let expires_at = Timestamp::from_unix(number * Timestamp::MAX.as_unix() / 100_000);
        let near = at(number * 37 % (400 * DAY));
        let mut revocation = token_fact(&format!("far-{number}"), expires_at);
        index.insert(&revocation);
        index.insert(&token_fact(&format!("near-{number}"), near));
        revocation.lapses_at = Timestamp::MAX;
        index.insert(&revocation);
        index.insert(&session_fact(&number.to_string(), near));
    }
    let stats = index.stats();
    assert!(stats.slots <= 9 * 256 + 4 * 32, "{stats:?}");
    assert!(stats.bytes <= stats.entries * 24, "{stats:?}");
    index.drop_lapsed(Timestamp::MAX);
    assert_eq!((index.stats().entries, index.stats().slots), (0, 0));
}

#[test]
fn dropped_memory_comes_back_within_a_few_calls() {
    let index = Index::new(at(0));
    for number in 0..100_000_u64 {
        let target = Target::Subject { id: Subject::new(number.to_string()).unwrap(), issued_until: at(0) };
        index.insert(&Revocation { issuer: Issuer::new("issuer").unwrap(), target, lapses_at: at(900) });
        index.insert(&token_fact(&number.to_string(), at(number % 900)));
    }
    for second in 0..20 {
        index.drop_lapsed(at(2_000 + second));
    }
    assert!(index.stats().bytes < 4_000, "{:?}", index.stats());
}
