//! Announces appends to other processes, and listens to theirs (`NOTIFY` and `LISTEN`).
//!
//! No guarantee depends on it: readers also poll, so no operation waits for it. An append is announced after its
//! commit, on a connection of its own, because `NOTIFY` can fail or block for reasons outside this process: all
//! databases of a server share one queue, and a listener in an open transaction fills it.

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
/// The timeout of an announcement. Announcements are not urgent, and share one connection.
const NOTIFY_TIMEOUT: Duration = Duration::from_secs(4);
/// How long to wait after a failure before a retry.
const RETRY_DELAY: Duration = Duration::from_millis(500);
/// How long the connection may be silent before it is probed: a connection can die unnoticed.
const SILENCE: Duration = Duration::from_secs(10);

/// Announces appends until it is aborted. `name` is the name of this process, and `failures` counts failed announcements.
pub(super) async fn announce(address: Arc<Address>, name: String, to_announce: Arc<Notify>, failures: Arc<AtomicU64>) {
    const NOTIFY: &str = "SELECT pg_notify($1, $2)";
    let connections = Connections::new(address, 1, NOTIFY_TIMEOUT);
    let outage = Outage::default();
    loop {
        to_announce.notified().await;
        let announced = connections.execute(sqlx::query(NOTIFY).bind(CHANNEL).bind(&name)).await;
        if announced.is_err() {
            failures.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(error) = outage.begins_with(&announced) {
            let error = error as &dyn std::error::Error;
            tracing::warn!(error, "other nodes can't be notified of new entries; they find them when they poll");
        }
    }
}

/// Listens for appends of other processes until it is aborted.
pub(super) async fn listen(address: Arc<Address>, name: String, appended: watch::Sender<u64>) {
    loop {
        if let Err(error) = listen_once(&address, &name, &appended).await {
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                "not notified of entries that other nodes append"
            );
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
    // Entries may have been appended while this process was not listening.
    wake(appended);
    loop {
        match timeout(SILENCE, listener.try_recv()).await {
            // This process woke its readers when its own commit was acknowledged.
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
