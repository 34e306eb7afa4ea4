//! Threads that own connections, and the queue in front of them.

use std::{
    fmt,
    panic::{self, AssertUnwindSafe},
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use rusqlite::{Connection, config::DbConfig};
use tokio::sync::oneshot;

use super::{
    file::File,
    rows, wal_index,
    write_ahead_log::{Unacknowledged, WriteAheadLog},
};
use adieu::{
    Error,
    engine::CommitSizes,
    restore::{LogState, Witness},
    revocation::Position,
};

/// How many operations may wait. At the slowest disk that anybody would log in against, a minute's worth.
const QUEUE: usize = 16_384;
/// How many operations one commit takes at most, so that the first of them does not wait for all of a flood.
const BATCH: usize = 1_024;
/// How long a commit is put off at most for callers that are expected, and no longer than the last one took.
const BATCH_WINDOW: Duration = Duration::from_micros(100);

/// Held while a connection is closed. The last connection to close checkpoints the write-ahead log and removes it; of two that
/// close at the same moment neither would find itself the last, and the log would stay.
static CLOSING: Mutex<()> = Mutex::new(());

/// How many threads have a connection, or are about to.
static RUNNING: Mutex<usize> = Mutex::new(0);
static HAS_ENDED: Condvar = Condvar::new();

/// One of these threads.
pub(super) struct Running(());

impl Running {
    pub(super) fn begin() -> Self {
        *RUNNING.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        Self(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        *RUNNING.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        HAS_ENDED.notify_all();
    }
}

/// Waits until the files of every dropped [`Sqlite`](super::Sqlite) are closed: their threads outlive it by a moment. A process that
/// exits earlier leaves an empty write-ahead log, or one that the next start recovers. Returns `false` after the timeout.
pub fn wait_until_closed(timeout: Duration) -> bool {
    let running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
    let waited = HAS_ENDED.wait_timeout_while(running, timeout, |running| *running > 0);
    let (_running, outcome) = waited.unwrap_or_else(PoisonError::into_inner);
    !outcome.timed_out()
}

#[derive(Debug, Clone)]
pub(super) enum Mode {
    /// Operations that are queued together run in one transaction, in which the log is held against the mark.
    GroupCommit(Witness, CommitSizes),
    /// Each operation runs alone. If the file has been found sound when the thread ends, closing it may checkpoint the
    /// write-ahead log.
    Read(Arc<AtomicBool>),
}

/// An operation on a connection, and the caller that waits for its result.
trait Job: Send {
    /// Runs the operation; may be called again after a rollback.
    fn run(&mut self, connection: &Connection) -> rusqlite::Result<()>;
    /// Sends the result to the caller.
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
    pub(super) fn start(name: &str, file: &Arc<File>, connections: Vec<Connection>, mode: Mode) -> Result<Self, Error> {
        let (queue, jobs) = sync_channel(QUEUE);
        let jobs = Arc::new(Mutex::new(jobs));
        for connection in connections {
            let jobs = Arc::clone(&jobs);
            let (mode, file) = (mode.clone(), Arc::clone(file));
            let running = Running::begin();
            let serve = move || {
                let _running = running;
                let is_sound = match mode {
                    Mode::GroupCommit(witness, sizes) => {
                        write(&connection, &file, &jobs, &witness, &sizes);
                        true
                    }
                    Mode::Read(sound) => {
                        read(&connection, &file, &jobs);
                        sound.load(Ordering::Acquire)
                    }
                };
                // What would be removed with the last connection may be the log of another database by then.
                let stays = !is_sound || !may_checkpoint(&connection, &file);
                let _ = connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, stays);
                let _alone = CLOSING.lock().unwrap_or_else(PoisonError::into_inner);
                drop(connection);
            };
            thread::Builder::new().name(name.to_owned()).spawn(serve).map_err(Error::unavailable)?;
        }
        Ok(Self { queue })
    }

    /// Queues an operation, which fails at once when the queue is full, and gives what waits for its outcome.
    pub(super) fn queue<T, F>(&self, operation: F) -> Result<impl Future<Output = Result<T, Error>> + use<T, F>, Error>
    where
        T: Send + 'static,
        F: FnMut(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        self.queue.try_send(Box::new(Operation { operation, output: None, reply })).map_err(|error| match error {
            TrySendError::Full(_) => Error::unavailable("too many operations are waiting for the store"),
            TrySendError::Disconnected(_) => Error::unavailable("the store's thread has ended"),
        })?;
        Ok(async { answer.await.map_err(|_| Error::unavailable("the store's thread has ended"))? })
    }
}

type Jobs = Mutex<Receiver<Box<dyn Job>>>;
type Batch = Vec<Box<dyn Job>>;

fn read(connection: &Connection, file: &File, jobs: &Jobs) {
    loop {
        let next = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(mut job) = next else { return };
        let outcome = file.check_index().and_then(|()| run(&mut *job, connection));
        job.answer(outcome);
    }
}

/// Whether the write-ahead log is what SQLite believes it is, so that it may be moved into the file.
fn may_checkpoint(connection: &Connection, file: &File) -> bool {
    file.check_writable().is_ok() && WriteAheadLog::check_all(file.path(), connection).is_ok()
}

/// The state of the writing thread.
struct Writer<'t> {
    connection: &'t Connection,
    file: &'t File,
    witness: &'t Witness,
    log: WriteAheadLog,
}

fn write(connection: &Connection, file: &File, jobs: &Jobs, witness: &Witness, sizes: &CommitSizes) {
    // The only thread of its queue, so no other one wants the lock.
    let jobs = jobs.lock().unwrap_or_else(PoisonError::into_inner);
    let mut writer = Writer { connection, file, witness, log: WriteAheadLog::of(file.path()) };
    // A log left from before counts as a checkpoint that was begun, which would hide that another program overwrites the file.
    if may_checkpoint(connection, file) {
        let _ = connection.execute_batch("PRAGMA wal_checkpoint(PASSIVE)");
    }
    let mut expected = 1;
    let mut patience = BATCH_WINDOW;
    while let Some(first) = next(&jobs, patience) {
        let batch = gather(first, &jobs, expected, patience);
        expected = batch.len();
        let started = Instant::now();
        match file.check_index().and_then(|()| wal_index::check(file.path())) {
            Ok(()) => commit(&mut writer, batch, sizes),
            Err(error) => batch.into_iter().for_each(|job| job.answer(Err(error.clone()))),
        }
        patience = started.elapsed().min(BATCH_WINDOW);
    }
}

/// Returns the next operation, or `None` once the queue is closed. A caller that was just answered mostly returns at once, sooner than
/// a thread sleeps and wakes, so this polls for a moment first.
fn next(jobs: &Receiver<Box<dyn Job>>, patience: Duration) -> Option<Box<dyn Job>> {
    let started = Instant::now();
    loop {
        match jobs.try_recv() {
            Ok(job) => return Some(job),
            Err(TryRecvError::Disconnected) => return None,
            Err(TryRecvError::Empty) if started.elapsed() < patience => thread::yield_now(),
            Err(TryRecvError::Empty) => return jobs.recv().ok(),
        }
    }
}

/// Takes the queued jobs. Callers that were answered together come back together, but not all at the same instant: a
/// commit that begins with the first of them makes all others wait for the next. So when there were several in the last
/// batch, as many are awaited, for a moment. A caller that is alone never waits.
fn gather(first: Box<dyn Job>, jobs: &Receiver<Box<dyn Job>>, expected: usize, patience: Duration) -> Batch {
    let mut batch = Vec::with_capacity(expected);
    batch.push(first);
    let started = Instant::now();
    loop {
        batch.extend(jobs.try_iter().take(BATCH - batch.len()));
        if batch.len() >= expected || started.elapsed() >= patience {
            return batch;
        }
        thread::yield_now();
    }
}

/// Runs a batch in one transaction and answers everybody, after it is on the disk.
fn commit(writer: &mut Writer<'_>, mut batch: Batch, sizes: &CommitSizes) {
    let outcomes = match all_or_none(writer, &mut batch) {
        Ok(()) => vec![Ok(()); batch.len()],
        Err(Failure::OfOne(_)) if batch.len() > 1 => each_for_itself(writer, &mut batch),
        Err(Failure::OfOne(error) | Failure::OfAll(error)) => vec![Err(error); batch.len()],
    };
    match outcomes.iter().filter(|outcome| outcome.is_ok()).count() {
        0 => {}
        committed => sizes.record(committed),
    }
    for (job, outcome) in batch.into_iter().zip(outcomes) {
        job.answer(outcome);
    }
}

enum Failure {
    /// An operation.
    OfOne(Error),
    /// The transaction itself.
    OfAll(Error),
}

/// The fast way: nothing is kept apart, so one failure fails them all.
fn all_or_none(writer: &mut Writer<'_>, batch: &mut [Box<dyn Job>]) -> Result<(), Failure> {
    let connection = writer.connection;
    transaction(writer, || batch.iter_mut().try_for_each(|job| run(&mut **job, connection).map_err(Failure::OfOne)))
}

/// Runs a batch again after an operation has failed: each in its own savepoint, so that only the failed ones are rolled back.
fn each_for_itself(writer: &mut Writer<'_>, batch: &mut [Box<dyn Job>]) -> Vec<Result<(), Error>> {
    let connection = writer.connection;
    let mut outcomes = Vec::with_capacity(batch.len());
    let committed = transaction(writer, || {
        for job in &mut *batch {
            execute(connection, "SAVEPOINT operation")?;
            let outcome = run(&mut **job, connection);
            if let Err(error) = &outcome {
                if connection.is_autocommit() {
                    // It was of the kind (a full disk, for one) that makes SQLite give up the whole transaction.
                    return Err(Failure::OfAll(error.clone()));
                }
                execute(connection, "ROLLBACK TO operation")?;
            }
            execute(connection, "RELEASE operation")?;
            outcomes.push(outcome);
        }
        Ok(())
    });
    match committed {
        Ok(()) => outcomes,
        Err(Failure::OfOne(error) | Failure::OfAll(error)) => vec![Err(error); batch.len()],
    }
}

/// Runs a transaction. If it appends, the log is compared with the mark before the commit: new entries are at its end, and leave
/// everything before them unchanged. Whether the log was empty can only be seen before the transaction.
fn transaction(writer: &mut Writer<'_>, body: impl FnOnce() -> Result<(), Failure>) -> Result<(), Failure> {
    let Writer { connection, file, witness, log: write_ahead } = writer;
    let run = || {
        let mark = witness.mark();
        execute(connection, "BEGIN IMMEDIATE")?;
        write_ahead.begin_commit();
        let before = ask(|| rows::head(connection))?;
        let emptied = match &mark {
            Some(mark) if before < mark.position() && before == Position::START => {
                Some(ask(|| rows::log_id(connection))?)
            }
            _ => None,
        };
        body()?;
        let found = match &mark {
            Some(mark) if ask(|| rows::head(connection))? > before => {
                let found = ask(|| rows::state(connection, mark.anchor()))?;
                // With the same identity, this is not a log that was reset.
                let was_empty = emptied.is_some_and(|log| log == found.log.as_str());
                let head = if was_empty { before } else { found.head };
                witness.hold(mark, &LogState { head, ..found.clone() }).map_err(Failure::OfAll)?;
                Some((Arc::clone(mark), found))
            }
            _ => None,
        };
        execute(connection, "COMMIT")?;
        Ok(found)
    };
    let outcome = run();
    // SQLite has already rolled back some failures by itself.
    if outcome.is_err()
        && !connection.is_autocommit()
        && let Err(error) = connection.execute_batch("ROLLBACK")
    {
        tracing::error!(%error, "a transaction could not be rolled back");
    }
    let noted = outcome?;
    file.check().map_err(Failure::OfAll)?;
    match write_ahead.check_commit(connection) {
        Ok(()) => {}
        Err(Unacknowledged::Unknown(error)) => return Err(Failure::OfAll(error)),
        Err(Unacknowledged::Lost(error)) => {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "writes are not durable any more; every write fails until the next start"
            );
            file.lose(error.clone());
            return Err(Failure::OfAll(error));
        }
    }
    write_ahead.checkpoint_if_long(connection);
    match noted {
        Some((mark, found)) => witness.note(&mark, &found).map_err(Failure::OfAll),
        None => Ok(()),
    }
}

fn ask<T>(question: impl FnOnce() -> rusqlite::Result<T>) -> Result<T, Failure> {
    question().map_err(|error| Failure::OfAll(Error::unavailable(error)))
}

fn execute(connection: &Connection, statement: &str) -> Result<(), Failure> {
    connection
        .prepare_cached(statement)
        .and_then(|mut statement| statement.execute([]))
        .map(drop)
        .map_err(|error| Failure::OfAll(Error::unavailable(error)))
}

/// Runs an operation. One that panics has failed; the thread and its other callers continue.
fn run(job: &mut dyn Job, connection: &Connection) -> Result<(), Error> {
    // What a broken off operation leaves in the connection is rolled back; what it leaves in itself is never looked at.
    panic::catch_unwind(AssertUnwindSafe(|| job.run(connection)))
        .map_err(|_| Error::unavailable("the operation panicked"))?
        .map_err(Error::unavailable)
}
