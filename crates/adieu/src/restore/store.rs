//! The contract of a store that can be restored from an older copy.

use async_trait::async_trait;

use crate::{
    Error,
    restore::Witness,
    revocation::{LogId, Position, Revocation},
    session::{EndSessions, Ended},
    time::Timestamp,
};

/// The state of a log at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogState {
    /// The identity of the log.
    pub log: LogId,
    /// The identity that cursors carry: the identity of the log, and, if a standby may take over without the last
    /// entries, also the history of the server in which the log was found.
    pub lineage: LogId,
    /// The last position that was assigned in the log.
    pub head: Position,
    /// Every revocation that lapsed at or before this time may have been removed.
    pub pruned_through: Timestamp,
    /// When a restored backup was detected; `None` once the operator has accepted it.
    pub restored_at: Option<Timestamp>,
    /// The entry at the requested position, unless it was removed; it may have lapsed.
    pub entry: Option<Revocation>,
    /// The entry at the head, unless it was removed; it may have lapsed.
    pub last: Option<Revocation>,
}

impl LogState {
    /// Returns the state of an empty log.
    #[must_use]
    pub fn empty(log: LogId) -> Self {
        Self {
            lineage: log.clone(),
            log,
            head: Position::START,
            pruned_through: Timestamp::ZERO,
            restored_at: None,
            entry: None,
            last: None,
        }
    }
}

/// The changes to make after a backup was restored.
#[derive(Debug, Clone)]
pub struct LogReset {
    /// The identity of the log that was inspected. If the log has another one, nothing is done: another node was
    /// faster.
    pub seen: LogId,
    /// The new identity of the log.
    pub log: LogId,
    /// New entries get positions after this one, and after the head.
    pub after: Position,
    /// The time of the reset: the new [`LogState::restored_at`].
    pub at: Timestamp,
    /// The sessions to end and the cut-offs to append, as in [`SessionStore::end`](crate::session::SessionStore::end).
    pub ending: EndSessions,
}

/// A store whose log can go back, because it can be replaced by an older copy that has the same identity.
#[async_trait]
pub trait Restorable: Send + Sync + 'static {
    /// Returns the witness, which the store consults whenever it reads the log or appends to it; see [`Witness`].
    fn witness(&self) -> &Witness;

    /// Returns the state of the log at one moment, with the entry at position `at`.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the store could not be read.
    async fn inspect(&self, at: Position) -> Result<LogState, Error>;

    /// Changes the identity of the log, removes sessions, appends their revocations and the cut-offs, and stores the
    /// time, all in one step that is durable when this returns. Returns `None` and does nothing if the log is not the
    /// one that was inspected.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the store could not be written.
    async fn reset(&self, renewal: LogReset) -> Result<Option<Ended>, Error>;

    /// Clears [`LogState::restored_at`] and returns its value; `None` if there was nothing to accept.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the store could not be written.
    async fn accept_restore(&self) -> Result<Option<Timestamp>, Error>;
}
