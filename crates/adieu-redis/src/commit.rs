//! Changing sessions and appending to the log, in one step.
//!
//! What is to be done is decided here, by the rules that all engines share, from what was read; the server does it if all that
//! was read is still so. If not, it is read and decided again.

use redis::ScriptInvocation;

use super::{Redis, codec, connection::Ask, invalid};
use adieu::{
    Error, SessionId,
    restore::{LogState, Mark},
    revocation::{LogId, Position, Revocation},
    session::Session,
    time::Timestamp,
};

/// What is to be done, and what must still be so.
#[derive(Debug, Default)]
pub(super) struct Commit {
    /// Sessions as they were read, or that there were none.
    pub(super) sessions: Vec<(SessionId, Option<Vec<u8>>)>,
    /// How many sessions there were of subjects, each as [`codec::owner`] has it.
    pub(super) subjects: Vec<(Vec<u8>, usize)>,
    /// All sessions end.
    pub(super) everything: Option<Everything>,
    pub(super) revocations: Vec<Revocation>,
    pub(super) removed: Vec<SessionId>,
    pub(super) put: Vec<Session>,
    /// The log starts over.
    pub(super) reset: Option<Reset>,
}

/// A log that starts over.
#[derive(Debug, Clone)]
pub(super) struct Reset {
    /// The identity that it must still have, and the one that it gets.
    pub(super) seen: LogId,
    pub(super) log: LogId,
    /// New entries come after this position.
    pub(super) after: Position,
    pub(super) at: Timestamp,
}

/// What came of a [`Commit`].
enum Outcome {
    /// By which incarnation of the server, if the log was held against a mark.
    Done { committed: Committed, incarnation: String },
    /// Something has changed since it was read, and nothing was done.
    Changed,
    /// The log is not as it was seen last, and nothing was done.
    NotAsSeen,
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

    fn arguments(&self, script: &mut ScriptInvocation<'_>, mark: Option<(&Mark, String)>) -> Result<(), Error> {
        match (mark, &self.reset) {
            (_, Some(Reset { seen, log, after, at })) => {
                script.arg("anew").arg(seen.as_str()).arg(log.as_str()).arg(after.get()).arg(at.as_unix());
            }
            (Some((mark, fact)), None) => {
                script.arg("seen").arg(mark.log()).arg(mark.position().get()).arg(mark.anchor().get()).arg(fact);
            }
            (None, None) => {
                script.arg("");
            }
        }
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
            script.arg(codec::revocation_to_text(revocation)).arg(revocation.lapses_at.as_unix());
        }
        script.arg(self.removed.len());
        for id in &self.removed {
            script.arg(id.as_str());
        }
        script.arg(self.put.len());
        for session in &self.put {
            script.arg(session.id.as_str()).arg(codec::session_to_bytes(session)?);
            script.arg(session.refreshed_at.as_unix()).arg(session.access_expires_at.as_unix());
            script.arg(session.last_expiry().as_unix());
        }
        Ok(())
    }
}

impl Redis {
    /// Does it; `None`, and nothing is done, when something has changed since it was read.
    ///
    /// What appends is done only if the log is, in the same step, as it was seen last.
    pub(super) async fn commit(&self, commit: &Commit) -> Result<Option<Committed>, Error> {
        let mut pruned = None;
        loop {
            let mark = self.shared.witness.mark().filter(|_| !commit.revocations.is_empty() && commit.reset.is_none());
            let seen = match &mark {
                Some(mark) if pruned == Some(mark.anchor()) => Some((&**mark, String::new())),
                Some(mark) => Some((&**mark, self.fact_at_anchor(mark).await?)),
                None => None,
            };
            match self.try_commit(commit, seen).await? {
                Outcome::Done { committed, incarnation } => {
                    if let Some(mark) = mark {
                        let state = LogState {
                            lineage: codec::lineage(mark.log(), &incarnation)?,
                            head: committed.head,
                            last: commit.revocations.last().cloned(),
                            ..LogState::empty(LogId::new(mark.log()).map_err(invalid)?)
                        };
                        self.shared.witness.note(&mark, &state)?;
                    }
                    return Ok(Some(committed));
                }
                Outcome::Changed => return Ok(None),
                Outcome::NotAsSeen => {
                    let Some(mark) = mark else { return Ok(None) };
                    let found = self.state(mark.anchor()).await?;
                    self.shared.witness.hold(&mark, &found)?;
                    // It went on, perhaps without the entry, which has lapsed since; or another log is in its place.
                    self.shared.witness.note(&mark, &found)?;
                    pruned = found.entry.is_none().then(|| mark.anchor());
                }
            }
        }
    }

    async fn try_commit(&self, commit: &Commit, seen: Option<(&Mark, String)>) -> Result<Outcome, Error> {
        let keys = &self.shared.keys;
        let mut script = self.shared.scripts.commit.prepare_invoke();
        for key in keys.of_sessions().into_iter().chain([keys.state.as_str(), &keys.log, &keys.lapses]) {
            script.key(key);
        }
        commit.arguments(&mut script, seen)?;
        let (outcome, head, ended, incarnation): (u8, u64, usize, String) = self.write(Ask::Script(&script)).await?;
        match outcome {
            0 => Ok(Outcome::Changed),
            1 => Ok(Outcome::Done { committed: Committed { head: Position::new(head), ended }, incarnation }),
            _ => Ok(Outcome::NotAsSeen),
        }
    }

    /// The entry that the mark remembers, as it is written in the log; empty when there is none any more.
    async fn fact_at_anchor(&self, mark: &Mark) -> Result<String, Error> {
        if let Some(entry) = mark.anchor_entry() {
            return Ok(codec::revocation_to_text(entry));
        }
        if mark.anchor() == Position::START {
            return Ok(String::new());
        }
        let found = self.state(mark.anchor()).await?;
        self.shared.witness.hold(mark, &found)?;
        self.shared.witness.note(mark, &found)?;
        Ok(found.entry.as_ref().map(codec::revocation_to_text).unwrap_or_default())
    }
}
