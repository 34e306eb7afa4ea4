//! The pool says how much of it is in use.

use adieu_postgres::{Postgres, sqlx::query};
use test_servers::until;
use tokio::task::JoinSet;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_wait_for_a_connection_are_counted() {
    let store = Postgres::connect(&test_servers::postgres_database().await).await.unwrap();
    let usage = || {
        let pool = store.pool();
        (pool.in_use, pool.waiting)
    };
    let limit = store.pool().limit;
    assert_eq!(usage(), (0, 0));
    let sleep = async |seconds: &'static str| {
        let mut calls = JoinSet::new();
        for _ in 0..limit + 2 {
            let store = store.clone();
            calls.spawn(async move { store.execute(query(seconds)).await.unwrap() });
        }
        until("two wait", async || usage() == (limit, 2)).await;
        calls
    };
    sleep("SELECT pg_sleep(1)").await.join_all().await;
    assert_eq!(usage(), (0, 0));
    // A caller that goes away waits no longer.
    sleep("SELECT pg_sleep(3)").await.abort_all();
    until("none waits", async || usage() == (0, 0)).await;
}
