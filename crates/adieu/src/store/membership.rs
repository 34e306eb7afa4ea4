//! The nodes that share a store, as far as each lets the others know.

use std::time::Duration;

use async_trait::async_trait;

use crate::{
    Error,
    revocation::{Cursor, LogId},
};

/// What a node says of itself, and of all who follow it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeStatus {
    /// Which node: an id that it drew at random when it started.
    pub node: String,
    /// Goes up each time that it says something, from one. Zero while it is [suspected](Membership::suspect) to be gone.
    pub heartbeat: u64,
    /// Up to where it has taken everything in, and all who follow it; `None` when it does not know that yet.
    pub applied: Option<Cursor>,
    /// How many follow it.
    pub followers: u32,
    /// How many of these, itself included, accept tokens also when they can't know enough: of them nothing is bounded.
    pub unbounded: u32,
    /// After a revocation, each of the others refuses what was revoked within this.
    pub max_staleness: Duration,
}

/// The nodes of a store, at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Members {
    /// The identity that cursors of the log carry there, as [`Membership::publish`] gives it.
    pub lineage: LogId,
    /// What each node said last.
    pub nodes: Vec<NodeStatus>,
}

/// Where the nodes of a store say how far they are, so that one of them can find out when all of them have a revocation.
///
/// Nobody's safety depends on it: a node that says nothing is waited for until it must refuse by itself. What must not happen
/// is that a node is not known at all, so:
///
/// 1. A node says something before it first reads the log, and its first word is durable when [`publish`](Self::publish) returns.
///    A revocation that was appended before is therefore in what it reads, and whoever appends one later finds the node.
/// 2. [`members`](Self::members) answers with what had been told before the call.
/// 3. A node is [forgotten](Self::forget) only once it has been suspected for as long as its bound: one that finds itself among the
///    members, and is not suspected, is there for that long.
/// 4. Where another server may take over without the last that was told, the identity of the log is another one then, as cursors
///    carry it. What is told and what is answered comes with it: a node counts on being known only under the identity that it was
///    told with.
#[async_trait]
pub trait Membership: Send + Sync + 'static {
    /// Puts this in the place of what the node said before. Later words than the first may be lost in a crash of the
    /// engine, but not the node. Gives the identity that cursors of the log carry where that was kept.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the engine could not be written.
    async fn publish(&self, standing: &NodeStatus) -> Result<LogId, Error>;

    /// The nodes, the one that asks included.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the engine could not be asked.
    async fn members(&self) -> Result<Members, Error>;

    /// Makes the beat of a node zero, unless it has said something since this one. What it says next is in the place of that.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the engine could not be written.
    async fn suspect(&self, node: &str, heartbeat: u64) -> Result<(), Error>;

    /// Forgets a node, unless it has said something since this beat.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the engine could not be written.
    async fn forget(&self, node: &str, heartbeat: u64) -> Result<(), Error>;
}
