//! Telling other processes of what was appended, and hearing of it.
//!
//! Nothing depends on it: readers look by themselves, only later. So nothing waits for it either: others are told after the commit, by
//! a connection of its own, since `NOTIFY` fails or waits for reasons that are not ours. Its queue is one for all databases of a
//! server, and whoever listens there in a transaction that does not end makes it run full.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use sqlx::{
    Executor,
    postgres::{PgListener, PgPoolOptions},
};
use tokio::{
    sync::{Notify, watch},
    time::{sleep, timeout},
};

use super::connections::{Address, CONNECT, Connections};
use adieu::retry::Outage;

const CHANNEL: &str = "adieu_revocations";
/// How long it may take to tell others: there is no hurry, and one connection.
const TELL: Duration = Duration::from_secs(4);
/// How long after a failure it is tried again.
const RETRY_DELAY: Duration = Duration::from_millis(500);
/// How long it may be silent before it is asked whether it is still there: a connection can die without a word.
const SILENCE: Duration = Duration::from_secs(10);

/// Tells others whenever there is something to tell, until it is aborted. `name` is this process's, and `failures` counts how often
/// they could not be told.
pub(super) async fn tell(address: Arc<Address>, name: String, to_announce: Arc<Notify>, failures: Arc<AtomicU64>) {
    const TELL_OTHERS: &str = "SELECT pg_notify($1, $2)";
    let connections = Connections::new(address, 1, TELL);
    let outage = Outage::default();
    loop {
        to_announce.notified().await;
        let told = connections.execute(sqlx::query(TELL_OTHERS).bind(CHANNEL).bind(&name)).await;
        if told.is_err() {
            failures.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(error) = outage.begins_with(&told) {
            let error = error as &dyn std::error::Error;
            tracing::warn!(error, "other nodes can't be told of what is appended, and find it when they look");
        }
    }
}

/// Listens until it is aborted.
pub(super) async fn listen(address: Arc<Address>, name: String, appended: watch::Sender<u64>) {
    loop {
        if let Err(error) = listen_once(&address, &name, &appended).await {
            tracing::debug!(error = &error as &dyn std::error::Error, "not told of what other nodes append");
        }
        sleep(RETRY_DELAY).await;
    }
}

async fn listen_once(address: &Address, name: &str, appended: &watch::Sender<u64>) -> Result<(), sqlx::Error> {
    let late = |_| sqlx::Error::PoolTimedOut;
    let pool = PgPoolOptions::new().max_connections(1).acquire_timeout(CONNECT).max_lifetime(None).idle_timeout(None);
    let pool = pool.connect_lazy_with(address.options().clone());
    let mut listener = timeout(CONNECT, PgListener::connect_with(&pool)).await.map_err(late)??;
    timeout(CONNECT, listener.listen(CHANNEL)).await.map_err(late)??;
    // What was appended while nobody listened.
    wake(appended);
    loop {
        match timeout(SILENCE, listener.try_recv()).await {
            // This process has woken its readers when its commit was answered.
            Ok(Ok(Some(told))) if told.payload() == name => {}
            Ok(Ok(Some(_))) => wake(appended),
            Ok(Ok(None)) => return Ok(()),
            Ok(Err(error)) => return Err(error),
            Err(_) => timeout(CONNECT, listener.execute("SELECT 1")).await.map_err(late)?.map(drop)?,
        }
    }
}

fn wake(appended: &watch::Sender<u64>) {
    appended.send_modify(|appends| *appends = appends.wrapping_add(1));
}
