//! The duration of a start: a store with a million live revocations is opened, checked and read into the index.
//!
//! `cargo bench -p adieu --bench start` prints one table. The file is in the page cache, as it is after a crash or an
//! upgrade; after a reboot, add the disk's time to read it once. `ADIEU_BENCH_ENTRIES` sets the number of revocations.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout)]

use std::{
    env, fs,
    sync::Arc,
    time::{Duration, Instant},
};

use adieu::{
    Issuer, SessionId, Subject, TokenId,
    revocation::{Follower, Index, Revocation, RevocationLog, Target},
    session::{Origin, Session, SessionStore},
    time::{Clock, SystemClock},
};
use adieu_sqlite::Sqlite;
use rustix::time::{ClockId, clock_gettime};

const ROUNDS: usize = 5;

#[tokio::main]
async fn main() {
    let entries: u64 = env::var("ADIEU_BENCH_ENTRIES").map_or(1_000_000, |text| text.parse().expect("a number"));
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = folder.path().join("adieu.sqlite");
    fill(&Sqlite::open(&path).await.unwrap(), entries).await;

    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let (start, processor) = (Instant::now(), processor_time());
        let store = Sqlite::open_while_checking(&path).await.unwrap();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let index = Arc::new(Index::new(clock.now()));
        let follower = Follower::start(Arc::new(store.clone()), Arc::clone(&index), clock, Duration::from_secs(2));
        store.checked().await.unwrap();
        let checked = start.elapsed();
        follower.ready().await.unwrap();
        rounds.push((start.elapsed(), checked, processor_time() - processor));
        assert_eq!(index.stats().entries as u64, entries);
    }
    rounds.sort_unstable();
    let megabytes = fs::metadata(&path).unwrap().len() >> 20;
    println!("| live revocations | file | checked | ready, median of {ROUNDS} | slowest | processor time |");
    println!("|---|---|---|---|---|---|");
    let (ready, checked, processor) = rounds[ROUNDS / 2];
    let (slowest, ..) = rounds[ROUNDS - 1];
    let milliseconds = |duration: Duration| format!("{} ms", duration.as_millis());
    println!(
        "| {entries} | {megabytes} MiB | {} | {} | {} | {} |",
        milliseconds(checked),
        milliseconds(ready),
        milliseconds(slowest),
        milliseconds(processor)
    );
}

/// Returns the processor time of all threads: other load on the machine affects the wall time, but not this.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap())
}

/// Half of them tokens, half of them sessions, and a tenth as many sessions that have not ended.
async fn fill(store: &Sqlite, entries: u64) {
    const STEP: u64 = 10_000;
    let now = SystemClock.now();
    let issuer = Issuer::new("https://auth.example.com").unwrap();
    for start in (0..entries).step_by(STEP as usize) {
        let revocations = (start..entries.min(start + STEP)).map(|number| {
            let expires_at = now.plus(Duration::from_secs(600 + number % 900));
            let target = match number % 2 {
                0 => Target::Token { id: TokenId::random(), expires_at: Some(expires_at) },
                _ => Target::Session { id: SessionId::random() },
            };
            Revocation { issuer: issuer.clone(), target, lapses_at: Revocation::lapse_for(expires_at) }
        });
        store.append(revocations.collect()).await.unwrap();
    }
    let creating: Vec<_> = (0..entries / 10)
        .map(|number| {
            let (store, now) = (store.clone(), now);
            tokio::spawn(async move {
                let expires_at = now.plus(Duration::from_secs(86_400));
                let session = Session {
                    id: SessionId::random(),
                    subject: Subject::new(format!("user-{number}")).unwrap(),
                    created_at: now,
                    last_seen_at: now,
                    origin: Origin::default(),
                    refresh_id: TokenId::random(),
                    previous_refresh_id: None,
                    used_refresh: None,
                    refreshed_at: now,
                    refresh_expires_at: expires_at,
                    expires_at,
                    access_expires_at: expires_at,
                };
                // The queue is bounded, and all calls are made at once.
                while store.create(session.clone()).await.is_err() {
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    for task in creating {
        task.await.unwrap();
    }
}
