//! The other nodes of the same store: letting them know how far this one is, and waiting until all of them have a revocation.
//!
//! 1. A node says how far it and its followers have got whenever that changes, a few dozen times a second at most, and
//!    otherwise now and then.
//! 2. Waiting begins with asking who is there, after the revocation is durable. A node that is not among them has not begun to
//!    read, and will find the revocation when it does.
//! 3. One that does not say that it has the revocation is waited for until it refuses by itself, which is its bound after the
//!    revocation: nothing is concluded from its silence, nor from the clock of another machine.
//! 4. One that stops says so. One that has said nothing for a minute is forgotten; until then every wait lasts as long as the
//!    bound.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::Arc,
    time::Duration,
};

use adieu::{
    revocation::Cursor,
    store::{Membership, Standing},
    time::{Clock, Moment},
    token::WhenStale,
};
use tokio::{
    sync::{Mutex, Notify, watch},
    task::JoinHandle,
    time::{sleep, timeout},
};
use uuid::Uuid;

use super::{
    Everywhere,
    lease::{Leases, later},
};

/// How long changes are gathered before the others are told.
const GATHER: Duration = Duration::from_millis(20);

/// How often it is looked how far the others are, while somebody waits.
const LOOK: Duration = Duration::from_millis(10);

/// How long a node may be silent before it is forgotten.
const SILENCE: Duration = Duration::from_secs(60);

/// Says how this node is doing, for as long as this is kept.
pub struct Nodes {
    membership: Arc<dyn Membership>,
    clock: Arc<dyn Clock>,
    id: String,
    /// What was asked last, and when: many who wait ask once.
    members: Mutex<Option<(Moment, Arc<[Standing]>)>>,
    stop: Arc<Notify>,
    telling: Mutex<JoinHandle<()>>,
}

impl fmt::Debug for Nodes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Nodes").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        self.telling.get_mut().abort();
    }
}

/// A node that is going to join the others. It is known to them, and has not begun to read the log.
pub struct Joining {
    membership: Arc<dyn Membership>,
    standing: Standing,
    accepts: u32,
}

impl Joining {
    /// Lets the other nodes know that there is another one.
    ///
    /// # Errors
    /// When the store can't be written.
    pub async fn begin(
        membership: Arc<dyn Membership>,
        max_staleness: Duration,
        when_stale: WhenStale,
    ) -> Result<Self, adieu::Error> {
        let accepts = u32::from(when_stale == WhenStale::Accept);
        let standing = Standing {
            node: Uuid::new_v4().simple().to_string(),
            beat: 1,
            settled: None,
            followers: 0,
            unbounded: accepts,
            max_staleness,
        };
        membership.tell(&standing).await?;
        Ok(Self { membership, standing, accepts })
    }

    /// From now on the others are told how far this node has `settled`, and its followers.
    #[must_use]
    pub fn join(self, settled: watch::Receiver<Option<Cursor>>, leases: Arc<Leases>, clock: Arc<dyn Clock>) -> Nodes {
        let Self { membership, standing, accepts } = self;
        let id = standing.node.clone();
        let stop = Arc::new(Notify::new());
        let telling = Telling {
            membership: Arc::clone(&membership),
            standing,
            accepts,
            leases,
            clock: Arc::clone(&clock),
            stop: Arc::clone(&stop),
        };
        let telling = Mutex::new(tokio::spawn(telling.run(settled)));
        Nodes { membership, clock, id, members: Mutex::default(), stop, telling }
    }
}

impl Nodes {
    /// Returns when no other node, and none of their followers, accepts any more what was revoked, durably, before `revoked_at`;
    /// `head` is the end of the log then, if it is known. None of them has a greater bound than this.
    pub async fn everywhere(&self, revoked_at: Moment, bound: Duration, head: Option<&Cursor>) -> Everywhere {
        let over_at = later(revoked_at, bound);
        let mut result = Everywhere::default();
        let mut decided = HashSet::new();
        loop {
            let now = self.clock.moment();
            // A store that hangs must not hold this up: by then all that it could name refuse.
            let asking = self.members(revoked_at.max(now.minus(LOOK)));
            let members = timeout(over_at.since(now).max(LOOK), asking).await.ok().flatten();
            let others = members.iter().flat_map(|members| members.iter()).filter(|member| member.node != self.id);
            let mut is_pending = members.is_none();
            for member in others {
                if decided.contains(&member.node) {
                    continue;
                }
                let has_settled = has_settled(member, head);
                if has_settled || now >= later(revoked_at, member.max_staleness) {
                    decided.insert(member.node.clone());
                    result.count(member, has_settled);
                } else {
                    is_pending = true;
                }
            }
            if !is_pending || now >= over_at {
                return result;
            }
            sleep(LOOK).await;
        }
    }

    /// What the nodes of the store had said at this moment, or later.
    async fn members(&self, since: Moment) -> Option<Arc<[Standing]>> {
        let mut known = self.members.lock().await;
        if let Some((asked_at, members)) = &*known
            && *asked_at >= since
        {
            return Some(Arc::clone(members));
        }
        let asked_at = self.clock.moment();
        let members: Arc<[Standing]> = self.membership.members().await.ok()?.into();
        *known = Some((asked_at, Arc::clone(&members)));
        Some(members)
    }

    /// Says that this node accepts no tokens any more. To be called when it does not.
    pub async fn leave(&self) {
        self.stop.notify_one();
        let _ended = (&mut *self.telling.lock().await).await;
    }
}

fn has_settled(member: &Standing, head: Option<&Cursor>) -> bool {
    let (Some(settled), Some(head)) = (&member.settled, head) else { return false };
    settled.log == head.log && settled.position >= head.position
}

impl Everywhere {
    fn count(&mut self, member: &Standing, has_settled: bool) {
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
    membership: Arc<dyn Membership>,
    standing: Standing,
    accepts: u32,
    leases: Arc<Leases>,
    clock: Arc<dyn Clock>,
    stop: Arc<Notify>,
}

impl Telling {
    async fn run(mut self, mut own: watch::Receiver<Option<Cursor>>) {
        let mut followers = self.leases.watch();
        let mut beats: HashMap<String, (u64, Moment)> = HashMap::new();
        // Often enough that a run-out lease of a follower is noticed, and that the others see that there is somebody.
        let idle = (self.standing.max_staleness / 2).min(SILENCE / 8);
        let mut failing = false;
        loop {
            let settled = own.borrow_and_update().clone();
            followers.borrow_and_update();
            let told = self.tell(settled).await;
            if let Err(error) = &told
                && !failing
            {
                let error = error as &dyn std::error::Error;
                tracing::warn!(error, "the other nodes could not be told how far this one is");
            }
            failing = told.is_err();
            tokio::select! {
                changed = own.changed() => if changed.is_err() { return },
                _ = followers.changed() => {}
                () = self.stop.notified() => return self.leave().await,
                () = sleep(idle) => self.forget_silent(&mut beats).await,
            }
            sleep(GATHER).await;
        }
    }

    async fn tell(&mut self, own: Option<Cursor>) -> Result<(), adieu::Error> {
        let (settled, followers) = match own {
            Some(own) => {
                let (settled, followers) = self.leases.settled_with(own);
                (Some(settled), followers)
            }
            None => (None, 0),
        };
        let standing = &mut self.standing;
        standing.beat += 1;
        standing.settled = settled;
        standing.followers = followers;
        standing.unbounded = self.leases.unbounded().saturating_add(self.accepts);
        self.membership.tell(standing).await
    }

    /// Its followers may have gone elsewhere, or accept tokens until they notice that it is gone: then the others wait.
    async fn leave(&self) {
        if self.leases.count() == 0 {
            // It is forgotten later when this fails.
            let _forgotten = self.membership.forget(&self.standing.node, self.standing.beat).await;
        }
    }

    /// Whoever has not changed for so long, by the clock of this machine.
    async fn forget_silent(&self, beats: &mut HashMap<String, (u64, Moment)>) {
        let Ok(members) = self.membership.members().await else { return };
        let now = self.clock.moment();
        beats.retain(|node, _| members.iter().any(|member| member.node == *node));
        for member in members.into_iter().filter(|member| member.node != self.standing.node) {
            let (beat, since) = beats.entry(member.node.clone()).or_insert((member.beat, now));
            if *beat != member.beat {
                (*beat, *since) = (member.beat, now);
            } else if now.since(*since) >= SILENCE.max(member.max_staleness) {
                tracing::info!(node = member.node, "a node that has been silent for long is forgotten");
                // The next one to look tries again.
                let _forgotten = self.membership.forget(&member.node, member.beat).await;
            }
        }
    }
}
