//! Operations that share a commit share nothing else.

use std::{
    future::ready,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
};

use adieu::{Error, revocation::RevocationLog};
use adieu_sqlite::{Sqlite, rusqlite};

use adieu_conformance::{
    Storage,
    sample::{read_all, token},
};

use crate::engines::OnFile;

const TABLE: &[&str] = &["CREATE TABLE guest (name TEXT PRIMARY KEY, seat INTEGER UNIQUE NOT NULL) WITHOUT ROWID"];

async fn with_guests() -> (OnFile, Sqlite) {
    let place = OnFile::empty().await;
    let store = place.open().await;
    store.migrate("guests", TABLE).await.unwrap();
    (place, store)
}

/// Seats a guest, unless the seat is taken; the first name is written before the seat is checked.
async fn seat(store: &Sqlite, name: String, seat: i64) -> Result<(), Error> {
    store
        .transact(move |connection| {
            connection.execute("INSERT INTO guest VALUES ($1, $2)", (format!("{name}, first"), -seat))?;
            connection.execute("INSERT INTO guest VALUES ($1, $2)", (&name, seat)).map(drop)
        })
        .await
}

async fn guests(store: &Sqlite) -> Vec<String> {
    let guests = |connection: &rusqlite::Connection| {
        let mut statement = connection.prepare("SELECT name FROM guest WHERE seat > 0 ORDER BY seat")?;
        statement.query_map([], |row| row.get(0))?.collect()
    };
    store.query(guests).await.unwrap()
}

/// Holds the writer in an operation until the returned sender is dropped, so that all operations queued meanwhile form one batch.
async fn hold(store: &Sqlite) -> (mpsc::Sender<()>, tokio::task::JoinHandle<Result<(), Error>>) {
    let (release, released) = mpsc::channel::<()>();
    let (started, has_started) = tokio::sync::oneshot::channel();
    let store = store.clone();
    let mut started = Some(started);
    let held = tokio::spawn(async move {
        store
            .transact(move |_| {
                started.take().map(|started| started.send(()));
                let _ = released.recv();
                Ok(())
            })
            .await
    });
    has_started.await.unwrap();
    (release, held)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_is_its_own() {
    let (_place, store) = with_guests().await;
    take_the_third_seat(&store).await;
    for (number, outcome) in (1..).zip(six_guests_at_once(&store).await) {
        assert_eq!(outcome.is_err(), number == 3, "{number}: {outcome:?}");
    }
    assert_eq!(guests(&store).await, ["guest 1", "guest 2", "host", "guest 4", "guest 5", "guest 6"]);
    let halves = |connection: &rusqlite::Connection| {
        connection.query_row("SELECT count(*) FROM guest", [], |row| row.get::<_, i64>(0))
    };
    assert_eq!(store.query(halves).await.unwrap(), 11, "nothing of what failed is left");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_is_a_failure_like_any_other() {
    let (_place, store) = with_guests().await;
    let (release, held) = hold(&store).await;
    let before = queued(seat(&store, "before".to_owned(), 1)).await;
    let seated_and_gone = |connection: &rusqlite::Connection| -> rusqlite::Result<()> {
        connection.execute("INSERT INTO guest VALUES ('ghost', 2)", [])?;
        panic!("on purpose");
    };
    let panicked = queued(store.transact(seated_and_gone)).await;
    drop(release);
    held.await.unwrap().unwrap();
    before.await.unwrap();
    assert!(matches!(panicked.await, Err(Error::Unavailable(_))));
    for _ in 0..4 {
        assert!(store.query(|_| -> rusqlite::Result<()> { panic!("on purpose") }).await.is_err());
    }
    seat(&store, "after".to_owned(), 3).await.unwrap();
    assert_eq!(guests(&store).await, ["before", "after"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_is_found_once_and_not_once_for_each_neighbour() {
    let (_place, store) = with_guests().await;
    let runs = Arc::new(AtomicU64::new(0));
    let (release, held) = hold(&store).await;
    let mut asked = Vec::new();
    for number in 0..200 {
        let runs = Arc::clone(&runs);
        let insert = move |connection: &rusqlite::Connection| {
            runs.fetch_add(1, Ordering::SeqCst);
            connection.execute("INSERT INTO guest VALUES ($1, $2)", (number, number % 2)).map(drop)
        };
        asked.push(queued(store.transact(insert)).await);
    }
    drop(release);
    held.await.unwrap().unwrap();
    let mut succeeded = 0;
    for asked in asked {
        succeeded += u64::from(asked.await.is_ok());
    }
    assert_eq!(succeeded, 2);
    // The first pass ends at the first failure, the second one runs them all.
    assert_eq!(runs.load(Ordering::SeqCst), 203, "however many fail, they are one batch and run again once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_is_told_at_once() {
    let place = OnFile::empty().await;
    let store = place.open().await;
    let (release, held) = hold(&store).await;
    let mut waiting = Vec::new();
    let refused = loop {
        match asked_once(store.transact(|_| Ok(()))).await {
            Err(asked) => waiting.push(asked),
            Ok(outcome) => break outcome,
        }
        assert!(waiting.len() < 1_000_000, "the queue is bounded");
    };
    assert!(matches!(refused, Err(Error::Unavailable(_))));
    drop(release);
    held.await.unwrap().unwrap();
    for asked in waiting {
        asked.await.unwrap();
    }
    store.append(vec![token("after")]).await.unwrap();
}

async fn take_the_third_seat(store: &Sqlite) {
    let host = |connection: &rusqlite::Connection| connection.execute("INSERT INTO guest VALUES ('host', 3)", []);
    store.transact(host).await.unwrap();
}

/// Seats six guests in one batch, and returns what each was answered.
async fn six_guests_at_once(store: &Sqlite) -> Vec<Result<(), Error>> {
    let (release, held) = hold(store).await;
    let mut asked = Vec::new();
    for number in 1..=6 {
        asked.push(queued(seat(store, format!("guest {number}"), number)).await);
    }
    drop(release);
    held.await.unwrap().unwrap();
    let mut answers = Vec::new();
    for asked in asked {
        answers.push(asked.await);
    }
    answers
}

/// Queues an operation while the writer is held.
async fn queued<F: Future>(future: F) -> Pin<Box<F>> {
    match asked_once(future).await {
        Err(future) => future,
        Ok(_) => panic!("it did not wait for the writer"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_write_at_once() {
    let place = OnFile::empty().await;
    let stores = [place.open().await, place.open().await];
    let writers: Vec<_> = (0..16)
        .map(|writer| {
            let store = stores[writer % 2].clone();
            tokio::spawn(async move {
                for number in 0..30 {
                    store.append(vec![token(format!("{writer} {number}"))]).await.unwrap();
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    assert_eq!(read_all(&stores[0], None).await.0.len(), 16 * 30);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_full_says_so_and_recovers() {
    let place = OnFile::empty().await;
    let store = place.open().await;
    store.append(vec![token("before")]).await.unwrap();
    let set_limit = |pages: i64| {
        let set = move |connection: &rusqlite::Connection| {
            connection.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |row| row.get::<_, i64>(0))
        };
        store.transact(set)
    };
    // To the current number of pages: an operation that needs another page finds the disk full.
    set_limit(1).await.unwrap();
    let many: Vec<_> = (0..1_000).map(|number| token(format!("{number:0>500}"))).collect();
    for _ in 0..3 {
        assert!(matches!(store.append(many.clone()).await, Err(Error::Unavailable(_))));
    }
    assert_eq!(read_all(&store, None).await.0, [token("before")], "all or none");
    set_limit(1_000_000).await.unwrap();
    store.append(many).await.unwrap();
    assert_eq!(read_all(&store, None).await.0.len(), 1_001);
}

/// Polls a future once, which queues its operation; returns its outcome if it could not be queued.
async fn asked_once<F: Future>(future: F) -> Result<F::Output, Pin<Box<F>>> {
    let mut future = Box::pin(future);
    tokio::select! { biased; output = &mut future => Ok(output), () = ready(()) => Err(future) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operations_are_counted_by_commit() {
    let (_place, store) = with_guests().await;
    take_the_third_seat(&store).await;
    let before = (store.commit_sizes().commits(), store.commit_sizes().operations());
    six_guests_at_once(&store).await;
    let mut expected = before.0;
    expected[0] += 1; // the one that held the writer
    expected[3] += 1; // five guests, at most eight; the seat of the third is taken
    assert_eq!(store.commit_sizes().commits(), expected);
    assert_eq!(store.commit_sizes().operations(), before.1 + 6);
}
