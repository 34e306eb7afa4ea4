//! Measurements of the appends to the log, for every engine.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use adieu::{
    Error, SessionId, Subject,
    restore::Restorable,
    revocation::{Cursor, HashedPage, Page, Position, Pruned, Revocation, RevocationHasher, RevocationLog},
    session::{EndSessions, Ended, Rotated, Rotation, Session, SessionKey, SessionStore},
    store::Store,
    time::Timestamp,
    token::{KeyStore, StoredKey},
};
use async_trait::async_trait;
use prometheus_client::metrics::{counter::Counter, histogram::Histogram};

use crate::traces;

/// The upper bounds of the histogram: a fast disk syncs in a tenth of a millisecond, and callers give up after some seconds.
const DURATIONS: [f64; 14] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

/// What was appended to the log and removed from it. Clones share the measurements.
#[derive(Debug, Clone)]
pub(super) struct AppendMetrics {
    /// How long each call that appended took until its entries were durable.
    pub(super) durations: Histogram,
    /// Lapsed entries that were removed.
    pub(super) pruned: Counter,
}

impl Default for AppendMetrics {
    fn default() -> Self {
        Self { durations: Histogram::new(DURATIONS), pruned: Counter::default() }
    }
}

impl AppendMetrics {
    /// Waits for a call, and records its duration if it has appended.
    async fn of<T>(
        &self,
        call: impl Future<Output = Result<T, Error>>,
        has_appended: impl FnOnce(&T) -> bool,
    ) -> Result<T, Error> {
        let started = Instant::now();
        let output = traces::of_commit(call).await?;
        if has_appended(&output) {
            self.durations.observe(started.elapsed().as_secs_f64());
        }
        Ok(output)
    }
}

/// A store whose appends are measured.
pub(super) struct MeasuredStore<S> {
    pub(super) store: S,
    pub(super) appends: AppendMetrics,
}

fn has_appended(ended: &Option<Ended>) -> bool {
    ended.as_ref().is_some_and(|ended| !ended.revocations.is_empty())
}

#[async_trait]
impl<S: Store> RevocationLog for MeasuredStore<S> {
    async fn append(&self, revocations: Vec<Revocation>) -> Result<Position, Error> {
        let appends = !revocations.is_empty();
        self.appends.of(self.store.append(revocations), |_| appends).await
    }

    async fn read(&self, after: Option<&Cursor>, wait: Duration) -> Result<Page, Error> {
        self.store.read(after, wait).await
    }

    async fn read_hashed(
        &self,
        hasher: &RevocationHasher,
        after: Option<&Cursor>,
        wait: Duration,
    ) -> Result<HashedPage, Error> {
        self.store.read_hashed(hasher, after, wait).await
    }

    async fn prune(&self, now: Timestamp) -> Result<Pruned, Error> {
        let pruned = self.store.prune(now).await?;
        self.appends.pruned.inc_by(u64::try_from(pruned.removed).unwrap_or(u64::MAX));
        Ok(pruned)
    }

    fn acknowledge(&self, cursor: &Cursor) {
        self.store.acknowledge(cursor);
    }
}

#[async_trait]
impl<S: Store> SessionStore for MeasuredStore<S> {
    async fn create(&self, session: Session) -> Result<(), Error> {
        traces::of_commit(self.store.create(session)).await
    }

    async fn rotate(&self, rotation: Rotation) -> Result<Rotated, Error> {
        self.appends.of(self.store.rotate(rotation), |rotated| matches!(rotated, Rotated::Reused(..))).await
    }

    async fn end(&self, ending: EndSessions) -> Result<Option<Ended>, Error> {
        self.appends.of(self.store.end(ending), has_appended).await
    }

    async fn end_all(&self, endings: Vec<EndSessions>) -> Result<Vec<Option<Ended>>, Error> {
        self.appends.of(self.store.end_all(endings), |ended| ended.iter().any(has_appended)).await
    }

    async fn session(&self, id: &SessionId) -> Result<Option<Session>, Error> {
        self.store.session(id).await
    }

    async fn sessions_of(&self, of: &Subject, after: Option<&SessionId>, limit: usize) -> Result<Vec<Session>, Error> {
        self.store.sessions_of(of, after, limit).await
    }

    async fn sessions(&self, after: Option<&SessionKey>, limit: usize) -> Result<Vec<Session>, Error> {
        self.store.sessions(after, limit).await
    }

    async fn oldest(&self) -> Result<Option<Session>, Error> {
        self.store.oldest().await
    }

    async fn latest_expiry(&self) -> Result<Timestamp, Error> {
        self.store.latest_expiry().await
    }

    async fn record_last_seen(&self, seen: Vec<(SessionId, Subject, Timestamp)>) -> Result<(), Error> {
        self.store.record_last_seen(seen).await
    }

    async fn delete_expired(&self, now: Timestamp) -> Result<Pruned, Error> {
        self.store.delete_expired(now).await
    }
}

#[async_trait]
impl<S: Store> KeyStore for MeasuredStore<S> {
    async fn keys(&self) -> Result<Vec<StoredKey>, Error> {
        self.store.keys().await
    }

    async fn add_first_key(&self, key: StoredKey) -> Result<Vec<StoredKey>, Error> {
        self.store.add_first_key(key).await
    }

    async fn replace_keys(&self, added: Option<StoredKey>, removed: Vec<String>) -> Result<Vec<StoredKey>, Error> {
        self.store.replace_keys(added, removed).await
    }
}

impl<S: Store> Store for MeasuredStore<S> {
    fn restorable(&self) -> Option<Arc<dyn Restorable>> {
        self.store.restorable()
    }
}
