//! Watches the log for new entries from any process.
//!
//! No guarantee depends on it: a read queries the server itself, and polls. With the watch, it rarely has to.

use std::{sync::Arc, time::Duration};

use redis::{Client, RedisError, Value, aio::MultiplexedConnection};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

use super::connection::{Connection, connect};

/// How long the server holds the request, and the time limit of an answer.
const BLOCK: Duration = Duration::from_secs(1);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// Delay before a reconnect.
const RETRY_DELAY: Duration = Duration::from_millis(100);
/// How long appends are collected: to read after each append of a burst would slow the appends down.
const BURST: Duration = Duration::from_millis(2);

/// Wakes waiting readers until the task ends. If its connection is lost, which it notices at once, it has the other
/// connections replaced as well, so that no request has to fail first.
pub(super) async fn watch(client: Client, log: String, woken: watch::Sender<()>, others: [Arc<Connection>; 2]) {
    loop {
        if let Ok(Ok(mut connection)) = timeout(ANSWER_TIMEOUT, connect(&client)).await {
            let Err(error) = watch_with(&mut connection, &log, &woken).await;
            tracing::debug!(error = &error as &dyn std::error::Error, "the connection that watches Redis was lost");
            others.iter().for_each(|connection| connection.forget());
        }
        sleep(RETRY_DELAY).await;
    }
}

async fn watch_with(
    connection: &mut MultiplexedConnection,
    log: &str,
    woken: &watch::Sender<()>,
) -> Result<std::convert::Infallible, RedisError> {
    let mut known = None;
    loop {
        let last = last(connection, log).await?;
        if known.as_ref() != Some(&last) {
            woken.send_replace(());
        }
        let mut wait = redis::cmd("XREAD");
        wait.arg("COUNT").arg(1).arg("BLOCK").arg(BLOCK.as_millis() as u64);
        wait.arg("STREAMS").arg(log).arg(&last);
        let news: Value = timeout(ANSWER_TIMEOUT, wait.query_async(connection)).await.map_err(late)??;
        known = Some(last);
        if news != Value::Nil {
            woken.send_replace(());
            sleep(BURST).await;
        }
    }
}

/// Returns the name of the last entry of the log that has not been pruned.
async fn last(connection: &mut MultiplexedConnection, log: &str) -> Result<String, RedisError> {
    let mut last = redis::cmd("XREVRANGE");
    last.arg(log).arg("+").arg("-").arg("COUNT").arg(1);
    let entries: Vec<(String, Value)> = timeout(ANSWER_TIMEOUT, last.query_async(connection)).await.map_err(late)??;
    Ok(entries.into_iter().next().map_or_else(|| "0-0".to_owned(), |(position, _)| position))
}

fn late(_: tokio::time::error::Elapsed) -> RedisError {
    std::io::Error::from(std::io::ErrorKind::TimedOut).into()
}
