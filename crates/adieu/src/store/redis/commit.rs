//! Changing sessions and appending to the log, in one step.
//!
//! What is to be done is decided here, by the rules that all engines share, from what was read; the server does it if all that
//! was read is still so. If not, it is read and decided again.

use redis::ScriptInvocation;

use super::{Redis, connection::Ask, log, sessions};
use crate::{
    Error, SessionId,
    revocation::{LogId, Position, Revocation},
    session::Session,
    time::Timestamp,
};

/// What is to be done, and what must still be so.
#[derive(Debug, Default)]
pub(super) struct Commit {
    /// Sessions as they were read, or that there were none.
    pub(super) sessions: Vec<(SessionId, Option<Vec<u8>>)>,
    /// How many sessions there were of subjects, each as [`sessions::owner`] has it.
    pub(super) subjects: Vec<(Vec<u8>, usize)>,
    /// All sessions end.
    pub(super) everything: Option<Everything>,
    pub(super) revocations: Vec<Revocation>,
    pub(super) removed: Vec<SessionId>,
    pub(super) put: Vec<Session>,
}

/// What was read of all sessions.
#[derive(Debug, Clone)]
pub(super) struct Everything {
    /// How many of them were refreshed after this time.
    pub(super) since: Timestamp,
    pub(super) refreshed: usize,
    /// Until when any has access.
    pub(super) longest: Timestamp,
}

/// What was done.
#[derive(Debug, Clone, Copy)]
pub(super) struct Committed {
    /// The last position of the log.
    pub(super) head: Position,
    /// How many sessions ended as all of them.
    pub(super) ended: usize,
}

impl Commit {
    /// To append and nothing else.
    pub(super) fn append(revocations: Vec<Revocation>) -> Self {
        Self { revocations, ..Self::default() }
    }

    /// To keep a session, whatever was there.
    pub(super) fn put(session: Session) -> Self {
        Self { put: vec![session], ..Self::default() }
    }

    /// Whether it is done also when the server's memory is full: all but a login.
    fn may_use_memory(&self) -> bool {
        !self.sessions.is_empty() || !self.revocations.is_empty() || self.everything.is_some()
    }

    fn arguments(&self, script: &mut ScriptInvocation<'_>) -> Result<(), Error> {
        script.arg(self.sessions.len());
        for (id, session) in &self.sessions {
            let expected = match session {
                Some(session) => [b"+", session.as_slice()].concat(),
                None => b"-".to_vec(),
            };
            script.arg(id.as_str()).arg(expected);
        }
        script.arg(self.subjects.len());
        for (owner, count) in &self.subjects {
            script.arg(owner.as_slice()).arg(*count);
        }
        script.arg(u8::from(self.everything.is_some()));
        if let Some(everything) = &self.everything {
            script.arg(everything.since.as_unix()).arg(everything.refreshed).arg(everything.longest.as_unix());
        }
        script.arg(u8::from(self.may_use_memory()));
        // A new one each time: a server may be emptied more than once.
        script.arg(LogId::random().as_str());
        script.arg(self.revocations.len());
        for revocation in &self.revocations {
            script.arg(log::to_text(revocation)).arg(revocation.lapses_at.as_unix());
        }
        script.arg(self.removed.len());
        for id in &self.removed {
            script.arg(id.as_str());
        }
        script.arg(self.put.len());
        for session in &self.put {
            script.arg(session.id.as_str()).arg(sessions::to_bytes(session)?);
            script.arg(session.refreshed_at.as_unix()).arg(session.access_expires_at.as_unix());
            script.arg(session.last_expiry().as_unix());
        }
        Ok(())
    }
}

impl Redis {
    /// Does it; `None`, and nothing is done, when something has changed since it was read.
    pub(super) async fn commit(&self, commit: &Commit) -> Result<Option<Committed>, Error> {
        let keys = &self.shared.keys;
        let mut script = self.shared.scripts.commit.prepare_invoke();
        for key in keys.of_sessions().into_iter().chain([keys.state.as_str(), &keys.log, &keys.lapses]) {
            script.key(key);
        }
        commit.arguments(&mut script)?;
        let (done, head, ended): (bool, u64, usize) = self.write(Ask::Script(&script)).await?;
        Ok(done.then(|| Committed { head: Position::new(head), ended }))
    }
}
