//! The contract with a store of which an older copy can be put back.

use async_trait::async_trait;

use crate::{
    Error,
    restore::Witness,
    revocation::{LogId, Position, Revocation},
    session::{EndSessions, Ended},
    time::Timestamp,
};

/// What a log is like at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogState {
    /// Which log it is.
    pub log: LogId,
    /// The identity that cursors carry: that of the log, and where another server may take over without the last entries, also in
    /// which history of that server it was found.
    pub lineage: LogId,
    /// The last position that was ever given in it.
    pub head: Position,
    /// Every revocation that lapsed at or before this time may have been forgotten.
    pub pruned_through: Timestamp,
    /// When it was noticed that a backup had been put back, until that is accepted.
    pub restored_at: Option<Timestamp>,
    /// The entry at the position that was asked for, also one that has lapsed, if it has not been removed.
    pub entry: Option<Revocation>,
    /// The entry at the head, also one that has lapsed, if it has not been removed.
    pub last: Option<Revocation>,
}

impl LogState {
    /// Returns the state of a log in which nothing has been seen yet.
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

/// What begins anew after a backup was put back.
#[derive(Debug, Clone)]
pub struct LogReset {
    /// The log that was looked at. With another one nothing is done: somebody else was faster.
    pub seen: LogId,
    /// The identity that it gets.
    pub log: LogId,
    /// New entries get positions after this one, and after the head.
    pub after: Position,
    /// When this happens: the new [`LogState::restored_at`].
    pub at: Timestamp,
    /// The sessions that end and the cut-offs that are appended, as in [`SessionStore::end`](crate::session::SessionStore::end).
    pub ending: EndSessions,
}

/// A store whose log can go back, because a copy of it can be put in its place with the identity of the original.
#[async_trait]
pub trait Restorable: Send + Sync + 'static {
    /// What the store holds its log against whenever it reads the log or appends to it, as [`Witness`] says.
    fn witness(&self) -> &Witness;

    /// What the log is like now, all of it at one moment, and the entry at a position.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the store could not be read.
    async fn inspect(&self, at: Position) -> Result<LogState, Error>;

    /// Gives the log another identity, removes the sessions, appends what goes with that, and writes down when: all of it in
    /// one step that is durable when this returns. `None`, and nothing is done, when the log is not the one that was seen.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the store could not be written.
    async fn reset(&self, renewal: LogReset) -> Result<Option<Ended>, Error>;

    /// Clears [`LogState::restored_at`] and gives what it was; `None` when there was nothing to accept.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the store could not be written.
    async fn accept_restore(&self) -> Result<Option<Timestamp>, Error>;
}
