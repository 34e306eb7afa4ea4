//! Changes sessions and appends to the log, in one step.
//!
//! The store decides what changes, by the rules that all engines share, from what it has read. The server applies it
//! if all of that is unchanged. Otherwise the store reads and decides again.

use redis::ScriptInvocation;

use super::{Redis, codec, connection::Ask, invalid};
use adieu::{
    Error, SessionId,
    restore::{LogState, Mark},
    revocation::{LogId, Position, Revocation},
    session::Session,
    time::Timestamp,
};

/// The changes to make, and the conditions that they depend on.
#[derive(Debug, Default)]
pub(super) struct Commit {
    /// Sessions as they were read; `None` if there was no such session.
    pub(super) sessions: Vec<(SessionId, Option<Vec<u8>>)>,
    /// The number of sessions that each subject had, as encoded by [`codec::owner`].
    pub(super) subjects: Vec<(Vec<u8>, usize)>,
    /// Set if all sessions end.
    pub(super) everything: Option<Everything>,
    pub(super) revocations: Vec<Revocation>,
    pub(super) removed: Vec<SessionId>,
    pub(super) put: Vec<Session>,
    /// Set if the log starts over.
    pub(super) reset: Option<Reset>,
}

/// The restart of a log under a new identity.
#[derive(Debug, Clone)]
pub(super) struct Reset {
    /// The identity that the log must still have, then its new one.
    pub(super) seen: LogId,
    pub(super) log: LogId,
    /// The position after which new entries come.
    pub(super) after: Position,
    pub(super) at: Timestamp,
}

/// The result of a [`Commit`].
enum Outcome {
    /// Applied. `incarnation` is that of the server, if the log was compared with a mark.
    Done { committed: Committed, incarnation: String },
    /// Nothing was applied: something has changed since it was read.
    Changed,
    /// Nothing was applied: the log differs from the one last seen.
    NotAsSeen,
}

/// What was read about all sessions.
#[derive(Debug, Clone)]
pub(super) struct Everything {
    /// `refreshed` counts the sessions that were refreshed after this time.
    pub(super) since: Timestamp,
    pub(super) refreshed: usize,
    /// The latest expiry of access of any session.
    pub(super) longest: Timestamp,
}

/// The result of an applied [`Commit`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Committed {
    /// The last position of the log.
    pub(super) head: Position,
    /// The number of sessions that ended because all sessions ended.
    pub(super) ended: usize,
}

impl Commit {
    /// A commit that only appends.
    pub(super) fn append(revocations: Vec<Revocation>) -> Self {
        Self { revocations, ..Self::default() }
    }

    /// A commit that writes a session, whatever was stored before.
    pub(super) fn put(session: Session) -> Self {
        Self { put: vec![session], ..Self::default() }
    }

    /// Returns whether the server applies it even if its memory is full: true for everything but a login.
    fn may_use_memory(&self) -> bool {
        !self.sessions.is_empty() || !self.revocations.is_empty() || self.everything.is_some()
    }

    fn arguments(&self, script: &mut ScriptInvocation<'_>, mark: Option<(&Mark, String)>) -> Result<(), Error> {
        match (mark, &self.reset) {
            (_, Some(Reset { seen, log, after, at })) => {
                script.arg("reset").arg(seen.as_str()).arg(log.as_str()).arg(after.get()).arg(at.as_unix());
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
        // A new identity each time: a server may be emptied more than once.
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
    /// Applies `commit`. Returns `None`, with nothing applied, if something has changed since it was read.
    ///
    /// A commit that appends is applied only if, in the same step, the log is the one last seen.
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
                    // The log is the same and the entry has lapsed since, or another log has replaced it.
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

    /// Returns the entry that the mark remembers, as the log stores it; empty if the log no longer has it.
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
