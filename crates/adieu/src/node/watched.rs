//! The store of a node with a high-water mark.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::task::JoinHandle;

use super::Guard;
use crate::{
    Error,
    revocation::{Cursor, Page, Position, Pruned, Revocation, RevocationLog},
    time::Timestamp,
    token::{KeyStore, StoredKey},
};

/// A guarded log: after the log went back, a read returns nothing until the guard has handled it.
pub(crate) struct Watched {
    log: Arc<dyn RevocationLog>,
    guard: Arc<Guard>,
    task: JoinHandle<()>,
}

impl Watched {
    pub(crate) fn new(log: Arc<dyn RevocationLog>, guard: Arc<Guard>) -> Self {
        let task = tokio::spawn(Arc::clone(&guard).watch());
        Self { log, guard, task }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[async_trait]
impl RevocationLog for Watched {
    async fn append(&self, revocations: Vec<Revocation>) -> Result<Position, Error> {
        self.log.append(revocations).await
    }

    async fn read(&self, after: Option<&Cursor>, wait: Duration) -> Result<Page, Error> {
        match self.log.read(after, wait).await {
            Err(Error::RolledBack(_)) => {
                self.guard.check().await?;
                // Read the log as it is after the reset.
                self.log.read(after, Duration::ZERO).await
            }
            outcome => outcome,
        }
    }

    async fn prune(&self, now: Timestamp) -> Result<Pruned, Error> {
        self.log.prune(now).await
    }

    fn acknowledge(&self, cursor: &Cursor) {
        self.log.acknowledge(cursor);
    }
}

/// Guarded keys: a read returns no removed key that a backup has brought back, and every removal is recorded in the mark before
/// the call returns.
pub(crate) struct WatchedKeys {
    keys: Arc<dyn KeyStore>,
    guard: Arc<Guard>,
    /// Held until the mark has what was read or changed: otherwise a late answer would pass for a later state, and a new key for one
    /// that was removed.
    in_order: tokio::sync::Mutex<()>,
}

impl WatchedKeys {
    pub(crate) fn new(keys: Arc<dyn KeyStore>, guard: Arc<Guard>) -> Self {
        Self { keys, guard, in_order: tokio::sync::Mutex::default() }
    }
}

#[async_trait]
impl KeyStore for WatchedKeys {
    async fn keys(&self) -> Result<Vec<StoredKey>, Error> {
        let _in_order = self.in_order.lock().await;
        self.guard.without_removed(self.keys.keys().await?).await
    }

    async fn add_first_key(&self, key: StoredKey) -> Result<Vec<StoredKey>, Error> {
        let _in_order = self.in_order.lock().await;
        self.guard.without_removed(self.keys.add_first_key(key).await?).await
    }

    async fn replace_keys(&self, added: Option<StoredKey>, removed: Vec<String>) -> Result<Vec<StoredKey>, Error> {
        let _in_order = self.in_order.lock().await;
        self.guard.without_removed(self.keys.replace_keys(added, removed).await?).await
    }
}
