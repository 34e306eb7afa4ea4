//! Connections to the server, and a pool of a few for reads.
//!
//! 1. **Bounded in time.** Every statement, and every wait for a connection, ends at a deadline. A connection that
//!    failed or did not answer in time is dropped and never lent again.
//! 2. **Checked before it is lent.** An idle connection may have died, for example because the server was restarted.
//!    The pool detects this before it lends the connection, so no caller fails because of it.
//! 3. **Verified.** Every new connection checks that the server still meets the requirements of a store.
//! 4. **Not shared.** One process of the server serves a connection, and that process serves no other connection. This
//!    is checked on every new connection, whenever a connection is lent, and in every transaction that writes.
//!
//! This is not the pool of sqlx. That pool retries a server that has refused the connection until its timeout expires,
//! so readers would learn of the failure late. It also waits for the rest of an unfinished answer when a connection is
//! returned.

use std::{
    collections::VecDeque,
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use sqlx::{
    AssertSqlSafe, ConnectOptions, Connection, PgConnection, Row as _,
    postgres::{PgArguments, PgConnectOptions, PgRow},
    query::Query,
};
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::{Instant, timeout_at},
};

use super::{
    server::{Durability, Server},
    url,
};
use adieu::{Error, revocation::LogId};

/// The timeout of connecting, and of connecting at the start. Not less than any caller waits: on a busy machine, two TLS
/// handshakes and proofs of the password take seconds, and a caller that connects has a limit of its own.
pub(super) const CONNECT: Duration = Duration::from_secs(4);
pub(super) const FIRST_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The settings of every connection. The isolation: a statement that has waited for the lock of the writers must see what was committed
/// meanwhile, whatever the database's default is. `tcp_user_timeout` drops a client that no longer reads its answers.
/// `plan_cache_mode`: a plan made while a table was empty would be kept, and would scan the whole table for each row
/// until the table is analyzed.
const SETTINGS: &str = "SET search_path = adieu; SET default_transaction_isolation = 'read committed'; \
                        SET jit = off; SET client_min_messages = warning; \
                        SET plan_cache_mode = force_custom_plan; \
                        SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3; \
                        SET tcp_user_timeout = 3000; SET statement_timeout = 4000; SET lock_timeout = 3000; \
                        SET idle_in_transaction_session_timeout = 2000";

/// How often each of two connections looks for its mark.
const MAX_LOOKS: usize = 3;
/// The message if the mark is missing.
const POOLED: &str = "a pooler gives the transactions of one connection to several processes of the server, which would undo \
                      logouts: let it pool sessions (`pool_mode = session` of PgBouncer), or connect without it";

/// Additional settings of connections with few, frequent statements. These statements find each row by its key whatever
/// the tables looked like when they were planned, so they need not be planned each time.
pub(super) const BY_KEY: &str = "SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; SET enable_bitmapscan = off; \
                                 SET enable_hashjoin = off; SET enable_mergejoin = off";

/// The address of the database, and how to connect to it.
#[derive(Clone)]
pub(super) struct Address {
    options: PgConnectOptions,
    shown: String,
    durability: Durability,
}

/// Omits the password.
impl fmt::Debug for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Address").field(&self.shown).finish()
    }
}

/// The reason why connecting failed.
pub(super) enum NotConnected {
    /// The server cannot be reached, or rejects the login.
    Unavailable(Error),
    /// The server does not meet the requirements of a store.
    Refused(String),
}

impl From<sqlx::Error> for NotConnected {
    fn from(error: sqlx::Error) -> Self {
        // A retry would get the same certificate.
        let refused = |why: &dyn fmt::Display| {
            Self::Refused(format!(
                "the server does not encrypt as it must ({why}): `sslrootcert` in its URL names the certificates to trust, and \
                 `sslmode` says what must be so"
            ))
        };
        match &error {
            sqlx::Error::Tls(why) => refused(why),
            // Errors of the handshake are refusals too, for example an invalid certificate.
            sqlx::Error::Io(why) if why.kind() == std::io::ErrorKind::InvalidData => refused(why),
            _ => Self::Unavailable(Error::unavailable(error)),
        }
    }
}

impl From<NotConnected> for Error {
    fn from(why: NotConnected) -> Self {
        match why {
            NotConnected::Unavailable(error) => error,
            NotConnected::Refused(why) => Self::unavailable(why),
        }
    }
}

impl Address {
    pub(super) fn parse(url: &str, durability: Durability) -> Result<Self, Error> {
        let options = url::parse(url)?;
        let host = match options.get_socket() {
            Some(socket) => socket.display().to_string(),
            None => options.get_host().to_owned(),
        };
        let database = options.get_database().unwrap_or(options.get_username());
        let shown = format!("{host}:{}/{database}", options.get_port());
        let options = options.disable_statement_logging();
        let options =
            if options.get_application_name().is_some() { options } else { options.application_name("adieu") };
        Ok(Self { options, shown, durability })
    }

    /// Returns host, port and database.
    pub(super) fn shown(&self) -> &str {
        &self.shown
    }

    pub(super) fn options(&self) -> &PgConnectOptions {
        &self.options
    }

    /// Opens a new connection that is ready for use.
    ///
    /// A second connection detects a pooler that gives a connection's transactions to several processes of the server:
    /// if two connections share processes, one of them finds the mark of the other, or no mark.
    pub(super) async fn connect(&self) -> Result<Marked, NotConnected> {
        self.connect_within(CONNECT).await
    }

    /// Like [`connect`](Self::connect), within `limit`.
    pub(super) async fn connect_within(&self, limit: Duration) -> Result<Marked, NotConnected> {
        let connect = async {
            let mut connected = self.connect_once().await?;
            let mut other = self.connect_once().await?;
            for _ in 0..MAX_LOOKS {
                connected.is_served_by_one().await?;
                other.is_served_by_one().await?;
            }
            let _ = other.connection.close().await;
            Ok(connected)
        };
        timeout_at(Instant::now() + limit, connect)
            .await
            .map_err(|_| NotConnected::Unavailable(Error::unavailable("the server did not answer in time")))?
    }

    async fn connect_once(&self) -> Result<Marked, NotConnected> {
        let mut connection = self.options.connect().await?;
        let mark = LogId::random().as_str().to_owned();
        let settings = format!("{SETTINGS}; SET adieu.connection = '{mark}'");
        sqlx::raw_sql(AssertSqlSafe(settings)).execute(&mut connection).await?;
        let server = Server::ask(&mut connection).await?;
        if let Some(why) = server.refusal(self.durability) {
            return Err(NotConnected::Refused(format!("{} {why}", self.shown)));
        }
        if self.durability == Durability::Full && server.answers_too_early() {
            sqlx::raw_sql("SET synchronous_commit = on").execute(&mut connection).await?;
        }
        Ok(Marked { connection, mark })
    }
}

/// A connection, and the mark that it has left with the process that serves it.
pub(super) struct Marked {
    pub(super) connection: PgConnection,
    mark: String,
}

/// Returns the failure of a connection that has lost its mark.
pub(super) fn pooled() -> NotConnected {
    NotConnected::Refused(POOLED.to_owned())
}

impl Marked {
    /// Returns the mark.
    pub(super) fn mark(&self) -> String {
        self.mark.clone()
    }

    /// Checks that the process that serves this connection is the one that it set up, and that no other connection has
    /// set it up since.
    pub(super) async fn is_served_by_one(&mut self) -> Result<(), NotConnected> {
        const MARK: &str = "SELECT current_setting('adieu.connection', true)";
        // The simple protocol prepares nothing, so no name can collide with that of another connection.
        let row = sqlx::raw_sql(MARK).fetch_one(&mut self.connection).await?;
        self.is_marked(&row, 0)
    }

    /// Like [`is_served_by_one`](Self::is_served_by_one), but reads the mark from a row that was fetched already.
    pub(super) fn is_marked(&self, row: &PgRow, column: usize) -> Result<(), NotConnected> {
        match row.try_get::<Option<&str>, _>(column)? {
            Some(mark) if mark == self.mark => Ok(()),
            _ => Err(pooled()),
        }
    }
}

/// A pool of a few connections. Clones share them.
#[derive(Clone)]
pub(super) struct Connections {
    address: Arc<Address>,
    idle: Arc<Mutex<VecDeque<Marked>>>,
    free: Arc<Semaphore>,
    most: usize,
    waiting: Arc<AtomicUsize>,
    limit: Duration,
    settings: Option<&'static str>,
}

/// How much of a pool is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolUse {
    /// Connections that are in use.
    pub in_use: usize,
    /// How many may be.
    pub limit: usize,
    /// Calls that wait for one.
    pub waiting: usize,
}

/// Counts a call that waits, until this is dropped.
struct Waiting<'p>(&'p AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// A statement and its bound values, as `sqlx::query` makes it.
pub type Statement<'q> = Query<'q, sqlx::Postgres, PgArguments>;

impl Connections {
    /// Creates a pool of at most `most` connections, which are opened when needed. Every call is answered within
    /// `limit`.
    pub(super) fn new(address: Arc<Address>, most: usize, limit: Duration) -> Self {
        let (free, waiting) = (Arc::new(Semaphore::new(most)), Arc::default());
        Self { address, idle: Arc::default(), free, most, waiting, limit, settings: None }
    }

    /// Returns how much of the pool is in use.
    pub(super) fn usage(&self) -> PoolUse {
        let (limit, waiting) = (self.most, self.waiting.load(Relaxed));
        PoolUse { in_use: limit.saturating_sub(self.free.available_permits()), limit, waiting }
    }

    /// Waits until a connection may be used.
    async fn permit(&self) -> Result<SemaphorePermit<'_>, Error> {
        self.waiting.fetch_add(1, Relaxed);
        let _waiting = Waiting(&self.waiting);
        self.free.acquire().await.map_err(Error::unavailable)
    }

    /// Prepares the pool for few, frequent statements: see [`BY_KEY`].
    pub(super) fn by_key(self) -> Self {
        Self { settings: Some(BY_KEY), ..self }
    }

    pub(super) async fn fetch_all(&self, statement: Statement<'_>) -> Result<Vec<PgRow>, Error> {
        self.ask(async |connection| statement.fetch_all(connection).await).await
    }

    pub(super) async fn fetch_optional(&self, statement: Statement<'_>) -> Result<Option<PgRow>, Error> {
        self.ask(async |connection| statement.fetch_optional(connection).await).await
    }

    pub(super) async fn execute(&self, statement: Statement<'_>) -> Result<u64, Error> {
        self.ask(async |connection| Ok(statement.execute(connection).await?.rows_affected())).await
    }

    /// Runs statements in one transaction, each within the limit, and commits it if together they have written as many
    /// rows as expected. Returns whether it did.
    pub(super) async fn execute_all(
        &self,
        statements: impl Iterator<Item = Statement<'_>>,
        expected_rows: u64,
    ) -> Result<bool, Error> {
        let _permit = self.permit().await?;
        // Dropped on failure, which undoes the transaction.
        let mut connection = self.within_limit(self.lend()).await?;
        let mut rows = 0;
        self.within_limit(run(&mut connection, sqlx::query("BEGIN"))).await?;
        for statement in statements {
            rows += self.within_limit(run(&mut connection, statement)).await?;
        }
        let is_whole = rows == expected_rows;
        let end = if is_whole { "COMMIT" } else { "ROLLBACK" };
        self.within_limit(run(&mut connection, sqlx::query(end))).await?;
        self.keep(connection);
        Ok(is_whole)
    }

    async fn within_limit<T>(&self, step: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let late = |_| Err(Error::unavailable("the server did not answer in time"));
        timeout_at(Instant::now() + self.limit, step).await.unwrap_or_else(late)
    }

    async fn ask<T>(&self, question: impl AsyncFnOnce(&mut PgConnection) -> sqlx::Result<T>) -> Result<T, Error> {
        let asked = async {
            let _permit = self.permit().await?;
            // Owned by this future: if it times out or is dropped, the connection is dropped too.
            let mut connection = self.lend().await?;
            match question(&mut connection.connection).await {
                Ok(answer) => {
                    self.keep(connection);
                    Ok(answer)
                }
                Err(error) => {
                    if leaves_the_connection_usable(&error) {
                        self.keep(connection);
                    }
                    Err(Error::unavailable(error))
                }
            }
        };
        timeout_at(Instant::now() + self.limit, asked).await.unwrap_or_else(|_| {
            // The other idle connections lead to the same server.
            self.idle().clear();
            Err(Error::unavailable("the server did not answer in time"))
        })
    }

    /// Keeps a connection for the next caller.
    pub(super) fn keep(&self, connection: Marked) {
        self.idle().push_back(connection);
    }

    /// Prepares a new connection for this pool.
    pub(super) async fn prepare(&self, connection: &mut Marked) -> Result<(), Error> {
        if let Some(settings) = self.settings {
            sqlx::raw_sql(settings).execute(&mut connection.connection).await.map_err(Error::unavailable)?;
        }
        Ok(())
    }

    async fn lend(&self) -> Result<Marked, Error> {
        loop {
            // A statement of its own, so that the lock is released before the next await.
            let idle = self.idle().pop_back();
            let Some(mut connection) = idle else {
                let mut connection = self.address.connect().await?;
                self.prepare(&mut connection).await?;
                return Ok(connection);
            };
            match connection.is_served_by_one().await {
                Ok(()) => return Ok(connection),
                Err(NotConnected::Unavailable(_)) => {}
                Err(why) => return Err(why.into()),
            }
        }
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, VecDeque<Marked>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn run(connection: &mut Marked, statement: Statement<'_>) -> Result<u64, Error> {
    Ok(statement.execute(&mut connection.connection).await.map_err(Error::unavailable)?.rows_affected())
}

/// Returns whether an error concerns one statement only, and leaves the connection, and a transaction up to a
/// savepoint, unchanged. Errors of the whole server (a full disk, a shutdown, a timeout) do not.
pub(super) fn leaves_the_connection_usable(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(error) => {
            let code = error.code();
            let class = code.as_deref().and_then(|code| code.get(..2));
            // Classes: data, integrity, syntax and missing tables, limits.
            matches!(class, Some("21" | "22" | "23" | "42" | "54"))
        }
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) | sqlx::Error::Encode(_) => true,
        _ => false,
    }
}
