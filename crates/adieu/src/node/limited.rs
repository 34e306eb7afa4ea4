//! A log whose freshness is limited.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;

use crate::{
    Error,
    revocation::{Cursor, LogId, Page, Position, Pruned, Revocation, RevocationLog},
    time::{Clock, Moment, Timestamp},
};

/// The moment up to which a log may count as complete, for the identity that its cursors carry. After that identity
/// changes, for example because a standby has taken over, the log does not count as complete until the limit is
/// raised for the new identity. Clones share the limit.
#[derive(Debug, Clone, Default)]
pub struct FreshnessLimit(Arc<Mutex<Option<(LogId, Moment)>>>);

impl FreshnessLimit {
    /// Returns a limit that was never raised.
    #[must_use]
    pub fn never() -> Self {
        Self::default()
    }

    /// Raises the limit for the log whose cursors carry `lineage`. An earlier moment than the last has no effect. A
    /// limit for another identity is forgotten.
    pub fn raise(&self, lineage: &LogId, moment: Moment) {
        let mut limit = self.limit();
        match &mut *limit {
            Some((known, until)) if known == lineage => *until = moment.max(*until),
            _ => *limit = Some((lineage.clone(), moment)),
        }
    }

    /// Returns the limit for the log that it was last raised for; `None` if it was never raised.
    #[must_use]
    pub fn latest(&self) -> Option<Moment> {
        self.limit().as_ref().map(|(_, moment)| *moment)
    }

    /// A panic leaves no change half done.
    fn limit(&self) -> MutexGuard<'_, Option<(LogId, Moment)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A log that counts as complete as of `limit`, if that is earlier.
pub(crate) struct Limited {
    pub(crate) log: Arc<dyn RevocationLog>,
    pub(crate) limit: FreshnessLimit,
    pub(crate) clock: Arc<dyn Clock>,
}

#[async_trait]
impl RevocationLog for Limited {
    async fn append(&self, revocations: Vec<Revocation>) -> Result<Position, Error> {
        self.log.append(revocations).await
    }

    async fn read(&self, after: Option<&Cursor>, wait: Duration) -> Result<Page, Error> {
        // Taken before the read is sent: a limit that is raised later says nothing about this read.
        let limit = self.limit.limit().clone();
        let is_limit_of = |log: &LogId| limit.as_ref().is_some_and(|(lineage, _)| lineage == log);
        // Do not wait for a log that cannot count as complete: read it again as soon as it can.
        let wait = if after.is_none_or(|cursor| is_limit_of(&cursor.log)) { wait } else { Duration::ZERO };
        let asked_at = self.clock.moment();
        let page = self.log.read(after, wait).await?;
        let limit = limit.filter(|(lineage, _)| *lineage == page.cursor.log);
        let limit = limit.map_or(Moment::from_nanos(0), |(_, moment)| moment);
        Ok(Page { age: page.age.max(asked_at.since(limit)), ..page })
    }

    async fn prune(&self, now: Timestamp) -> Result<Pruned, Error> {
        self.log.prune(now).await
    }

    fn acknowledge(&self, cursor: &Cursor) {
        self.log.acknowledge(cursor);
    }
}
