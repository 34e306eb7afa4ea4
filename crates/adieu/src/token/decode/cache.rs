//! Caches the claims of tokens whose signature has been verified, so that it is verified only once.
//!
//! 1. **Facts, not results.** An entry says that a signature is valid under a key, and holds the claims. Expiry, type,
//!    freshness and revocation are checked each time.
//! 2. **One token, one entry**: the whole token is compared, signature included. A keyed hash of the whole token
//!    selects the entry, so a partly guessed token is never compared, and timing reveals nothing about cached tokens.
//! 3. **An entry ends with its token and with its key**: it is not found after `exp` plus the leeway, nor if its key is
//!    not in the current set with the same material, algorithm and name.
//! 4. **Invalid tokens leave no trace**: only valid tokens are inserted, so invalid ones cannot evict them.
//! 5. **It is bounded**, in entries and in bytes. The least recently used entry of a set is evicted and overwritten
//!    with zeros.

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

/// The number of entries that share a lock and a share of the memory.
const SET_ENTRIES: usize = 8;

/// The limits of a decoder's cache; see [`Decoder::with_cache`](crate::token::Decoder::with_cache).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheLimits {
    /// The maximum number of tokens, rounded up to a multiple of eight.
    pub entries: NonZeroUsize,
    /// The maximum size of the tokens and their claims in memory, in bytes.
    pub bytes: NonZeroUsize,
}

impl CacheLimits {
    /// Creates limits of `entries` tokens and `bytes` bytes.
    #[must_use]
    pub const fn new(entries: NonZeroUsize, bytes: NonZeroUsize) -> Self {
        Self { entries, bytes }
    }
}

impl Default for CacheLimits {
    /// Returns limits of 16,384 tokens and 32 MiB.
    fn default() -> Self {
        const { Self { entries: NonZeroUsize::new(16_384).unwrap(), bytes: NonZeroUsize::new(32 << 20).unwrap() } }
    }
}

/// The size and the hits of a decoder's cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct CacheStats {
    /// The number of cached tokens.
    pub entries: usize,
    /// The size of the cached tokens and their claims, in bytes.
    pub bytes: usize,
    /// How often a token was found in the cache, so that its signature was not verified again.
    pub hits: u64,
}

/// Many small tables, each behind its own lock, which is held for some nanoseconds.
pub(super) struct Cache {
    sets: Box<[Mutex<Set>]>,
    bytes_per_set: usize,
    hashes: RandomState,
    /// The epoch of the current keys; zero if none of them is public. One atomic word is cheaper to read than many
    /// keys.
    epoch: AtomicU64,
    /// The last epoch that was assigned. The lock serialises key replacements.
    last_epoch: Mutex<u64>,
}

/// A period in which the same keys are in use, at least one of them public.
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
    /// The epoch whose keys include the key of this entry.
    epoch: Epoch,
    /// `exp` plus the leeway.
    ends_at: Timestamp,
    /// The hit count of the set at the last use of this entry.
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

    /// Returns the current epoch, or `None` if there is no public key, so that nothing is cached. Call it before
    /// reading the keys.
    pub(super) fn epoch(&self) -> Option<Epoch> {
        NonZeroU64::new(self.epoch.load(Ordering::Acquire)).map(Epoch)
    }

    /// Returns the claims of a cached token whose key is still in use.
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

    /// Caches a valid token that was signed with `key`, one of the keys of `epoch`.
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
        // Another thread may have inserted the token already.
        set.retain(|entry| (entry.hash != hash || *entry.token != token) && entry.ends_at > now);
        while set.entries.len() >= SET_ENTRIES || set.bytes + bytes > self.bytes_per_set {
            set.remove_oldest();
        }
        set.bytes += bytes;
        let used_at = set.hits;
        let (token, claims) = (Zeroizing::new(token.to_owned()), Arc::clone(claims));
        set.entries.push(Entry { hash, epoch, ends_at, used_at, token, claims, key, bytes });
    }

    /// Begins an epoch. `put_in_force` replaces the keys. Every token whose key is not among `keys` is removed.
    pub(super) fn begin_epoch(&self, keys: &KeySet, put_in_force: impl FnOnce()) {
        let mut last = self.last_epoch.lock().unwrap_or_else(PoisonError::into_inner);
        put_in_force();
        *last += 1;
        let epoch = NonZeroU64::new(*last).filter(|_| keys.holds_public_keys()).map(Epoch);
        // From here on only entries are found that the loop below carries over, or that are inserted in the new epoch.
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
        // The upper bits of a product are as evenly distributed as a remainder, and cheaper. There is always at least
        // one set.
        let at = (u128::from(hash) * self.sets.len() as u128) >> 64;
        #[expect(clippy::indexing_slicing, reason = "a fraction of the length is below it")]
        lock(&self.sets[at as usize])
    }
}

/// A poisoned lock can be used: no change below is left half done.
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

/// Estimates the heap size of claims, rather too high than too low.
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
        + map_bytes(&claims.verified.untrusted)
}

fn map_bytes(map: &Map<String, Value>) -> usize {
    // A tree node has room for eleven members and is at least half full, except the first.
    const NODE: usize = 11 * (mem::size_of::<String>() + mem::size_of::<Value>()) + 16;
    let members: usize = map.iter().map(|(name, value)| name.len() + value_bytes(value)).sum();
    map.len().div_ceil(5) * NODE + members
}

/// Estimates the heap size of a value. The recursion is as deep as the parser allows.
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

    /// A thread that verifies a token while its key is removed inserts it only afterwards.
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
