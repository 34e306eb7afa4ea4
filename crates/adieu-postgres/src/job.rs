//! An operation that waits for its commit, and what becomes of it.

use std::{pin::Pin, sync::Arc};

use adieu::{
    Error,
    restore::{LogState, Mark, Witness},
    revocation::Position,
};
use sqlx::PgConnection;
use tokio::time::Instant;

use super::{changes::Changes, connections::leaves_the_connection_usable, rows::Key};

/// The answer of something that is asked of a connection.
pub(super) type Answer<'c, T> = Pin<Box<dyn Future<Output = sqlx::Result<T>> + Send + 'c>>;

/// Something to be done, and somebody who waits for it.
pub(super) enum Job {
    /// Decided in memory, from sessions that are read, and written, for many at once.
    Keyed(Box<dyn Keyed>),
    /// With statements of its own.
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
    /// The sessions that it looks at.
    fn keys(&self) -> &[Key];
    fn decide(&mut self, changes: &mut Changes);
    fn answer(self: Box<Self>, outcome: Result<Committed, Error>);
    fn deadline(&self) -> Instant;
}

/// See [`Job::Alone`]. May be run again after a rollback.
pub(super) trait Alone: Send {
    /// What it appends to the log it adds to the changes.
    fn run<'c>(&'c mut self, connection: &'c mut PgConnection, changes: &'c mut Changes) -> Answer<'c, ()>;
    fn answer(self: Box<Self>, outcome: Result<Committed, Error>);
    fn deadline(&self) -> Instant;
}

/// What operations have appended.
pub(super) struct Appended {
    pub(super) head_before: Position,
    /// The mark that the log was held against, if there is one, and what the log is like then.
    pub(super) held: Option<(Arc<Mark>, LogState)>,
}

impl Appended {
    /// Notes it, once it is durable.
    pub(super) fn note(self, witness: &Witness) -> Result<(), Error> {
        self.held.map_or(Ok(()), |(mark, log)| witness.note(&mark, &log))
    }
}

/// What a commit says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Committed {
    /// The last position before what it appended, if it did.
    pub(super) head_before: Position,
}

impl Committed {
    pub(super) fn after(appended: &Option<Appended>) -> Self {
        Self { head_before: appended.as_ref().map_or(Position::START, |appended| appended.head_before) }
    }
}

/// Why a transaction came to nothing, as far as is known.
pub(super) enum Failure {
    /// An operation failed; the connection is good, and its transaction is to be rolled back.
    OfOne(sqlx::Error),
    /// Everything did, and the connection is of no more use.
    OfAll(Error),
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        if leaves_the_connection_usable(&error) { Self::OfOne(error) } else { Self::OfAll(Error::unavailable(error)) }
    }
}
