//! The task that writes, and the queue in front of it.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use sqlx::PgConnection;
use tokio::{
    sync::{Notify, mpsc, oneshot, watch},
    time::{Instant, timeout_at},
};

use super::{
    batch,
    changes::Changes,
    connections::{Address, BY_KEY, Marked, NotConnected},
    job::{Alone, Answer, Appended, Committed, Failure, Job, Keyed},
    rows::Key,
};
use adieu::{Error, restore::Witness};

/// The capacity of the queue, in operations.
const QUEUE: usize = 16_384;
/// The maximum number of operations per commit, so that the first operations of a burst do not wait for all of it.
const BATCH: usize = 1_024;
/// How long a commit waits at most for callers that are expected: less than a round trip to the server.
const BATCH_WINDOW: Duration = Duration::from_micros(50);
/// The timeout of a caller. Longer than [`SERVER_TIMEOUT`], so that a caller usually gets the actual reason.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// The timeout of a batch on the server, including the lock and a new connection. Longer than a node that is frozen
/// while it holds the lock can keep it (`idle_in_transaction_session_timeout`).
const SERVER_TIMEOUT: Duration = Duration::from_secs(4);

/// READ COMMITTED, whatever the database's default is: the statements after the lock must see everything that was
/// committed before the lock was taken. The number identifies the lock of adieu within one database ("adieu" in ASCII).
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; \
                     SELECT current_setting('adieu.connection', true) FROM pg_advisory_xact_lock(418380178805)";
const COMMIT: &str = "COMMIT";
/// Terminates a holder of the lock that has held it for longer than any caller waits: its commit waits for a missing
/// standby, and its node has given up or died, which the server does not notice. What it has written is already
/// committed locally, and stays.
const RELEASE: &str = "SELECT pg_terminate_backend(pid) FROM pg_locks JOIN pg_stat_activity USING (pid) \
                       WHERE locktype = 'advisory' AND granted AND objsubid = 1 \
                       AND (classid::bigint << 32) + objid::bigint = 418380178805 \
                       AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) \
                       AND wait_event = 'SyncRep' AND query_start < clock_timestamp() - interval '5 seconds'";
/// How long after a failure the worker looks for such a holder.
const UNTIL_RELEASE: Duration = Duration::from_secs(2);

struct Operation<F, T> {
    keys: Vec<Key>,
    operation: F,
    output: Option<T>,
    reply: oneshot::Sender<Result<(T, Committed), Error>>,
    deadline: Instant,
}

impl<F, T> Operation<F, T> {
    fn send_reply(self, outcome: Result<Committed, Error>) {
        let output = self.output.ok_or_else(|| Error::unavailable("the operation did not run"));
        // The caller may have gone away; nothing is to be done then.
        let _ = self.reply.send(outcome.and_then(|committed| Ok((output?, committed))));
    }
}

impl<F, T> Keyed for Operation<F, T>
where
    F: FnMut(&mut Changes) -> T + Send,
    T: Send,
{
    fn keys(&self) -> &[Key] {
        &self.keys
    }

    fn decide(&mut self, changes: &mut Changes) {
        self.output = Some((self.operation)(changes));
    }

    fn answer(self: Box<Self>, outcome: Result<Committed, Error>) {
        self.send_reply(outcome);
    }

    fn deadline(&self) -> Instant {
        self.deadline
    }
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

    fn answer(self: Box<Self>, outcome: Result<Committed, Error>) {
        self.send_reply(outcome);
    }

    fn deadline(&self) -> Instant {
        self.deadline
    }
}

/// A queue, and the task that serves it. The task ends when the last clone is dropped and the queue is empty.
#[derive(Clone)]
pub(super) struct Worker {
    queue: mpsc::Sender<Job>,
}

impl fmt::Debug for Worker {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Worker").finish_non_exhaustive()
    }
}

impl Worker {
    /// Starts the task, which connects when it gets its first operation. Every commit that appends increments
    /// `appended` and notifies `to_announce`.
    pub(super) fn start(
        address: Arc<Address>,
        appended: watch::Sender<u64>,
        to_announce: Arc<Notify>,
        witness: Witness,
    ) -> Self {
        let (queue, jobs) = mpsc::channel(QUEUE);
        let shared = Shared { address, appended, to_announce, witness, releasing: Arc::default() };
        tokio::spawn(write(Writer { shared, connection: None }, jobs));
        Self { queue }
    }

    /// Queues an operation that is decided from the sessions of `keys`, and returns a future of its outcome. Fails
    /// immediately if the queue is full.
    pub(super) fn decide<T, F>(
        &self,
        keys: Vec<Key>,
        operation: F,
    ) -> Result<impl Future<Output = Result<(T, Committed), Error>> + use<T, F>, Error>
    where
        T: Send + 'static,
        F: FnMut(&mut Changes) -> T + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let deadline = Instant::now() + ANSWER_TIMEOUT;
        let job = Job::Keyed(Box::new(Operation { keys, operation, output: None, reply, deadline }));
        self.queue(job)?;
        Ok(wait(answer, deadline))
    }

    /// Queues an operation that runs statements of its own.
    pub(super) fn run<T, F>(
        &self,
        operation: F,
    ) -> Result<impl Future<Output = Result<(T, Committed), Error>> + use<T, F>, Error>
    where
        T: Send + 'static,
        F: for<'c> FnMut(&'c mut PgConnection, &'c mut Changes) -> Answer<'c, T> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let deadline = Instant::now() + ANSWER_TIMEOUT;
        let job = Job::Alone(Box::new(Operation { keys: vec![], operation, output: None, reply, deadline }));
        self.queue(job)?;
        Ok(wait(answer, deadline))
    }

    fn queue(&self, job: Job) -> Result<(), Error> {
        self.queue.try_send(job).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Error::unavailable("too many operations are waiting for the store"),
            mpsc::error::TrySendError::Closed(_) => ended(),
        })
    }
}

fn ended() -> Error {
    Error::unavailable("the store's task has ended")
}

fn too_late() -> Error {
    Error::unavailable("the server did not answer in time")
}

async fn wait<T>(answer: oneshot::Receiver<Result<T, Error>>, deadline: Instant) -> Result<T, Error> {
    timeout_at(deadline, answer).await.map_err(|_| too_late())?.map_err(|_| ended())?
}

type Batch = Vec<Job>;

async fn write(mut writer: Writer, mut jobs: mpsc::Receiver<Job>) {
    let mut expected = 1;
    while let Some(first) = jobs.recv().await {
        let batch = gather(first, &mut jobs, expected).await;
        expected = batch.len();
        let now = Instant::now();
        // An operation whose caller has timed out must not be executed much later.
        let (batch, late): (Batch, Batch) = batch.into_iter().partition(|job| job.deadline() > now);
        late.into_iter().for_each(|job| job.answer(Err(too_late())));
        if !batch.is_empty() {
            // In a task of its own: if an operation panics, its batch fails and the worker goes on.
            let shared = writer.shared.clone();
            let committing = tokio::spawn(async move {
                writer.commit(batch).await;
                writer
            });
            writer = committing.await.unwrap_or(Writer { shared, connection: None });
        }
    }
}

/// Collects the queued operations of one batch. Callers that were answered together call again at about the same time,
/// but not at the same instant: a commit that starts with the first of them would make all others wait for the next
/// commit. So if the last batch had several operations, this waits a moment for as many. A caller that is alone never
/// waits.
async fn gather(first: Job, jobs: &mut mpsc::Receiver<Job>, expected: usize) -> Batch {
    let mut batch = Vec::with_capacity(expected);
    batch.push(first);
    let started = Instant::now();
    loop {
        while batch.len() < BATCH
            && let Ok(job) = jobs.try_recv()
        {
            batch.push(job);
        }
        if batch.len() >= expected || started.elapsed() >= BATCH_WINDOW {
            return batch;
        }
        tokio::task::yield_now().await;
    }
}

struct Writer {
    shared: Shared,
    connection: Option<Marked>,
}

#[derive(Clone)]
struct Shared {
    address: Arc<Address>,
    appended: watch::Sender<u64>,
    to_announce: Arc<Notify>,
    witness: Witness,
    /// Whether a task is already looking for a lock to release.
    releasing: Arc<AtomicBool>,
}

impl Shared {
    /// Looks, a moment later, for a holder of the lock whose node has given up, and terminates it.
    fn release_the_lock(&self) {
        if self.releasing.swap(true, Ordering::Relaxed) {
            return;
        }
        let (address, releasing) = (Arc::clone(&self.address), Arc::clone(&self.releasing));
        tokio::spawn(async move {
            tokio::time::sleep(UNTIL_RELEASE).await;
            if let Ok(mut connected) = address.connect().await {
                let release = sqlx::raw_sql(RELEASE).execute(&mut connected.connection);
                let _ = timeout_at(Instant::now() + UNTIL_RELEASE, release).await;
            }
            releasing.store(false, Ordering::Relaxed);
        });
    }
}

/// The outcome of each operation of a batch.
type Outcomes = Vec<Result<Committed, Error>>;

impl Writer {
    /// Runs a batch in one transaction, and answers all callers after it is durable.
    async fn commit(&mut self, mut batch: Batch) {
        let limit = Instant::now() + SERVER_TIMEOUT;
        // Taken out: the connection is put back only if the batch succeeds, or fails in a way that leaves it usable.
        // Otherwise it is closed.
        let connection = self.connection.take();
        let committed = timeout_at(limit, self.all_or_each(connection, &mut batch)).await;
        let outcomes = match committed {
            Ok(Ok(outcomes)) => outcomes,
            Ok(Err(error)) => vec![Err(error); batch.len()],
            Err(_) => vec![Err(too_late()); batch.len()],
        };
        if self.connection.is_none() {
            self.shared.release_the_lock();
        }
        for (job, outcome) in batch.into_iter().zip(outcomes) {
            job.answer(outcome);
        }
    }

    async fn all_or_each(&mut self, held: Option<Marked>, batch: &mut [Job]) -> Result<Outcomes, Error> {
        let mut connected = self.begin(held).await?;
        let connection = &mut connected.connection;
        let outcomes = match all_or_none(connection, batch, &self.shared.witness).await {
            Ok(done) => Ok(done),
            Err(Failure::OfAll(error)) => Err(error),
            Err(Failure::OfOne(error)) => {
                execute(connection, "ROLLBACK").await?;
                if let [_] = batch {
                    self.connection = Some(connected);
                    return Err(Error::unavailable(error));
                }
                begin(&mut connected).await?;
                each_for_itself(&mut connected.connection, batch, &self.shared.witness).await
            }
        };
        let (outcomes, appended) = outcomes?;
        // From here on, a missing answer leaves the outcome unknown.
        execute(&mut connected.connection, COMMIT).await?;
        if let Some(appended) = appended {
            appended.note(&self.shared.witness)?;
            self.shared.appended.send_modify(|appends| *appends = appends.wrapping_add(1));
            self.shared.to_announce.notify_one();
        }
        self.connection = Some(connected);
        Ok(outcomes)
    }

    /// Begins a transaction and takes the lock. Opens a new connection if there is none, or if the held one has died.
    async fn begin(&mut self, held: Option<Marked>) -> Result<Marked, Error> {
        if let Some(mut connected) = held {
            match begin(&mut connected).await {
                Ok(()) => return Ok(connected),
                Err(NotConnected::Unavailable(_)) => {}
                Err(why) => return Err(why.into()),
            }
        }
        let mut connected = self.shared.address.connect().await?;
        execute(&mut connected.connection, BY_KEY).await?;
        begin(&mut connected).await?;
        Ok(connected)
    }
}

/// Begins a transaction and takes the lock.
async fn begin(connected: &mut Marked) -> Result<(), NotConnected> {
    let mark = sqlx::raw_sql(BEGIN).fetch_one(&mut connected.connection).await?;
    connected.is_marked(&mark, 0)
}

async fn execute(connection: &mut PgConnection, statements: &'static str) -> Result<(), Error> {
    // The simple protocol: several statements in one round trip.
    sqlx::raw_sql(statements).execute(connection).await.map(drop).map_err(Error::unavailable)
}

/// Runs a batch without savepoints: the fast path. One failure fails the whole batch.
async fn all_or_none(
    connection: &mut PgConnection,
    batch: &mut [Job],
    witness: &Witness,
) -> Result<(Outcomes, Option<Appended>), Failure> {
    let appended = batch::run(connection, batch, witness).await?;
    Ok((vec![Ok(Committed::after(&appended)); batch.len()], appended))
}

/// Runs each operation in a savepoint of its own, after a batch has failed: a failed operation is undone, and the
/// others stay.
async fn each_for_itself(
    connection: &mut PgConnection,
    batch: &mut [Job],
    witness: &Witness,
) -> Result<(Outcomes, Option<Appended>), Error> {
    let mut outcomes = Vec::with_capacity(batch.len());
    let mut last = None;
    for job in batch {
        execute(connection, "SAVEPOINT operation").await?;
        let outcome = match batch::run(connection, std::slice::from_mut(job), witness).await {
            Ok(appended) => {
                let committed = Committed::after(&appended);
                last = appended.or(last);
                Ok(committed)
            }
            Err(Failure::OfAll(error)) => return Err(error),
            Err(Failure::OfOne(error)) => {
                execute(connection, "ROLLBACK TO operation").await?;
                Err(Error::unavailable(error))
            }
        };
        execute(connection, "RELEASE operation").await?;
        outcomes.push(outcome);
    }
    Ok((outcomes, last))
}
