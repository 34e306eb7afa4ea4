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
//! 1. **Durable.** A call returns when the server has answered the commit, and the server is one that answers when its disk
//!    has it: at the start, and with every new connection, `fsync` and `full_page_writes` are looked at, and
//!    `synchronous_commit` is turned on where it is off. A server that would lose what it has answered is refused unless
//!    [`PostgresBuilder::allow_weaker_durability`] says otherwise.
//! 2. **One order.** Every writer of sessions and revocations, in whatever process, takes one lock first and holds it until
//!    its commit can be seen: positions have no gaps, and two writers can't wait for each other in a circle.
//! 3. **Group commit.** One task a process writes. It takes whatever is queued, reads, decides and writes all of it with a
//!    handful of statements, commits once and answers everybody.
//! 4. **One caller's failure is its own.** An operation that fails is taken out, and the rest runs again without it.
//! 5. **Bounded.** The queue is; when it is full the answer is [`Error::Unavailable`] at once. So is time: a read of the log
//!    ends within a second and a half, any other within four, a write within five, also when the server is frozen. A node that is
//!    frozen while it has the lock loses it after two seconds.
//! 6. **Self-healing.** A connection that failed or was late is dropped, and the next call makes a new one: when the server is
//!    back, so is the store. A commit that waits for a missing standby, and that nobody waits for any more, loses the lock.
//! 7. **Careful.** A schema that is not ours is refused before anything is written to it.
//!
//! Others are told of appends by `NOTIFY`, after the commit; a reader that waits looks every tenth of a second all the same, because a
//! notification may be lost.
//!
//! What this does not do:
//!
//! * A commit whose answer was lost is [`Error::Unavailable`], and may have happened.
//! * With a standby that is promoted, what it had not received yet is gone, unless `synchronous_standby_names` makes commits
//!   wait for it. A node that keeps a [mark](adieu::NodeBuilder::with_high_water) notices, and then everything from before is revoked.
//! * A primary that another server has taken the place of must be stopped, or cut off from the nodes: whoever still reads from
//!   it does not learn what has been revoked since.
//! * Between a node and the server there must be no pooler that gives one connection's transactions to several of the server's
//!   processes (`pool_mode = transaction` of PgBouncer): settings, notifications and prepared statements are a connection's. It is
//!   noticed, and refused.
//! * A step that concerns so many sessions of one subject that the server takes more than four seconds for it fails, and leaves all
//!   as it was. All sessions of all subjects end in several steps.

mod batch;
mod changes;
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
pub use connections::Statement;
#[doc(hidden)]
pub use sqlx;
#[doc(hidden)]
pub use text::{from_text, to_text};

use adieu::{Error, engine::Searches, restore::Witness, revocation::LogId, time::Timestamp};
use changes::Changes;
use connections::{Address, Connections, FIRST_CONNECT_TIMEOUT, NotConnected};
use job::Answer;
use rows::Key;
use schema::Place;
use server::Durability;
use worker::Worker;

/// Connections for following the log: the node's own follower and the one for all others. And how long a read may take,
/// which is below what any sensible `max_staleness` is.
const FOLLOWERS: usize = 2;
const FOLLOW: Duration = Duration::from_millis(1_500);
/// Connections for everything else that reads, and for what accounts and clients write.
const OTHERS: usize = 4;
const ASK: Duration = Duration::from_secs(4);
/// How long the tables may take to be made or brought up to date.
const MIGRATE: Duration = Duration::from_secs(300);

/// A PostgreSQL database. Clones share its connections, which end with the last of them.
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
    /// What tells others, and what hears of them.
    notifying: [AbortHandle; 2],
    /// How many announcements failed.
    unannounced: Arc<AtomicU64>,
    witness: Witness,
    /// Goes up when somebody has appended, as far as this process is told.
    appended: watch::Sender<u64>,
    /// Whether a write has failed since the store was last known to be writable.
    write_failed: AtomicBool,
    /// Where the next step of pruning starts to look, and where the next step of forgetting sessions does.
    pruned_up_to: AtomicI64,
    forgotten_up_to: Mutex<(String, String)>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.notifying.iter().for_each(AbortHandle::abort);
    }
}

/// How a [`Postgres`] is connected to.
#[derive(Debug, Clone)]
pub struct PostgresBuilder {
    durability: Durability,
}

impl PostgresBuilder {
    /// Takes a server as it is set up, also one that may lose a logout that was answered, when its machine fails (`fsync` or
    /// `full_page_writes` off) or whenever it is killed (`synchronous_commit` off).
    #[must_use]
    pub fn allow_weaker_durability(self) -> Self {
        Self { durability: Durability::AsTheServerHasIt }
    }

    /// As [`Postgres::connect`].
    ///
    /// # Errors
    /// As [`Postgres::connect`].
    pub async fn connect(self, url: &str) -> Result<Postgres, Error> {
        Postgres::open(Arc::new(Address::parse(url, self.durability)?)).await
    }
}

impl Postgres {
    /// Connects to a database, `postgres://USER:PASSWORD@HOST:PORT/DATABASE`, and makes its tables, in a schema `adieu`, or
    /// brings them up to date; several nodes may do so at once.
    ///
    /// The connection is encrypted and the server's certificate verified (`sslmode=verify-full`), unless the host is this machine or
    /// the URL says otherwise. Parameters of the URL are those of libpq: `sslmode`, `sslrootcert`, `sslcert`, `sslkey`, `host`,
    /// `hostaddr`, `port`, `dbname`, `user`, `password`, `application_name`, `options` and `target_session_attrs`; others are refused.
    ///
    /// # Errors
    /// [`Error::InvalidSetting`] if the URL is invalid. [`Error::UnsuitableServer`] if the server does not give the guarantees of a store.
    /// [`Error::IncompatibleStore`] when there is a schema `adieu` that is another program's, or of a newer version: it is then left
    /// as it is. [`Error::Unavailable`] when nobody is there or lets us in.
    pub async fn connect(url: &str) -> Result<Self, Error> {
        Self::builder().connect(url).await
    }

    /// To connect in another way than [`Postgres::connect`].
    #[must_use]
    pub fn builder() -> PostgresBuilder {
        PostgresBuilder { durability: Durability::Full }
    }

    async fn open(address: Arc<Address>) -> Result<Self, Error> {
        let mut connected = address.connect_within(FIRST_CONNECT_TIMEOUT).await.map_err(|why| match why {
            NotConnected::Refused(why) => Error::UnsuitableServer(why),
            NotConnected::Unavailable(error) => error,
        })?;
        let migrating = schema::migrate(&mut connected.connection, Place(address.shown()));
        timeout(MIGRATE, migrating).await.map_err(Error::unavailable)??;
        let (appended, to_announce) = (watch::Sender::new(0), Arc::new(Notify::new()));
        let witness = Witness::default();
        let writer = Worker::start(Arc::clone(&address), appended.clone(), Arc::clone(&to_announce), witness.clone());
        // What it calls itself, so that it does not wake itself a second time.
        let name = LogId::random().as_str().to_owned();
        let unannounced = Arc::new(AtomicU64::new(0));
        let telling =
            tokio::spawn(listener::announce(Arc::clone(&address), name.clone(), to_announce, Arc::clone(&unannounced)));
        let listening = tokio::spawn(listener::listen(Arc::clone(&address), name, appended.clone()));
        // Here already, so that the first read of the log need not wait for it.
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
            witness,
            appended,
            write_failed: AtomicBool::new(false),
            pruned_up_to: AtomicI64::new(0),
            forgotten_up_to: Mutex::default(),
            address,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Host, port and database: nothing that is secret.
    #[must_use]
    #[doc(hidden)]
    pub fn address(&self) -> &str {
        self.inner.address.shown()
    }

    /// Returns how many appends could not be announced to other nodes (`NOTIFY` failed); they find them by polling, a tenth of a
    /// second later.
    #[must_use]
    #[doc(hidden)]
    pub fn unannounced(&self) -> u64 {
        self.inner.unannounced.load(Ordering::Relaxed)
    }

    /// Runs one statement, which is atomic by itself and durable when this returns, and gives its rows. The tables of all
    /// components are in its search path. Texts that may hold any character go through [`to_text`] and [`from_text`].
    ///
    /// # Errors
    /// [`Error::Unavailable`] when it failed or took longer than four seconds. What it writes may then have been written
    /// or not.
    #[doc(hidden)]
    pub async fn fetch_all(&self, statement: Statement<'_>) -> Result<Vec<PgRow>, Error> {
        self.inner.others.fetch_all(statement).await
    }

    /// As [`Postgres::fetch_all`], for the first row.
    ///
    /// # Errors
    /// As [`Postgres::fetch_all`].
    #[doc(hidden)]
    pub async fn fetch_optional(&self, statement: Statement<'_>) -> Result<Option<PgRow>, Error> {
        self.inner.others.fetch_optional(statement).await
    }

    /// As [`Postgres::fetch_all`]; gives how many rows were written.
    ///
    /// # Errors
    /// As [`Postgres::fetch_all`].
    #[doc(hidden)]
    pub async fn execute(&self, statement: Statement<'_>) -> Result<u64, Error> {
        let outcome = self.inner.others.execute(statement).await;
        self.written(outcome)
    }

    /// Makes sure that the store can be read, and, if a write has failed, that it can be written again.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when it can't.
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

    /// Brings the tables that an application keeps in this database up to date: `steps` are run once each, in order, and
    /// those already run for `component` are known. Several nodes may do so at once.
    ///
    /// # Errors
    /// [`Error::IncompatibleStore`] when more steps have been run than there are: a newer version was here. [`Error::Unavailable`]
    /// when one failed.
    #[doc(hidden)]
    pub async fn migrate(&self, component: &'static str, steps: &'static [&'static str]) -> Result<(), Error> {
        let mut connection = self.inner.address.connect_within(FIRST_CONNECT_TIMEOUT).await?.connection;
        let migrating = async {
            // Mostly there is nothing to do, which needs no lock.
            let version = schema::version_of(&mut connection, component).await.map_err(Error::unavailable)?;
            if usize::try_from(version).is_ok_and(|version| version == steps.len()) {
                return Ok(());
            }
            schema::migrate_component(&mut connection, component, steps, Place(self.address())).await
        };
        timeout(MIGRATE, migrating).await.map_err(Error::unavailable)?
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

/// PostgreSQL has no unsigned integers; a [`Timestamp`] never needs the last bit.
fn from_time(timestamp: Timestamp) -> i64 {
    i64::try_from(timestamp.as_unix()).unwrap_or(i64::MAX)
}

fn to_time(seconds: i64) -> Timestamp {
    Timestamp::from_unix(u64::try_from(seconds).unwrap_or(0))
}

fn invalid(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> sqlx::Error {
    sqlx::Error::Decode(cause.into())
}
