//! The contract of a store that can be restored from an older copy.

use async_trait::async_trait;

use crate::{
    Error,
    restore::{LogState, Witness},
    revocation::{LogId, Position},
    session::{EndSessions, Ended},
    time::Timestamp,
};

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
