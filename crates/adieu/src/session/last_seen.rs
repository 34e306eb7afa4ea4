//! When sessions were last used, without a write for every use.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use crate::{Error, SessionId, Subject, session::SessionStore, time::Timestamp};

/// How many sessions are remembered between two writes; of more than that the time is not noted.
const REMEMBERED: usize = 100_000;

/// How many are written in one step, which holds up whoever logs out meanwhile.
const STEP: usize = 256;

/// So many maps, so that those who use different sessions at once seldom wait for each other.
const SHARDS: usize = 16;

/// Uses of sessions that have not been written down yet.
#[derive(Debug, Default)]
pub(super) struct LastSeen {
    shards: [Mutex<HashMap<SessionId, (Subject, Timestamp)>>; SHARDS],
}

impl LastSeen {
    /// Notes a use, in memory.
    pub(super) fn note(&self, session: &SessionId, subject: &Subject, now: Timestamp) {
        // The last character of a UUID is random; of what else ids may be, an uneven spread is no harm.
        let last = session.as_str().bytes().next_back().map_or(0, usize::from);
        let Some(shard) = self.shards.get(last % SHARDS) else { return };
        let mut pending = shard.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, seen)) = pending.get_mut(session) {
            *seen = now;
        } else if pending.len() < REMEMBERED / SHARDS {
            pending.insert(session.clone(), (subject.clone(), now));
        }
    }

    /// Writes down what has been noted since the last time. What can't be written is lost: it only informs.
    pub(super) async fn write_to(&self, store: &dyn SessionStore) -> Result<(), Error> {
        for shard in &self.shards {
            let pending = std::mem::take(&mut *shard.lock().unwrap_or_else(PoisonError::into_inner));
            let seen: Vec<_> = pending.into_iter().map(|(session, (subject, at))| (session, subject, at)).collect();
            for step in seen.chunks(STEP) {
                store.seen(step.to_vec()).await?;
            }
        }
        Ok(())
    }
}
