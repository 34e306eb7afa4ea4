//! What an engine holds its log against, in every look at it.

use std::sync::{Arc, PoisonError, RwLock, Weak};

use crate::{
    Error,
    restore::{HighWater, LogState, Mark, Verdict},
};

/// Holds the log of a store against the mark of the node that has it open, if that node keeps one. Clones share it.
///
/// A store that can be put back, or whose standby can take over without the last entries, may do so at any moment, also between
/// two statements on what seems to be one connection. So no engine relies on having noticed it. Whoever reads the log or appends
/// to it does three things:
///
/// 1. takes the [`mark`](Self::mark) *before* it looks at the log, since others go on raising it;
/// 2. in the same snapshot as what it reads, or in the same transaction as what it appends and before the commit,
///    [holds](Self::hold) the log against that mark, and fails if the log went back: otherwise new entries would take the places
///    of those that were lost, and nobody could tell;
/// 3. once that is durable, and before it answers, [notes](Self::note) where the log ends, and fails if that can't be: an answer of a
///    server whose place another has taken may come late.
#[derive(Debug, Clone, Default)]
pub struct Witness(Arc<RwLock<Weak<HighWater>>>);

impl Witness {
    /// From now on the log is held against this mark, for as long as it is there.
    pub fn keep_to(&self, mark: &Arc<HighWater>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(mark);
    }

    /// The mark as it is now; `None` when none is kept, and then there is nothing to hold the log against.
    #[must_use]
    pub fn mark(&self) -> Option<Arc<Mark>> {
        self.high_water()?.known()
    }

    /// Holds a log against a mark that was taken before the log was looked at. The state needs the entry at
    /// [`Mark::anchor`].
    ///
    /// # Errors
    /// [`Error::RolledBack`] when it went back.
    pub fn hold(&self, mark: &Mark, found: &LogState) -> Result<(), Error> {
        let verdict = mark.compare(found);
        // The guard of the node does what has to be done, or finds out that another node has.
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

    /// Notes where a log ends that was held against a mark, and with which entry. All of it must be durable.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the mark was raised meanwhile by what another [lineage](LogState::lineage) has answered. Then
    /// nothing is noted, and nothing may be promised: the caller has to try again.
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
