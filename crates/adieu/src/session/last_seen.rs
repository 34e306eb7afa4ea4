//! The time of the last use of each session, without a write for every use.
//!
//! A use is recorded in memory and written later, in a batch. Most uses are of a session that was used since the last
//! write: such a use changes one word in one cache line, and takes no lock.

use std::{
    array,
    collections::HashMap,
    hash::BuildHasher as _,
    mem,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{
            AtomicU64,
            Ordering::{Relaxed, SeqCst},
        },
    },
};

use foldhash::fast::RandomState;

use crate::{Error, SessionId, Subject, session::SessionStore, time::Timestamp};

/// The maximum number of sessions recorded between two writes. Further uses are not recorded.
const REMEMBERED: usize = 100_000;

/// The number of sessions written in one step, during which logouts have to wait.
const STEP: usize = 256;

/// The number of locks. Concurrent uses of different sessions seldom share one.
const SHARDS: usize = 16;

/// The cache lines of each shard and the sessions in each line: the sessions that can be found without a lock.
const LINES: usize = 64;
const LINE: usize = 4;

/// Uses of sessions that have not been written yet.
#[derive(Debug)]
pub(super) struct LastSeen {
    hashes: RandomState,
    shards: Box<[Shard; SHARDS]>,
}

#[derive(Debug)]
struct Shard {
    /// The pending uses, by the hash of the session's id.
    pending: Mutex<HashMap<u64, Use, RandomState>>,
    recent: [Line; LINES],
}

#[derive(Debug)]
struct Use {
    session: SessionId,
    subject: Subject,
    /// The time of the use. The time in `recent` may be later.
    seen: Timestamp,
}

#[derive(Debug, Default)]
#[repr(align(64))]
struct Line([Recent; LINE]);

/// A pending session, or none. The hash is changed only under the lock, the time by any thread.
#[derive(Debug, Default)]
struct Recent {
    /// The hash of the session's id; zero for none.
    hash: AtomicU64,
    seen: AtomicU64,
}

impl LastSeen {
    /// Records a use, in memory.
    pub(super) fn note(&self, session: &SessionId, subject: &Subject, now: Timestamp) {
        let hash = self.hashes.hash_one(session.as_str()) | 1;
        let [high, middle, low, ..] = hash.to_be_bytes().map(usize::from);
        let Some(shard) = self.shards.get(high % SHARDS) else { return };
        let Some(Line(line)) = shard.recent.get(middle % LINES) else { return };
        if line.iter().any(|recent| recent.note(hash, now)) {
            return;
        }
        let mut pending = shard.lock();
        if let Some(known) = pending.get_mut(&hash) {
            known.see(now);
        } else if pending.len() < REMEMBERED / SHARDS {
            pending.insert(hash, Use { session: session.clone(), subject: subject.clone(), seen: now });
        } else {
            return;
        }
        if let Some(recent) = line.get(low % LINE) {
            recent.let_go(&mut pending);
            recent.hold(hash, now);
        }
    }

    /// Writes the uses recorded since the last call. Uses that cannot be written are lost; they are informational only.
    pub(super) async fn write_to(&self, store: &dyn SessionStore) -> Result<(), Error> {
        for shard in &*self.shards {
            let seen: Vec<_> =
                shard.take().into_values().map(|Use { session, subject, seen }| (session, subject, seen)).collect();
            for step in seen.chunks(STEP) {
                store.record_last_seen(step.to_vec()).await?;
            }
        }
        Ok(())
    }
}

impl Default for LastSeen {
    fn default() -> Self {
        let shard = |_| Shard { pending: Mutex::default(), recent: array::from_fn(|_| Line::default()) };
        Self { hashes: RandomState::default(), shards: Box::new(array::from_fn(shard)) }
    }
}

impl Shard {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Use, RandomState>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> HashMap<u64, Use, RandomState> {
        let mut pending = self.lock();
        for recent in self.recent.iter().flat_map(|line| &line.0) {
            recent.let_go(&mut pending);
        }
        mem::take(&mut *pending)
    }
}

impl Use {
    fn see(&mut self, seen: Timestamp) {
        self.seen = self.seen.max(seen);
    }
}

impl Recent {
    /// Records a use if this is the session. Returns whether it was recorded; a recorded use is not lost.
    fn note(&self, hash: u64, now: Timestamp) -> bool {
        if self.hash.load(Relaxed) != hash {
            return false;
        }
        if self.seen.load(Relaxed) < now.as_unix() {
            // Never earlier: this may now be another session, whose last use is later.
            self.seen.fetch_max(now.as_unix(), SeqCst);
        }
        // If the session was released meanwhile, this time may not have been copied.
        self.hash.load(SeqCst) == hash
    }

    fn hold(&self, hash: u64, now: Timestamp) {
        self.seen.store(now.as_unix(), SeqCst);
        self.hash.store(hash, SeqCst);
    }

    /// Copies the time to the pending use of the session.
    fn let_go(&self, pending: &mut HashMap<u64, Use, RandomState>) {
        let hash = self.hash.swap(0, SeqCst);
        // Read after the swap: a thread that still found the session here has stored its time before.
        let seen = Timestamp::from_unix(self.seen.load(SeqCst));
        if let Some(known) = pending.get_mut(&hash) {
            known.see(seen);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_unix(seconds)
    }

    fn session(number: usize) -> SessionId {
        SessionId::new(format!("session {number}")).unwrap()
    }

    /// Returns the uses that would be written now.
    fn taken(last_seen: &LastSeen) -> HashMap<SessionId, Timestamp> {
        let uses = last_seen.shards.iter().flat_map(|shard| shard.take().into_values());
        uses.map(|used| (used.session, used.seen)).collect()
    }

    #[test]
    fn the_last_use_is_written_and_each_only_once() {
        let (last_seen, jose) = (LastSeen::default(), Subject::new("jose").unwrap());
        for now in [1, 5] {
            last_seen.note(&session(1), &jose, at(now));
        }
        assert_eq!(taken(&last_seen), HashMap::from([(session(1), at(5))]));
        assert!(taken(&last_seen).is_empty());
        last_seen.note(&session(1), &jose, at(9));
        assert_eq!(taken(&last_seen), HashMap::from([(session(1), at(9))]));
    }

    /// Twenty times as many sessions as can be found without a lock: each displaces others from their line.
    #[test]
    fn nothing_is_lost_when_there_are_many() {
        const MANY: usize = 20 * SHARDS * LINES * LINE;
        let (last_seen, jose) = (LastSeen::default(), Subject::new("jose").unwrap());
        let sessions: Vec<_> = (0..MANY).map(session).collect();
        let mut expected = HashMap::new();
        for (now, step) in [(1, 1), (2, 1), (3, 2), (4, 3)] {
            for (order, session) in sessions.iter().step_by(step).enumerate() {
                // Some twice in a row, so that the second is recorded without the lock.
                for now in (now * 10..).take(1 + order % 2) {
                    last_seen.note(session, &jose, at(now));
                    expected.insert(session.clone(), at(now));
                }
            }
        }
        assert!(taken(&last_seen) == expected);
    }

    #[test]
    fn more_than_are_remembered_are_left_out() {
        let (last_seen, jose) = (LastSeen::default(), Subject::new("jose").unwrap());
        for number in 0..REMEMBERED + REMEMBERED / 2 {
            last_seen.note(&session(number), &jose, at(1));
        }
        let count = taken(&last_seen).len();
        assert!((REMEMBERED / 2..=REMEMBERED).contains(&count), "{count}");
    }

    /// A use recorded while another thread takes the pending uses is in that batch or in the next.
    #[test]
    fn nothing_is_lost_between_two_threads() {
        const ROUNDS: u64 = 500;
        let (last_seen, jose) = (LastSeen::default(), Subject::new("jose").unwrap());
        last_seen.note(&session(1), &jose, at(0));
        let shard = last_seen.shards.iter().find(|shard| !shard.lock().is_empty()).unwrap();
        let [noted, written] = [(); 2].map(|()| AtomicU64::new(0));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for round in 1..=ROUNDS {
                    // The second use finds the session without the lock, unless it was taken in between.
                    for now in [2 * round, 2 * round + 1] {
                        last_seen.note(&session(1), &jose, at(now));
                    }
                    noted.store(round, SeqCst);
                    while written.load(SeqCst) < round {
                        std::thread::yield_now();
                    }
                }
            });
            let mut last = at(0);
            for round in 1..=ROUNDS {
                let mut is_last = false;
                while !is_last {
                    is_last = noted.load(SeqCst) == round;
                    last = shard.take().into_values().map(|used| used.seen).fold(last, Ord::max);
                }
                let is_whole = last == at(2 * round + 1);
                // The other thread also ends if this one has found an error.
                written.store(if is_whole { round } else { ROUNDS }, SeqCst);
                assert!(is_whole, "round {round}: {last:?}");
            }
        });
    }
}
