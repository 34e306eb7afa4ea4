//! When sessions were last used, without a write for every use.
//!
//! A use is noted in memory and written down later, together with many. Nearly every one is of a session that has been
//! used since the last write: it changes one word in one line of memory, and takes no lock.

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

/// How many sessions are remembered between two writes; of more than that the time is not noted.
const REMEMBERED: usize = 100_000;

/// How many are written in one step, which holds up whoever logs out meanwhile.
const STEP: usize = 256;

/// So many locks, so that those who use different sessions at once seldom wait for each other.
const SHARDS: usize = 16;

/// Lines of memory in each shard, and sessions in each line: as many as can be found without a lock.
const LINES: usize = 64;
const LINE: usize = 4;

/// Uses of sessions that have not been written down yet.
#[derive(Debug)]
pub(super) struct LastSeen {
    hashes: RandomState,
    shards: Box<[Shard; SHARDS]>,
}

#[derive(Debug)]
struct Shard {
    /// By the hash of the session's id.
    pending: Mutex<HashMap<u64, Use, RandomState>>,
    recent: [Line; LINES],
}

#[derive(Debug)]
struct Use {
    session: SessionId,
    subject: Subject,
    /// No later than what is among the recent ones.
    seen: Timestamp,
}

#[derive(Debug, Default)]
#[repr(align(64))]
struct Line([Recent; LINE]);

/// A session that is pending, or none. Changed by whoever has the lock; the time by anyone.
#[derive(Debug, Default)]
struct Recent {
    /// Zero for none.
    hash: AtomicU64,
    seen: AtomicU64,
}

impl LastSeen {
    /// Notes a use, in memory.
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

    /// Writes down what has been noted since the last time. What can't be written is lost: it only informs.
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
    /// Notes a use, if it is one of this session. What it has noted is not lost.
    fn note(&self, hash: u64, now: Timestamp) -> bool {
        if self.hash.load(Relaxed) != hash {
            return false;
        }
        if self.seen.load(Relaxed) < now.as_unix() {
            // Never back: it may have become another session's, whose last use is later.
            self.seen.fetch_max(now.as_unix(), SeqCst);
        }
        // Whoever has let go of the session meanwhile may not have seen this time.
        self.hash.load(SeqCst) == hash
    }

    fn hold(&self, hash: u64, now: Timestamp) {
        self.seen.store(now.as_unix(), SeqCst);
        self.hash.store(hash, SeqCst);
    }

    /// Hands the time on to where the session is pending.
    fn let_go(&self, pending: &mut HashMap<u64, Use, RandomState>) {
        let hash = self.hash.swap(0, SeqCst);
        // After that: whoever still found the session here has noted its use before.
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

    /// What would be written now.
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

    /// Twenty times as many as can be found without a lock: each pushes others out of their line.
    #[test]
    fn nothing_is_lost_when_there_are_many() {
        const MANY: usize = 20 * SHARDS * LINES * LINE;
        let (last_seen, jose) = (LastSeen::default(), Subject::new("jose").unwrap());
        let sessions: Vec<_> = (0..MANY).map(session).collect();
        let mut expected = HashMap::new();
        for (now, step) in [(1, 1), (2, 1), (3, 2), (4, 3)] {
            for (order, session) in sessions.iter().step_by(step).enumerate() {
                // Some twice in a row, so that the second is noted without the lock.
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

    /// A use that is noted while another thread takes what is pending is in what it takes, or in what comes next.
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
                    // The second finds it without the lock, if nobody has taken it in between.
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
                // The other thread ends also when this one has found a mistake.
                written.store(if is_whole { round } else { ROUNDS }, SeqCst);
                assert!(is_whole, "round {round}: {last:?}");
            }
        });
    }
}
