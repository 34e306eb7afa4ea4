//! A log that is complete as of no later than something else allows.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;

use super::{Cursor, Freshness, Page, Position, Pruned, Revocation, RevocationLog};
use crate::{
    Error,
    restore::Restorable,
    time::{Clock, Moment, Timestamp},
};

/// Reads `log`, and says that it is complete as of `limit` when that is earlier.
pub(crate) struct Limited {
    pub(crate) log: Arc<dyn RevocationLog>,
    pub(crate) limit: Freshness,
    pub(crate) clock: Arc<dyn Clock>,
}

#[async_trait]
impl RevocationLog for Limited {
    async fn append(&self, revocations: Vec<Revocation>) -> Result<Position, Error> {
        self.log.append(revocations).await
    }

    async fn read(&self, after: Option<&Cursor>, wait: Duration) -> Result<Page, Error> {
        // As it is before the read is sent: a limit that is raised later says nothing about what the read finds.
        let limit = self.limit.last_complete().unwrap_or(Moment::from_nanos(0));
        let asked_at = self.clock.moment();
        let page = self.log.read(after, wait).await?;
        Ok(Page { age: page.age.max(asked_at.since(limit)), ..page })
    }

    async fn prune(&self, now: Timestamp) -> Result<Pruned, Error> {
        self.log.prune(now).await
    }

    fn acknowledge(&self, cursor: &Cursor) {
        self.log.acknowledge(cursor);
    }

    fn restorable(&self) -> Option<Arc<dyn Restorable>> {
        self.log.restorable()
    }
}
