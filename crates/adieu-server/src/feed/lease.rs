//! The followers of this node, each with a lease.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use adieu::{
    revocation::{Cursor, LogId, Position},
    time::{Clock, Moment},
    token::StalePolicy,
};
use serde::Serialize;
use tokio::{sync::watch, time::sleep};
use utoipa::ToSchema;

/// How many followers one client may have at the same time.
const MAX_FOLLOWERS: usize = 10_000;

/// After a report of a follower, this much passes, and so much more for each follower that is still pending, before all of them
/// are checked: thousands report at about the same time.
const CHECK_DELAY: Duration = Duration::from_millis(2);
const CHECK_DELAY_EACH: Duration = Duration::from_micros(10);

/// The request of a follower, as far as it concerns its lease.
#[derive(Debug, Clone, Copy)]
pub struct Follower<'a> {
    /// The client that it authenticated as.
    pub client: &'a str,
    /// The id of the follower, drawn at random when it starts.
    pub id: &'a str,
    /// How long after a revocation it may still accept the token. Not greater than the bound of the node.
    pub max_staleness: Duration,
    /// Its policy after that.
    pub stale_policy: StalePolicy,
    /// What it calls itself; empty if it does not say.
    pub agent: &'a str,
}

/// A live follower.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LiveFollower {
    pub(crate) client: String,
    pub(crate) agent: String,
    /// The time since its last request.
    pub(crate) silence: Duration,
    /// The position that it has applied, with all that follow it.
    pub(crate) applied: Position,
}

/// The live followers of one client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Group {
    pub(crate) followers: u32,
    /// The longest time since the last request of one of them.
    pub(crate) silence: Duration,
    /// The position that all of them have applied.
    pub(crate) applied: Position,
}

impl Group {
    /// Returns the sum of two groups.
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            followers: self.followers.saturating_add(other.followers),
            silence: self.silence.max(other.silence),
            applied: self.applied.min(other.applied),
        }
    }
}

/// A client has more followers than it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the client has too many followers")]
pub struct TooManyFollowers;

/// The state of one follower. Clones share it.
#[derive(Debug, Clone)]
pub struct Lease(Arc<Mutex<Known>>);

#[derive(Debug)]
struct Known {
    /// When its last request arrived.
    arrived: Moment,
    max_staleness: Duration,
    stale_policy: StalePolicy,
    agent: Box<str>,
    /// The position that it has applied, with all that follow it.
    applied: Option<Cursor>,
}

impl Known {
    fn runs_out(&self) -> Moment {
        later(self.arrived, self.max_staleness)
    }

    fn has_applied(&self, head: &Cursor) -> bool {
        self.applied.as_ref().is_some_and(|applied| applied.log == head.log && applied.position >= head.position)
    }
}

impl Lease {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The followers of this node.
#[derive(Debug)]
pub struct Leases {
    clock: Arc<dyn Clock>,
    /// The bound of the node: no follower has a greater one.
    bound: Duration,
    /// Before this moment, the node may have had followers that it does not know.
    started: Moment,
    table: Mutex<Table>,
    changed: watch::Sender<()>,
}

#[derive(Debug)]
struct Table {
    by_client: HashMap<String, HashMap<String, Lease>>,
    swept: Moment,
}

/// What became of those who followed, and of the other nodes of the same store, when something was revoked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Everywhere {
    /// How many have said that they have it, and all that follow them.
    #[schema(example = 3)]
    pub acknowledged: usize,
    /// How many have been silent for so long that they refuse.
    #[schema(example = 0)]
    pub waited_out: usize,
    /// How many have been silent and were set to accept all the same (`stale_policy=accept`): of them nothing is known.
    #[schema(example = 0)]
    pub unbounded: usize,
}

impl Everywhere {
    /// Returns the sums of both.
    #[must_use]
    pub(super) fn and(self, others: Self) -> Self {
        Self {
            acknowledged: self.acknowledged + others.acknowledged,
            waited_out: self.waited_out + others.waited_out,
            unbounded: self.unbounded + others.unbounded,
        }
    }
}

impl Leases {
    /// Creates the leases of a node that starts now.
    #[must_use]
    pub fn start(clock: Arc<dyn Clock>, bound: Duration) -> Self {
        let started = clock.moment();
        let table = Mutex::new(Table { by_client: HashMap::new(), swept: started });
        Self { clock, bound, started, table, changed: watch::Sender::new(()) }
    }

    /// Returns the greatest `max_staleness` that a follower may have.
    #[must_use]
    pub fn bound(&self) -> Duration {
        self.bound
    }

    /// Renews the lease of a follower whose request arrived at `arrived`.
    ///
    /// # Errors
    /// Fails if its client has too many followers.
    pub fn renew(&self, follower: &Follower<'_>, arrived: Moment) -> Result<Lease, TooManyFollowers> {
        let Follower { client, id, max_staleness, stale_policy, agent } = *follower;
        let mut table = self.table();
        if let Some(lease) = table.by_client.get(client).and_then(|followers| followers.get(id)) {
            let mut known = lease.known();
            (known.arrived, known.max_staleness) = (known.arrived.max(arrived), max_staleness);
            known.stale_policy = stale_policy;
            if *known.agent != *agent {
                known.agent = agent.into();
            }
            drop(known);
            return Ok(lease.clone());
        }
        let count = table.by_client.get(client).map_or(0, HashMap::len);
        if arrived.since(table.swept) >= self.bound || count >= MAX_FOLLOWERS {
            table.forget_run_out(arrived);
        }
        let followers = table.by_client.entry(client.to_owned()).or_default();
        if followers.len() >= MAX_FOLLOWERS {
            return Err(TooManyFollowers);
        }
        let known = Known { arrived, max_staleness, stale_policy, agent: agent.into(), applied: None };
        let lease = Lease(Arc::new(Mutex::new(known)));
        followers.insert(id.to_owned(), lease.clone());
        Ok(lease)
    }

    /// Records the position up to which a follower has applied the log, which is the log of this node.
    pub fn record_applied(&self, lease: &Lease, cursor: Cursor) {
        lease.known().applied = Some(cursor);
        if self.changed.receiver_count() > 0 {
            self.changed.send_replace(());
        }
    }

    /// Clears the positions that followers have applied: the log went back, and earlier positions are invalid.
    pub fn forget_applied(&self) {
        for lease in self.table().by_client.values().flat_map(HashMap::values) {
            lease.known().applied = None;
        }
    }

    /// Returns a receiver that is notified when a follower has reported a position.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Returns the number of live followers.
    #[must_use]
    pub fn count(&self) -> usize {
        self.live(self.clock.moment()).len()
    }

    /// Returns the position that all live followers have applied in this log, and their number; `None` if there are
    /// none. The position is the start while there may be followers that are not known yet.
    #[must_use]
    pub fn least_applied(&self, log: &LogId) -> Option<(Position, u32)> {
        let now = self.clock.moment();
        if now < later(self.started, self.bound) {
            return Some((Position::START, 0));
        }
        let applied = |lease: &Lease| match &lease.known().applied {
            Some(cursor) if cursor.log == *log => cursor.position,
            _ => Position::START,
        };
        let live = self.live(now);
        let least = live.iter().map(applied).min()?;
        Some((least, u32::try_from(live.len()).unwrap_or(u32::MAX)))
    }

    /// Returns whether there may be a follower that has to receive what was revoked at this moment.
    #[must_use]
    pub fn may_have_followers(&self, revoked_at: Moment) -> bool {
        revoked_at < later(self.started, self.bound) || !self.live(revoked_at).is_empty()
    }

    /// Returns the position that a node which has applied `own` has in common with all live followers, and their number.
    #[must_use]
    pub fn applied_with(&self, own: Cursor) -> (Cursor, u32) {
        let (position, followers) = match self.least_applied(&own.log) {
            Some((least, followers)) => (least.min(own.position), followers),
            None => (own.position, 0),
        };
        (Cursor { log: own.log, position }, followers)
    }

    /// Returns the live followers of each client, by its name. Positions in another log than that of `own` count as its start.
    pub(super) fn by_client(&self, own: Option<&Cursor>) -> Vec<(String, Group)> {
        let (now, log) = (self.clock.moment(), own.map(|own| &own.log));
        let group = |lease: &Lease| {
            let known = lease.known();
            let applied = known.applied.as_ref().filter(|applied| Some(&applied.log) == log);
            let applied = applied.map_or(Position::START, |applied| applied.position);
            (known.runs_out() > now).then(|| Group { followers: 1, silence: now.since(known.arrived), applied })
        };
        let table = self.table();
        let groups = table.by_client.iter().map(|(client, followers)| {
            let sum = followers.values().filter_map(group).reduce(Group::and)?;
            Some((client.clone(), sum))
        });
        groups.flatten().collect()
    }

    /// Returns at most `limit` live followers, those that have been silent the longest first, and whether there are more. Positions
    /// in another log than that of `own` count as its start.
    pub(super) fn most_silent(&self, own: Option<&Cursor>, limit: usize) -> (Vec<LiveFollower>, bool) {
        let (now, log) = (self.clock.moment(), own.map(|own| &own.log));
        let table = self.table();
        let mut all = Vec::new();
        for (client, followers) in &table.by_client {
            let arrived = |lease: &Lease| {
                let known = lease.known();
                (known.runs_out() > now).then_some(known.arrived)
            };
            all.extend(followers.values().filter_map(|lease| Some((arrived(lease)?, client, lease))));
        }
        let has_more = all.len() > limit;
        if has_more {
            // Followers wait for the table.
            all.select_nth_unstable_by_key(limit, |(arrived, client, _)| (*arrived, *client));
            all.truncate(limit);
        }
        all.sort_by_key(|(arrived, client, _)| (*arrived, *client));
        let shown = all.into_iter().map(|(arrived, client, lease)| {
            let known = lease.known();
            let applied = known.applied.as_ref().filter(|applied| Some(&applied.log) == log);
            LiveFollower {
                client: client.clone(),
                agent: known.agent.to_string(),
                silence: now.since(arrived),
                applied: applied.map_or(Position::START, |applied| applied.position),
            }
        });
        (shown.collect(), has_more)
    }

    /// Returns how many live followers accept tokens even when they are too stale.
    #[must_use]
    pub fn unbounded(&self) -> u32 {
        let live = self.live(self.clock.moment());
        let unbounded = live.iter().filter(|lease| lease.known().stale_policy == StalePolicy::Accept).count();
        u32::try_from(unbounded).unwrap_or(u32::MAX)
    }

    /// Waits until no follower accepts tokens that were durably revoked before `revoked_at`. `head` is the end of the
    /// log after that; if it is unknown, no follower counts as having applied it.
    ///
    /// The data of a follower that has not confirmed the revocation was complete as of its last request or the
    /// revocation, whichever is earlier, at the latest: so the follower rejects tokens `max_staleness` after that.
    /// Later followers need no check: they reject tokens until they have read to the end, which is after the
    /// revocation. Those that a node knew before its restart expire within its bound.
    pub async fn everywhere(&self, revoked_at: Moment, head: Option<&Cursor>) -> Everywhere {
        let strangers_until = later(self.started, self.bound);
        let mut changed = self.changed.subscribe();
        let mut pending = self.live(revoked_at);
        let mut result = Everywhere::default();
        loop {
            changed.borrow_and_update();
            let now = self.clock.moment();
            let mut next = if now < strangers_until { Some(strangers_until) } else { None };
            pending.retain(|lease| {
                let known = lease.known();
                if head.is_some_and(|head| known.has_applied(head)) {
                    result.acknowledged += 1;
                    return false;
                }
                let is_bounded = known.stale_policy == StalePolicy::Reject;
                let since = if is_bounded { known.arrived.min(revoked_at) } else { revoked_at };
                let until = later(since, known.max_staleness);
                if now < until {
                    next = Some(next.map_or(until, |next| next.min(until)));
                    return true;
                }
                *if is_bounded { &mut result.waited_out } else { &mut result.unbounded } += 1;
                false
            });
            let Some(next) = next else { return result };
            let delay = CHECK_DELAY + CHECK_DELAY_EACH * u32::try_from(pending.len()).unwrap_or(u32::MAX);
            tokio::select! {
                // Rounded up to the resolution of the timer.
                () = sleep(next.since(now) + Duration::from_millis(1)) => {}
                _ = changed.changed(), if !pending.is_empty() => sleep(delay).await,
            }
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn live(&self, now: Moment) -> Vec<Lease> {
        let table = self.table();
        let all = table.by_client.values().flat_map(HashMap::values);
        all.filter(|lease| lease.known().runs_out() > now).cloned().collect()
    }
}

impl Table {
    fn forget_run_out(&mut self, now: Moment) {
        self.by_client.retain(|_, followers| {
            followers.retain(|_, lease| lease.known().runs_out() > now);
            !followers.is_empty()
        });
        self.swept = now;
    }
}

pub(super) fn later(moment: Moment, duration: Duration) -> Moment {
    let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    Moment::from_nanos(moment.as_nanos().saturating_add(nanos))
}
