//! A logout reads only the rows that it concerns, even if its statements were planned while the tables were empty and the tables have
//! not been analyzed since.

use std::time::{Duration, Instant};

use adieu::{
    revocation::RevocationLog,
    session::{Selection, SessionStore},
};
use adieu_conformance::sample::{ending, session, token};
use adieu_postgres::Postgres;

use crate::engine::connected;

async fn log_in_and_out(store: &Postgres, times: usize) {
    for _ in 0..times {
        let session = session("ana");
        store.create(session.clone()).await.unwrap();
        store.record_last_seen(vec![(session.id.clone(), session.subject.clone(), session.created_at)]).await.unwrap();
        let ending = ending(Selection::Owned(session.id, session.subject));
        assert_eq!(store.end(ending).await.unwrap().unwrap().sessions, 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_logout_reads_does_not_depend_on_how_many_sessions_there_are() {
    const LOGOUTS: usize = 100;
    const DELETED: &str = "SELECT n_tup_del FROM pg_stat_user_tables WHERE relname = 'session'";
    const SCANNED: &str = "SELECT seq_tup_read FROM pg_stat_user_tables WHERE relname = 'session'";
    const FOUND: &str = "SELECT sum(idx_tup_read)::bigint FROM pg_stat_user_indexes WHERE relname = 'session'";
    let server = test_servers::Postgres::start_with(&[("autovacuum", "off")]).await;
    let store = Postgres::connect(&server.url()).await.unwrap();
    let mut other = connected(&server.url()).await;
    // A cached plan is made by the sixth execution.
    log_in_and_out(&store, 10).await;
    let fill = "INSERT INTO adieu.session SELECT 'subject ' || n, 'session ' || n, 0, 0, NULL, NULL, 'refresh', NULL, 0, \
                2000000000, 2000000000, 0 FROM generate_series(1, 20000) AS n";
    other.execute(fill).await;
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
    let after = counted(10 + LOGOUTS as i64).await;
    assert_eq!(after.0 - before.0, 0, "more rows were read than needed");
    assert!(after.1 - before.1 < 10 * LOGOUTS as i64, "{before:?} {after:?}");
}
