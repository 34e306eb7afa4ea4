//! The suite finds likely bugs of an engine: each engine here breaks one promise, and its test fails.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use adieu::{
    Error,
    revocation::{Cursor, LogId, Page, Position, Pruned, Revocation, RevocationLog},
    store::Memory,
    time::Timestamp,
};
use adieu_conformance::{Storage, log, run};
use async_trait::async_trait;

/// Runs a test of the suite that must fail.
fn fails(test: impl Future<Output = ()>) {
    assert!(catch_unwind(AssertUnwindSafe(|| run(test))).is_err(), "the suite does not notice it");
}

#[test]
fn positions_that_are_drawn_before_the_commit() {
    fails(log::readers_see_no_gaps_while_many_append::<Sequence>());
    fails(log::a_transaction_that_takes_long_is_not_overtaken::<Sequence>());
}

#[test]
fn appends_in_several_commits() {
    fails(log::what_was_given_up_is_there_whole_or_not_at_all::<Faulty<IN_HALVES>>());
}

#[test]
fn what_is_acknowledged_and_not_kept() {
    fails(log::what_was_acknowledged_is_there_after_a_crash::<Faulty<FORGETFUL>>());
    fails(log::a_cursor_from_before_a_crash_reads_on::<Faulty<FORGETFUL>>());
    fails(log::it_is_all_there_after_a_restart::<Faulty<FORGETFUL>>());
}

#[test]
fn cursors_of_whatever_log() {
    fails(log::a_cursor_of_another_log_starts_over::<Faulty<NAMELESS>>());
}

#[test]
fn a_cursor_that_is_ahead_and_waits() {
    fails(log::a_cursor_ahead_of_the_head_starts_over::<Faulty<TRUSTING>>());
}

#[test]
fn forgetting_without_a_mark() {
    fails(log::what_is_forgotten_is_marked::<Faulty<UNMARKED>>());
    fails(log::what_is_pruned_while_many_append_is_only_what_has_lapsed::<Faulty<UNMARKED>>());
}

#[test]
fn forgetting_too_soon() {
    fails(log::what_has_lapsed_goes_and_nothing_else::<Faulty<HASTY>>());
}

#[test]
fn looking_too_seldom() {
    fails(log::a_read_notices_soon_what_another_process_appends::<Faulty<SLEEPY>>());
}

#[test]
fn not_waiting() {
    fails(log::a_read_that_waits_in_vain_ends::<Faulty<RESTLESS>>());
}

/// Each transaction takes numbers when it begins, and becomes visible when it is done, whichever began first.
#[derive(Clone)]
struct Sequence {
    next: Arc<AtomicU64>,
    committed: Arc<Mutex<Vec<(u64, Revocation)>>>,
    id: LogId,
}

impl Storage for Sequence {
    type Store = Self;

    async fn empty() -> Self {
        Self { next: Arc::default(), committed: Arc::default(), id: LogId::random() }
    }

    async fn open(&self) -> Self {
        self.clone()
    }
}

#[async_trait]
impl RevocationLog for Sequence {
    async fn append(&self, revocations: Vec<Revocation>) -> Result<Position, Error> {
        let count = revocations.len() as u64;
        let first = self.next.fetch_add(count, Ordering::SeqCst) + 1;
        tokio::time::sleep(Duration::from_micros(50 * count)).await;
        let mut committed = self.committed.lock().unwrap();
        committed.extend((first..).zip(revocations));
        committed.sort_by_key(|(position, _)| *position);
        Ok(Position::new(first + count - 1))
    }

    async fn read(&self, after: Option<&Cursor>, wait: Duration) -> Result<Page, Error> {
        tokio::time::sleep(wait.min(Duration::from_millis(1))).await;
        let committed = self.committed.lock().unwrap();
        let from = after.map_or(0, |cursor| cursor.position.get());
        let head = committed.last().map_or(0, |(position, _)| *position);
        Ok(Page {
            entries: committed.iter().filter(|(position, _)| *position > from).map(|(_, one)| one.clone()).collect(),
            cursor: Cursor { log: self.id.clone(), position: Position::new(head) },
            complete: true,
            from_start: after.is_none(),
            age: Duration::ZERO,
            pruned_through: Timestamp::ZERO,
        })
    }

    async fn prune(&self, _: Timestamp) -> Result<Pruned, Error> {
        Ok(Pruned { removed: 0, complete: true })
    }
}

const IN_HALVES: u8 = 0;
const FORGETFUL: u8 = 1;
const NAMELESS: u8 = 2;
const TRUSTING: u8 = 3;
const UNMARKED: u8 = 4;
const HASTY: u8 = 5;
const SLEEPY: u8 = 6;
const RESTLESS: u8 = 7;

/// An engine with one fault.
#[derive(Clone)]
struct Faulty<const FAULT: u8>(Memory);

impl<const FAULT: u8> Storage for Faulty<FAULT> {
    type Store = Self;

    async fn empty() -> Self {
        Self(Memory::new())
    }

    async fn open(&self) -> Self {
        if FAULT == FORGETFUL { Self(Memory::new()) } else { self.clone() }
    }
}

#[async_trait]
impl<const FAULT: u8> RevocationLog for Faulty<FAULT> {
    async fn append(&self, mut revocations: Vec<Revocation>) -> Result<Position, Error> {
        if FAULT == IN_HALVES {
            let rest = revocations.split_off(revocations.len() / 2);
            self.0.append(revocations).await?;
            tokio::time::sleep(Duration::from_millis(1)).await;
            return self.0.append(rest).await;
        }
        self.0.append(revocations).await
    }

    async fn read(&self, after: Option<&Cursor>, wait: Duration) -> Result<Page, Error> {
        let mut own = self.0.read(None, Duration::ZERO).await?.cursor;
        let head = own.position;
        let mut after = after.cloned();
        match FAULT {
            NAMELESS => {
                own.position = after.as_ref().map_or(Position::START, |after| after.position);
                after = after.map(|_| own);
            }
            TRUSTING => {
                if let Some(after) = after.as_mut().filter(|after| after.position > head) {
                    after.position = head;
                }
            }
            _ => {}
        }
        let waits = match FAULT {
            TRUSTING | SLEEPY | RESTLESS => Duration::ZERO,
            _ => wait,
        };
        let mut page = self.0.read(after.as_ref(), waits).await?;
        while FAULT == SLEEPY && page.entries.is_empty() && !page.from_start && !wait.is_zero() {
            tokio::time::sleep(Duration::from_secs(1)).await;
            page = self.0.read(after.as_ref(), waits).await?;
        }
        if FAULT == UNMARKED {
            page.pruned_through = Timestamp::ZERO;
        }
        Ok(page)
    }

    async fn prune(&self, now: Timestamp) -> Result<Pruned, Error> {
        let later = if FAULT == HASTY { Duration::from_secs(1) } else { Duration::ZERO };
        self.0.prune(now.plus(later)).await
    }
}
