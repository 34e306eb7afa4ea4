//! PgBouncer in front of the server: one in session mode passes the suite, and one in transaction mode is rejected, because it may run a
//! statement of one node as that of another.

use std::time::Duration;

use adieu::{
    Error,
    revocation::RevocationLog,
    session::{Selection, SessionStore},
};
use adieu_conformance::{
    Storage,
    sample::{ending, read_all, session, token},
    suite,
};
use adieu_postgres::Postgres;
use test_servers::PgBouncer;
use tokio::sync::OnceCell;

/// A database behind a session-mode pooler, shared by the tests of this process.
struct BehindSessionPooler(String);

impl Storage for BehindSessionPooler {
    type Store = Postgres;

    async fn empty() -> Self {
        static POOLER: OnceCell<PgBouncer> = OnceCell::const_new();
        let database = test_servers::postgres_database().await;
        let settings = [("pool_mode", "session"), ("default_pool_size", "300")];
        let pooler = POOLER.get_or_init(|| PgBouncer::start(&database, &settings)).await;
        Self(pooler.url(&database))
    }

    async fn open(&self) -> Postgres {
        Postgres::connect(&self.0).await.unwrap()
    }
}

suite!(behind_a_pooler_of_sessions: BehindSessionPooler, log, sessions, keys);

async fn refusal(url: &str) -> String {
    match Postgres::connect(url).await {
        Err(Error::UnsuitableServer(sentence)) => sentence,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pooler_of_transactions_is_refused() {
    let server = test_servers::Postgres::start().await;
    for settings in [
        [("pool_mode", "transaction"), ("default_pool_size", "1")],
        [("pool_mode", "transaction"), ("default_pool_size", "4")],
        [("pool_mode", "transaction"), ("server_round_robin", "1")],
        [("pool_mode", "transaction"), ("server_reset_query_always", "1")],
        [("pool_mode", "statement"), ("default_pool_size", "4")],
    ] {
        let pooler = PgBouncer::start(&server.url(), &settings).await;
        for _ in 0..3 {
            let sentence = refusal(&pooler.url(&server.url())).await;
            assert!(sentence.contains("pooler") && sentence.contains("pool_mode = session"), "{sentence}");
        }
    }
}

/// A transaction-mode pooler replaces one in session mode while a node runs: nothing acknowledged is lost, and soon all calls fail.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_begins_to_pool_transactions_loses_nothing_that_was_acknowledged() {
    let server = test_servers::Postgres::start().await;
    let mut pooler = PgBouncer::start(&server.url(), &[("pool_mode", "session")]).await;
    let store = Postgres::connect(&pooler.url(&server.url())).await.unwrap();
    store.append(vec![token("before")]).await.unwrap();
    pooler.stop().await;
    pooler.start_again(&[("pool_mode", "transaction"), ("default_pool_size", "2")]).await;
    let started = std::time::Instant::now();
    let mut refused = 0;
    while refused < 20 {
        let session = session("ana");
        let ending = ending(Selection::Owned(session.id.clone(), session.subject.clone()));
        match store.create(session.clone()).await {
            Ok(()) => {
                let ended = store.end(ending).await;
                assert!(
                    ended.as_ref().is_err() || ended.as_ref().is_ok_and(|ended| ended.as_ref().unwrap().sessions == 1)
                );
            }
            Err(Error::Unavailable(_)) => refused += 1,
            Err(error) => panic!("{error:?}"),
        }
        assert!(started.elapsed() < Duration::from_secs(60), "it is not noticed");
    }
    let direct = Postgres::connect(&server.url()).await.unwrap();
    assert_eq!(read_all(&direct, None).await.0[0], token("before"));
}
