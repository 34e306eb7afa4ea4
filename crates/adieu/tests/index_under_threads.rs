//! Promise 2, of the index, on real threads and the real primitives: a thread that has applied a revocation finds it at once, and so does
//! every thread that it notifies, while tables grow, split, expire and are freed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Duration,
};

use adieu::{
    Issuer, SessionId, TokenId,
    revocation::{Index, Revocation, RevokedBy, Target, TokenFacts},
    time::Timestamp,
};

const START: u64 = 1_800_000_000;
const WRITERS: u64 = 2;
const EACH: u64 = 60_000;
const EXPIRES_AT: Timestamp = Timestamp::from_unix(START + 1_000_000);

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_unix(START + seconds)
}

fn fact(target: Target, lapses_at: Timestamp) -> Revocation {
    Revocation { issuer: Issuer::new("issuer").unwrap(), target, lapses_at }
}

fn check(index: &Index, name: &str) -> Option<RevokedBy> {
    index.check(&TokenFacts {
        issuer: "issuer",
        token_id: name,
        session: Some(name),
        subject: "jose",
        issued_at: Some(at(0)),
        expires_at: EXPIRES_AT,
        key_id: None,
        claims: None,
    })
}

#[test]
fn what_one_thread_revoked_every_thread_refuses() {
    let index = Index::new(at(0));
    // How many of each writer's revocations have been applied: from then on they must be found.
    let returned = [const { AtomicU64::new(0) }; WRITERS as usize];
    let done = AtomicBool::new(false);

    thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (index, returned) = (&index, &returned[writer as usize]);
                scope.spawn(move || {
                    for number in 0..EACH {
                        let name = format!("{writer}-{number}");
                        let target = match number % 2 {
                            0 => Target::Token { id: TokenId::new(&name).unwrap(), expires_at: Some(EXPIRES_AT) },
                            _ => Target::Session { id: SessionId::new(&name).unwrap() },
                        };
                        index.insert(&fact(target, EXPIRES_AT.plus(Duration::from_secs(60))));
                        returned.store(number + 1, Ordering::Release);
                    }
                })
            })
            .collect();

        // Slots come and go beside the ones that are looked up.
        scope.spawn(|| {
            let mut now = 0;
            while !done.load(Ordering::Acquire) && at(now + 1_000) < EXPIRES_AT {
                for number in 0..500 {
                    let id = TokenId::new(format!("other-{now}-{number}")).unwrap();
                    index.insert(&fact(Target::Token { id, expires_at: Some(at(now)) }, at(now + 60)));
                }
                index.drop_lapsed(at(now));
                now += 20;
            }
            assert!(now < 400 || index.pruned_through() > at(0), "nothing was ever dropped");
        });

        for reader in 0..2 {
            let (index, returned, done) = (&index, &returned, &done);
            scope.spawn(move || {
                let mut turn: u64 = reader;
                while !done.load(Ordering::Acquire) {
                    turn = turn.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    let writer = (turn >> 33) % WRITERS;
                    let known = returned[writer as usize].load(Ordering::Acquire);
                    // Every other time the newest one, because the races are there.
                    let number = match known {
                        0 => continue,
                        _ if turn & (1 << 40) == 0 => known - 1,
                        _ => (turn >> 20) % known,
                    };
                    assert!(
                        check(index, &format!("{writer}-{number}")).is_some(),
                        "{writer}-{number} of {known} is lost"
                    );
                    assert!(check(index, &format!("other-{number}")).is_none());
                }
            });
        }
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        done.store(true, Ordering::Release);
    });

    for (writer, number) in (0..WRITERS).flat_map(|writer| (0..EACH).map(move |number| (writer, number))) {
        let expected = if number % 2 == 0 { RevokedBy::Token } else { RevokedBy::Session };
        assert_eq!(check(&index, &format!("{writer}-{number}")), Some(expected));
    }
}
