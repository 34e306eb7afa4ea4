//! Positions have no gaps, whichever store appends.

use std::{collections::HashSet, time::Duration};

use adieu::revocation::{Position, RevocationLog};
use adieu_conformance::{
    Storage,
    sample::{read_all, token},
};
use adieu_postgres::{Postgres, sqlx::postgres::PgListener};
use tokio::task::JoinSet;

use crate::engine::{InDatabase, connected};

const STORES: usize = 6;
const WRITERS: usize = 4;
const APPENDS: usize = 25;

/// Each store has its own writing connection, as each node has. Without the lock, two of them would assign the same position, or a
/// reader would skip the one that commits later.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_reader_misses_nothing_while_many_connections_append() {
    let place = InDatabase::empty().await;
    let mut stores = Vec::new();
    for _ in 0..STORES {
        stores.push(place.open().await);
    }
    const ALL: usize = STORES * WRITERS * APPENDS;
    let mut readers = JoinSet::new();
    for store in &stores {
        let store = store.clone();
        readers.spawn(async move {
            let (mut seen, mut cursor) = (Vec::new(), None);
            while seen.len() < ALL {
                // As a follower does: a read that was late, on a busy machine, is retried.
                let Ok(page) = store.read(cursor.as_ref(), Duration::from_secs(1)).await else { continue };
                seen.extend(page.entries);
                cursor = Some(page.cursor);
            }
            seen
        });
    }
    let mut writers = JoinSet::new();
    for (number, store) in stores.iter().enumerate() {
        for writer in 0..WRITERS {
            let store = store.clone();
            writers.spawn(append(store, format!("{number} {writer}")));
        }
    }
    let positions: Vec<_> = writers.join_all().await.into_iter().flatten().collect();
    let (entries, cursor) = read_all(&stores[0], None).await;
    assert_eq!(entries.len(), ALL);
    for seen in readers.join_all().await {
        assert_eq!(seen, entries);
    }
    // No duplicates, and no gaps.
    let mut sorted: Vec<_> = positions.iter().map(|position| position.get()).collect();
    sorted.sort_unstable();
    sorted.dedup();
    assert_eq!(sorted.len(), ALL);
    assert_eq!(sorted.last().copied(), Some(cursor.position.get()));
}

async fn append(store: Postgres, name: String) -> Vec<Position> {
    let mut positions = Vec::new();
    for number in 0..APPENDS {
        positions.push(store.append(vec![token(format!("{name} {number}"))]).await.unwrap());
        assert!(positions.is_sorted());
    }
    positions
}

/// The holder of the lock has a position that is not visible yet: others must not pass it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_passes_a_commit_that_is_under_way() {
    let place = InDatabase::empty().await;
    let (here, there) = (place.open().await, place.open().await);
    here.append(vec![token("a")]).await.unwrap();
    let cursor = there.read(None, Duration::ZERO).await.unwrap().cursor;

    let mut slow = connected(&place.0).await;
    slow.execute(
        "BEGIN; SELECT pg_advisory_xact_lock(418380178805); \
         INSERT INTO adieu.revocation SELECT max(position) + 1, 0, 'https://adieu.test', 'slow', 1, 99999999999 \
         FROM adieu.revocation",
    )
    .await;
    let fast = tokio::spawn({
        let store = here.clone();
        async move { store.append(vec![token("fast")]).await }
    });
    let page = there.read(Some(&cursor), Duration::from_millis(300)).await.unwrap();
    assert_eq!(page.entries, [], "neither is there yet");
    assert!(!fast.is_finished());
    slow.execute("COMMIT").await;
    let position = fast.await.unwrap().unwrap();
    assert_eq!(position.get(), cursor.position.get() + 2);
    let (entries, end) = read_all(&there, Some(&cursor)).await;
    assert_eq!((entries.len(), end.position), (2, position));
    assert_eq!(entries[1], token("fast"));
}

/// A notification is faster than the next poll.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_elsewhere_are_told() {
    let place = InDatabase::empty().await;
    let (here, there) = (place.open().await, place.open().await);
    let mut cursor = there.read(None, Duration::ZERO).await.unwrap().cursor;
    // The listener of a store connects in the background.
    let mut other = connected(&place.0).await;
    while other
        .number(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
             AND query LIKE 'LISTEN%' AND state = 'idle'",
        )
        .await
        < 2
    {
        tokio::task::yield_now().await;
    }
    let mut listener = PgListener::connect(&place.0).await.unwrap();
    listener.listen("adieu_revocations").await.unwrap();
    let mut names = HashSet::new();
    for number in 0..20 {
        let waiting = tokio::spawn({
            let (there, cursor) = (there.clone(), cursor.clone());
            async move { there.read(Some(&cursor), Duration::from_secs(60)).await.unwrap() }
        });
        here.append(vec![token(format!("{number}"))]).await.unwrap();
        let page = waiting.await.unwrap();
        assert_eq!(page.entries.len(), 1);
        cursor = page.cursor;
        let told = tokio::time::timeout(Duration::from_secs(60), listener.recv())
            .await
            .expect("no notification came")
            .unwrap();
        names.insert(told.payload().to_owned());
    }
    assert_eq!(names.len(), 1, "of whom they are, so that it does not wake itself");
    assert_eq!(here.unannounced(), 0);
}
