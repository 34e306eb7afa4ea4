//! A connection that reconnects.

use std::{
    fmt,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use redis::{
    AsyncConnectionConfig, Client, FromRedisValue, Pipeline, RedisError, ScriptInvocation, aio::MultiplexedConnection,
};
use tokio::{sync::Mutex as AsyncMutex, time::timeout};

use super::durability;
use adieu::Error;

/// Limit of requests queued for the socket; further callers wait.
const BUFFER: usize = 1_024;

/// Time without an answer after which a connection is tested with `PING` before its next use: less than any `timeout`
/// that a server can have.
const IDLE: Duration = Duration::from_millis(900);

/// A request to the server.
#[derive(Clone, Copy)]
pub(super) enum Ask<'a> {
    Pipeline(&'a Pipeline),
    Script(&'a ScriptInvocation<'a>),
}

/// One connection, shared by all callers: concurrent requests travel together, and the server answers them in one
/// turn, with one sync of its file. After a failure, the next caller reconnects.
pub(super) struct Connection {
    client: Client,
    limit: Duration,
    allow_weaker_durability: bool,
    /// Held while connecting, so that one caller connects and the others wait.
    connecting: AsyncMutex<()>,
    current: Mutex<Current>,
    /// The number of requests that failed or were not answered in time.
    failed: AtomicU64,
}

/// What the connections of a process to Redis have been through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RedisConnections {
    /// How many connections were opened. Two are needed, one to read and one to write.
    pub opened: u64,
    /// How many requests failed, or were not answered in time.
    pub failed_requests: u64,
}

#[derive(Default)]
struct Current {
    number: u64,
    connection: Option<MultiplexedConnection>,
    /// Time of the last answer.
    answered: Option<Instant>,
}

enum Failure {
    Redis(RedisError),
    Other(Error),
}

impl Connection {
    pub(super) fn new(client: Client, limit: Duration, allow_weaker_durability: bool) -> Self {
        let (connecting, current, failed) = (AsyncMutex::default(), Mutex::default(), AtomicU64::new(0));
        Self { client, limit, allow_weaker_durability, connecting, current, failed }
    }

    /// Connects and checks that the server is suitable.
    pub(super) async fn open(&self) -> Result<(), Error> {
        match timeout(self.limit, self.connection()).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(Failure::Other(error))) => Err(error),
            Ok(Err(Failure::Redis(error))) => Err(Error::unavailable(error)),
            Err(_) => Err(self.too_late()),
        }
    }

    /// Sends a request, up to `tries` times if the connection is lost before the answer, all within the time limit.
    pub(super) async fn ask<T: FromRedisValue>(&self, ask: Ask<'_>, tries: u32) -> Result<T, Error> {
        let asked = async {
            let mut left = tries;
            loop {
                left = left.saturating_sub(1);
                match self.ask_once(ask).await {
                    Err(Failure::Redis(error)) if left > 0 && error.is_io_error() => {}
                    outcome => return outcome,
                }
            }
        };
        match timeout(self.limit, asked).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(failure)) => {
                self.failed.fetch_add(1, Ordering::Relaxed);
                Err(match failure {
                    Failure::Redis(error) => Error::unavailable(error),
                    // An unsuitable server is an invalid setting at the start of a process, and a failure later.
                    Failure::Other(Error::UnsuitableServer(sentence)) => Error::unavailable(sentence),
                    Failure::Other(error) => error,
                })
            }
            Err(_) => {
                // The server or the network may be gone: a new connection will tell.
                self.give_up();
                Err(self.too_late())
            }
        }
    }

    /// Makes the next caller reconnect.
    pub(super) fn forget(&self) {
        self.current().connection = None;
    }

    /// Like [`forget`](Self::forget), and counts a request that was not answered in time.
    pub(super) fn give_up(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        self.forget();
    }

    /// Returns what this connection and those before it have been through.
    pub(super) fn history(&self) -> RedisConnections {
        RedisConnections { opened: self.current().number, failed_requests: self.failed.load(Ordering::Relaxed) }
    }

    async fn ask_once<T: FromRedisValue>(&self, ask: Ask<'_>) -> Result<T, Failure> {
        let (number, mut connection) = self.connection().await?;
        let answer: Result<T, RedisError> = match ask {
            Ask::Pipeline(pipeline) => pipeline.query_async(&mut connection).await,
            Ask::Script(script) => script.invoke_async(&mut connection).await,
        };
        let mut current = self.current();
        if current.number == number {
            match &answer {
                Ok(_) => current.answered = Some(Instant::now()),
                // Also if the server itself returned the error: it may have become a replica, and its name may
                // resolve to another server.
                Err(_) => current.connection = None,
            }
        }
        answer.map_err(Failure::Redis)
    }

    async fn connection(&self) -> Result<(u64, MultiplexedConnection), Failure> {
        if let Some(current) = self.there() {
            return Ok(current);
        }
        let _alone = self.connecting.lock().await;
        if let Some(current) = self.there() {
            return Ok(current);
        }
        // The server may have closed an idle connection meanwhile. `PING` detects it, so that a request that is sent
        // only once does not fail.
        let idle = self.current().connection.clone();
        if let Some(mut connection) = idle
            && redis::cmd("PING").exec_async(&mut connection).await.is_ok()
        {
            let mut current = self.current();
            current.answered = Some(Instant::now());
            return Ok((current.number, connection));
        }
        let mut connection = connect(&self.client).await.map_err(Failure::Redis)?;
        durability::inspect(&mut connection, self.allow_weaker_durability).await.map_err(Failure::Other)?;
        let mut current = self.current();
        current.number = current.number.wrapping_add(1);
        current.connection = Some(connection.clone());
        current.answered = Some(Instant::now());
        Ok((current.number, connection))
    }

    /// Returns the connection unless it has been idle.
    fn there(&self) -> Option<(u64, MultiplexedConnection)> {
        let current = self.current();
        current.answered.filter(|answered| answered.elapsed() < IDLE)?;
        current.connection.clone().map(|connection| (current.number, connection))
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn too_late(&self) -> Error {
        Error::unavailable(format!("Redis did not answer within {:?}", self.limit))
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Connection").finish_non_exhaustive()
    }
}

/// Opens a connection. It has no time limit of its own: each caller sets one.
pub(super) async fn connect(client: &Client) -> Result<MultiplexedConnection, RedisError> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(None)
        .set_response_timeout(None)
        .set_pipeline_buffer_size(BUFFER);
    client.get_multiplexed_async_connection_with_config(&config).await
}
