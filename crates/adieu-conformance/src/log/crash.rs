//! The guarantees for acknowledged appends and for unacknowledged ones.

use std::{collections::BTreeSet, time::Duration};

use super::{LONG, once, token, tokens, whole};
use crate::{Identity, LogOwnership, Storage, open};
use adieu::revocation::{Revocation, RevocationLog};

/// The number of facts in an append.
const BATCH: u64 = 25;

/// Returns which of these batches are there: each complete and in order, or not at all.
fn batches<P: Storage>(entries: &[Revocation], asked: impl IntoIterator<Item = u64>) -> BTreeSet<u64> {
    let mut there = BTreeSet::new();
    let mut counted = 0;
    for batch in asked {
        let facts = tokens::<P>(batch * BATCH..(batch + 1) * BATCH);
        let Some(start) = entries.iter().position(|entry| *entry == facts[0]) else { continue };
        assert_eq!(entries[start..][..facts.len()], facts, "an append is in the log in one piece");
        there.insert(batch);
        counted += facts.len();
    }
    assert_eq!(entries.len(), counted, "there are only whole entries that a caller appended");
    there
}

/// At any point of a crash: acknowledged appends are there, and no other append is there in part.
pub async fn what_was_acknowledged_is_there_after_a_crash<P: Storage<Store: RevocationLog>>() {
    const WRITERS: u64 = 4;
    const MAX_APPENDS: u64 = 1_000;
    let place = P::empty().await;
    let (told, mut acknowledged) = tokio::sync::mpsc::unbounded_channel();
    let (stop, stopped) = tokio::sync::watch::channel(());
    let mut writers = Vec::new();
    for writer in 0..WRITERS {
        let (log, told, stopped) = (open(&place).await, told.clone(), stopped.clone());
        writers.push(tokio::spawn(async move {
            let mut batch = writer * MAX_APPENDS;
            while stopped.has_changed().is_ok() && batch < (writer + 1) * MAX_APPENDS {
                // A failed append is not retried, since it may have been written.
                if log.append(tokens::<P>(batch * BATCH..(batch + 1) * BATCH)).await.is_ok() {
                    let _ = told.send(batch);
                }
                batch += 1;
            }
        }));
    }
    drop(told);
    let mut known = BTreeSet::new();
    while known.len() < 20 {
        known.insert(acknowledged.recv().await.unwrap());
    }
    place.crash().await;
    drop(stop);
    for writer in writers {
        // An unanswered append may wait for long.
        if tokio::time::timeout(Duration::from_secs(20), writer).await.is_err() {
            continue;
        }
    }
    acknowledged.close();
    while let Some(batch) = acknowledged.recv().await {
        known.insert(batch);
    }
    let log = place.open().await;
    let there = batches::<P>(&whole::<P>(&log, None).await.entries, 0..WRITERS * MAX_APPENDS);
    assert!(there.is_superset(&known), "{:?} was acknowledged", known.difference(&there));
}

/// It is the same log: earlier readers need not start over. An engine that reports [another log](Identity::Changes) reports
/// it to the reader as well, who then reads everything.
pub async fn a_cursor_from_before_a_crash_reads_on<P: Storage<Store: RevocationLog>>() {
    let place = P::empty().await;
    let cursor = {
        let log = place.open().await;
        log.append(vec![token::<P>("a")]).await.unwrap();
        whole::<P>(&log, None).await.cursor
    };
    place.crash().await;
    let log = place.open().await;
    log.append(vec![token::<P>("b")]).await.unwrap();
    let page = whole::<P>(&log, Some(&cursor)).await;
    match P::IDENTITY {
        Identity::Stable => {
            assert_eq!(once::<P>(&[token::<P>("a")], page.entries), [token::<P>("b")]);
            assert!(!page.from_start);
            assert_eq!(page.cursor.log, cursor.log);
        }
        Identity::Changes => {
            assert_eq!((page.entries, page.from_start), (vec![token::<P>("a"), token::<P>("b")], true));
            assert_ne!(page.cursor.log, cursor.log);
            let again = whole::<P>(&log, Some(&page.cursor)).await;
            assert!(!again.from_start, "once, not each time");
        }
    }
}

/// If its caller does not wait for the result, an append is there completely or not at all, sooner or later; other appends
/// continue.
pub async fn what_was_given_up_is_there_whole_or_not_at_all<P: Storage<Store: RevocationLog>>() {
    const ROUNDS: u64 = 60;
    let place = P::empty().await;
    let (log, other) = (open(&place).await, open(&place).await);
    let mut acknowledged = BTreeSet::new();
    for round in 0..ROUNDS {
        let batch = |batch: u64| tokens::<P>(batch * BATCH..(batch + 1) * BATCH);
        let (store, facts) = (log.clone(), batch(2 * round));
        let given_up = tokio::spawn(async move { store.append(facts).await.map(drop) });
        match round % 6 {
            // At once, at some point of the append, and after some time.
            0 => {}
            early @ 1..=3 => {
                for _ in 0..early {
                    tokio::task::yield_now().await;
                }
            }
            late => tokio::time::sleep(Duration::from_micros(late * 200)).await,
        }
        given_up.abort();
        if matches!(given_up.await, Ok(Ok(()))) {
            acknowledged.insert(2 * round);
        }
        let store = if round % 2 == 0 { &log } else { &other };
        store.append(batch(2 * round + 1)).await.unwrap();
        acknowledged.insert(2 * round + 1);
    }
    // A cancelled append may still be in progress: behind later ones in the same process, but no longer.
    let last = ROUNDS * 2;
    log.append(tokens::<P>(last * BATCH..(last + 1) * BATCH)).await.unwrap();
    acknowledged.insert(last);
    if P::LOG == LogOwnership::Remote {
        // There is no bound on how long a request is in transit.
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let entries = whole::<P>(&*other, None).await.entries;
    let there = batches::<P>(&entries, 0..=last);
    assert!(there.is_superset(&acknowledged));
    // A follower sees the same entries, in the same order.
    let page = log.read(None, LONG).await.unwrap();
    assert!(entries.starts_with(&page.entries) || page.entries.starts_with(&entries));
}
