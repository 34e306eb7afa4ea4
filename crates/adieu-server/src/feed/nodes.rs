//! The other nodes of the same store: publishes the progress of this node, and waits until all nodes have a
//! revocation.
//!
//! 1. A node publishes the progress of its index, of what it serves and of its followers when that changes, at most a
//!    few dozen times a second, and otherwise at intervals.
//! 2. A wait first reads which nodes there are, after the revocation is durable. A node that is not among them has
//!    not begun to read, and will find the revocation when it does.
//! 3. A node that does not publish that it has the revocation is waited for until it rejects tokens by itself, which
//!    is its own bound after the revocation. Its silence proves nothing, nor does the clock of another machine.
//! 4. After a failover, the new primary may lack the last status of some nodes. So the data of a node counts as
//!    complete only under the identity of the log under which it last published its status; and until the greatest
//!    bound of any node has passed since this node first saw that identity, no node counts as absent.
//! 5. A node that stops says so. A node that has been silent for a minute is suspected, and forgotten its bound after
//!    that; until then every wait lasts as long as its bound. The data of a node counts as complete only up to a
//!    moment at which it was certainly not yet suspected. A forgotten node therefore rejects tokens, until it has
//!    published its status again.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::{Arc, Mutex as StdMutex, MutexGuard, PoisonError},
    time::Duration,
};

use adieu::{
    Error, FreshnessLimit,
    retry::Outage,
    revocation::{Cursor, LogId},
    store::{Members, Membership, NodeStatus},
    time::{Clock, Moment},
    token::StalePolicy,
};
use tokio::{
    sync::{Mutex, Notify, watch},
    task::JoinHandle,
    time::{sleep, timeout},
};
use uuid::Uuid;

use super::{Everywhere, Progress, lease::later};

/// How long changes are gathered before they are published to the other nodes.
const BATCH_WINDOW: Duration = Duration::from_millis(20);

/// How often the progress of the other nodes is polled while a caller waits.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// How long a node may be silent before it is suspected to be gone, unless its bound is longer.
const SILENCE: Duration = Duration::from_secs(60);

fn silence(max_staleness: Duration) -> Duration {
    SILENCE.max(max_staleness)
}

/// Publishes the status of this node for as long as this value lives.
pub struct Nodes {
    membership: Arc<dyn Membership>,
    clock: Arc<dyn Clock>,
    id: String,
    /// The last answer of the store, and when it was requested: concurrent waits share it.
    members: Mutex<Option<(Moment, Arc<[NodeStatus]>)>>,
    observed: Observed,
    stop: Arc<Notify>,
    publishing: Mutex<JoinHandle<()>>,
    renewing: JoinHandle<()>,
}

impl fmt::Debug for Nodes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Nodes").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        self.publishing.get_mut().abort();
        self.renewing.abort();
    }
}

/// A node about to join the others: they know it, and it has not begun to read the log.
pub struct Joining {
    announced: Announced,
    accepts: u32,
}

/// The published status of a node.
struct Announced {
    membership: Arc<dyn Membership>,
    clock: Arc<dyn Clock>,
    status: NodeStatus,
    limit: FreshnessLimit,
    observed: Observed,
}

/// Since when the log has had its current identity, and the greatest bound of any known node. Clones share it.
#[derive(Clone)]
struct Observed(Arc<StdMutex<Observations>>);

struct Observations {
    lineage: Option<(LogId, Moment)>,
    greatest_bound: Duration,
}

impl Observed {
    fn new(own_bound: Duration) -> Self {
        Self(Arc::new(StdMutex::new(Observations { lineage: None, greatest_bound: own_bound })))
    }

    /// Records an answer that arrived at `now`.
    fn note(&self, lineage: &LogId, now: Moment) {
        let mut known = self.observations();
        if known.lineage.as_ref().is_none_or(|(last, _)| last != lineage) {
            known.lineage = Some((lineage.clone(), now));
        }
    }

    fn note_members(&self, members: &Members, now: Moment) {
        self.note(&members.lineage, now);
        let mut known = self.observations();
        let greatest = members.nodes.iter().map(|member| member.max_staleness).max();
        known.greatest_bound = known.greatest_bound.max(greatest.unwrap_or_default());
    }

    /// Returns until when a node may accept tokens revoked at this moment although a failover lost its status:
    /// everything that it has read is from before the failover.
    fn lost_until(&self, revoked_at: Moment) -> Moment {
        let known = self.observations();
        let since = known.lineage.as_ref().map_or(revoked_at, |(_, since)| revoked_at.min(*since));
        later(since, known.greatest_bound)
    }

    /// A holder that panics leaves no partial change.
    fn observations(&self) -> MutexGuard<'_, Observations> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Announced {
    async fn publish(&self) -> Result<(), Error> {
        let published_at = self.clock.moment();
        let lineage = self.membership.publish(&self.status).await?;
        // Other nodes count from the moment they see it, and earlier versions forget a node instead of suspecting it.
        let bound = self.bound();
        self.limit.raise(&lineage, later(published_at, silence(bound).saturating_sub(bound)));
        self.observed.note(&lineage, self.clock.moment());
        Ok(())
    }

    fn bound(&self) -> Duration {
        self.status.max_staleness
    }
}

/// Checks whether the other nodes still know a node that could not publish its status for long. With a store that can
/// be read but not written, no node needs to reject tokens, since no node can be forgotten.
async fn renew(
    membership: Arc<dyn Membership>,
    clock: Arc<dyn Clock>,
    node: String,
    bound: Duration,
    limit: FreshnessLimit,
) {
    loop {
        sleep(bound / 8).await;
        let now = clock.moment();
        if limit.latest() > Some(later(now, bound)) {
            continue;
        }
        // If this fails, the node must reject tokens anyway.
        let Ok(members) = membership.members().await else { continue };
        if members.nodes.iter().any(|member| member.node == node && member.heartbeat > 0) {
            limit.raise(&members.lineage, now);
        }
    }
}

impl Joining {
    /// Announces a new node to the other nodes.
    ///
    /// # Errors
    /// Fails if the store cannot be written.
    pub async fn begin(
        membership: Arc<dyn Membership>,
        clock: Arc<dyn Clock>,
        max_staleness: Duration,
        stale_policy: StalePolicy,
    ) -> Result<Self, Error> {
        let accepts = u32::from(stale_policy == StalePolicy::Accept);
        let status = NodeStatus {
            node: Uuid::new_v4().simple().to_string(),
            heartbeat: 1,
            applied: None,
            followers: 0,
            unbounded: accepts,
            max_staleness,
        };
        let observed = Observed::new(max_staleness);
        let announced = Announced { membership, clock, status, limit: FreshnessLimit::never(), observed };
        announced.publish().await?;
        Ok(Self { announced, accepts })
    }

    /// Returns the limit of this node's freshness: the latest moment as of which its data counts as complete. The
    /// other nodes may have forgotten it after that.
    #[must_use]
    pub fn limit(&self) -> FreshnessLimit {
        self.announced.limit.clone()
    }

    /// Joins the other nodes: publishes what this node has `applied`, what it serves, and its followers.
    #[must_use]
    pub fn join(self, applied: watch::Receiver<Option<Cursor>>, progress: Progress) -> Nodes {
        let Self { announced, accepts } = self;
        let (membership, clock) = (Arc::clone(&announced.membership), Arc::clone(&announced.clock));
        let (id, observed) = (announced.status.node.clone(), announced.observed.clone());
        let stop = Arc::new(Notify::new());
        let renewing = tokio::spawn(renew(
            Arc::clone(&membership),
            Arc::clone(&clock),
            id.clone(),
            announced.bound(),
            announced.limit.clone(),
        ));
        let publishing = Publisher { announced, accepts, progress, stop: Arc::clone(&stop) };
        let publishing = Mutex::new(tokio::spawn(publishing.run(applied)));
        Nodes { membership, clock, id, members: Mutex::default(), observed, stop, publishing, renewing }
    }
}

impl Nodes {
    /// Waits until no other node, and none of their followers, accepts tokens that were durably revoked before
    /// `revoked_at`. `head` is the end of the log after that, if known. Each node is waited for at most as long as
    /// its own bound.
    ///
    /// # Errors
    /// Fails if the store did not return the nodes before `bound` was over: their bounds may be greater.
    pub async fn everywhere(
        &self,
        revoked_at: Moment,
        bound: Duration,
        head: Option<&Cursor>,
    ) -> Result<Everywhere, Error> {
        let over_at = later(revoked_at, bound);
        let mut result = Everywhere::default();
        let mut decided = HashSet::new();
        let mut known: Option<Arc<[NodeStatus]>> = None;
        loop {
            let now = self.clock.moment();
            let asking = self.members(revoked_at.max(now.minus(POLL_INTERVAL)));
            // If the store hangs, waits for the nodes that it returned before.
            let limit = if known.is_some() { POLL_INTERVAL } else { over_at.since(now).max(POLL_INTERVAL) };
            let answer = timeout(limit, asking).await.unwrap_or_else(|late| Err(Error::unavailable(late)));
            match (answer, &known) {
                (Ok(members), _) => known = Some(members),
                (Err(error), None) if now >= over_at => return Err(error),
                (Err(_), _) => {}
            }
            let members = known.iter().flat_map(|members| members.iter());
            let mut is_pending = known.is_none() || now < self.observed.lost_until(revoked_at);
            for member in members.filter(|member| member.node != self.id) {
                if decided.contains(&member.node) {
                    continue;
                }
                let has_applied = has_applied(member, head);
                if has_applied || now >= later(revoked_at, member.max_staleness) {
                    result.count(member, has_applied);
                    decided.insert(member.node.clone());
                } else {
                    is_pending = true;
                }
            }
            if !is_pending {
                return Ok(result);
            }
            sleep(POLL_INTERVAL).await;
        }
    }

    /// Returns the status of the other nodes as of this moment or later.
    ///
    /// # Errors
    /// Fails if the store can't be read.
    pub(super) async fn others(&self, since: Moment) -> Result<Vec<NodeStatus>, Error> {
        let members = self.members(since).await?;
        Ok(members.iter().filter(|member| member.node != self.id).cloned().collect())
    }

    /// Returns the status of the nodes of the store as of this moment or later.
    async fn members(&self, since: Moment) -> Result<Arc<[NodeStatus]>, Error> {
        let mut known = self.members.lock().await;
        if let Some((asked_at, members)) = &*known
            && *asked_at >= since
        {
            return Ok(Arc::clone(members));
        }
        let asked_at = self.clock.moment();
        let members = self.membership.members().await?;
        self.observed.note_members(&members, self.clock.moment());
        let members: Arc<[NodeStatus]> = members.nodes.into();
        *known = Some((asked_at, Arc::clone(&members)));
        Ok(members)
    }

    /// Tells the other nodes that this node accepts tokens no longer. Call it after that is true.
    pub async fn leave(&self) {
        self.stop.notify_one();
        let _ended = (&mut *self.publishing.lock().await).await;
    }
}

fn has_applied(member: &NodeStatus, head: Option<&Cursor>) -> bool {
    let (Some(applied), Some(head)) = (&member.applied, head) else { return false };
    applied.log == head.log && applied.position >= head.position
}

impl Everywhere {
    fn count(&mut self, member: &NodeStatus, has_applied: bool) {
        let all = usize::try_from(member.followers).unwrap_or(usize::MAX).saturating_add(1);
        let unbounded = usize::try_from(member.unbounded).unwrap_or(usize::MAX).min(all);
        if has_applied {
            self.acknowledged += all;
        } else {
            self.waited_out += all - unbounded;
            self.unbounded += unbounded;
        }
    }
}

struct Publisher {
    announced: Announced,
    accepts: u32,
    progress: Progress,
    stop: Arc<Notify>,
}

impl Publisher {
    async fn run(mut self, mut own: watch::Receiver<Option<Cursor>>) {
        let mut heartbeats: HashMap<String, (u64, Moment)> = HashMap::new();
        // Often enough to notice an expired lease of a follower, and to show the other nodes that this one is alive.
        let idle = (self.announced.bound() / 2).min(SILENCE / 8);
        let outage = Outage::default();
        loop {
            let applied = own.borrow_and_update().clone();
            let published = self.publish(applied).await;
            if let Some(error) = outage.begins_with(&published) {
                let error = error as &dyn std::error::Error;
                tracing::warn!(error, "this node's position could not be published to the other nodes");
            }
            tokio::select! {
                changed = own.changed() => if changed.is_err() { return },
                () = self.progress.changed() => {}
                () = self.stop.notified() => return self.leave().await,
                () = sleep(idle) => self.forget_silent(&mut heartbeats).await,
            }
            sleep(BATCH_WINDOW).await;
        }
    }

    async fn publish(&mut self, own: Option<Cursor>) -> Result<(), Error> {
        let (applied, followers) = match own {
            Some(own) => {
                let (applied, followers) = self.progress.applied_with(own);
                (Some(applied), followers)
            }
            None => (None, 0),
        };
        let status = &mut self.announced.status;
        status.heartbeat += 1;
        status.applied = applied;
        status.followers = followers;
        status.unbounded = self.progress.leases().unbounded().saturating_add(self.accepts);
        self.announced.publish().await
    }

    /// Leaves only without followers. They may have moved to another node, or accept tokens until they notice that
    /// this node is gone; the other nodes must wait for them.
    async fn leave(&self) {
        if self.progress.leases().count() == 0 {
            // If this fails, the other nodes forget this one later.
            let Announced { membership, status, .. } = &self.announced;
            let _forgotten = membership.forget(&status.node, status.heartbeat).await;
        }
    }

    /// Suspects nodes that have been silent for too long, by the clock of this machine, and forgets each when it must
    /// have begun to reject tokens.
    async fn forget_silent(&self, heartbeats: &mut HashMap<String, (u64, Moment)>) {
        let Announced { membership, clock, status, observed, .. } = &self.announced;
        let Ok(members) = membership.members().await else { return };
        let now = clock.moment();
        observed.note_members(&members, now);
        heartbeats.retain(|node, _| members.nodes.iter().any(|member| member.node == *node));
        for member in members.nodes.into_iter().filter(|member| member.node != status.node) {
            let (heartbeat, since) = heartbeats.entry(member.node.clone()).or_insert((member.heartbeat, now));
            if *heartbeat != member.heartbeat {
                (*heartbeat, *since) = (member.heartbeat, now);
            } else if *heartbeat > 0 && now.since(*since) >= silence(member.max_staleness) {
                // The next check tries again.
                let _suspected = membership.suspect(&member.node, *heartbeat).await;
            } else if *heartbeat == 0 && now.since(*since) > member.max_staleness {
                tracing::info!(node = member.node, "removed a node that has been silent for long");
                let _forgotten = membership.forget(&member.node, *heartbeat).await;
            }
        }
    }
}
