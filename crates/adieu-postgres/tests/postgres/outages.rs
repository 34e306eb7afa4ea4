//! The server goes away, or another node freezes: calls fail in bounded time, and everything recovers afterwards.

use std::{
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use adieu::{
    Error,
    revocation::RevocationLog,
    session::{EndSessions, Selection, SessionStore},
};
use adieu_conformance::{
    Storage,
    sample::{issuer, read_all, session, subject, token},
};
use adieu_postgres::Postgres;
use tokio::task::JoinSet;

use crate::engine::{InDatabase, behind_its_back, connected};

/// Maximum duration of a read of the log, and of a write, with much margin for a busy machine.
const READ: Duration = Duration::from_secs(10);
const WRITE: Duration = Duration::from_secs(15);

/// Appends and reads continuously, and records what was acknowledged.
struct Load {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    tasks: JoinSet<Vec<String>>,
    follower: tokio::task::JoinHandle<()>,
}

impl Load {
    fn start(store: &Postgres) -> Self {
        let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut tasks = JoinSet::new();
        for writer in 0..8 {
            let (store, stop, acknowledged) = (store.clone(), Arc::clone(&stop), Arc::clone(&acknowledged));
            tasks.spawn(async move {
                let mut kept = Vec::new();
                let mut number = 0;
                while !stop.load(Ordering::Relaxed) {
                    number += 1;
                    let name = format!("{writer} {number}");
                    let started = Instant::now();
                    match store.append(vec![token(&name)]).await {
                        Ok(_) => {
                            acknowledged.fetch_add(1, Ordering::Relaxed);
                            kept.push(name);
                        }
                        Err(Error::Unavailable(_)) => tokio::time::sleep(Duration::from_millis(20)).await,
                        Err(error) => panic!("{error:?}"),
                    }
                    assert!(started.elapsed() < WRITE, "{:?}", started.elapsed());
                }
                kept
            });
        }
        let follower = tokio::spawn({
            let (store, stop) = (store.clone(), Arc::clone(&stop));
            async move {
                let mut cursor = None;
                while !stop.load(Ordering::Relaxed) {
                    let started = Instant::now();
                    match store.read(cursor.as_ref(), Duration::from_millis(100)).await {
                        Ok(page) => cursor = Some(page.cursor),
                        Err(Error::Unavailable(_)) => tokio::time::sleep(Duration::from_millis(20)).await,
                        Err(error) => panic!("{error:?}"),
                    }
                    assert!(started.elapsed() < READ, "{:?}", started.elapsed());
                }
            }
        });
        Self { stop, acknowledged, tasks, follower }
    }

    /// Returns when more entries have been acknowledged.
    async fn goes_on(&self) {
        let before = self.acknowledged.load(Ordering::Relaxed);
        let waiting = async {
            while self.acknowledged.load(Ordering::Relaxed) < before + 20 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), waiting).await.expect("it does not recover");
    }

    async fn end(self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        self.follower.await.unwrap();
        self.tasks.join_all().await.into_iter().flatten().collect()
    }
}

/// Checks that nothing that was acknowledged is missing.
async fn all_there(store: &Postgres, acknowledged: Vec<String>) {
    let entries = read_all(store, None).await.0;
    for name in acknowledged {
        let expected = token(&name);
        assert!(entries.contains(&expected), "{name} was acknowledged, and is lost");
    }
}

async fn refused_in_time(store: &Postgres) {
    let started = Instant::now();
    assert!(matches!(store.read(None, Duration::from_secs(3_600)).await, Err(Error::Unavailable(_))));
    assert!(started.elapsed() < READ, "{:?}", started.elapsed());
    let started = Instant::now();
    assert!(matches!(store.append(vec![token("lost")]).await, Err(Error::Unavailable(_))));
    assert!(started.elapsed() < WRITE, "{:?}", started.elapsed());
    let started = Instant::now();
    assert!(matches!(store.check().await, Err(Error::Unavailable(_))));
    assert!(started.elapsed() < WRITE, "{:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_stopped_killed_and_frozen_under_load() {
    let mut server = test_servers::Postgres::start().await;
    let store = Postgres::connect(&server.url()).await.unwrap();
    let load = Load::start(&store);
    load.goes_on().await;

    server.stop().await;
    refused_in_time(&store).await;
    server.start_again().await;
    load.goes_on().await;

    server.kill();
    refused_in_time(&store).await;
    server.start_again().await;
    load.goes_on().await;

    server.freeze();
    refused_in_time(&store).await;
    server.thaw();
    load.goes_on().await;

    store.check().await.unwrap();
    let acknowledged = load.end().await;
    all_there(&store, acknowledged).await;
}

/// Every connection is cut, one moment after another: queued operations run on a new one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_die_while_they_are_idle_are_nobodys_failure() {
    let place = InDatabase::empty().await;
    let store = place.open().await;
    for number in 0..3 {
        store.append(vec![token(format!("{number}"))]).await.unwrap();
        store.create(session("jose")).await.unwrap();
        store.sessions(None, 10).await.unwrap();
        store.read(None, Duration::ZERO).await.unwrap();
        let mut other = connected(&place.0).await;
        other
            .execute(
                "CREATE TEMPORARY TABLE ended AS SELECT pid, backend_start FROM pg_stat_activity \
                 WHERE datname = current_database() AND pid <> pg_backend_pid(); \
                 SELECT pg_terminate_backend(pid) FROM ended",
            )
            .await;
        while other.number("SELECT count(*) FROM pg_stat_activity JOIN ended USING (pid, backend_start)").await > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    assert_eq!(store.sessions(None, 10).await.unwrap().len(), 3);
    assert_eq!(read_all(&store, None).await.0.len(), 3);
}

/// The environment variable that names the database to the other process of the test below.
const GIVEN: &str = "ADIEU_TEST_APPENDS_UNTIL_IT_IS_KILLED";

/// Another node, as a process.
struct Node(Child);

impl Node {
    fn start(url: &str) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "outages::appends_until_it_is_killed"]).env(GIVEN, url).stdout(Stdio::null());
        Self(command.spawn().unwrap())
    }

    fn signal(&self, signal: &str) {
        let status = Command::new("kill").args([signal, &self.0.id().to_string()]).status().unwrap();
        assert!(status.success());
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appends_until_it_is_killed() {
    let Ok(url) = std::env::var(GIVEN) else { return };
    let store = Postgres::connect(&url).await.unwrap();
    let mut writers = JoinSet::new();
    for writer in 0..8 {
        let store = store.clone();
        writers.spawn(async move {
            // Operations that fail because the node was frozen are not retried. These run statements of their own, and hold
            // the lock in between.
            for number in 0_u64.. {
                let ending = EndSessions {
                    issuer: issuer(),
                    selection: Selection::OfSubject(subject("unknown")),
                    only_if: None,
                    extra_revocations: vec![token(format!("{writer} {number}"))],
                };
                let _ = store.end(ending).await;
            }
        });
    }
    writers.join_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_freezes_while_it_has_the_lock_stops_nobody_for_long() {
    const HOLDS: &str = "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE locktype = 'advisory' \
                         AND granted AND datname = current_database() AND state = 'idle in transaction'";
    let place = InDatabase::empty().await;
    let store = place.open().await;
    let node = Node::start(&place.0);
    // The node holds the lock during its start as well; that is not tested here.
    let empty = read_all(&store, None).await.1;
    assert!(!store.read(Some(&empty), Duration::from_secs(60)).await.unwrap().entries.is_empty());
    let mut other = connected(&place.0).await;
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        assert!(Instant::now() < deadline, "it never froze at the right moment");
        tokio::time::sleep(Duration::from_millis(3)).await;
        node.signal("-STOP");
        // Everything that it had sent is done by now, or will be.
        tokio::time::sleep(Duration::from_millis(30)).await;
        if other.number(HOLDS).await == 1 {
            break;
        }
        node.signal("-CONT");
    }
    store.append(vec![token("here")]).await.unwrap();
    // The other node continues when it is resumed.
    let head = read_all(&store, None).await.1;
    node.signal("-CONT");
    let page = store.read(Some(&head), Duration::from_secs(30)).await.unwrap();
    assert!(!page.entries.is_empty());
}

/// Makes commits wait for a missing standby, except on connections with a setting of their own.
async fn miss_a_standby(server: &test_servers::Postgres) {
    behind_its_back(&server.url(), "ALTER SYSTEM SET synchronous_standby_names = 'missing'").await;
    behind_its_back(&server.url(), "SELECT pg_reload_conf()").await;
    // The server applies it some time after it was told.
    let mut other = connected(&locally(server)).await;
    soon(async || {
        let url = server.url();
        let probe = tokio::spawn(async move {
            connected(&url).await.execute("CREATE TABLE probe (a TEXT); DROP TABLE probe").await;
        });
        while !probe.is_finished() {
            if other.number(COMMITS_THAT_WAIT).await > 0 {
                other.execute(END_THEM).await;
                return probe.await.err();
            }
        }
        None
    })
    .await;
}

const COMMITS_THAT_WAIT: &str = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
const END_THEM: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";

/// Returns the URL for a node whose commits do not wait for a standby.
fn locally(server: &test_servers::Postgres) -> String {
    format!("{}?options[synchronous_commit]=local", server.url())
}

/// Retries until the first success, which must come.
async fn soon<T>(mut attempt: impl AsyncFnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(success) = attempt().await {
            return success;
        }
        assert!(started.elapsed() < Duration::from_secs(90), "it does not recover");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Writes are rejected, as they must be; but a commit that waits at the server after its node has given up still holds the lock.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_waits_for_a_standby_keeps_the_lock_from_nobody() {
    let server = test_servers::Postgres::start().await;
    let store = Postgres::connect(&server.url()).await.unwrap();
    miss_a_standby(&server).await;
    soon(async || store.append(vec![token("given up")]).await.err()).await;
    // As if the node's process had ended as well.
    drop(store);
    Postgres::connect(&server.url()).await.expect("a node starts without the lock");
    let other = Postgres::connect(&locally(&server)).await.unwrap();
    soon(async || other.append(vec![token("after")]).await.ok()).await;
    let entries = read_all(&other, None).await.0;
    assert!(entries.contains(&token("given up")), "what was written stays");
}

/// In all databases, notifying transactions wait for one whose commit waits, and fail when the queue is full.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_who_hinders_notifications_hinders_a_logout() {
    let server = test_servers::Postgres::start().await;
    let (store, reader) =
        (Postgres::connect(&locally(&server)).await.unwrap(), Postgres::connect(&locally(&server)).await.unwrap());
    let empty = read_all(&reader, None).await.1;
    miss_a_standby(&server).await;
    let url = server.url();
    let foreign = tokio::spawn(async move {
        connected(&url).await.execute("CREATE TABLE foreign_table (a TEXT); NOTIFY foreign_channel").await;
    });
    let mut other = connected(&locally(&server)).await;
    soon(async || (other.number(COMMITS_THAT_WAIT).await > 0).then_some(())).await;
    for number in 0..3 {
        store.append(vec![token(format!("{number}"))]).await.unwrap();
    }
    let page = reader.read(Some(&empty), Duration::from_secs(60)).await.unwrap();
    assert!(!page.entries.is_empty(), "who is not told looks");
    soon(async || (store.unannounced() > 0).then_some(())).await;
    other.execute(END_THEM).await;
    foreign.await.unwrap_err();
}
