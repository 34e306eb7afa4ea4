//! A durable log with short pages, which can be rolled back.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use adieu::{
    Error,
    revocation::{Cursor, LogId, Page, Position, Pruned, Revocation, RevocationLog},
    time::Timestamp,
};
use async_trait::async_trait;

use super::Signal;

/// Few entries, so that incomplete pages are common.
const PAGE: usize = 3;

#[derive(Debug, Clone)]
pub(crate) struct Durable {
    kept: Arc<Mutex<Kept>>,
    changes: Signal<u64>,
}

#[derive(Debug, Clone)]
pub(crate) struct Kept {
    id: LogId,
    /// Each entry is at the position that is one more than its index.
    entries: Vec<Revocation>,
}

impl Durable {
    pub(crate) fn new() -> Self {
        let kept = Kept { id: LogId::random(), entries: Vec::new() };
        Self { kept: Arc::new(Mutex::new(kept)), changes: Signal::new(0) }
    }

    pub(crate) fn append_now(&self, revocations: Vec<Revocation>) {
        self.kept.lock().unwrap().entries.extend(revocations);
        self.changes.set(self.changes.get() + 1);
    }

    /// Removes the last entries, as restoring a backup does. Returns the lost ones.
    pub(crate) fn go_back(&self, by: usize, as_another: bool) -> Vec<Revocation> {
        let mut kept = self.kept.lock().unwrap();
        if as_another {
            kept.id = LogId::random();
        }
        let left = kept.entries.len().saturating_sub(by);
        let lost = kept.entries.split_off(left);
        self.changes.set(self.changes.get() + 1);
        lost
    }

    fn page(&self, after: Option<&Cursor>) -> Page {
        let kept = self.kept.lock().unwrap();
        let head = kept.entries.len();
        let known = after
            .filter(|cursor| cursor.log == kept.id)
            .and_then(|cursor| usize::try_from(cursor.position.get()).ok())
            .filter(|position| *position <= head);
        let from = known.unwrap_or(0);
        let to = head.min(from + PAGE);
        Page {
            entries: kept.entries[from..to].to_vec(),
            cursor: Cursor { log: kept.id.clone(), position: Position::new(to as u64) },
            complete: to == head,
            from_start: known.is_none(),
            age: Duration::ZERO,
            pruned_through: Timestamp::ZERO,
        }
    }
}

#[async_trait]
impl RevocationLog for Durable {
    async fn append(&self, revocations: Vec<Revocation>) -> Result<Position, Error> {
        self.append_now(revocations);
        Ok(Position::START)
    }

    async fn read(&self, after: Option<&Cursor>, wait: Duration) -> Result<Page, Error> {
        let before = self.changes.get();
        let page = self.page(after);
        if !page.entries.is_empty() || page.from_start {
            return Ok(page);
        }
        let _ = tokio::time::timeout(wait, self.changes.until(|changes| changes != before)).await;
        Ok(self.page(after))
    }

    async fn prune(&self, _: Timestamp) -> Result<Pruned, Error> {
        Ok(Pruned { removed: 0, complete: true })
    }
}
