//! What an engine says of its log.

use crate::{
    revocation::{LogId, Position, Revocation},
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
