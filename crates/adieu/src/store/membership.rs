//! The nodes that share a store.

use std::time::Duration;

use async_trait::async_trait;

use crate::{
    Error,
    revocation::{Cursor, LogId},
};

/// The status that a node publishes about itself and all of its followers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeStatus {
    /// The id of the node, drawn at random when it starts.
    pub node: String,
    /// Increases by one each time the node publishes, starting at one. Zero while the node is
    /// [suspected](Membership::suspect) to be gone.
    pub heartbeat: u64,
    /// The cursor up to which the node and all of its followers have applied the log; `None` while that is unknown.
    pub applied: Option<Cursor>,
    /// The number of followers.
    pub followers: u32,
    /// How many of these nodes, including itself, accept tokens even while they are too stale. Nothing bounds when they
    /// reject a revoked token.
    pub unbounded: u32,
    /// The time after a revocation within which all other of these nodes reject what was revoked.
    pub max_staleness: Duration,
}

/// The nodes of a store at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Members {
    /// The identity of the log that its cursors carry, as returned by [`Membership::publish`].
    pub lineage: LogId,
    /// The last published status of each node.
    pub nodes: Vec<NodeStatus>,
}

/// Where the nodes of a store publish how far they are, so that one of them can find out when all of them have applied
/// a revocation.
///
/// Safety does not depend on it: a caller waits for a silent node until that node must reject by itself. But every node
/// must be known, so:
///
/// 1. A node publishes before it first reads the log, and its first status is durable when [`publish`](Self::publish)
///    returns. So a node reads every revocation that was appended before, and is known to every caller that appends one
///    later.
/// 2. [`members`](Self::members) returns everything that was published before the call.
/// 3. A node is [forgotten](Self::forget) only after it has been suspected for as long as its bound. A node that finds
///    itself among the members, not suspected, stays known for that long.
/// 4. If a standby may take over without the last published statuses, the identity of the log that cursors carry
///    changes then. `publish` and `members` return that identity: a node relies on being known only under the identity
///    under which it published.
#[async_trait]
pub trait Membership: Send + Sync + 'static {
    /// Replaces the status of the node. A crash of the engine may lose later statuses, but not the first, so the node
    /// stays known. Returns the identity of the log that its cursors carry where the status was stored.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the engine could not be written.
    async fn publish(&self, standing: &NodeStatus) -> Result<LogId, Error>;

    /// Returns all nodes, including the calling one.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the engine could not be read.
    async fn members(&self) -> Result<Members, Error>;

    /// Sets the heartbeat of a node to zero, unless it has published since this heartbeat. The next status of the node
    /// replaces the zero.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the engine could not be written.
    async fn suspect(&self, node: &str, heartbeat: u64) -> Result<(), Error>;

    /// Forgets a node, unless it has published since this heartbeat.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the engine could not be written.
    async fn forget(&self, node: &str, heartbeat: u64) -> Result<(), Error>;
}
