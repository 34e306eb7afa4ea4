//! An operation that waits for its commit, and its outcome.

use std::{pin::Pin, sync::Arc};

use adieu::{
    Error,
    restore::{LogState, Mark, Witness},
    revocation::Position,
};
use sqlx::PgConnection;
use tokio::time::Instant;

use super::{changes::Changes, connections::leaves_the_connection_usable, rows::Key};

/// The future of an operation on a connection.
pub(super) type Answer<'c, T> = Pin<Box<dyn Future<Output = sqlx::Result<T>> + Send + 'c>>;

/// An operation, and the caller that waits for it.
pub(super) enum Job {
    /// Decided in memory from sessions; many such operations share their reads and writes.
    Keyed(Box<dyn Keyed>),
    /// Runs statements of its own.
    Alone(Box<dyn Alone>),
}

impl Job {
    pub(super) fn answer(self, outcome: Result<Committed, Error>) {
        match self {
            Self::Keyed(job) => job.answer(outcome),
            Self::Alone(job) => job.answer(outcome),
        }
    }

    pub(super) fn deadline(&self) -> Instant {
        match self {
            Self::Keyed(job) => job.deadline(),
            Self::Alone(job) => job.deadline(),
        }
    }
}

/// See [`Job::Keyed`]. May be run again after a rollback.
pub(super) trait Keyed: Send {
    /// Returns the keys of the sessions that the operation reads.
    fn keys(&self) -> &[Key];
    fn decide(&mut self, changes: &mut Changes);
    fn answer(self: Box<Self>, outcome: Result<Committed, Error>);
    fn deadline(&self) -> Instant;
}

/// See [`Job::Alone`]. May be run again after a rollback.
pub(super) trait Alone: Send {
    /// Runs the operation, and adds the entries that it appends to `changes`.
    fn run<'c>(&'c mut self, connection: &'c mut PgConnection, changes: &'c mut Changes) -> Answer<'c, ()>;
    fn answer(self: Box<Self>, outcome: Result<Committed, Error>);
    fn deadline(&self) -> Instant;
}

/// What the operations of a batch have appended.
pub(super) struct Appended {
    pub(super) head_before: Position,
    /// The high-water mark that the log was compared with, if there is one, and the state of the log then.
    pub(super) held: Option<(Arc<Mark>, LogState)>,
}

impl Appended {
    /// Records the append in the witness, once it is durable.
    pub(super) fn note(self, witness: &Witness) -> Result<(), Error> {
        self.held.map_or(Ok(()), |(mark, log)| witness.note(&mark, &log))
    }
}

/// The outcome of a commit.
#[derive(Debug, Clone, Copy)]
pub(super) struct Committed {
    /// The last position before the batch's own entries, if it appended any.
    pub(super) head_before: Position,
}

impl Committed {
    pub(super) fn after(appended: &Option<Appended>) -> Self {
        Self { head_before: appended.as_ref().map_or(Position::START, |appended| appended.head_before) }
    }
}

/// Why a transaction failed, as far as is known.
pub(super) enum Failure {
    /// One operation failed: the connection is usable, and its transaction must be rolled back.
    OfOne(sqlx::Error),
    /// The whole batch failed, and the connection is unusable.
    OfAll(Error),
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        if leaves_the_connection_usable(&error) { Self::OfOne(error) } else { Self::OfAll(Error::unavailable(error)) }
    }
}
