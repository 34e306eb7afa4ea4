//! The index under thousands of schedules: its own source, compiled here a second time with shuttle's primitives in
//! place of `index/sync.rs`, and with leaves small enough to grow and split within a scenario.
//!
//! `ADIEU_SCHEDULES=1000000 cargo test --release -p adieu --test index_under_every_schedule` runs more schedules than the
//! test run.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    reason = "the index's source is compiled here for its inner parts only"
)]

use std::{env, sync::Arc, time::Duration};

use adieu::{IdError, Issuer, MAX_ID_BYTES, SessionId, Subject, TokenId, time::Timestamp};
use index::{Index, TokenFacts};
use revocation::{Revocation, RevokedBy, Target};
use shuttle::{
    Config, MaxSteps, Runner,
    scheduler::{PctScheduler, RandomScheduler},
    thread,
};

mod id {
    pub(crate) use adieu::token::KeyId;
}

mod time {
    pub(crate) use adieu::time::*;
}

#[path = "../src/revocation"]
mod revocation {
    pub(crate) use adieu::revocation::RevokedBy;
    pub(crate) use claim::{ClaimName, RevokedClaim, id_of_claim};
    pub(crate) use fact::{Revocation, Target, TargetKind};

    mod claim;
    mod fact;
}

#[path = "../src/revocation/index"]
mod index {
    pub(crate) use adieu::revocation::TokenFacts;
    pub(crate) use shared::Index;

    #[derive(Debug)]
    pub(crate) struct IndexStats {
        pub(crate) entries: usize,
        pub(crate) bytes: usize,
        pub(crate) slots: usize,
    }

    mod fingerprint;
    mod hashed;
    mod leaf;
    mod shared;
    mod shelf;
    mod slots;
    mod state;
    mod tree;

    mod sync {
        use std::{ops::Deref, sync::Arc};

        pub(super) use shuttle::sync::{
            Mutex, MutexGuard,
            atomic::{AtomicBool, AtomicU64, Ordering},
        };

        /// Two buckets.
        pub(super) const LEAF_BYTES: usize = 128;

        /// The guarantees of `ArcSwap`, in the simplest implementation.
        pub(super) struct Published<T>(Mutex<Arc<T>>);

        impl<T> Published<T> {
            pub(super) fn new(first: Arc<T>) -> Self {
                Self(Mutex::new(first))
            }

            pub(super) fn load(&self) -> impl Deref<Target = Arc<T>> + '_ {
                Box::new(Arc::clone(&self.0.lock().unwrap()))
            }

            pub(super) fn swap(&self, next: Arc<T>) -> Arc<T> {
                std::mem::replace(&mut *self.0.lock().unwrap(), next)
            }
        }
    }

    /// The byte in the second place is a false match, caused by a match in the first place.
    #[test]
    fn an_entry_is_told_apart_by_its_byte_as_well() {
        use fingerprint::Fingerprint;
        use leaf::{Ids, Leaf};

        let story = || {
            let leaf = Leaf::<Ids>::for_entries(0, 0);
            let entry = |word: u64, check: u8| Fingerprint { word, check };
            for entry in [entry(7, 5), entry(8, 4)] {
                leaf.insert(entry, ()).unwrap();
                assert!(leaf.find(entry).is_some());
            }
            assert!(leaf::candidates(0x0405, 5) & 0x8000 != 0, "it does not even seem so");
            assert!(leaf.find(entry(8, 5)).is_none());
            assert!(leaf.find(entry(7, 4)).is_none());
            assert_eq!(leaf.len(), 2);
        };
        shuttle::check_random(story, 1);
    }

    impl Index {
        /// Uses the same secret in every run, so that a failed schedule can be replayed.
        pub(crate) fn repeatable(now: crate::time::Timestamp) -> Self {
            Self::with_hasher(now, hashed::RevocationHasher::from_key([1; 32]))
        }
    }
}

const START: u64 = 1_800_000_000;

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_unix(START + seconds)
}

fn fact(target: Target, lapses_at: Timestamp) -> Revocation {
    Revocation { issuer: Issuer::new("issuer").unwrap(), target, lapses_at }
}

fn token_fact(number: u64) -> Revocation {
    let id = TokenId::new(format!("token-{number}")).unwrap();
    fact(Target::Token { id, expires_at: Some(at(900)) }, at(960))
}

fn cut_off(issued_until: u64) -> Revocation {
    fact(Target::Subject { id: Subject::new("jose").unwrap(), issued_until: at(issued_until) }, at(960))
}

fn check(index: &Index, token_id: &str, issued_at: u64) -> Option<RevokedBy> {
    index.check(&TokenFacts {
        issuer: "issuer",
        token_id,
        session: None,
        subject: "jose",
        issued_at: Some(at(issued_at)),
        expires_at: at(900),
        key_id: None,
        claims: None,
    })
}

fn knows(index: &Index, number: u64) -> bool {
    check(index, &format!("token-{number}"), u64::from(u32::MAX)).is_some()
}

fn under_every_schedule(story: impl Fn() + Send + Sync + 'static) {
    let schedules = env::var("ADIEU_SCHEDULES").map_or(500, |text| text.parse().expect("a number"));
    let story = Arc::new(story);
    let again = Arc::clone(&story);
    // A fork is built on the stack, and shuttle's atomics are large.
    let mut config = Config::new();
    config.stack_size = 256 * 1024;
    Runner::new(RandomScheduler::new(schedules), config.clone()).run(move || story());
    Runner::new(PctScheduler::new(3, schedules), config).run(move || again());
}

/// Leaves of one bucket grow to two and split, while others are in them.
#[test]
fn what_was_inserted_is_found_while_tables_grow_and_split() {
    under_every_schedule(|| {
        let index = Arc::new(Index::repeatable(at(0)));
        let writers = [0, 100].map(|from| {
            let index = Arc::clone(&index);
            thread::spawn(move || {
                for number in from..from + 10 {
                    index.insert(&token_fact(number));
                    assert!(knows(&index, number), "a writer does not find what it inserted");
                }
            })
        });
        let reader = {
            let index = Arc::clone(&index);
            thread::spawn(move || {
                let mut seen = Vec::new();
                for number in [0, 3, 6, 7, 9, 100, 105, 109] {
                    if knows(&index, number) {
                        seen.push(number);
                    }
                    assert!(seen.iter().all(|&number| knows(&index, number)), "what was found is lost");
                }
                assert!(!knows(&index, 50), "what was never inserted is found");
            })
        };
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        reader.join().unwrap();
        assert!((0..10).chain(100..110).all(|number| knows(&index, number)));
        assert_eq!(index.stats().entries, 20);
    });
}

/// So many entries that there are forks below forks, and that one sweep visits all of them.
#[test]
fn nothing_is_lost_in_a_deep_tree() {
    const FACTS: u64 = 3_000;
    let session = |number: u64| {
        let lapses_at = at(if number.is_multiple_of(3) { 2_000 } else { 300 });
        fact(Target::Session { id: SessionId::new(format!("session-{number}")).unwrap() }, lapses_at)
    };
    let knows = |index: &Index, number: u64| {
        let session = format!("session-{number}");
        let token = TokenFacts {
            issuer: "issuer",
            token_id: "any",
            session: Some(&session),
            subject: "jose",
            issued_at: None,
            expires_at: at(2_000),
            key_id: None,
            claims: None,
        };
        index.check(&token).is_some()
    };
    let mut config = Config::new();
    config.stack_size = 1024 * 1024;
    config.max_steps = MaxSteps::None;
    // One schedule: there is one thread.
    Runner::new(RandomScheduler::new(1), config).run(move || {
        let index = Index::repeatable(at(0));
        (0..FACTS).for_each(|number| index.insert(&session(number)));
        assert!((0..FACTS).all(|number| knows(&index, number)));
        assert!(!(FACTS..2 * FACTS).any(|number| knows(&index, number)));
        assert_eq!(index.stats().entries as u64, FACTS);
        while index.drop_lapsed(at(600)) {}
        assert!((0..FACTS).all(|number| knows(&index, number) == number.is_multiple_of(3)));
        assert_eq!(index.stats().entries as u64, FACTS.div_ceil(3));
    });
}

/// A slot expires and is freed while a reader uses it, next to one that stays.
#[test]
fn what_is_dropped_is_behind_the_mark_and_the_rest_stays() {
    under_every_schedule(|| {
        let index = Arc::new(Index::repeatable(at(0)));
        index.insert(&token_fact(1));
        index.insert(&fact(Target::Token { id: TokenId::new("far").unwrap(), expires_at: Some(at(1_800)) }, at(1_860)));
        let dropper = {
            let index = Arc::clone(&index);
            thread::spawn(move || {
                index.drop_lapsed(at(1_100));
                index.drop_lapsed(at(0));
            })
        };
        let writer = {
            let index = Arc::clone(&index);
            thread::spawn(move || (2..6).for_each(|number| index.insert(&token_fact(number))))
        };
        for _ in 0..4 {
            let refused = knows(&index, 1) || at(960) <= index.pruned_through();
            assert!(refused, "a dropped revocation is not behind the mark");
            let far = TokenFacts {
                issuer: "issuer",
                token_id: "far",
                session: None,
                subject: "rolf",
                issued_at: None,
                expires_at: at(1_800),
                key_id: None,
                claims: None,
            };
            assert!(index.check(&far).is_some(), "a live revocation is lost");
        }
        dropper.join().unwrap();
        writer.join().unwrap();
        assert!((1..6).all(|number| knows(&index, number) || at(960) <= index.pruned_through()));
    });
}

/// Sessions expire in two groups of one table: the first is swept out of it while facts of the second are inserted and the
/// table grows, and one session of the first is revoked again for longer.
#[test]
fn what_is_swept_out_takes_nothing_else_with_it() {
    let session = |number: u64, lapses_at| {
        fact(Target::Session { id: SessionId::new(format!("session-{number}")).unwrap() }, at(lapses_at))
    };
    under_every_schedule(move || {
        let index = Arc::new(Index::repeatable(at(0)));
        (0..12).for_each(|number| index.insert(&session(number, 300)));
        let knows = |index: &Index, number: u64| {
            index
                .check(&TokenFacts {
                    issuer: "issuer",
                    token_id: "any",
                    session: Some(&format!("session-{number}")),
                    subject: "jose",
                    issued_at: Some(at(0)),
                    expires_at: at(2_000),
                    key_id: None,
                    claims: None,
                })
                .is_some()
        };
        let sweeper = {
            let index = Arc::clone(&index);
            thread::spawn(move || {
                for _ in 0..20 {
                    index.drop_lapsed(at(600));
                }
            })
        };
        let writer = {
            let index = Arc::clone(&index);
            thread::spawn(move || {
                for number in (100..108).chain([5]) {
                    index.insert(&session(number, 2_000));
                    assert!(knows(&index, number), "a writer does not find what it inserted");
                }
            })
        };
        for _ in 0..3 {
            assert!((0..12).all(|number| knows(&index, number) || at(300) <= index.pruned_through()));
        }
        writer.join().unwrap();
        assert!((100..108).chain([5]).all(|number| knows(&index, number)), "something live was swept out");
        sweeper.join().unwrap();
        while index.drop_lapsed(at(600)) {}
        assert!((100..108).chain([5]).all(|number| knows(&index, number)), "something live was swept out");
        assert!(!(0..5).chain(6..12).any(|number| knows(&index, number)), "something that has lapsed is still there");
        assert_eq!(index.stats().entries, 9);
    });
}

/// A cut-off only moves forward, and no reader sees half of one.
#[test]
fn the_latest_cut_off_wins_in_any_order() {
    under_every_schedule(|| {
        let index = Arc::new(Index::repeatable(at(0)));
        let writers = [[10, 40], [30, 20]].map(|cut_offs| {
            let index = Arc::clone(&index);
            thread::spawn(move || {
                for issued_until in cut_offs {
                    index.insert(&cut_off(issued_until));
                    assert!(check(&index, "any", issued_until).is_some());
                }
            })
        });
        let reader = {
            let index = Arc::clone(&index);
            thread::spawn(move || {
                let mut reached = 0;
                for issued_at in [10, 20, 30, 40, 40, 30, 20, 10] {
                    let ended = check(&index, "any", issued_at).is_some();
                    assert!(ended || issued_at > reached, "a cut-off went back");
                    reached = reached.max(if ended { issued_at } else { 0 });
                    assert!(check(&index, "any", 41).is_none(), "a cut-off that was not requested");
                }
            })
        };
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        reader.join().unwrap();
        assert!(check(&index, "any", 40).is_some());
    });
}
