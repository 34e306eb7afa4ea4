//! Deletion of data that no token can match any more.

use std::{sync::Arc, time::Duration};

use tokio::{task::JoinHandle, time::MissedTickBehavior};

use crate::{
    Error,
    revocation::{MAX_LEEWAY, RevocationLog},
    session::{SessionStore, Sessions, delete_lapsed_keys},
    time::{Clock, Timestamp, TrustedTime},
    token::KeyStore,
};

/// The interval of the task.
const INTERVAL: Duration = Duration::from_secs(30);

/// A task that deletes lapsed revocations and expired sessions in small steps, and records when sessions were last
/// used. It ends when this is dropped.
#[derive(Debug)]
pub struct Housekeeping {
    task: JoinHandle<()>,
}

impl Housekeeping {
    /// Starts the task.
    #[must_use]
    pub fn start(log: Arc<dyn RevocationLog>, sessions: Arc<Sessions>, clock: Arc<dyn Clock>) -> Self {
        Self::start_on(log, sessions, None, clock)
    }

    /// Starts the task on a store that also holds the signing keys of these sessions. It also deletes keys whose
    /// tokens have all expired.
    #[must_use]
    pub fn start_with_keys(
        log: Arc<dyn RevocationLog>,
        sessions: Arc<Sessions>,
        keys: Arc<dyn KeyStore>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self::start_on(log, sessions, Some(keys), clock)
    }

    fn start_on(
        log: Arc<dyn RevocationLog>,
        sessions: Arc<Sessions>,
        keys: Option<Arc<dyn KeyStore>>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let task = tokio::spawn(async move {
            let mut time = TrustedTime::start(&*clock);
            let mut ticks = tokio::time::interval(INTERVAL);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                let written = sessions.flush_last_seen().await;
                let forgotten = match time.now(&*clock) {
                    Some(now) => run_maintenance(&*log, sessions.store(), now).await.map(|()| Some(now)),
                    None => Ok(None),
                };
                // After the sessions, which need the keys that signed their tokens.
                let lapsed = match (&forgotten, &keys) {
                    (Ok(Some(now)), Some(keys)) => {
                        delete_lapsed_keys(&**keys, sessions.store(), sessions.longest_session(), *now).await.map(drop)
                    }
                    _ => Ok(()),
                };
                if let Err(error) = written.and(forgotten).and(lapsed) {
                    tracing::warn!(error = &error as &dyn std::error::Error, "the maintenance of the store failed");
                }
            }
        });
        Self { task }
    }
}

impl Drop for Housekeeping {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Deletes everything that has lapsed or expired at `now`, step by step. If pruning the log fails, expired sessions
/// are deleted nevertheless, which may free the space that the log needs.
///
/// # Errors
/// If the store could not be read or written; the rest is deleted the next time.
pub async fn run_maintenance(
    log: &dyn RevocationLog,
    sessions: &dyn SessionStore,
    now: Timestamp,
) -> Result<(), Error> {
    let pruned = async {
        while !log.prune(now).await?.complete {}
        Ok(())
    };
    let forgotten = async {
        // A verifier may accept the last token of a session for as long as its leeway.
        while !sessions.delete_expired(now.minus(MAX_LEEWAY)).await?.complete {}
        Ok(())
    };
    let pruned = pruned.await;
    forgotten.await.and(pruned)
}
