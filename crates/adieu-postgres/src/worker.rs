//! The task that writes: group commit.
//!
//! Operations keep the order in which they were queued. Consecutive operations that name the keys of their sessions run
//! together: one statement reads the sessions, the operations are decided one after the other in memory, each seeing
//! the changes of those before it, and one statement applies all changes if no session has changed since
//! ([`apply`](super::apply)). The lock of the writers is held only during that statement and its commit. If a session
//! has changed, which only another process can have done, the operations are decided again in a transaction that takes
//! the lock first.
//!
//! Consecutive operations that run statements of their own share a transaction that holds the lock. An operation that
//! fails is removed from its batch, and the others run again, each for itself.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use sqlx::PgConnection;
use tokio::{
    sync::{Mutex, Notify, watch},
    time::{Instant, timeout_at},
};

use super::{
    apply::{Appended, Outcome, Write, apply},
    connections::{Address, BY_KEY, Marked, NotConnected},
    job::{Answer, Failure, Job, alone},
    rows,
};
use adieu::{
    Error,
    engine::{
        Changes, CommitSizes, Key,
        group_commit::{GroupCommit, Job as _, keyed},
    },
    restore::Witness,
    revocation::Position,
};

/// The timeout of a caller. Longer than [`SERVER_TIMEOUT`], so that a caller usually gets the actual reason.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// The timeout of a batch on the server, including the lock and a new connection. Longer than a node that is frozen
/// while it holds the lock can keep it (`idle_in_transaction_session_timeout`).
const SERVER_TIMEOUT: Duration = Duration::from_secs(4);
/// How long after its last answer a connection is tested before it is used: the server may have closed it since, and a
/// statement that writes is not sent twice.
const IDLE: Duration = Duration::from_millis(5);

/// READ COMMITTED, whatever the database's default is: the statements after the lock must see everything that was
/// committed before the lock was taken. The number identifies the lock of adieu within one database ("adieu" in ASCII).
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; \
                     SELECT current_setting('adieu.connection', true) FROM pg_advisory_xact_lock(418380178805)";
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

/// A queue, and the task that serves it.
#[derive(Debug, Clone)]
pub(super) struct Worker(GroupCommit<Job>);

impl Worker {
    /// Starts the task, which connects when it gets its first operation. Every commit that appends increments
    /// `appended` and notifies `to_announce`.
    pub(super) fn start(
        address: Arc<Address>,
        appended: watch::Sender<u64>,
        to_announce: Arc<Notify>,
        witness: Witness,
        sizes: CommitSizes,
    ) -> Self {
        let (releasing, connection) = (Arc::default(), Arc::default());
        let writer = Writer { address, appended, to_announce, witness, sizes, releasing, connection };
        Self(GroupCommit::start(move |batch| {
            let writer = writer.clone();
            async move { writer.commit(batch).await }
        }))
    }

    /// Queues an operation that is decided from the sessions of `keys`, and returns a future of its outcome. Fails
    /// immediately if the queue is full.
    pub(super) fn decide<T, F>(
        &self,
        keys: Vec<Key>,
        operation: F,
    ) -> Result<impl Future<Output = Result<(T, Position), Error>> + use<T, F>, Error>
    where
        T: Send + 'static,
        F: FnMut(&mut Changes) -> T + Send + 'static,
    {
        let (job, answer) = keyed(keys, ANSWER_TIMEOUT, operation);
        self.0.queue(Job::Keyed(job))?;
        Ok(answer)
    }

    /// Queues an operation that runs statements of its own.
    pub(super) fn run<T, F>(
        &self,
        operation: F,
    ) -> Result<impl Future<Output = Result<(T, Position), Error>> + use<T, F>, Error>
    where
        T: Send + 'static,
        F: for<'c> FnMut(&'c mut PgConnection, &'c mut Changes) -> Answer<'c, T> + Send + 'static,
    {
        let (job, answer) = alone(ANSWER_TIMEOUT, operation);
        self.0.queue(job)?;
        Ok(answer)
    }
}

#[derive(Clone)]
struct Writer {
    address: Arc<Address>,
    appended: watch::Sender<u64>,
    to_announce: Arc<Notify>,
    witness: Witness,
    sizes: CommitSizes,
    /// Whether a task is already looking for a lock to release.
    releasing: Arc<AtomicBool>,
    /// The connection, and when the server last answered on it. Taken out while it is used, and put back only if the
    /// batch succeeds, or fails in a way that leaves it usable; otherwise it is closed.
    connection: Arc<Mutex<Option<(Marked, Instant)>>>,
}

impl fmt::Debug for Writer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Writer").finish_non_exhaustive()
    }
}

/// What a part of a batch has appended, if anything.
type Done = Result<Option<Appended>, Failure>;

impl Writer {
    /// Runs a batch, and answers each caller after its operation is durable.
    async fn commit(&self, batch: Vec<Job>) {
        let mut held = self.connection.lock().await;
        let limit = Instant::now() + SERVER_TIMEOUT;
        let mut batch = batch.into_iter().peekable();
        while let Some(first) = batch.next() {
            let is_keyed = first.is_keyed();
            let mut jobs = vec![first];
            jobs.extend(std::iter::from_fn(|| batch.next_if(|next| next.is_keyed() == is_keyed)));
            let done = self.run(&mut held, limit, &mut jobs).await;
            if matches!(done, Err(Failure::OfOne(_))) && jobs.len() > 1 {
                for mut job in jobs {
                    let done = self.run(&mut held, limit, std::slice::from_mut(&mut job)).await;
                    job.answer(self.outcome(done));
                }
            } else {
                let outcome = self.outcome(done);
                jobs.into_iter().for_each(|job| job.answer(outcome.clone()));
            }
        }
    }

    /// Returns the outcome for the callers, and announces what was appended.
    fn outcome(&self, done: Done) -> Result<Position, Error> {
        match done {
            Ok(None) => Ok(Position::START),
            Ok(Some(appended)) => {
                let head_before = appended.head_before;
                appended.note(&self.witness)?;
                self.appended.send_modify(|appends| *appends = appends.wrapping_add(1));
                self.to_announce.notify_one();
                Ok(head_before)
            }
            Err(Failure::OfOne(error)) => Err(Error::unavailable(error)),
            Err(Failure::OfAll(error)) => Err(error),
        }
    }

    /// Runs operations of one kind on the held connection, or on a new one, until `limit`.
    async fn run(&self, held: &mut Option<(Marked, Instant)>, limit: Instant, jobs: &mut [Job]) -> Done {
        let connection = held.take();
        let running = async {
            let mut connected = self.connected(connection).await.map_err(Failure::OfAll)?;
            let done = self.run_on(&mut connected, jobs).await;
            Ok((connected, done))
        };
        let done = match timeout_at(limit, running).await {
            Ok(Ok((connected, done))) => {
                if !matches!(done, Err(Failure::OfAll(_))) {
                    *held = Some((connected, Instant::now()));
                }
                done
            }
            Ok(Err(failure)) => Err(failure),
            Err(_) => Err(Failure::OfAll(Error::unavailable("the server did not answer in time"))),
        };
        if done.is_ok() {
            self.sizes.record(jobs.len());
        }
        if held.is_none() {
            self.release_the_lock();
        }
        done
    }

    /// Returns a usable connection: the held one, unless it has died.
    async fn connected(&self, held: Option<(Marked, Instant)>) -> Result<Marked, Error> {
        if let Some((mut connected, answered)) = held {
            if answered.elapsed() < IDLE {
                return Ok(connected);
            }
            match connected.is_served_by_one().await {
                Ok(()) => return Ok(connected),
                Err(NotConnected::Unavailable(_)) => {}
                Err(why) => return Err(why.into()),
            }
        }
        let mut connected = self.address.connect().await?;
        execute(&mut connected.connection, BY_KEY).await?;
        Ok(connected)
    }

    async fn run_on(&self, connected: &mut Marked, jobs: &mut [Job]) -> Done {
        if jobs.iter().all(Job::is_keyed)
            && let Outcome::Applied(appended) = self.decide_and_apply(connected, jobs).await?
        {
            return Ok(appended);
        }
        self.in_a_transaction(connected, async |connected| match self.decide_and_apply(connected, jobs).await? {
            Outcome::Applied(appended) => Ok(appended),
            Outcome::Changed => Err(Failure::OfAll(Error::unavailable("a session was changed without the lock"))),
        })
        .await
    }

    async fn decide_and_apply(&self, connected: &mut Marked, jobs: &mut [Job]) -> Result<Outcome, Failure> {
        let keys: HashSet<Key> = jobs.iter().flat_map(Job::keys).cloned().collect();
        let found = if keys.is_empty() { vec![] } else { rows::find(&mut connected.connection, &keys).await? };
        let (found, versions): (Vec<_>, HashMap<Key, String>) = found
            .into_iter()
            .map(|(session, version)| {
                let key = (session.subject.clone(), session.id.clone());
                (session, (key, version))
            })
            .unzip();
        let mut changes = Changes::of(keys.iter().collect(), found);
        for job in jobs {
            match job {
                Job::Keyed(job) => job.decide(&mut changes),
                Job::Alone(job) => job.run(&mut connected.connection, &mut changes).await?,
            }
        }
        if changes.is_empty() {
            return Ok(Outcome::Applied(None));
        }
        let (put, removed) = changes.changed();
        let write = Write {
            read: keys.iter().map(|key| (key, versions.get(key).cloned())).collect(),
            removed,
            put,
            appended: changes.appended(),
            restarted_after: changes.restarted_after(),
        };
        apply(connected, &write, &self.witness).await
    }

    /// Runs statements in a transaction that takes the lock first. What they wrote is durable afterwards.
    async fn in_a_transaction(&self, connected: &mut Marked, run: impl AsyncFnOnce(&mut Marked) -> Done) -> Done {
        let mark = sqlx::raw_sql(BEGIN).fetch_one(&mut connected.connection).await?;
        connected.is_marked(&mark, 0).map_err(|why| Failure::OfAll(why.into()))?;
        let done = run(connected).await;
        // From a commit on, a missing answer leaves the outcome unknown.
        let end = match &done {
            Ok(_) => "COMMIT",
            Err(Failure::OfOne(_)) => "ROLLBACK",
            Err(Failure::OfAll(_)) => return done,
        };
        execute(&mut connected.connection, end).await.map_err(Failure::OfAll)?;
        done
    }

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

async fn execute(connection: &mut PgConnection, statements: &'static str) -> Result<(), Error> {
    // The simple protocol: several statements in one round trip.
    sqlx::raw_sql(statements).execute(connection).await.map(drop).map_err(Error::unavailable)
}
