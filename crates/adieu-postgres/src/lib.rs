//! A store of [`adieu`] for several nodes: one PostgreSQL database that all of them share.
//!
//! ```no_run
//! use adieu::{Issuer, Node};
//! use adieu_postgres::Postgres;
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let store = Postgres::connect("postgres://adieu@localhost/adieu").await?;
//! let node = Node::builder(Issuer::new("https://example.org")?).start(store).await?;
//! # Ok(())
//! # }
//! ```
//!
//! 1. **Durable.** A call returns after the server has acknowledged the commit, and the server acknowledges a commit
//!    only when it is on disk: at the start, and on every new connection, the store checks `fsync` and
//!    `full_page_writes`, and turns `synchronous_commit` on if it is off. A server that could lose acknowledged commits
//!    is rejected, unless [`PostgresBuilder::allow_weaker_durability`] is set.
//! 2. **Ordered.** Every writer of sessions and revocations, in every process, takes one lock and holds it until its
//!    commit is visible. Positions have no gaps, and writers cannot deadlock.
//! 3. **Group commit.** One task per process writes. It takes all queued operations, reads their sessions with one
//!    statement, decides in memory, and writes with another one, a function in the database. The function takes the
//!    lock, and applies everything if no session has changed since it was read; its commit answers all callers.
//! 4. **Isolated failures.** An operation that fails is removed from its batch, and the other operations run again
//!    without it.
//! 5. **Bounded.** The queue is bounded: if it is full, the call returns [`Error::Unavailable`] immediately. Time is
//!    bounded, even if the server is frozen: a read of the log ends within 1.5 seconds, any other read within 4, a
//!    write within 5. A node that is frozen while it holds the lock loses the lock after 2 seconds.
//! 6. **Self-healing.** A connection that failed or timed out is dropped, and the next call opens a new one: the store
//!    recovers with the server. A commit that waits for a missing standby loses the lock after its callers have timed
//!    out.
//! 7. **Careful.** A schema `adieu` of another program is rejected before anything is written to it.
//!
//! Nodes announce appends to each other with `NOTIFY`, after the commit. Notifications may be lost, so a waiting reader
//! also polls every tenth of a second.
//!
//! Limitations:
//!
//! * The database needs the language PL/pgSQL, which is there unless it was dropped.
//! * A commit whose acknowledgement was lost returns [`Error::Unavailable`], and may have happened.
//! * If a standby is promoted, the commits that it had not yet received are lost, unless `synchronous_standby_names`
//!   makes commits wait for it. A node that keeps a [high-water mark](adieu::NodeBuilder::with_high_water) detects the
//!   loss and revokes everything issued before.
//! * A primary that was replaced by another server must be stopped, or cut off from the nodes: a node that still reads
//!   from it does not receive new revocations.
//! * A pooler between a node and the server must not give one connection's transactions to several processes of the
//!   server (`pool_mode = transaction` of PgBouncer), because settings, notifications and prepared statements belong to
//!   a connection. The store detects and rejects such a pooler.
//! * A single step on so many sessions of one subject that the server needs more than 4 seconds fails, and changes
//!   nothing. Ending all sessions of all subjects runs in several steps.

mod apply;
mod connections;
mod job;
mod keys;
mod listener;
mod log;
mod membership;
mod restore;
mod rows;
mod schema;
mod server;
mod sessions;
mod text;
mod url;
mod worker;

use std::{
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use sqlx::{PgConnection, postgres::PgRow};
use tokio::{
    sync::{Notify, watch},
    task::AbortHandle,
    time::timeout,
};

#[doc(hidden)]
pub use connections::{PoolUse, Statement};
#[doc(hidden)]
pub use sqlx;
#[doc(hidden)]
pub use text::{from_text, to_text};

use adieu::{
    Error,
    engine::{Changes, CommitSizes, Key, Searches},
    restore::Witness,
    revocation::LogId,
    time::Timestamp,
};
use connections::{Address, Connections, FIRST_CONNECT_TIMEOUT, Marked, NotConnected};
use job::Answer;
use schema::Place;
use server::Durability;
use worker::Worker;

/// The number of connections that read the log: one for the node's own follower, one for all others.
const FOLLOWERS: usize = 2;
const FOLLOW: Duration = Duration::from_millis(1_500);
/// The number of connections for all other reads, and for writes of accounts and clients.
const OTHERS: usize = 4;
const ASK: Duration = Duration::from_secs(4);
/// The timeout of creating or migrating the tables.
const MIGRATE: Duration = Duration::from_secs(300);

/// A store in a PostgreSQL database. Clones share its connections, which close with the last clone.
#[derive(Clone)]
pub struct Postgres {
    inner: Arc<Inner>,
}

impl fmt::Debug for Postgres {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Postgres").field("address", &self.address()).finish_non_exhaustive()
    }
}

struct Inner {
    address: Arc<Address>,
    writer: Worker,
    followers: Connections,
    others: Connections,
    searches: Searches,
    /// The tasks that announce appends and listen for them.
    notifying: [AbortHandle; 2],
    /// The number of announcements that failed.
    unannounced: Arc<AtomicU64>,
    commit_sizes: CommitSizes,
    witness: Witness,
    /// Changes with every append that this process knows of.
    appended: watch::Sender<u64>,
    /// Whether a write has failed since the store was last known to be writable.
    write_failed: AtomicBool,
    /// Where the next step of pruning and the next step of deleting expired sessions start.
    pruned_up_to: AtomicI64,
    forgotten_up_to: Mutex<(String, String)>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.notifying.iter().for_each(AbortHandle::abort);
    }
}

/// Settings for connecting a [`Postgres`].
#[derive(Debug, Clone)]
pub struct PostgresBuilder {
    durability: Durability,
}

impl PostgresBuilder {
    /// Accepts a server that may lose an acknowledged logout: if its machine fails (`fsync` or `full_page_writes` off),
    /// or if it is killed (`synchronous_commit` off).
    #[must_use]
    pub fn allow_weaker_durability(self) -> Self {
        Self { durability: Durability::AsTheServerHasIt }
    }

    /// Connects like [`Postgres::connect`], with these settings.
    ///
    /// # Errors
    /// As [`Postgres::connect`].
    pub async fn connect(self, url: &str) -> Result<Postgres, Error> {
        let (address, mut connected) = self.reach(url).await?;
        let migrating = schema::migrate(&mut connected.connection, Place(address.shown()));
        timeout(MIGRATE, migrating).await.map_err(Error::unavailable)??;
        Postgres::start(address, connected).await
    }

    /// Returns whether the database has the tables of this version, without migrating it; `None` if there is no store yet.
    ///
    /// # Errors
    /// As [`Postgres::connect`].
    #[doc(hidden)]
    pub async fn is_current(self, url: &str) -> Result<Option<bool>, Error> {
        let (address, mut connected) = self.reach(url).await?;
        schema::is_current(&mut connected.connection, Place(address.shown())).await
    }

    async fn reach(self, url: &str) -> Result<(Arc<Address>, Marked), Error> {
        let address = Arc::new(Address::parse(url, self.durability)?);
        let connected = address.connect_within(FIRST_CONNECT_TIMEOUT).await.map_err(|why| match why {
            NotConnected::Refused(why) => Error::UnsuitableServer(why),
            NotConnected::Unavailable(error) => error,
        })?;
        Ok((address, connected))
    }
}

impl Postgres {
    /// Connects to the database `postgres://USER:PASSWORD@HOST:PORT/DATABASE`, and creates or migrates its tables in
    /// the schema `adieu`. Several nodes may connect at the same time.
    ///
    /// The connection is encrypted and the server's certificate verified (`sslmode=verify-full`), unless the host is
    /// this machine or the URL says otherwise. The URL accepts these parameters of libpq: `sslmode`, `sslrootcert`,
    /// `sslcert`, `sslkey`, `host`, `hostaddr`, `port`, `dbname`, `user`, `password`, `application_name`, `options` and
    /// `target_session_attrs`. Others are rejected.
    ///
    /// # Errors
    /// [`Error::InvalidSetting`] if the URL is invalid. [`Error::UnsuitableServer`] if the server does not give the
    /// guarantees of a store. [`Error::IncompatibleStore`] if the schema `adieu` belongs to another program or a newer
    /// version; it is left unchanged. [`Error::Unavailable`] if the server cannot be reached or rejects the login.
    pub async fn connect(url: &str) -> Result<Self, Error> {
        Self::builder().connect(url).await
    }

    /// Returns a builder, for settings that differ from those of [`Postgres::connect`].
    #[must_use]
    pub fn builder() -> PostgresBuilder {
        PostgresBuilder { durability: Durability::Full }
    }

    async fn start(address: Arc<Address>, mut connected: Marked) -> Result<Self, Error> {
        let (appended, to_announce) = (watch::Sender::new(0), Arc::new(Notify::new()));
        let witness = Witness::default();
        let (announcing, commit_sizes) = (Arc::clone(&to_announce), CommitSizes::default());
        let writer =
            Worker::start(Arc::clone(&address), appended.clone(), announcing, witness.clone(), commit_sizes.clone());
        // The name of this process in notifications, so that it ignores its own.
        let name = LogId::random().as_str().to_owned();
        let unannounced = Arc::new(AtomicU64::new(0));
        let telling =
            tokio::spawn(listener::announce(Arc::clone(&address), name.clone(), to_announce, Arc::clone(&unannounced)));
        let listening = tokio::spawn(listener::listen(Arc::clone(&address), name, appended.clone()));
        // The connection that was opened above is kept, so that the first read of the log need not wait for one.
        let followers = Connections::new(Arc::clone(&address), FOLLOWERS, FOLLOW).by_key();
        followers.prepare(&mut connected).await?;
        followers.keep(connected);
        let inner = Inner {
            writer,
            followers,
            others: Connections::new(Arc::clone(&address), OTHERS, ASK),
            searches: Searches::default(),
            notifying: [telling.abort_handle(), listening.abort_handle()],
            unannounced,
            commit_sizes,
            witness,
            appended,
            write_failed: AtomicBool::new(false),
            pruned_up_to: AtomicI64::new(0),
            forgotten_up_to: Mutex::default(),
            address,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Returns host, port and database, without any secret.
    #[must_use]
    #[doc(hidden)]
    pub fn address(&self) -> &str {
        self.inner.address.shown()
    }

    /// Returns how many appends could not be announced to other nodes because `NOTIFY` failed. Other nodes find these
    /// by polling, a tenth of a second later.
    #[must_use]
    #[doc(hidden)]
    pub fn unannounced(&self) -> u64 {
        self.inner.unannounced.load(Ordering::Relaxed)
    }

    /// Returns how many operations shared each commit of this process.
    #[must_use]
    #[doc(hidden)]
    pub fn commit_sizes(&self) -> &CommitSizes {
        &self.inner.commit_sizes
    }

    /// Returns how much is in use of the connections for accounts, clients, and reads other than those of the log.
    #[must_use]
    #[doc(hidden)]
    pub fn pool(&self) -> PoolUse {
        self.inner.others.usage()
    }

    /// Runs one statement and returns its rows. The statement is atomic, and durable when this returns. Its search path
    /// has the tables of all components. Pass texts that may hold any character through [`to_text`] and [`from_text`].
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the statement failed or took longer than 4 seconds. Its writes may then have happened
    /// or not.
    #[doc(hidden)]
    pub async fn fetch_all(&self, statement: Statement<'_>) -> Result<Vec<PgRow>, Error> {
        self.inner.others.fetch_all(statement).await
    }

    /// Like [`Postgres::fetch_all`], but returns only the first row.
    ///
    /// # Errors
    /// As [`Postgres::fetch_all`].
    #[doc(hidden)]
    pub async fn fetch_optional(&self, statement: Statement<'_>) -> Result<Option<PgRow>, Error> {
        self.inner.others.fetch_optional(statement).await
    }

    /// Like [`Postgres::fetch_all`], but returns the number of rows written.
    ///
    /// # Errors
    /// As [`Postgres::fetch_all`].
    #[doc(hidden)]
    pub async fn execute(&self, statement: Statement<'_>) -> Result<u64, Error> {
        let outcome = self.inner.others.execute(statement).await;
        self.written(outcome)
    }

    /// Runs statements in one transaction and commits it if together they have written `expected_rows` rows; otherwise
    /// it is undone. Returns whether it was committed.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if a statement failed or took longer than 4 seconds. Only if it was the commit may the
    /// writes then have happened.
    #[doc(hidden)]
    pub async fn execute_all(
        &self,
        statements: impl Iterator<Item = Statement<'_>>,
        expected_rows: u64,
    ) -> Result<bool, Error> {
        let outcome = self.inner.others.execute_all(statements, expected_rows).await;
        self.written(outcome)
    }

    /// Checks that the store can be read and, if a write has failed, that it can be written again.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if it cannot.
    pub async fn check(&self) -> Result<(), Error> {
        const READ: &str = "SELECT log_id FROM revocation_log_state";
        const WRITE: &str = "UPDATE revocation_log_state SET probes = probes + 1";
        self.fetch_optional(sqlx::query(READ)).await?;
        if self.inner.write_failed.load(Ordering::Relaxed) {
            self.run(|connection, _| Box::pin(async move { sqlx::query(WRITE).execute(connection).await.map(drop) }))
                .await?;
            self.inner.write_failed.store(false, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Migrates the tables that an application keeps in this database. The `steps` of a `component` run once each, in
    /// order; the database records which have run. Several nodes may migrate at the same time.
    ///
    /// # Errors
    /// [`Error::IncompatibleStore`] if more steps have run than `steps` has: a newer version has migrated the tables.
    /// [`Error::Unavailable`] if a step failed.
    #[doc(hidden)]
    pub async fn migrate(&self, component: &'static str, steps: &'static [&'static str]) -> Result<(), Error> {
        let mut connection = self.inner.address.connect_within(FIRST_CONNECT_TIMEOUT).await?.connection;
        let migrating = async {
            // Usually there is nothing to migrate, which needs no lock.
            if schema::has_run(&mut connection, component, steps, Place(self.address())).await? {
                return Ok(());
            }
            schema::migrate_component(&mut connection, component, steps, Place(self.address())).await
        };
        timeout(MIGRATE, migrating).await.map_err(Error::unavailable)?
    }

    /// Returns whether all `steps` of a component have run. Changes nothing.
    ///
    /// # Errors
    /// [`Error::IncompatibleStore`] if a newer version of the component has migrated the tables.
    #[doc(hidden)]
    pub async fn is_migrated(&self, component: &'static str, steps: &[&str]) -> Result<bool, Error> {
        let mut connection = self.inner.address.connect_within(FIRST_CONNECT_TIMEOUT).await?.connection;
        schema::has_run(&mut connection, component, steps, Place(self.address())).await
    }

    /// See [`Worker::decide`].
    async fn decide<T, F>(&self, keys: Vec<Key>, operation: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnMut(&mut Changes) -> T + Send + 'static,
    {
        let outcome = self.inner.writer.decide(keys, operation)?.await;
        Ok(self.written(outcome)?.0)
    }

    /// See [`Worker::run`].
    async fn run<T, F>(&self, operation: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: for<'c> FnMut(&'c mut PgConnection, &'c mut Changes) -> Answer<'c, T> + Send + 'static,
    {
        let outcome = self.inner.writer.run(operation)?.await;
        Ok(self.written(outcome)?.0)
    }

    fn written<T>(&self, outcome: Result<T, Error>) -> Result<T, Error> {
        if outcome.is_err() {
            self.inner.write_failed.store(true, Ordering::Relaxed);
        }
        outcome
    }
}

/// Converts a [`Timestamp`]: PostgreSQL has no unsigned integers, and a [`Timestamp`] never needs the last bit.
fn from_time(timestamp: Timestamp) -> i64 {
    i64::try_from(timestamp.as_unix()).unwrap_or(i64::MAX)
}

fn to_time(seconds: i64) -> Timestamp {
    Timestamp::from_unix(u64::try_from(seconds).unwrap_or(0))
}

fn invalid(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> sqlx::Error {
    sqlx::Error::Decode(cause.into())
}
