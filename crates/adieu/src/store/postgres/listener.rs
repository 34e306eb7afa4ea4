//! Hearing of what other processes append.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI32, Ordering},
    },
    time::Duration,
};

use sqlx::{
    Executor,
    postgres::{PgListener, PgPoolOptions},
};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

use super::connections::{Address, CONNECT};

/// What a writer notifies, in its transaction.
const CHANNEL: &str = "adieu_revocations";
/// How long after a failure it is tried again.
const PAUSE: Duration = Duration::from_millis(500);
/// How long it may be silent before it is asked whether it is still there: a connection can die without a word.
const SILENCE: Duration = Duration::from_secs(10);

/// Listens until it is aborted. Nothing depends on it: readers look by themselves, only later.
pub(super) async fn listen(address: Arc<Address>, appended: watch::Sender<u64>, own_process: Arc<AtomicI32>) {
    loop {
        if let Err(error) = listen_once(&address, &appended, &own_process).await {
            tracing::debug!(error = &error as &dyn std::error::Error, "not told of what other nodes append");
        }
        sleep(PAUSE).await;
    }
}

async fn listen_once(
    address: &Address,
    appended: &watch::Sender<u64>,
    own_process: &AtomicI32,
) -> Result<(), sqlx::Error> {
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
            Ok(Ok(Some(told))) if told.process_id() == own_process.load(Ordering::Relaxed).cast_unsigned() => {}
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
