//! An operation that waits for its commit, and its outcome.

use std::{pin::Pin, time::Duration};

use adieu::{
    Error,
    engine::{
        Changes, Key,
        group_commit::{self, Keyed, Reply, reply},
    },
    revocation::Position,
};
use sqlx::PgConnection;
use tokio::time::Instant;

use super::connections::leaves_the_connection_usable;

/// The future of an operation on a connection.
pub(super) type Answer<'c, T> = Pin<Box<dyn Future<Output = sqlx::Result<T>> + Send + 'c>>;

/// An operation, and the caller that waits for it.
pub(super) enum Job {
    /// Decided in memory from sessions; many such operations share their reads and writes.
    Keyed(Box<dyn Keyed>),
    /// Runs statements of its own, in a transaction that holds the lock.
    Alone(Box<dyn Alone>),
}

impl Job {
    /// Returns the keys of the sessions that the operation is decided from.
    pub(super) fn keys(&self) -> &[Key] {
        match self {
            Self::Keyed(job) => job.keys(),
            Self::Alone(_) => &[],
        }
    }

    pub(super) fn is_keyed(&self) -> bool {
        matches!(self, Self::Keyed(_))
    }
}

impl group_commit::Job for Job {
    fn deadline(&self) -> Instant {
        match self {
            Self::Keyed(job) => job.deadline(),
            Self::Alone(job) => job.deadline(),
        }
    }

    fn answer(self, outcome: Result<Position, Error>) {
        match self {
            Self::Keyed(job) => job.answer(outcome),
            Self::Alone(job) => job.answer(outcome),
        }
    }
}

/// See [`Job::Alone`].
pub(super) trait Alone: Send {
    /// Runs the operation, and adds the entries that it appends to `changes`.
    fn run<'c>(&'c mut self, connection: &'c mut PgConnection, changes: &'c mut Changes) -> Answer<'c, ()>;
    fn answer(self: Box<Self>, outcome: Result<Position, Error>);
    fn deadline(&self) -> Instant;
}

struct Operation<F, T> {
    operation: F,
    output: Option<T>,
    reply: Reply<T>,
}

impl<F, T> Alone for Operation<F, T>
where
    F: for<'c> FnMut(&'c mut PgConnection, &'c mut Changes) -> Answer<'c, T> + Send,
    T: Send,
{
    fn run<'c>(&'c mut self, connection: &'c mut PgConnection, changes: &'c mut Changes) -> Answer<'c, ()> {
        let answer = (self.operation)(connection, changes);
        let output = &mut self.output;
        Box::pin(async move {
            *output = Some(answer.await?);
            Ok(())
        })
    }

    fn answer(self: Box<Self>, outcome: Result<Position, Error>) {
        self.reply.send(self.output, outcome);
    }

    fn deadline(&self) -> Instant {
        self.reply.deadline
    }
}

/// Returns an operation that runs statements of its own, and a future of its outcome.
pub(super) fn alone<T, F>(
    timeout: Duration,
    operation: F,
) -> (Job, impl Future<Output = Result<(T, Position), Error>> + use<T, F>)
where
    T: Send + 'static,
    F: for<'c> FnMut(&'c mut PgConnection, &'c mut Changes) -> Answer<'c, T> + Send + 'static,
{
    let (reply, answer) = reply(timeout);
    (Job::Alone(Box::new(Operation { operation, output: None, reply })), answer)
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
