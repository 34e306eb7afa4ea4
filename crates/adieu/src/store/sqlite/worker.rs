//! Threads that own connections, and the queue in front of them.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread,
};

use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::Error;

/// How many operations may wait. At the slowest disk that anybody would log in against, a minute's worth.
const QUEUE: usize = 16_384;
/// How many operations one commit takes at most, so that the first of them does not wait for all of a flood.
const BATCH: usize = 1_024;

#[derive(Debug, Clone, Copy)]
pub(super) enum Mode {
    /// Operations that are queued together run in one transaction.
    GroupCommit,
    /// Each operation by itself.
    Read,
}

/// Something to be done on a connection, and somebody who waits for it.
trait Job: Send {
    /// Does it; may be called again after a rollback.
    fn run(&mut self, connection: &Connection) -> rusqlite::Result<()>;
    /// Tells whoever waits.
    fn answer(self: Box<Self>, outcome: Result<(), Error>);
}

struct Operation<F, T> {
    operation: F,
    output: Option<T>,
    reply: oneshot::Sender<Result<T, Error>>,
}

impl<F, T> Job for Operation<F, T>
where
    F: FnMut(&Connection) -> rusqlite::Result<T> + Send,
    T: Send,
{
    fn run(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        self.output = Some((self.operation)(connection)?);
        Ok(())
    }

    fn answer(self: Box<Self>, outcome: Result<(), Error>) {
        let Self { output, reply, .. } = *self;
        let answer = outcome.and_then(|()| output.ok_or_else(|| Error::unavailable("the operation did not run")));
        // A caller that has gone away does not want to know.
        let _ = reply.send(answer);
    }
}

/// A queue, and the threads that serve it; they end when the last clone is dropped and the queue is empty.
#[derive(Clone)]
pub(super) struct Worker {
    queue: SyncSender<Box<dyn Job>>,
}

impl fmt::Debug for Worker {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Worker").finish_non_exhaustive()
    }
}

impl Worker {
    /// Starts a thread for each connection.
    pub(super) fn start(name: &str, connections: Vec<Connection>, mode: Mode) -> Result<Self, Error> {
        let (queue, jobs) = sync_channel(QUEUE);
        let jobs = Arc::new(Mutex::new(jobs));
        for connection in connections {
            let jobs = Arc::clone(&jobs);
            let serve = move || match mode {
                Mode::GroupCommit => write(&connection, &jobs),
                Mode::Read => read(&connection, &jobs),
            };
            thread::Builder::new().name(name.to_owned()).spawn(serve).map_err(Error::unavailable)?;
        }
        Ok(Self { queue })
    }

    /// Queues an operation and waits for it.
    pub(super) async fn run<T, F>(&self, operation: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnMut(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        self.queue.try_send(Box::new(Operation { operation, output: None, reply })).map_err(|error| match error {
            TrySendError::Full(_) => Error::unavailable("too many operations are waiting for the store"),
            TrySendError::Disconnected(_) => Error::unavailable("the store's thread has ended"),
        })?;
        answer.await.map_err(|_| Error::unavailable("the store's thread has ended"))?
    }
}

type Jobs = Mutex<Receiver<Box<dyn Job>>>;

fn read(connection: &Connection, jobs: &Jobs) {
    loop {
        let next = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(mut job) = next else { return };
        let outcome = job.run(connection).map_err(Error::unavailable);
        job.answer(outcome);
    }
}

fn write(connection: &Connection, jobs: &Jobs) {
    // The only thread of its queue: nobody else wants the lock.
    let jobs = jobs.lock().unwrap_or_else(PoisonError::into_inner);
    while let Ok(first) = jobs.recv() {
        let mut batch = vec![first];
        batch.extend(jobs.try_iter().take(BATCH - 1));
        commit(connection, batch);
    }
    // The last checkpoint, so that a clean stop leaves one file.
    let _ = connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)");
}

/// Runs a batch in one transaction. An operation that fails is answered and taken out, and the others start over.
fn commit(connection: &Connection, mut batch: Vec<Box<dyn Job>>) {
    while !batch.is_empty() {
        match attempt(connection, &mut batch) {
            Ok(()) => return batch.into_iter().for_each(|job| job.answer(Ok(()))),
            Err(Failure::Of(index, error)) => {
                roll_back(connection);
                batch.remove(index).answer(Err(Error::unavailable(error)));
            }
            Err(Failure::OfAll(error)) => {
                roll_back(connection);
                let error = Error::unavailable(error);
                return batch.into_iter().for_each(|job| job.answer(Err(error.clone())));
            }
        }
    }
}

enum Failure {
    /// The operation at this place of the batch.
    Of(usize, rusqlite::Error),
    /// The transaction itself.
    OfAll(rusqlite::Error),
}

fn attempt(connection: &Connection, batch: &mut [Box<dyn Job>]) -> Result<(), Failure> {
    let execute = |statement: &str| {
        connection.prepare_cached(statement).and_then(|mut statement| statement.execute([])).map_err(Failure::OfAll)
    };
    execute("BEGIN IMMEDIATE")?;
    for (index, job) in batch.iter_mut().enumerate() {
        job.run(connection).map_err(|error| match error.sqlite_error_code() {
            // The statement was wrong or broke a rule: the operation's own fault.
            None | Some(rusqlite::ErrorCode::ConstraintViolation | rusqlite::ErrorCode::Unknown) => {
                Failure::Of(index, error)
            }
            // The disk is full, the file is read-only or damaged: it would be so for each of them.
            Some(_) => Failure::OfAll(error),
        })?;
    }
    execute("COMMIT").map(|_| ())
}

/// A transaction that SQLite has already rolled back by itself (disk full, for one) needs none.
fn roll_back(connection: &Connection) {
    if !connection.is_autocommit()
        && let Err(error) = connection.execute_batch("ROLLBACK")
    {
        tracing::error!(%error, "a transaction could not be rolled back");
    }
}
