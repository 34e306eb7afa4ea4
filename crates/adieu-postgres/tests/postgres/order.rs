//! Positions have no gaps, whichever store appends.

use std::{collections::HashSet, time::Duration};

use adieu::{
    TokenId,
    revocation::{Position, RevocationLog},
    session::{Rotated, Rotation, Selection, SessionStore},
};
use adieu_conformance::{
    Storage,
    sample::{after, ending, issuer, read_all, session, token},
};
use adieu_postgres::{Postgres, sqlx::postgres::PgListener};
use tokio::task::JoinSet;

use crate::engine::{InDatabase, Other, connected};

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

/// What waits for the lock sees what was committed meanwhile, also if other transactions of the database would not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_default_isolation_of_the_database_undoes_nothing() {
    for isolation in ["repeatable read", "serializable"] {
        let place = InDatabase::empty().await;
        let mut other = connected(&place.0).await;
        let set = "EXECUTE format('ALTER DATABASE %I SET default_transaction_isolation = %L', current_database(), ";
        other.execute(&format!("DO $$ BEGIN {set}'{isolation}'); END $$")).await;
        let (here, there) = (place.open().await, place.open().await);
        let session = session("jose");
        here.create(session.clone()).await.unwrap();
        there.append(vec![token("a")]).await.unwrap();

        other.execute("BEGIN; SELECT pg_advisory_xact_lock(418380178805)").await;
        let selection = Selection::Owned(session.id.clone(), session.subject.clone());
        let end = tokio::spawn({
            let here = here.clone();
            async move { here.end(ending(selection)).await }
        });
        wait_for_the_lock(&mut other, 1).await;
        let rotation = Rotation {
            issuer: issuer(),
            subject: session.subject.clone(),
            session: session.id.clone(),
            presented: session.refresh_id.clone().into(),
            successor: TokenId::random(),
            now: after(60),
            forgiven_since: Some(after(50)),
            access_expires_at: after(960),
            refresh_expires_at: after(7_200),
        };
        let rotate = tokio::spawn({
            let there = there.clone();
            async move { there.rotate(rotation).await }
        });
        wait_for_the_lock(&mut other, 2).await;
        other.execute("COMMIT").await;
        end.await.unwrap().unwrap().unwrap();
        assert!(matches!(rotate.await.unwrap().unwrap(), Rotated::Ended), "{isolation}");
        assert_eq!(there.session(&session.id).await.unwrap(), None, "{isolation}");

        // Positions, too, follow those that were committed meanwhile.
        other.execute("BEGIN; SELECT pg_advisory_xact_lock(418380178805)").await;
        let [first, second] = [(here.clone(), "b"), (there.clone(), "c")]
            .map(|(store, name)| tokio::spawn(async move { store.append(vec![token(name)]).await }));
        wait_for_the_lock(&mut other, 2).await;
        other.execute("COMMIT").await;
        let positions = [first.await.unwrap().unwrap(), second.await.unwrap().unwrap()];
        assert_ne!(positions[0], positions[1], "{isolation}");
    }
}

async fn wait_for_the_lock(other: &mut Other, count: i64) {
    let waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted \
                   AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    while other.number(waiting).await < count {
        tokio::task::yield_now().await;
    }
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
