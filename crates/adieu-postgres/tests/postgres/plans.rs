//! A logout reads only the rows that it concerns, and a follower only the new entries, even if its statements were planned while the tables were empty and the tables have
//! not been analyzed since.

use std::time::{Duration, Instant};

use adieu::{
    restore::Restorable,
    revocation::{Pruned, RevocationLog},
    session::{Selection, SessionStore},
    time::Timestamp,
};
use adieu_conformance::sample::{ending, read_all, session, token};
use adieu_postgres::Postgres;

use crate::engine::{behind_its_back, connected};

/// Logs in and out, and reads the log as a follower and as the guard do.
async fn log_in_and_out(store: &Postgres, times: usize) {
    let (_, mut cursor) = read_all(store, None).await;
    for _ in 0..times {
        let session = session("ana");
        store.create(session.clone()).await.unwrap();
        store.record_last_seen(vec![(session.id.clone(), session.subject.clone(), session.created_at)]).await.unwrap();
        let ending = ending(Selection::Owned(session.id, session.subject));
        assert_eq!(store.end(ending).await.unwrap().unwrap().sessions, 1);
        let page = store.read(Some(&cursor), Duration::ZERO).await.unwrap();
        assert_eq!(page.entries.len(), 1);
        cursor = page.cursor;
        assert_eq!(store.inspect(cursor.position).await.unwrap().last, page.entries.into_iter().next());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_logout_reads_does_not_depend_on_how_many_sessions_and_entries_there_are() {
    const LOGOUTS: usize = 100;
    const DELETED: &str = "SELECT n_tup_del FROM pg_stat_user_tables WHERE relname = 'session'";
    const SCANNED: &str =
        "SELECT sum(seq_tup_read)::bigint FROM pg_stat_user_tables WHERE relname IN ('session', 'revocation')";
    const FOUND: &str =
        "SELECT sum(idx_tup_read)::bigint FROM pg_stat_user_indexes WHERE relname IN ('session', 'revocation')";
    const ROWS: i64 = 20_000;
    let server = test_servers::Postgres::start_with(&[("autovacuum", "off")]).await;
    let store = Postgres::connect(&server.url()).await.unwrap();
    let mut other = connected(&server.url()).await;
    // A cached plan is made by the sixth execution.
    log_in_and_out(&store, 10).await;
    let fill = format!(
        "INSERT INTO adieu.session SELECT 'subject ' || n, 'session ' || n, 0, 0, NULL, NULL, 'refresh', NULL, 0, \
         2000000000, 2000000000, 0 FROM generate_series(1, {ROWS}) AS n; \
         INSERT INTO adieu.revocation SELECT 1000 + n, 0, 'https://adieu.test', 'token ' || n, 1, 99999999999 \
         FROM generate_series(1, {ROWS}) AS n"
    );
    other.execute(&fill).await;
    // A connection's statistics become visible when it does something a second later.
    let counted = async |deleted: i64| {
        let started = Instant::now();
        let mut other = connected(&server.url()).await;
        while other.number(DELETED).await < deleted {
            assert!(started.elapsed() < Duration::from_secs(60), "nothing is counted");
            tokio::time::sleep(Duration::from_millis(200)).await;
            store.append(vec![token("a")]).await.unwrap();
        }
        (other.number(SCANNED).await, other.number(FOUND).await)
    };
    let before = counted(10).await;
    log_in_and_out(&store, LOGOUTS).await;
    // And statements that are planned now.
    log_in_and_out(&Postgres::connect(&server.url()).await.unwrap(), LOGOUTS).await;
    let after = counted(10 + 2 * LOGOUTS as i64).await;
    assert_eq!(after.0 - before.0, 0, "more rows were read than needed");
    // Each of the two reads all entries once, from the beginning.
    assert!(after.1 - before.1 < 2 * (ROWS + 30 * LOGOUTS as i64), "{before:?} {after:?}");
}

#[tokio::test]
async fn a_step_of_a_cleanup_reads_a_part_however_much_there_is() {
    const STAYS: u64 = 2_000_000_000;
    let url = test_servers::postgres_database().await;
    let store = Postgres::connect(&url).await.unwrap();
    let fill = |after: &str, count: u32, until: u64| {
        format!(
            "INSERT INTO adieu.session SELECT '{after}' || n, 'session ' || n, 0, 0, NULL, NULL, 'refresh', NULL, 0, \
             {until}, {until}, {until} FROM generate_series(1, {count}) AS n; \
             INSERT INTO adieu.revocation SELECT (SELECT coalesce(max(position), 0) FROM adieu.revocation) + n, 0, \
             'https://adieu.test', '{after}' || n, NULL, {until} FROM generate_series(1, {count}) AS n;"
        )
    };
    behind_its_back(&url, &[fill("a", 60_000, STAYS), fill("b", 300, 1), fill("c", 1, STAYS)].concat()).await;
    let now = Timestamp::from_unix(1_000);
    let nothing_yet = Pruned { removed: 0, complete: false };
    assert_eq!(store.delete_expired(now).await.unwrap(), nothing_yet);
    assert_eq!(store.prune(now).await.unwrap(), nothing_yet);
    // Twice: the second cleanup begins at the beginning.
    for last in ["d", "e"] {
        let (mut sessions, mut entries) = (0, 0);
        loop {
            let (forgotten, pruned) = (store.delete_expired(now).await.unwrap(), store.prune(now).await.unwrap());
            (sessions, entries) = (sessions + forgotten.removed, entries + pruned.removed);
            assert_eq!(forgotten.complete, pruned.complete);
            if forgotten.complete {
                break;
            }
        }
        assert_eq!((sessions, entries), (300, 300));
        behind_its_back(&url, &[fill("a0", 300, 1), fill(last, 1, STAYS)].concat()).await;
    }
}
