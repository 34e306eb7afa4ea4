//! Changes sessions and appends to the log, in one step.
//!
//! The store decides what changes, by the rules that all engines share, from what it has read. The server applies it
//! if all of that is unchanged. Otherwise the store reads and decides again.

use std::{collections::HashSet, time::Duration};

use redis::ScriptInvocation;

use super::{Redis, codec, connection::Ask, invalid};
use adieu::{
    Error, SessionId,
    restore::{LogState, Mark},
    revocation::{LogId, Position, Revocation},
    session::Session,
    time::Timestamp,
};

/// Longest delay before a conflicting change is decided again. The delay is random, so that callers that conflicted
/// do not conflict again.
const RETRY_DELAY: Duration = Duration::from_millis(2);

/// The changes to make, and the conditions that they depend on.
#[derive(Debug, Default)]
pub(super) struct Commit<'a> {
    /// Sessions as they were read; `None` if there was no such session.
    pub(super) sessions: Vec<(&'a SessionId, Option<&'a [u8]>)>,
    /// The number of sessions that each subject had, as encoded by [`codec::owner`].
    pub(super) subjects: Vec<(Vec<u8>, usize)>,
    /// Set if all sessions end.
    pub(super) everything: Option<&'a Everything>,
    pub(super) revocations: &'a [Revocation],
    /// The sessions to remove, all of which were read.
    pub(super) removed: Vec<&'a SessionId>,
    pub(super) put: Vec<&'a Session>,
    /// Set if the log starts over.
    pub(super) reset: Option<&'a Reset>,
    /// The number of operations that it carries out.
    pub(super) operations: usize,
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
    Changed(Conflict),
    /// Nothing was applied: the log differs from the one last seen.
    NotAsSeen,
}

/// The reason why nothing was applied: something has changed since it was read.
#[derive(Debug, Default)]
pub(super) struct Conflict {
    /// The sessions that have changed, if that was the reason.
    pub(super) sessions: HashSet<SessionId>,
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

impl Commit<'_> {
    /// Returns whether the server applies it even if its memory is full: true for everything but a login.
    fn may_use_memory(&self) -> bool {
        !self.sessions.is_empty() || !self.revocations.is_empty() || self.everything.is_some()
    }

    fn arguments(&self, script: &mut ScriptInvocation<'_>, mark: Option<(&Mark, String)>) -> Result<(), Error> {
        match (mark, self.reset) {
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
        for (id, _) in &self.sessions {
            script.arg(id.as_str());
        }
        for (_, session) in &self.sessions {
            // No stored session is empty.
            script.arg(session.unwrap_or_default());
        }
        script.arg(self.subjects.len());
        for (owner, count) in &self.subjects {
            script.arg(owner.as_slice()).arg(*count);
        }
        script.arg(u8::from(self.everything.is_some()));
        if let Some(everything) = self.everything {
            script.arg(everything.since.as_unix()).arg(everything.refreshed).arg(everything.longest.as_unix());
        }
        script.arg(u8::from(self.may_use_memory()));
        // A new identity each time: a server may be emptied more than once.
        script.arg(LogId::random().as_str());
        script.arg(self.revocations.len());
        for revocation in self.revocations {
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
    /// Applies `commit`, unless something has changed since it was read.
    ///
    /// A commit that appends is applied only if, in the same step, the log is the one last seen.
    pub(super) async fn commit(&self, commit: &Commit<'_>) -> Result<Result<Committed, Conflict>, Error> {
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
                    self.shared.commit_sizes.record(commit.operations);
                    if let Some(mark) = mark {
                        let state = LogState {
                            lineage: codec::lineage(mark.log(), &incarnation)?,
                            head: committed.head,
                            last: commit.revocations.last().cloned(),
                            ..LogState::empty(LogId::new(mark.log()).map_err(invalid)?)
                        };
                        self.shared.witness.note(&mark, &state)?;
                    }
                    return Ok(Ok(committed));
                }
                Outcome::Changed(conflict) => return Ok(Err(conflict)),
                Outcome::NotAsSeen => {
                    let Some(mark) = mark else { return Ok(Err(Conflict::default())) };
                    let found = self.state(mark.anchor()).await?;
                    self.shared.witness.hold(&mark, &found)?;
                    // The log is the same and the entry has lapsed since, or another log has replaced it.
                    self.shared.witness.note(&mark, &found)?;
                    pruned = found.entry.is_none().then(|| mark.anchor());
                }
            }
        }
    }

    async fn try_commit(&self, commit: &Commit<'_>, seen: Option<(&Mark, String)>) -> Result<Outcome, Error> {
        let keys = &self.shared.keys;
        let mut script = self.shared.scripts.commit.prepare_invoke();
        for key in keys.of_sessions().into_iter().chain([keys.state.as_str(), &keys.log, &keys.lapses]) {
            script.key(key);
        }
        commit.arguments(&mut script, seen)?;
        let (outcome, head, ended, incarnation, changed): (u8, u64, usize, String, Vec<usize>) =
            self.write(Ask::Script(&script)).await?;
        match outcome {
            0 => {
                let changed = changed.into_iter().filter_map(|place| Some(commit.sessions.get(place)?.0.clone()));
                Ok(Outcome::Changed(Conflict { sessions: changed.collect() }))
            }
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

/// Waits before a conflicting change is decided again.
pub(super) async fn pause() {
    let mut byte = [0];
    // Without a random number, the delay is the longest.
    let _ = getrandom::fill(&mut byte).inspect_err(|_| byte = [u8::MAX]);
    tokio::time::sleep(RETRY_DELAY * u32::from(byte[0]) / 256).await;
}
