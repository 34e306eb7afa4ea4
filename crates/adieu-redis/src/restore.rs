//! Detects that an older copy of the data has replaced it, for example after a failover to a replica.

use std::sync::Arc;

use async_trait::async_trait;

use super::{
    Redis,
    commit::{Reset, pause},
    connection::Ask,
    sessions::{View, in_time},
};
use adieu::{
    Error,
    restore::{LogReset, LogState, Restorable, Witness},
    revocation::Position,
    session::Ended,
    store::Store,
    time::Timestamp,
};

impl Store for Redis {
    fn restorable(&self) -> Option<Arc<dyn Restorable>> {
        Some(Arc::new(self.clone()))
    }
}

#[async_trait]
impl Restorable for Redis {
    fn witness(&self) -> &Witness {
        &self.shared.witness
    }

    async fn inspect(&self, at: Position) -> Result<LogState, Error> {
        self.state(at).await
    }

    async fn reset(&self, reset: LogReset) -> Result<Option<Ended>, Error> {
        let LogReset { seen, log, after, at, ending } = reset;
        let reset = Reset { seen, log, after, at };
        in_time(async {
            // The first of several nodes resets the log; the others find its identity changed.
            while self.state(Position::START).await?.log == reset.seen {
                let mut view = View::new(self);
                let mut ended = view.end(&ending).await?;
                let mut commit = view.commit();
                commit.revocations = ended.as_ref().map_or(&[], |ended| &ended.revocations);
                commit.reset = Some(&reset);
                if let Ok(committed) = self.commit(&commit).await? {
                    if let Some(ended) = &mut ended {
                        ended.sessions = committed.ended;
                    }
                    return Ok(ended);
                }
                pause().await;
            }
            Ok(None)
        })
        .await
    }

    async fn accept_restore(&self) -> Result<Option<Timestamp>, Error> {
        let state = &self.shared.keys.state;
        let mut accept = redis::pipe();
        accept.atomic();
        accept.cmd("HGET").arg(state).arg("restored_at");
        accept.cmd("HDEL").arg(state).arg("restored_at").ignore();
        let (restored_at,): (Option<u64>,) = self.write(Ask::Pipeline(&accept)).await?;
        Ok(restored_at.map(Timestamp::from_unix))
    }
}
