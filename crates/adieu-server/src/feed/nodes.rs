//! The other nodes of the same store: letting them know how far this one is, and waiting until all of them have a revocation.
//!
//! 1. A node says how far it has got, with its index, what it serves and its followers, whenever that changes, a few dozen times
//!    a second at most, and otherwise now and then.
//! 2. Waiting begins with asking who is there, after the revocation is durable. A node that is not among them has not begun to
//!    read, and will find the revocation when it does.
//! 3. One that does not say that it has the revocation is waited for until it refuses by itself, which is its own bound after
//!    the revocation: nothing is concluded from its silence, nor from the clock of another machine.
//! 4. When another server takes over, it may not have got the last that nodes said. So what a node reads counts as complete only under the
//!    identity of the log under which it has last said that it is there; and until the greatest bound of any node has passed since this node
//!    first met that identity, nobody is taken for not being there.
//! 5. One that stops says so. One that has said nothing for a minute is suspected to be gone, and forgotten its bound after that;
//!    until then every wait lasts as long as its bound. What a node reads counts as complete as of no later than it is certain
//!    not to have been suspected: when it is forgotten it refuses, and goes on to until it has said again that it is there.

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

/// Says how this node is doing, for as long as this is kept.
pub struct Nodes {
    membership: Arc<dyn Membership>,
    clock: Arc<dyn Clock>,
    id: String,
    /// What was asked last, and when: many who wait ask once.
    members: Mutex<Option<(Moment, Arc<[NodeStatus]>)>>,
    heard: Heard,
    stop: Arc<Notify>,
    telling: Mutex<JoinHandle<()>>,
    looking: JoinHandle<()>,
}

impl fmt::Debug for Nodes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Nodes").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        self.telling.get_mut().abort();
        self.looking.abort();
    }
}

/// A node that is going to join the others. It is known to them, and has not begun to read the log.
pub struct Joining {
    announced: Announced,
    accepts: u32,
}

/// What a node has said of itself.
struct Announced {
    membership: Arc<dyn Membership>,
    clock: Arc<dyn Clock>,
    standing: NodeStatus,
    limit: FreshnessLimit,
    heard: Heard,
}

/// Since when the log is known under the identity that it has now, and the greatest bound of any node that was heard of. Clones share it.
#[derive(Clone)]
struct Heard(Arc<StdMutex<HeardOf>>);

struct HeardOf {
    lineage: Option<(LogId, Moment)>,
    greatest_bound: Duration,
}

impl Heard {
    fn new(own_bound: Duration) -> Self {
        Self(Arc::new(StdMutex::new(HeardOf { lineage: None, greatest_bound: own_bound })))
    }

    /// Takes note of an answer that has come now.
    fn of(&self, lineage: &LogId, now: Moment) {
        let mut heard = self.heard();
        if heard.lineage.as_ref().is_none_or(|(known, _)| known != lineage) {
            heard.lineage = Some((lineage.clone(), now));
        }
    }

    fn of_members(&self, members: &Members, now: Moment) {
        self.of(&members.lineage, now);
        let mut heard = self.heard();
        let greatest = members.nodes.iter().map(|member| member.max_staleness).max();
        heard.greatest_bound = heard.greatest_bound.max(greatest.unwrap_or_default());
    }

    /// Until when a node may accept what was revoked at this moment, and not be known because another server took over without
    /// what it had said: all that it has read was before that.
    fn lost_until(&self, revoked_at: Moment) -> Moment {
        let heard = self.heard();
        let since = heard.lineage.as_ref().map_or(revoked_at, |(_, since)| revoked_at.min(*since));
        later(since, heard.greatest_bound)
    }

    /// Nothing is left half done when a holder panics.
    fn heard(&self) -> MutexGuard<'_, HeardOf> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Announced {
    async fn tell(&self) -> Result<(), Error> {
        let told_at = self.clock.moment();
        let lineage = self.membership.publish(&self.standing).await?;
        // The others count from when they see it, and a version before this one forgets whom it would suspect.
        let bound = self.bound();
        self.limit.raise(&lineage, later(told_at, silence(bound).saturating_sub(bound)));
        self.heard.of(&lineage, self.clock.moment());
        Ok(())
    }

    fn bound(&self) -> Duration {
        self.standing.max_staleness
    }
}

/// Looks whether a node is still known, when it may not be because it could not say anything for long: a store that can be read but
/// not written makes nobody refuse, since nobody can be forgotten there.
async fn look(
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
        // When this fails, the node has every reason to refuse.
        let Ok(members) = membership.members().await else { continue };
        if members.nodes.iter().any(|member| member.node == node && member.heartbeat > 0) {
            limit.raise(&members.lineage, now);
        }
    }
}

impl Joining {
    /// Lets the other nodes know that there is another one.
    ///
    /// # Errors
    /// When the store can't be written.
    pub async fn begin(
        membership: Arc<dyn Membership>,
        clock: Arc<dyn Clock>,
        max_staleness: Duration,
        when_stale: StalePolicy,
    ) -> Result<Self, Error> {
        let accepts = u32::from(when_stale == StalePolicy::Accept);
        let standing = NodeStatus {
            node: Uuid::new_v4().simple().to_string(),
            heartbeat: 1,
            applied: None,
            followers: 0,
            unbounded: accepts,
            max_staleness,
        };
        let heard = Heard::new(max_staleness);
        let announced = Announced { membership, clock, standing, limit: FreshnessLimit::never(), heard };
        announced.tell().await?;
        Ok(Self { announced, accepts })
    }

    /// As of when whatever this node knows counts as complete at the latest: the others may have forgotten it after that.
    #[must_use]
    pub fn limit(&self) -> FreshnessLimit {
        self.announced.limit.clone()
    }

    /// From now on the others are told how far this node has `settled`, what it serves, and its followers.
    #[must_use]
    pub fn join(self, settled: watch::Receiver<Option<Cursor>>, progress: Progress) -> Nodes {
        let Self { announced, accepts } = self;
        let (membership, clock) = (Arc::clone(&announced.membership), Arc::clone(&announced.clock));
        let (id, heard) = (announced.standing.node.clone(), announced.heard.clone());
        let stop = Arc::new(Notify::new());
        let looking = tokio::spawn(look(
            Arc::clone(&membership),
            Arc::clone(&clock),
            id.clone(),
            announced.bound(),
            announced.limit.clone(),
        ));
        let telling = Telling { announced, accepts, progress, stop: Arc::clone(&stop) };
        let telling = Mutex::new(tokio::spawn(telling.run(settled)));
        Nodes { membership, clock, id, members: Mutex::default(), heard, stop, telling, looking }
    }
}

impl Nodes {
    /// Returns when no other node, and none of their followers, accepts any more what was revoked, durably, before `revoked_at`;
    /// `head` is the end of the log then, if it is known. Each is waited for as long as its own bound, at most.
    ///
    /// # Errors
    /// When the store has not said until `bound` was over which nodes there are: their bounds may be greater.
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
            // Of a store that hangs, those that it has named are waited out.
            let patience = if known.is_some() { POLL_INTERVAL } else { over_at.since(now).max(POLL_INTERVAL) };
            let told = timeout(patience, asking).await.unwrap_or_else(|late| Err(Error::unavailable(late)));
            match (told, &known) {
                (Ok(members), _) => known = Some(members),
                (Err(error), None) if now >= over_at => return Err(error),
                (Err(_), _) => {}
            }
            let members = known.iter().flat_map(|members| members.iter());
            let mut is_pending = known.is_none() || now < self.heard.lost_until(revoked_at);
            for member in members.filter(|member| member.node != self.id) {
                if decided.contains(&member.node) {
                    continue;
                }
                let has_settled = has_settled(member, head);
                if has_settled || now >= later(revoked_at, member.max_staleness) {
                    result.count(member, has_settled);
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

    /// What the nodes of the store had said at this moment, or later.
    async fn members(&self, since: Moment) -> Result<Arc<[NodeStatus]>, Error> {
        let mut known = self.members.lock().await;
        if let Some((asked_at, members)) = &*known
            && *asked_at >= since
        {
            return Ok(Arc::clone(members));
        }
        let asked_at = self.clock.moment();
        let members = self.membership.members().await?;
        self.heard.of_members(&members, self.clock.moment());
        let members: Arc<[NodeStatus]> = members.nodes.into();
        *known = Some((asked_at, Arc::clone(&members)));
        Ok(members)
    }

    /// Says that this node accepts no tokens any more. To be called when it does not.
    pub async fn leave(&self) {
        self.stop.notify_one();
        let _ended = (&mut *self.telling.lock().await).await;
    }
}

fn has_settled(member: &NodeStatus, head: Option<&Cursor>) -> bool {
    let (Some(settled), Some(head)) = (&member.applied, head) else { return false };
    settled.log == head.log && settled.position >= head.position
}

impl Everywhere {
    fn count(&mut self, member: &NodeStatus, has_settled: bool) {
        let all = usize::try_from(member.followers).unwrap_or(usize::MAX).saturating_add(1);
        let unbounded = usize::try_from(member.unbounded).unwrap_or(usize::MAX).min(all);
        if has_settled {
            self.acknowledged += all;
        } else {
            self.waited_out += all - unbounded;
            self.unbounded += unbounded;
        }
    }
}

struct Telling {
    announced: Announced,
    accepts: u32,
    progress: Progress,
    stop: Arc<Notify>,
}

impl Telling {
    async fn run(mut self, mut own: watch::Receiver<Option<Cursor>>) {
        let mut beats: HashMap<String, (u64, Moment)> = HashMap::new();
        // Often enough to notice an expired lease of a follower, and to show the other nodes that this one is alive.
        let idle = (self.announced.bound() / 2).min(SILENCE / 8);
        let outage = Outage::default();
        loop {
            let settled = own.borrow_and_update().clone();
            let told = self.tell(settled).await;
            if let Some(error) = outage.begins_with(&told) {
                let error = error as &dyn std::error::Error;
                tracing::warn!(error, "the other nodes could not be told how far this one is");
            }
            tokio::select! {
                changed = own.changed() => if changed.is_err() { return },
                () = self.progress.changed() => {}
                () = self.stop.notified() => return self.leave().await,
                () = sleep(idle) => self.forget_silent(&mut beats).await,
            }
            sleep(BATCH_WINDOW).await;
        }
    }

    async fn tell(&mut self, own: Option<Cursor>) -> Result<(), Error> {
        let (settled, followers) = match own {
            Some(own) => {
                let (settled, followers) = self.progress.settled_with(own);
                (Some(settled), followers)
            }
            None => (None, 0),
        };
        let standing = &mut self.announced.standing;
        standing.heartbeat += 1;
        standing.applied = settled;
        standing.followers = followers;
        standing.unbounded = self.progress.leases().unbounded().saturating_add(self.accepts);
        self.announced.tell().await
    }

    /// Its followers may have gone elsewhere, or accept tokens until they notice that it is gone: then the others wait.
    async fn leave(&self) {
        if self.progress.leases().count() == 0 {
            // It is forgotten later when this fails.
            let Announced { membership, standing, .. } = &self.announced;
            let _forgotten = membership.forget(&standing.node, standing.heartbeat).await;
        }
    }

    /// Suspects whoever has not changed for so long, by the clock of this machine, and forgets it when it must refuse.
    async fn forget_silent(&self, beats: &mut HashMap<String, (u64, Moment)>) {
        let Announced { membership, clock, standing, heard, .. } = &self.announced;
        let Ok(members) = membership.members().await else { return };
        let now = clock.moment();
        heard.of_members(&members, now);
        beats.retain(|node, _| members.nodes.iter().any(|member| member.node == *node));
        for member in members.nodes.into_iter().filter(|member| member.node != standing.node) {
            let (beat, since) = beats.entry(member.node.clone()).or_insert((member.heartbeat, now));
            if *beat != member.heartbeat {
                (*beat, *since) = (member.heartbeat, now);
            } else if *beat > 0 && now.since(*since) >= silence(member.max_staleness) {
                // The next one to look tries again.
                let _suspected = membership.suspect(&member.node, *beat).await;
            } else if *beat == 0 && now.since(*since) > member.max_staleness {
                tracing::info!(node = member.node, "a node that has been silent for long is forgotten");
                let _forgotten = membership.forget(&member.node, *beat).await;
            }
        }
    }
}
