//! What is remembered of tokens whose signature was found good, so that it need not be checked again.
//!
//! 1. **Facts, never a verdict.** An entry says that a signature was good under a key, and what the claims are. Whether
//!    the token is in time, of the right type, fresh or revoked is judged each time.
//! 2. **One token, one entry**: all of it is compared, signature included. A keyed hash of all of it says where to look,
//!    so that who has guessed a part is not compared at all, and learns nothing from how long that took.
//! 3. **An entry ends with its token and with its key**: after `exp` it is not found, and neither is one whose key is
//!    not in the set that is in force now, by material, algorithm and name.
//! 4. **Strangers leave no trace**: only tokens that were found good come in, so nobody can push them out by sending
//!    rubbish.
//! 5. **It is bounded**, in entries and in bytes. What was not used for longest makes room, and is overwritten with zeros.

use std::{
    fmt,
    hash::BuildHasher as _,
    mem,
    num::{NonZeroU64, NonZeroUsize},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use foldhash::quality::RandomState;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::{
    time::Timestamp,
    token::{Claims, KeySet, key::verifying::KeyPrint},
};

/// How many entries share a lock and make room for one another.
const SET_ENTRIES: usize = 8;

/// How much a decoder may remember; see [`Decoder::with_cache`](crate::token::Decoder::with_cache).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheLimits {
    /// Tokens, rounded up to a multiple of eight.
    pub entries: NonZeroUsize,
    /// Bytes of them and of their claims, as they lie in memory.
    pub bytes: NonZeroUsize,
}

impl CacheLimits {
    /// Returns limits of this many tokens and this many bytes.
    #[must_use]
    pub const fn new(entries: NonZeroUsize, bytes: NonZeroUsize) -> Self {
        Self { entries, bytes }
    }
}

impl Default for CacheLimits {
    /// 16,384 tokens in 32 MiB.
    fn default() -> Self {
        const { Self { entries: NonZeroUsize::new(16_384).unwrap(), bytes: NonZeroUsize::new(32 << 20).unwrap() } }
    }
}

/// How much a decoder remembers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct CacheStats {
    /// Tokens.
    pub entries: usize,
    /// Bytes of them and of their claims.
    pub bytes: usize,
    /// How often a token was remembered so far, and its signature not checked again.
    pub hits: u64,
}

/// Many small tables, each behind a lock of its own that is held for some nanoseconds.
pub(super) struct Cache {
    sets: Box<[Mutex<Set>]>,
    bytes_per_set: usize,
    hashes: RandomState,
    /// That of the keys in force; zero while none of them is public. One word to ask, where the keys are many.
    epoch: AtomicU64,
    /// The last one that there was. Who replaces keys does it alone.
    last_epoch: Mutex<u64>,
}

/// The time in which the same keys are in force, some of them public.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Epoch(NonZeroU64);

#[derive(Default)]
struct Set {
    entries: Vec<Entry>,
    bytes: usize,
    hits: u64,
}

struct Entry {
    hash: u64,
    /// Its key is one of those.
    epoch: Epoch,
    /// `exp` with the leeway.
    ends_at: Timestamp,
    /// Of how many hits the last was its own.
    used_at: u64,
    token: Zeroizing<String>,
    claims: Arc<Claims>,
    key: KeyPrint,
    bytes: usize,
}

impl Cache {
    pub(super) fn new(limits: CacheLimits) -> Self {
        let sets = limits.entries.get().div_ceil(SET_ENTRIES);
        let set = |_| Mutex::default();
        Self {
            sets: (0..sets).map(set).collect(),
            bytes_per_set: limits.bytes.get() / sets,
            hashes: RandomState::default(),
            epoch: AtomicU64::new(0),
            last_epoch: Mutex::new(0),
        }
    }

    /// What a token of now may be remembered under: to be asked before the keys are. `None` when there is no public key,
    /// and so nothing to remember.
    pub(super) fn epoch(&self) -> Option<Epoch> {
        NonZeroU64::new(self.epoch.load(Ordering::Acquire)).map(Epoch)
    }

    /// The claims of a token that was found good before, with a key that is still in force.
    pub(super) fn get(&self, epoch: Epoch, token: &str, now: Timestamp) -> Option<Arc<Claims>> {
        let hash = self.hashes.hash_one(token);
        let mut set = self.set(hash);
        let set = &mut *set;
        let at = set.entries.iter().position(|entry| entry.hash == hash && *entry.token == token)?;
        let entry = set.entries.get_mut(at).filter(|entry| entry.epoch == epoch)?;
        if now >= entry.ends_at {
            set.remove(at);
            return None;
        }
        set.hits += 1;
        entry.used_at = set.hits;
        Some(Arc::clone(&entry.claims))
    }

    /// Remembers a token that was found good with this key, one of those of the epoch.
    pub(super) fn insert(
        &self,
        epoch: Epoch,
        token: &str,
        key: KeyPrint,
        claims: &Arc<Claims>,
        ends_at: Timestamp,
        now: Timestamp,
    ) {
        let bytes = mem::size_of::<Entry>() + token.len() + heap_bytes(claims);
        if bytes > self.bytes_per_set {
            return;
        }
        let hash = self.hashes.hash_one(token);
        let mut set = self.set(hash);
        // Another thread may have been as quick.
        set.retain(|entry| (entry.hash != hash || *entry.token != token) && entry.ends_at > now);
        while set.entries.len() >= SET_ENTRIES || set.bytes + bytes > self.bytes_per_set {
            set.remove_oldest();
        }
        set.bytes += bytes;
        let used_at = set.hits;
        let (token, claims) = (Zeroizing::new(token.to_owned()), Arc::clone(claims));
        set.entries.push(Entry { hash, epoch, ends_at, used_at, token, claims, key, bytes });
    }

    /// Begins an epoch, with what puts its keys in force. Every token whose key is not among them is forgotten.
    pub(super) fn begin_epoch(&self, keys: &KeySet, put_in_force: impl FnOnce()) {
        let mut last = self.last_epoch.lock().unwrap_or_else(PoisonError::into_inner);
        put_in_force();
        *last += 1;
        let epoch = NonZeroU64::new(*last).filter(|_| keys.holds_public_keys()).map(Epoch);
        // From here on nothing is found but what is taken over below, or comes in under the new keys.
        self.epoch.store(epoch.map_or(0, |epoch| epoch.0.get()), Ordering::Release);
        for set in &self.sets {
            lock(set).retain(|entry| match epoch {
                Some(epoch) if keys.holds(entry.key) => {
                    entry.epoch = epoch;
                    true
                }
                _ => false,
            });
        }
    }

    pub(super) fn stats(&self) -> CacheStats {
        self.sets.iter().map(lock).fold(CacheStats::default(), |sum, set| CacheStats {
            entries: sum.entries + set.entries.len(),
            bytes: sum.bytes + set.bytes,
            hits: sum.hits + set.hits,
        })
    }

    fn set(&self, hash: u64) -> MutexGuard<'_, Set> {
        // The upper bits of a product are as even as those of a remainder, and cheaper. There is always a set.
        let at = (u128::from(hash) * self.sets.len() as u128) >> 64;
        #[expect(clippy::indexing_slicing, reason = "a fraction of the length is below it")]
        lock(&self.sets[at as usize])
    }
}

/// No change below is ever left half done.
fn lock(set: &Mutex<Set>) -> MutexGuard<'_, Set> {
    set.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Set {
    fn remove(&mut self, at: usize) {
        if at < self.entries.len() {
            let removed = self.entries.swap_remove(at);
            self.bytes -= removed.bytes;
        }
    }

    fn remove_oldest(&mut self) {
        let oldest = self.entries.iter().enumerate().min_by_key(|(_, entry)| entry.used_at);
        self.remove(oldest.map_or(0, |(at, _)| at));
    }

    fn retain(&mut self, keep: impl FnMut(&mut Entry) -> bool) {
        self.entries.retain_mut(keep);
        self.bytes = self.entries.iter().map(|entry| entry.bytes).sum();
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Cache").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

/// What claims take beside themselves, roughly and rather too much.
fn heap_bytes(claims: &Claims) -> usize {
    const COUNTS: usize = 16;
    let session = claims.session.as_ref().map_or(0, |session| COUNTS + session.as_str().len());
    let audience: usize = claims.audience.iter().map(|one| mem::size_of::<String>() + one.len()).sum();
    COUNTS
        + mem::size_of::<Claims>()
        + 2 * COUNTS
        + claims.subject.as_str().len()
        + claims.token_id.as_str().len()
        + session
        + audience
        + map_bytes(&claims.custom)
}

fn map_bytes(map: &Map<String, Value>) -> usize {
    // A node of the tree has room for eleven members, and is at least half full but for the first.
    const NODE: usize = 11 * (mem::size_of::<String>() + mem::size_of::<Value>()) + 16;
    let members: usize = map.iter().map(|(name, value)| name.len() + value_bytes(value)).sum();
    map.len().div_ceil(5) * NODE + members
}

/// What a value takes beside itself. No deeper than the parser goes.
fn value_bytes(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        Value::String(text) => text.len(),
        // A vector grows by doubling.
        Value::Array(values) => 2 * mem::size_of_val(values.as_slice()) + values.iter().map(value_bytes).sum::<usize>(),
        Value::Object(map) => map_bytes(map),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        Issuer, Subject,
        token::{Algorithm, SigningKey, TokenType},
    };

    const NOW: Timestamp = Timestamp::from_unix(1_800_000_000);

    fn set(keys: &[&SigningKey]) -> KeySet {
        KeySet::new(keys.iter().map(|key| key.verifying_key().clone())).unwrap()
    }

    fn claims() -> Arc<Claims> {
        let (issuer, subject) = (Issuer::new("issuer").unwrap(), Subject::new("jose").unwrap());
        Arc::new(Claims::new(issuer, subject, TokenType::Access, NOW, Duration::from_secs(60)))
    }

    #[test]
    fn a_token_with_the_hash_of_another_is_not_taken_for_it() {
        let key = SigningKey::generate(Algorithm::EdDSA).unwrap();
        let one = NonZeroUsize::MIN;
        let cache = Cache::new(CacheLimits { entries: one, ..CacheLimits::default() });
        cache.begin_epoch(&set(&[&key]), || ());
        let epoch = cache.epoch().unwrap();
        let claims = claims();
        cache.insert(epoch, "token", key.verifying_key().print().unwrap(), &claims, claims.expires_at, NOW);
        for set in &cache.sets {
            lock(set).entries.iter_mut().for_each(|entry| entry.hash = cache.hashes.hash_one("other"));
        }
        assert_eq!(cache.get(epoch, "other", NOW), None);
        assert_eq!(cache.stats().entries, 1);
    }

    /// Whoever verifies a token while its key is removed puts it in only afterwards.
    #[test]
    fn what_comes_in_late_is_not_found_under_the_new_keys() {
        let [old, new] = [(); 2].map(|()| SigningKey::generate(Algorithm::EdDSA).unwrap());
        let claims = claims();
        let cache = Cache::new(CacheLimits::default());
        cache.begin_epoch(&set(&[&old]), || ());
        let before = cache.epoch().unwrap();
        cache.begin_epoch(&set(&[&new]), || ());
        cache.insert(before, "token", old.verifying_key().print().unwrap(), &claims, claims.expires_at, NOW);
        assert_eq!(cache.get(cache.epoch().unwrap(), "token", NOW), None);
        assert_eq!(
            cache.get(before, "token", NOW),
            Some(Arc::clone(&claims)),
            "by who still holds it against the old ones"
        );

        cache.begin_epoch(&set(&[&new, &old]), || ());
        assert_eq!(cache.get(before, "token", NOW), None);
        assert_eq!(cache.get(cache.epoch().unwrap(), "token", NOW), Some(claims), "its key has come back");
        cache.begin_epoch(&set(&[&new]), || ());
        assert_eq!(cache.stats().entries, 0);
    }

    #[test]
    fn nothing_is_remembered_while_no_key_is_public() {
        let secret = SigningKey::generate(Algorithm::HS256).unwrap();
        let public = SigningKey::generate(Algorithm::EdDSA).unwrap();
        let cache = Cache::new(CacheLimits::default());
        assert_eq!(cache.epoch(), None);
        cache.begin_epoch(&set(&[&secret]), || ());
        assert_eq!(cache.epoch(), None);
        cache.begin_epoch(&set(&[&public]), || ());
        let first = cache.epoch();
        cache.begin_epoch(&set(&[&secret]), || ());
        assert_eq!(cache.epoch(), None);
        cache.begin_epoch(&set(&[&public]), || ());
        assert!(cache.epoch().is_some() && cache.epoch() != first, "no epoch comes twice");
    }
}
