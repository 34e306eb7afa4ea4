//! A store of [`adieu`] for several nodes that share a Redis or Valkey server.
//!
//! ```no_run
//! use adieu::{Issuer, Node};
//! use adieu_redis::Redis;
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let store = Redis::connect("redis://localhost/").await?;
//! let node = Node::builder(Issuer::new("https://example.org")?).start(store).await?;
//! # Ok(())
//! # }
//! ```
//!
//! 1. **Durable.** The server must sync its file before it answers (`appendfsync always`). The settings of the server
//!    are checked whenever a connection is made; a server that could lose an answered write is rejected, unless
//!    [`RedisBuilder::allow_weaker_durability`] accepts it.
//! 2. **Atomic.** A session and its revocation change in one script. The store decides what changes, by the rules
//!    that all engines share; the script applies it only if all that was read is unchanged, byte for byte.
//! 3. **Group commit.** A task collects concurrent operations on sessions that they name. It reads their sessions with one
//!    command, decides in memory, and one script applies all changes, with one sync. If another node has changed one of
//!    the sessions in between, the operations on that session continue apart. Requests that search for sessions
//!    travel on the same connection, and are synced together.
//! 4. **No gaps.** The server runs one command at a time, and one script assigns a position and writes its entry. A
//!    position is never assigned twice, since the last one is kept apart from the entries.
//! 5. **Identified.** The identity of the log has two parts: a random one, kept beside the log, and that of the
//!    server's run (`run_id`) and history (`master_replid`), requested with each read. A server that was emptied or
//!    restarted, has taken over from another one, or was made to take over its data therefore has another log, even
//!    if the log has grown past the cursor since. Followers then read the log from the beginning; after a restart
//!    they do so once, and lose nothing. After a reconnect to a server that kept running, they continue at the
//!    cursor.
//! 6. **Bounded.** Every call ends: a read within 0.7 s after its wait, a write within 4 s. Otherwise it fails with
//!    [`Error::Unavailable`]. Lost connections are replaced when they are needed.
//! 7. **Full memory.** A server whose memory is full (`maxmemory`) rejects logins. It accepts logouts, refreshes and
//!    whatever frees memory. [`Redis::memory`] returns how full the memory is; the store logs a warning from four
//!    fifths on.
//!
//! Caveats: a failover to a replica may lose answered writes, since replication is asynchronous. A node that keeps a
//! [mark](adieu::NodeBuilder::with_high_water) detects the loss, and all tokens from before are then revoked. An
//! operator who restores keys by hand (`RESTORE`) into a running server must also remove the field `log` of the
//! state. `docs/redis.md` lists what can be lost in which case.

mod batch;
mod codec;
mod commit;
mod connection;
mod durability;
mod keys;
mod log;
mod membership;
mod memory;
mod restore;
mod sessions;
mod settings;
mod watch;

use std::{
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use redis::{FromRedisValue, Pipeline, Script};
use tokio::{sync::watch as channel, task::AbortHandle};

use self::{
    batch::Login,
    connection::{Ask, Connection},
};
use adieu::{
    Error,
    engine::{
        CommitSizes,
        group_commit::{GroupCommit, Keyed},
    },
    restore::Witness,
};

pub use connection::RedisConnections;
pub use memory::RedisMemory;
pub use settings::RedisBuilder;

/// Total time limit of a read, including a new connection if it needs one: well below the shortest reasonable
/// `max_staleness`.
const READ_TIMEOUT: Duration = Duration::from_millis(700);
/// Total time limit of a write.
const WRITE_TIMEOUT: Duration = Duration::from_secs(4);

/// A store on a Redis or Valkey server. Clones share its connections, which close when the last clone is dropped.
#[derive(Clone)]
pub struct Redis {
    shared: Arc<Shared>,
}

struct Shared {
    /// The server's host and port, without credentials.
    address: String,
    keys: Keys,
    scripts: Scripts,
    /// Separate from `writer`, so that a long page delays no logout and each can time out on its own.
    reader: Arc<Connection>,
    writer: Arc<Connection>,
    /// Changes when the log may have new entries.
    woken: channel::Sender<()>,
    witness: Witness,
    watching: AbortHandle,
    memory: Mutex<RedisMemory>,
    changes: GroupCommit<Box<dyn Keyed>>,
    /// Apart from the other changes, since a server whose memory is full rejects logins only.
    logins: GroupCommit<Login>,
    commit_sizes: CommitSizes,
}

/// The names of the keys. The braces make a cluster keep all keys on one node.
#[derive(Debug, Clone)]
struct Keys {
    state: String,
    log: String,
    lapses: String,
    sessions: String,
    ids: String,
    subjects: String,
    refreshed: String,
    access: String,
    expiry: String,
    signing_keys: String,
    nodes: String,
}

/// The scripts that run in the server, each as one step.
struct Scripts {
    commit: Script,
    prune: Script,
    forget: Script,
    list: Script,
    oldest: Script,
    seen: Script,
    add_first_key: Script,
    replace_keys: Script,
    publish: Script,
    forget_node: Script,
    suspect_node: Script,
}

impl Redis {
    /// Connects to the server at a URL: `redis://[user:password@]host[:port][/database][?prefix=name]`, `rediss://`
    /// for TLS. All keys begin with the prefix, in braces: `{adieu}` by default.
    ///
    /// # Errors
    /// [`Error::InvalidSetting`] if the URL is invalid. [`Error::UnsuitableServer`] if the server could lose an
    /// answered write; the message names the setting that is the reason. [`Error::Unavailable`] if the server cannot
    /// be reached.
    pub async fn connect(url: &str) -> Result<Self, Error> {
        Self::builder(url).connect().await
    }

    /// Returns a builder for settings that a URL cannot hold.
    pub fn builder(url: &str) -> RedisBuilder {
        RedisBuilder::new(url)
    }

    /// Checks that the server answers, is a primary, and accepts writes.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if one of these fails.
    pub async fn check(&self) -> Result<(), Error> {
        let mut probe = redis::pipe();
        probe.cmd("HINCRBY").arg(&self.shared.keys.state).arg("probes").arg(1).ignore();
        self.write(Ask::Pipeline(&probe)).await
    }

    /// Returns what the connections of this process have been through.
    #[must_use]
    #[doc(hidden)]
    pub fn connections(&self) -> RedisConnections {
        let (reader, writer) = (self.shared.reader.history(), self.shared.writer.history());
        RedisConnections {
            opened: reader.opened.saturating_add(writer.opened),
            failed_requests: reader.failed_requests.saturating_add(writer.failed_requests),
        }
    }

    /// Returns how many operations shared each commit of this process.
    #[must_use]
    #[doc(hidden)]
    pub fn commit_sizes(&self) -> &CommitSizes {
        &self.shared.commit_sizes
    }

    /// Runs commands that only read. Retries once on a new connection if the connection was lost.
    async fn read<T: FromRedisValue>(&self, pipeline: &Pipeline) -> Result<T, Error> {
        self.shared.reader.ask(Ask::Pipeline(pipeline), 2).await
    }

    /// Runs commands that write, once: after a lost answer, the caller cannot know whether they ran.
    async fn write<T: FromRedisValue>(&self, ask: Ask<'_>) -> Result<T, Error> {
        self.shared.writer.ask(ask, 1).await
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Redis")
            .field("address", &self.shared.address)
            .field("state", &self.shared.keys.state)
            .finish_non_exhaustive()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.watching.abort();
    }
}

impl Keys {
    fn with_prefix(prefix: &str) -> Self {
        let key = |name: &str| format!("{{{prefix}}}:{name}");
        Self {
            state: key("state"),
            log: key("log"),
            lapses: key("lapses"),
            sessions: key("sessions"),
            ids: key("ids"),
            subjects: key("subjects"),
            refreshed: key("refreshed"),
            access: key("access"),
            expiry: key("expiry"),
            signing_keys: key("keys"),
            nodes: key("nodes"),
        }
    }

    /// The keys of sessions, in the order in which scripts name them.
    fn of_sessions(&self) -> [&str; 6] {
        [&self.sessions, &self.ids, &self.subjects, &self.refreshed, &self.access, &self.expiry]
    }
}

impl Scripts {
    fn new() -> Self {
        let of_sessions = |body: &str| Script::new(&format!("{}\n{body}", include_str!("scripts/session.lua")));
        Self {
            commit: of_sessions(include_str!("scripts/commit.lua")),
            prune: Script::new(include_str!("scripts/prune.lua")),
            forget: of_sessions(include_str!("scripts/forget.lua")),
            list: Script::new(include_str!("scripts/list.lua")),
            oldest: Script::new(include_str!("scripts/oldest.lua")),
            seen: Script::new(include_str!("scripts/seen.lua")),
            add_first_key: Script::new(include_str!("scripts/add_first_key.lua")),
            replace_keys: Script::new(include_str!("scripts/replace_keys.lua")),
            publish: Script::new(include_str!("scripts/publish.lua")),
            forget_node: Script::new(include_str!("scripts/forget_node.lua")),
            suspect_node: Script::new(include_str!("scripts/suspect_node.lua")),
        }
    }
}

/// The error for data in Redis that this version would not have written.
fn invalid(what: impl fmt::Display) -> Error {
    Error::unavailable(format!("invalid data in Redis: {what}"))
}
