//! The time of the last login of each account, without a write for each login.
//!
//! A login is recorded in memory, and all of them are written together every [`INTERVAL`] and when the server stops. A server
//! that is killed loses the logins since the last write from here; their sessions, which have times of their own, are durable.

use std::{
    collections::HashMap,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use adieu::{Error, Subject, time::Timestamp};
use tokio::{task::JoinHandle, time::MissedTickBehavior};

use super::AccountStore;

/// The time between two writes.
const INTERVAL: Duration = Duration::from_secs(30);

/// The maximum number of accounts between two writes. Logins of further accounts are not recorded.
const MAX_PENDING: usize = 100_000;

/// The number of accounts in one commit, during which other writes wait.
const STEP: usize = 256;

/// Logins that have not been written yet.
#[derive(Debug, Default)]
pub(super) struct LastLogins(Mutex<HashMap<Subject, Timestamp>>);

impl LastLogins {
    pub(super) fn note(&self, id: &Subject, at: Timestamp) {
        let mut pending = self.pending();
        if let Some(earlier) = pending.get_mut(id) {
            *earlier = at.max(*earlier);
        } else if pending.len() < MAX_PENDING {
            pending.insert(id.clone(), at);
        }
    }

    /// Writes all logins to the store. Those that could not be written are kept for the next time.
    ///
    /// # Errors
    /// Fails if the store cannot be written.
    pub(super) async fn flush(&self, store: &dyn AccountStore) -> Result<(), Error> {
        let mut logins: Vec<_> = mem::take(&mut *self.pending()).into_iter().collect();
        while !logins.is_empty() {
            let step = logins.split_off(logins.len().saturating_sub(STEP));
            if let Err(error) = store.record_logins(step.clone()).await {
                for (id, at) in logins.into_iter().chain(step) {
                    self.note(&id, at);
                }
                return Err(error);
            }
        }
        Ok(())
    }

    fn pending(&self) -> MutexGuard<'_, HashMap<Subject, Timestamp>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes logins regularly until it is dropped.
#[derive(Debug)]
pub struct RecordingLogins(JoinHandle<()>);

impl RecordingLogins {
    pub(super) fn start(logins: Arc<LastLogins>, store: Arc<dyn AccountStore>) -> Self {
        Self(tokio::spawn(async move {
            let mut ticks = tokio::time::interval(INTERVAL);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                if let Err(error) = logins.flush(&*store).await {
                    tracing::warn!(error = &error as &dyn std::error::Error, "the last logins could not be written");
                }
            }
        }))
    }
}

impl Drop for RecordingLogins {
    fn drop(&mut self) {
        self.0.abort();
    }
}
