//! When sessions were last used, without a write for every use.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use crate::{Error, SessionId, Subject, session::SessionStore, time::Timestamp};

/// How many sessions are remembered between two writes; of more than that the time is not noted.
const REMEMBERED: usize = 100_000;

/// Uses of sessions that have not been written down yet.
#[derive(Debug, Default)]
pub(super) struct LastSeen {
    pending: Mutex<HashMap<SessionId, (Subject, Timestamp)>>,
}

impl LastSeen {
    /// Notes a use, in memory.
    pub(super) fn note(&self, session: &SessionId, subject: &Subject, now: Timestamp) {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, seen)) = pending.get_mut(session) {
            *seen = now;
        } else if pending.len() < REMEMBERED {
            pending.insert(session.clone(), (subject.clone(), now));
        }
    }

    /// Writes down what has been noted since the last time. What can't be written is lost: it only informs.
    pub(super) async fn write_to(&self, store: &dyn SessionStore) -> Result<(), Error> {
        let pending = std::mem::take(&mut *self.pending.lock().unwrap_or_else(PoisonError::into_inner));
        if pending.is_empty() {
            return Ok(());
        }
        store.seen(pending.into_iter().map(|(session, (subject, at))| (session, subject, at)).collect()).await
    }
}
