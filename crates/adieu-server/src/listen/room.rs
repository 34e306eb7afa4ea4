//! Decides which clients get a connection when there are too few.
//!
//! 1. One party gets at most a quarter of all connections, unless it is a trusted proxy.
//! 2. A quarter is reserved for trusted proxies and this machine.
//! 3. If no connection is free, a new client replaces the one that has been idle for the longest. If its party has used up its share,
//!    that is one of the same party, however short its idle time; otherwise it is any connection that may be replaced and has been idle
//!    for [`MIN_IDLE`]. A connection is idle while none of its requests is being answered, so a head that never ends holds no place.

use std::{
    cmp::Reverse,
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, timeout},
};

use super::{LiveBounds, activity::Activity};
use crate::{
    address::{Peer, party},
    shares::{Share, Shares, quarter},
};

/// How long a connection must have been idle before another party may replace it.
const MIN_IDLE: Duration = Duration::from_secs(1);

/// Minimum time between two searches for idle connections, so that a flood of connections does not cause a flood of searches.
const SEARCH_PAUSE: Duration = Duration::from_millis(10);

/// One connection in this many is closed at once where it does not matter which.
const EVICTED_PART: usize = 64;

/// The connections of one listener. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct Room(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    bounds: LiveBounds,
    shares: Arc<Shares>,
    state: Mutex<State>,
    freed: Notify,
}

/// The key of a connection: its party, then its number in the order of arrival.
type Key = (IpAddr, u64);

#[derive(Debug, Default)]
struct State {
    seats: BTreeMap<Key, Arc<Seat>>,
    strangers: usize,
    next: u64,
    searched_at: Option<Instant>,
}

/// An admitted connection.
#[derive(Debug)]
struct Seat {
    is_stranger: bool,
    activity: Arc<Activity>,
    evicted: Notify,
    share: Mutex<Option<Share>>,
}

/// A connection that is counted until this value is dropped.
#[derive(Debug)]
pub(super) struct Seated {
    room: Room,
    key: Key,
    seat: Arc<Seat>,
}

impl Seat {
    fn share(&self) -> MutexGuard<'_, Option<Share>> {
        self.share.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Room {
    /// Creates room for as many connections as the bounds allow at the time of each. Trusted proxies have no share limit; a part is
    /// reserved for them and [`Bounds::reserved_for`](super::Bounds::reserved_for).
    pub(super) fn new(bounds: LiveBounds) -> Self {
        let shares = Shares::of(bounds.load().max_connections);
        Self(Arc::new(Shared { bounds, shares, state: Mutex::default(), freed: Notify::new() }))
    }

    /// Returns when there is room for one more connection, or an idle one could be replaced.
    pub(super) async fn wait(&self) {
        loop {
            let freed = self.0.freed.notified();
            if self.state().seats.len() < self.0.bounds.load().max_connections || self.state().has_idle() {
                return;
            }
            let _freed_or_idle_by_now = timeout(MIN_IDLE / 10, freed).await;
        }
    }

    /// Admits a connection, unless there is no room for it.
    pub(super) fn admit(&self, peer: Peer) -> Option<Seated> {
        let bounds = self.0.bounds.load();
        let total = bounds.max_connections;
        let (for_strangers, most) = (total - total / 4, quarter(total));
        let (address, is_trusted) = (peer.address(), peer.is_one_of(&bounds.trusted_proxies));
        let is_stranger = !is_trusted && !bounds.reserved_for.iter().any(|network| network.contains(&address));
        let party = party(address);

        let mut state = self.state();
        let share = if is_trusted {
            None
        } else {
            let taken = self.0.shares.take_within(most, party);
            Some(match taken {
                Some(share) => share,
                None => {
                    state.evict_of(party, most);
                    self.0.shares.take_within(most, party)?
                }
            })
        };
        if is_stranger && state.strangers >= for_strangers {
            let strangers = state.strangers;
            state.evict(too_many(strangers, for_strangers), |seat| seat.is_stranger);
        }
        if state.seats.len() >= total {
            let seats = state.seats.len();
            state.evict(too_many(seats, total), |_| true);
        }
        if state.seats.len() >= total || (is_stranger && state.strangers >= for_strangers) {
            return None;
        }
        let key = (party, state.next);
        state.next += 1;
        state.strangers += usize::from(is_stranger);
        let (activity, share) = (Arc::new(Activity::new()), Mutex::new(share));
        let seat = Arc::new(Seat { is_stranger, activity, evicted: Notify::new(), share });
        state.seats.insert(key, Arc::clone(&seat));
        Some(Seated { room: self.clone(), key, seat })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn has_idle(&self) -> bool {
        self.seats.values().any(|seat| seat.activity.idle_for().is_some_and(|idle| idle >= MIN_IDLE))
    }

    /// Closes connections of a party whose share is full, the longest idle first. A trusted proxy on a Unix socket has the address of this
    /// machine, and no share.
    fn evict_of(&mut self, party: IpAddr, share: usize) {
        let of_party = || self.seats.range((party, 0)..=(party, u64::MAX)).filter(|(_, seat)| seat.share().is_some());
        let most = too_many(of_party().count(), share);
        self.evict_longest(idle(of_party()), most);
    }

    /// Closes up to `most` connections that have been idle for at least [`MIN_IDLE`], the longest idle first.
    fn evict(&mut self, most: usize, which: impl Fn(&Seat) -> bool) {
        if self.searched_at.is_some_and(|searched_at| searched_at.elapsed() < SEARCH_PAUSE) {
            return;
        }
        self.searched_at = Some(Instant::now());
        let mut idle = idle(self.seats.iter().filter(|(_, seat)| which(seat)));
        idle.retain(|(idle_for, _)| *idle_for >= MIN_IDLE);
        self.evict_longest(idle, most);
    }

    fn evict_longest(&mut self, mut idle: Vec<(Duration, Key)>, most: usize) {
        idle.sort_unstable_by_key(|(idle_for, (_, number))| (Reverse(*idle_for), *number));
        for (_, key) in idle.into_iter().take(most) {
            if let Some(seat) = self.remove(key) {
                seat.evicted.notify_one();
            }
        }
    }

    fn remove(&mut self, key: Key) -> Option<Arc<Seat>> {
        let seat = self.seats.remove(&key)?;
        self.strangers -= usize::from(seat.is_stranger);
        drop(seat.share().take());
        Some(seat)
    }
}

/// Returns how many connections are to close for a new one: those above the limit, which may have been lowered, and several at once, as
/// otherwise a flood of connections would cause as many searches.
fn too_many(seats: usize, limit: usize) -> usize {
    (limit / EVICTED_PART).max(1).max((seats + 1).saturating_sub(limit))
}

fn idle<'a>(seats: impl Iterator<Item = (&'a Key, &'a Arc<Seat>)>) -> Vec<(Duration, Key)> {
    seats.filter_map(|(key, seat)| Some((seat.activity.idle_for()?, *key))).collect()
}

impl Seated {
    /// Returns the state of the connection.
    pub(super) fn activity(&self) -> &Arc<Activity> {
        &self.seat.activity
    }

    /// Returns when the connection must close, because another one has replaced it.
    pub(super) async fn evicted(&self) {
        self.seat.evicted.notified().await;
    }
}

impl Drop for Seated {
    fn drop(&mut self) {
        self.room.state().remove(self.key);
        self.room.0.freed.notify_one();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use std::net::SocketAddr;

    use arc_swap::ArcSwap;
    use tokio::time::advance;

    use super::*;
    use crate::{
        config::{Flags, Settings, TrustedProxy},
        listen::Bounds,
    };

    fn room(total: usize) -> Room {
        let trusted = vec![TrustedProxy::Network("10.0.0.0/8".parse().unwrap()), TrustedProxy::UnixSocket];
        let reserved_for = vec!["127.0.0.1/32".parse().unwrap()];
        let bounds = Bounds::from(&Settings::load(&Flags::default(), []).unwrap());
        let bounds = Bounds { max_connections: total, trusted_proxies: trusted, reserved_for, ..bounds };
        Room::new(Arc::new(ArcSwap::from_pointee(bounds)))
    }

    fn admit(room: &Room, address: &str) -> Option<Seated> {
        room.admit(Peer::Tcp(SocketAddr::new(address.parse().unwrap(), 1)))
    }

    #[tokio::test(start_paused = true)]
    async fn strangers_do_not_take_what_is_kept_for_proxies_and_this_machine() {
        let room = room(16);
        let busy = |seated: Seated| {
            seated.activity().begin();
            seated
        };
        let strangers: Vec<_> =
            (0..40).filter_map(|number| admit(&room, &format!("192.0.2.{number}")).map(busy)).collect();
        assert_eq!(strangers.len(), 12);
        let _health_check = admit(&room, "127.0.0.1").unwrap();
        let _proxy: Vec<_> = (0..3).map(|_| admit(&room, "10.0.0.1").unwrap()).collect();
        assert!(admit(&room, "10.0.0.1").is_none(), "there are no more");
        drop(strangers);
        assert!(admit(&room, "10.0.0.1").is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_idle_makes_room_for_others_longest_first() {
        let room = room(8);
        let mut seated = Vec::new();
        for number in 0..6 {
            seated.push(admit(&room, &format!("192.0.2.{number}")).unwrap());
            advance(MIN_IDLE).await;
        }
        seated[0].activity().begin();
        let _newcomer = admit(&room, "198.51.100.1").unwrap();
        timeout(MIN_IDLE, seated[1].evicted()).await.unwrap();
        for other in [0, 2, 3, 4, 5] {
            assert!(timeout(MIN_IDLE, seated[other].evicted()).await.is_err(), "{other}");
        }
        // An evicted connection is not counted a second time when it has closed.
        drop(seated);
        let state = room.state();
        assert_eq!((state.seats.len(), state.strangers), (1, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_limit_holds_for_the_next_connection() {
        let room = room(8);
        let change = |total| {
            let bounds = Bounds { max_connections: total, ..Bounds::clone(&room.0.bounds.load()) };
            room.0.bounds.store(Arc::new(bounds));
        };
        let busy = |number| {
            let seated = admit(&room, &format!("192.0.2.{number}"));
            seated.inspect(|seated| seated.activity().begin())
        };
        let first: Vec<_> = (0..8).filter_map(busy).collect();
        assert_eq!(first.len(), 6);
        change(16);
        let more: Vec<_> = (8..24).filter_map(busy).collect();
        assert_eq!(first.len() + more.len(), 12);
        change(8);
        drop(more);
        assert!(busy(30).is_none(), "as many as the lower limit allows are there");
        drop(first);
        assert!(busy(31).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_much_lower_limit_makes_room_at_once_if_others_are_idle() {
        let room = room(64);
        let strangers: Vec<_> = (0..40).map(|number| admit(&room, &format!("192.0.2.{number}")).unwrap()).collect();
        let party: Vec<_> = (0..16).map(|_| admit(&room, "127.0.0.1").unwrap()).collect();
        advance(MIN_IDLE).await;
        let bounds = Bounds { max_connections: 8, ..Bounds::clone(&room.0.bounds.load()) };
        room.0.bounds.store(Arc::new(bounds));
        assert!(admit(&room, "127.0.0.1").is_some(), "of a party with more than its new share");
        advance(SEARCH_PAUSE).await;
        assert!(admit(&room, "198.51.100.1").is_some());
        assert!(room.state().seats.len() <= 8);
        drop((strangers, party));
    }

    #[tokio::test(start_paused = true)]
    async fn a_party_with_a_full_share_replaces_its_own() {
        let room = room(8);
        let (first, second) = (admit(&room, "2001:db8::1").unwrap(), admit(&room, "2001:db8::2").unwrap());
        let other = admit(&room, "192.0.2.1").unwrap();
        let third = admit(&room, "2001:db8::3").unwrap();
        timeout(MIN_IDLE, first.evicted()).await.unwrap();
        assert!(timeout(MIN_IDLE, other.evicted()).await.is_err());
        second.activity().begin();
        third.activity().begin();
        assert!(admit(&room, "2001:db8::4").is_none(), "neither is idle");
        second.activity().end();
        let _fourth = admit(&room, "2001:db8::4").unwrap();
        timeout(MIN_IDLE, second.evicted()).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_trusted_proxy_on_a_unix_socket_is_not_replaced_by_others_of_this_machine() {
        let room = room(8);
        let proxy: Vec<_> = (0..4).map(|_| room.admit(Peer::Unix).unwrap()).collect();
        let _others: Vec<_> = (0..3).map(|_| admit(&room, "127.0.0.1").unwrap()).collect();
        for seated in &proxy {
            assert!(timeout(MIN_IDLE, seated.evicted()).await.is_err());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_full_of_requests_does_not_keep_others_from_replacing_their_own() {
        let room = room(8);
        let busy = [admit(&room, "192.0.2.1").unwrap(), admit(&room, "192.0.2.1").unwrap()];
        busy.iter().for_each(|seated| seated.activity().begin());
        let _idle = [admit(&room, "127.0.0.1").unwrap(), admit(&room, "127.0.0.1").unwrap()];
        for _ in 0..10 {
            assert!(admit(&room, "192.0.2.1").is_none());
            assert!(admit(&room, "127.0.0.1").is_some());
        }
    }
}
