//! Compares the log of an engine with the mark on every access.

use std::sync::{Arc, PoisonError, RwLock, Weak};

use crate::{
    Error,
    restore::{HighWater, LogState, Mark, Verdict},
};

/// Compares the log of a store with the high-water mark of the node that has opened it, if that node keeps one. Clones
/// share the mark.
///
/// A store may be restored, or a standby may take over without the last entries, at any moment, even between two
/// statements on one connection. So every call of an engine that reads the log or appends to it does three things:
///
/// 1. It takes the [`mark`](Self::mark) *before* it looks at the log, because other calls raise the mark concurrently.
/// 2. In the same snapshot as the read, or in the same transaction as the append and before the commit, it
///    [compares](Self::hold) the log with that mark, and fails if the log went back. Otherwise new entries would take
///    the positions of the lost ones, and the loss could no longer be detected.
/// 3. Once the append is durable, and before returning, it [records](Self::note) the end of the log, and fails if that
///    is impossible: the answer of a server that has been replaced may arrive late.
#[derive(Debug, Clone, Default)]
pub struct Witness(Arc<RwLock<Weak<HighWater>>>);

impl Witness {
    /// Sets the mark that the log is compared with, until the mark is dropped.
    pub fn keep_to(&self, mark: &Arc<HighWater>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(mark);
    }

    /// Returns the current mark; `None` if there is none, and the log is not to be compared.
    #[must_use]
    pub fn mark(&self) -> Option<Arc<Mark>> {
        self.high_water()?.known()
    }

    /// Compares a log with a mark that was taken before the log was read. The state needs the entry at
    /// [`Mark::anchor`].
    ///
    /// # Errors
    /// [`Error::RolledBack`] if the log went back.
    pub fn hold(&self, mark: &Mark, found: &LogState) -> Result<(), Error> {
        let verdict = mark.compare(found);
        // The guard of the node handles it, or finds that another node has.
        if verdict != Verdict::Continued
            && let Some(high_water) = self.high_water()
        {
            high_water.raise_alarm();
        }
        match verdict {
            Verdict::RolledBack(why) => Err(Error::RolledBack(why)),
            Verdict::Continued | Verdict::Another => Ok(()),
        }
    }

    /// Records the end of a log that was compared with a mark. All of the log must be durable.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if another [lineage](LogState::lineage) has raised the mark since. Nothing is recorded
    /// and nothing is guaranteed then; the caller must retry.
    pub fn note(&self, held: &Mark, found: &LogState) -> Result<(), Error> {
        match self.high_water() {
            Some(high_water) if !high_water.see_held(held, found) => {
                Err(Error::unavailable("another server has taken over meanwhile"))
            }
            _ => Ok(()),
        }
    }

    fn high_water(&self) -> Option<Arc<HighWater>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).upgrade()
    }
}
