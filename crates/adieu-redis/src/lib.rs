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
//! 1. **Durable.** The server has to sync its file before it answers (`appendfsync always`), which is looked at whenever a
//!    connection is made. One that does not is refused, unless [`RedisBuilder::allow_weaker_durability`] says otherwise.
//! 2. **One step.** A session and its revocation change in one script. What is to be done is decided here, by the rules that all
//!    engines share; the script does it only if all that was read is still so, byte for byte.
//! 3. **Group commit.** What is asked at the same time travels on one connection, and the server syncs once for all of it.
//! 4. **No gaps.** The server does one thing at a time, and a position is given and its entry written in the same script. A
//!    number is never given twice, since the last one is kept apart from the entries.
//! 5. **Identified.** The identity of the log is a random one, kept beside it, *and* that of the server's run (`run_id`) and of
//!    its history (`master_replid`), asked for with each read. A server that was emptied, was restarted, has
//!    taken over from another one or was made to take over its data therefore has another log, also when it has grown past the
//!    cursor since, and followers read it from the beginning. So they do once after each restart, with nothing lost. A
//!    reconnect to a server that goes on reads on from the cursor.
//! 6. **Bounded.** Every call ends: a read within 0.7 s after its wait, a write within 4 s, or they are
//!    [`Error::Unavailable`]. Lost connections are replaced when they are needed.
//!
//! 7. **Full memory.** A server whose memory is full (`maxmemory`) takes no logins. Logouts and refreshes it takes all the same, and what
//!    frees memory. [`Redis::memory`] says how full it is, and from four fifths on there is a warning.
//!
//! Caveats: a failover to a replica may lose what was answered, since replication is asynchronous: a node that keeps a
//! [mark](adieu::NodeBuilder::with_high_water) notices, and then everything from before is revoked. And whoever restores keys by hand
//! (`RESTORE`) into a running server has to remove the field `log` of the state as well. What is lost when is told in
//! `docs/redis.md`.

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

use self::connection::{Ask, Connection};
use adieu::{Error, restore::Witness};

pub use memory::RedisMemory;
pub use settings::RedisBuilder;

/// How long a read may take in all, with a new connection if it needs one: well within the shortest bound that anybody would
/// set.
const READ_TIMEOUT: Duration = Duration::from_millis(700);
/// How long a write may take in all.
const WRITE_TIMEOUT: Duration = Duration::from_secs(4);

/// A Redis or Valkey server. Clones share its connections, which end with the last of them.
#[derive(Clone)]
pub struct Redis {
    shared: Arc<Shared>,
}

struct Shared {
    /// The server's name and port, without what it is asked for with.
    address: String,
    keys: Keys,
    scripts: Scripts,
    /// Apart, so that a long page holds no logout up, and each can be given up by itself.
    reader: Arc<Connection>,
    writer: Arc<Connection>,
    /// Changes when there may be something new in the log.
    woken: channel::Sender<()>,
    witness: Witness,
    watching: AbortHandle,
    memory: Mutex<RedisMemory>,
}

/// The names of what is kept. The braces make a cluster keep all of it in one place.
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

/// What runs in the server, as one step each.
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
    /// Connects to the server at a URL: `redis://[user:password@]host[:port][/database][?prefix=name]`, `rediss://` for TLS.
    /// All keys begin with the prefix, in braces: `{adieu}` unless another one is named.
    ///
    /// # Errors
    /// [`Error::InvalidSetting`] if the URL is invalid; [`Error::UnsuitableServer`] if the server could lose what it has answered, and the sentence says which
    /// of its settings is why. [`Error::Unavailable`] when it can't be reached.
    pub async fn connect(url: &str) -> Result<Self, Error> {
        Self::builder(url).connect().await
    }

    /// To say more than a URL does.
    pub fn builder(url: &str) -> RedisBuilder {
        RedisBuilder::new(url)
    }

    /// Makes sure that the server answers, is a primary, and can be written.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when it does not, is not or can't.
    pub async fn check(&self) -> Result<(), Error> {
        let mut probe = redis::pipe();
        probe.cmd("HINCRBY").arg(&self.shared.keys.state).arg("probes").arg(1).ignore();
        self.write(Ask::Pipeline(&probe)).await
    }

    /// Asks for what has been written, once more on a new connection if the one there was has been lost meanwhile.
    async fn read<T: FromRedisValue>(&self, pipeline: &Pipeline) -> Result<T, Error> {
        self.shared.reader.ask(Ask::Pipeline(pipeline), 2).await
    }

    /// Asks for what changes something; once, since whether it was done is not known when the answer is lost.
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

    /// Those of sessions, in the order in which scripts name them.
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

/// Something that nobody who keeps to this version would have written.
fn invalid(what: impl fmt::Display) -> Error {
    Error::unavailable(format!("what is kept in Redis can't be read: {what}"))
}
