//! Connections, and a few of them kept for those who read.
//!
//! 1. **Bounded in time.** Whatever is asked of a connection, and waiting for one, ends at a deadline. A connection that did
//!    not answer in time, or failed, is dropped and never lent again.
//! 2. **Tried before it is lent.** One that died while nobody used it, because the server was restarted for instance, is
//!    nobody's failure.
//! 3. **Judged.** Every new connection asks the server whether it still is one that anything can be entrusted to.
//!
//! Not the pool of sqlx: it goes on trying to connect to a server that has refused until its time is up, so that readers
//! would find out late, and it takes back a connection in the middle of an answer by waiting for the rest of it.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use sqlx::{
    ConnectOptions, Connection, PgConnection,
    postgres::{PgArguments, PgConnectOptions, PgRow},
    query::Query,
};
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout_at},
};

use super::server::{Durability, Server};
use crate::Error;

/// How long it may take to connect.
pub(super) const CONNECT: Duration = Duration::from_secs(2);

/// What every connection is told. `tcp_user_timeout`: a client that no longer takes what it has asked for is given up.
const SETTINGS: &str = "SET search_path = adieu; SET jit = off; SET client_min_messages = warning; \
                        SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3; \
                        SET tcp_user_timeout = 3000; SET statement_timeout = 4000; SET lock_timeout = 3000; \
                        SET idle_in_transaction_session_timeout = 2000";

/// Where the database is, and how to connect to it.
#[derive(Clone)]
pub(super) struct Address {
    options: PgConnectOptions,
    shown: String,
    durability: Durability,
}

/// Without the password.
impl fmt::Debug for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Address").field(&self.shown).finish()
    }
}

/// Why there is no connection.
pub(super) enum NotConnected {
    /// Nobody is there, or lets us in.
    Unavailable(Error),
    /// A server is there that nothing can be entrusted to.
    Refused(String),
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
        // What is wrong with it is not told: the reason may quote a part that was meant as the password.
        let wrong = || {
            Error::Setting(
                "not the URL of a PostgreSQL database: postgres://USER:PASSWORD@HOST:PORT/DATABASE".to_owned(),
            )
        };
        if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
            return Err(wrong());
        }
        let options: PgConnectOptions = url.parse().map_err(|_| wrong())?;
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

    /// Host, port and database.
    pub(super) fn shown(&self) -> &str {
        &self.shown
    }

    pub(super) fn options(&self) -> &PgConnectOptions {
        &self.options
    }

    /// A new connection, ready to be used, and what its server is.
    pub(super) async fn connect(&self) -> Result<(PgConnection, Server), NotConnected> {
        let connect = async {
            let mut connection = self.options.connect().await?;
            sqlx::raw_sql(SETTINGS).execute(&mut connection).await?;
            let server = Server::ask(&mut connection).await?;
            if self.durability == Durability::Full && server.answers_too_early() {
                sqlx::raw_sql("SET synchronous_commit = on").execute(&mut connection).await?;
            }
            Ok::<_, sqlx::Error>((connection, server))
        };
        let connected = timeout_at(Instant::now() + CONNECT, connect).await;
        let (connection, server) = connected
            .map_err(|_| NotConnected::Unavailable(Error::unavailable("the server did not answer in time")))?
            .map_err(|error| NotConnected::Unavailable(Error::unavailable(error)))?;
        match server.refusal(self.durability) {
            None => Ok((connection, server)),
            Some(why) => Err(NotConnected::Refused(format!("{} {why}", self.shown))),
        }
    }
}

/// A few connections. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct Connections {
    address: Arc<Address>,
    idle: Arc<Mutex<VecDeque<PgConnection>>>,
    free: Arc<Semaphore>,
    patience: Duration,
}

/// A statement, as `sqlx::query` makes it, with what is bound to it.
pub type Statement<'q> = Query<'q, sqlx::Postgres, PgArguments>;

impl Connections {
    /// At most `most` at once; none is opened before it is needed. Whoever asks something has an answer within `patience`.
    pub(super) fn new(address: Arc<Address>, most: usize, patience: Duration) -> Self {
        Self { address, idle: Arc::default(), free: Arc::new(Semaphore::new(most)), patience }
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

    async fn ask<T>(&self, question: impl AsyncFnOnce(&mut PgConnection) -> sqlx::Result<T>) -> Result<T, Error> {
        let asked = async {
            let _permit = self.free.acquire().await.map_err(Error::unavailable)?;
            // Owned here: when the time is up, or nobody waits any more, it is dropped with the rest.
            let mut connection = self.lend().await?;
            match question(&mut connection).await {
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
        timeout_at(Instant::now() + self.patience, asked).await.unwrap_or_else(|_| {
            // What else lies idle leads to the same place.
            self.idle().clear();
            Err(Error::unavailable("the server did not answer in time"))
        })
    }

    /// Keeps a connection for the next who asks.
    pub(super) fn keep(&self, connection: PgConnection) {
        self.idle().push_back(connection);
    }

    async fn lend(&self) -> Result<PgConnection, Error> {
        loop {
            // In a statement of its own, so that nobody waits while it is locked.
            let idle = self.idle().pop_back();
            let Some(mut connection) = idle else { return Ok(self.address.connect().await?.0) };
            if connection.ping().await.is_ok() {
                return Ok(connection);
            }
        }
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, VecDeque<PgConnection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether an error is about one statement, and leaves the connection, and a transaction up to a savepoint, as they were.
/// What concerns the server as a whole (its disk is full, it shuts down, it takes too long) is not of that kind.
pub(super) fn leaves_the_connection_usable(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(error) => {
            let code = error.code();
            let class = code.as_deref().and_then(|code| code.get(..2));
            // Data, integrity, syntax and missing tables, limits.
            matches!(class, Some("21" | "22" | "23" | "42" | "54"))
        }
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) | sqlx::Error::Encode(_) => true,
        _ => false,
    }
}
