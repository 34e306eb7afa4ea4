//! Later logins and logouts reuse the space of rows that logouts remove.
//!
//! By default this runs a few thousand logouts and issues `VACUUM` where the server would. With `ADIEU_LOGOUTS` set, it runs that many
//! and leaves cleaning to autovacuum, which looks for removed rows once a second and has its default settings otherwise.
//! `scripts/prove bloat` does so and prints the sizes.

use std::{num::NonZeroUsize, time::Instant};

use adieu::{
    revocation::RevocationLog,
    session::{Selection, Session, SessionStore},
};
use adieu_conformance::sample::{after, ending, session};
use adieu_postgres::Postgres;
use tokio::task::JoinSet;

use crate::engine::connected;

/// Sessions that are not ended.
const LIVE: usize = 1_000;
/// The number of callers that share commits.
const CONCURRENCY: usize = 256;

/// Queries for the kilobytes of the tables of sessions and of revocations, with their indexes.
const SIZES: [&str; 2] = [
    "SELECT pg_total_relation_size('adieu.session') / 1024",
    "SELECT pg_total_relation_size('adieu.revocation') / 1024",
];

async fn all_at_once<F: Future<Output = ()> + Send + 'static>(calls: impl IntoIterator<Item = F>) {
    let mut running = JoinSet::new();
    for call in calls {
        if running.len() == CONCURRENCY {
            running.join_next().await.unwrap().unwrap();
        }
        running.spawn(call);
    }
    running.join_all().await;
}

async fn log_in(store: &Postgres, count: usize) -> Vec<Session> {
    let sessions: Vec<Session> = (0..count).map(|number| session(&format!("user-{number}"))).collect();
    let creates = sessions.iter().cloned().map(|session| {
        let store = store.clone();
        async move { store.create(session).await.unwrap() }
    });
    all_at_once(creates).await;
    sessions
}

async fn log_out(store: &Postgres, sessions: Vec<Session>) {
    let ends = sessions.into_iter().map(|session| {
        let store = store.clone();
        let selection = Selection::Owned(session.id, session.subject);
        async move {
            assert_eq!(store.end(ending(selection)).await.unwrap().unwrap().sessions, 1);
        }
    });
    all_at_once(ends).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_were_removed_leave_room_for_others() {
    let asked_for: Option<NonZeroUsize> = std::env::var("ADIEU_LOGOUTS").ok().map(|number| number.parse().unwrap());
    let (logouts, wave) = asked_for.map_or((8_000, 2_000), |number| (number.get(), number.get().min(20_000)));
    let server = test_servers::Postgres::start().await;
    let store = Postgres::connect(&server.url()).await.unwrap();
    let mut other = connected(&server.url()).await;
    if asked_for.is_some() {
        // A table grows by the rows that are removed between two checks. By default these are a minute apart, which is as long as all of this takes.
        other.execute("ALTER SYSTEM SET autovacuum_naptime = '1s'").await;
        other.execute("SELECT pg_reload_conf()").await;
    }
    log_in(&store, LIVE).await;
    let (started, mut sizes) = (Instant::now(), Vec::new());
    for done in (wave..=logouts).step_by(wave) {
        let sessions = log_in(&store, wave).await;
        log_out(&store, sessions).await;
        // All of them have expired by then, as after a day.
        while !store.prune(after(10_000_000)).await.unwrap().complete {}
        if asked_for.is_none() {
            other.execute("VACUUM adieu.session").await;
            other.execute("VACUUM adieu.revocation").await;
        }
        let found = [other.number(SIZES[0]).await, other.number(SIZES[1]).await];
        println!("{done} logouts: sessions {} KiB, revocations {} KiB", found[0], found[1]);
        sizes.push(found);
    }
    println!("took {:?}; {LIVE} sessions live", started.elapsed());
    // The largest size that any wave left, and not that of the last one, which autovacuum may just have looked at.
    let largest = sizes.iter().copied().reduce(|[a, b], [c, d]| [a.max(c), b.max(d)]).unwrap();
    for (first, largest) in sizes[0].into_iter().zip(largest) {
        let bound = if asked_for.is_some() { first * 6 } else { first * 3 / 2 };
        assert!(largest <= bound, "from {first} to {largest} KiB");
    }
}
