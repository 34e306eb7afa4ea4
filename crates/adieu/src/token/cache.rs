//! What is remembered of tokens whose signature was found good, so that it need not be checked again.
//!
//! 1. **Facts, never a verdict.** An entry says that a signature was good under a key, and what the claims are. Whether
//!    the token is in time, of the right type, fresh or revoked is judged each time.
//! 2. **One token, one entry**: found by the SHA-256 of the whole token, signature included, all of it compared. The
//!    token itself is not kept.
//! 3. **An entry ends with its token and with its key**: after `exp` it is not found, and neither is one whose key is
//!    not in the set that is in force now, by material, algorithm and name.
//! 4. **Strangers leave no trace**: only tokens that were found good come in, so nobody can push them out by sending
//!    rubbish.
//! 5. **It is bounded**, in entries and in bytes. What was not used for longest makes room.

use std::{
    fmt, mem,
    num::NonZeroUsize,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use aws_lc_rs::digest;
use serde_json::{Map, Value};

use crate::time::Timestamp;

use super::{Claims, KeySet, verifying_key::KeyPrint};

/// How many entries share a lock and make room for one another.
const SET_ENTRIES: usize = 8;

/// How much a decoder may remember; see [`Decoder::with_cache`](super::Decoder::with_cache).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheLimits {
    /// Tokens, rounded up to a multiple of eight.
    pub entries: NonZeroUsize,
    /// Bytes of their claims, as they lie in memory.
    pub bytes: NonZeroUsize,
}

impl Default for CacheLimits {
    /// 16,384 tokens in 16 MiB.
    fn default() -> Self {
        const { Self { entries: NonZeroUsize::new(16_384).unwrap(), bytes: NonZeroUsize::new(16 << 20).unwrap() } }
    }
}

/// How much a decoder remembers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct CacheStats {
    /// Tokens.
    pub entries: usize,
    /// Bytes of their claims.
    pub bytes: usize,
    /// How often a token was remembered so far, and its signature not checked again.
    pub hits: u64,
}

/// What a token is known by.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct TokenDigest([u8; 32]);

impl TokenDigest {
    pub(super) fn of(token: &str) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
        Self(bytes)
    }

    fn word(&self) -> u64 {
        self.0.first_chunk().map_or(0, |bytes| u64::from_ne_bytes(*bytes))
    }
}

/// Many small tables, each behind a lock of its own that is held for some nanoseconds.
pub(super) struct Cache {
    sets: Box<[Mutex<Set>]>,
    bytes_per_set: usize,
}

/// What was used last comes first.
#[derive(Default)]
struct Set {
    entries: Vec<Entry>,
    bytes: usize,
    hits: u64,
}

struct Entry {
    token: TokenDigest,
    key: KeyPrint,
    /// `exp` with the leeway.
    ends_at: Timestamp,
    claims: Arc<Claims>,
    bytes: usize,
}

impl Cache {
    pub(super) fn new(limits: CacheLimits) -> Self {
        let sets = limits.entries.get().div_ceil(SET_ENTRIES);
        let set = |_| Mutex::default();
        Self { sets: (0..sets).map(set).collect(), bytes_per_set: limits.bytes.get() / sets }
    }

    /// The claims of a token that was found good before, with a key that is still in force.
    pub(super) fn get(&self, token: &TokenDigest, keys: &KeySet, now: Timestamp) -> Option<Arc<Claims>> {
        let mut set = self.set(token);
        let at = set.entries.iter().position(|entry| entry.token == *token)?;
        let entry = set.entries.get(at)?;
        if now >= entry.ends_at || !keys.holds(entry.key) {
            set.remove(at);
            return None;
        }
        let claims = Arc::clone(&entry.claims);
        set.hits += 1;
        if let Some(used) = set.entries.get_mut(..=at) {
            used.rotate_right(1);
        }
        Some(claims)
    }

    /// Remembers a token that was found good with this key.
    pub(super) fn insert(
        &self,
        token: &TokenDigest,
        key: KeyPrint,
        claims: &Arc<Claims>,
        ends_at: Timestamp,
        now: Timestamp,
    ) {
        let bytes = mem::size_of::<Entry>() + heap_bytes(claims);
        if bytes > self.bytes_per_set {
            return;
        }
        let mut set = self.set(token);
        // Another thread may have been as quick.
        set.retain(|entry| entry.token != *token && entry.ends_at > now);
        while set.entries.len() >= SET_ENTRIES || set.bytes + bytes > self.bytes_per_set {
            let last = set.entries.len() - 1;
            set.remove(last);
        }
        set.bytes += bytes;
        set.entries.insert(0, Entry { token: *token, key, ends_at, claims: Arc::clone(claims), bytes });
    }

    /// Forgets every token whose key is not among these.
    pub(super) fn keep_only(&self, keys: &KeySet) {
        for set in &self.sets {
            lock(set).retain(|entry| keys.holds(entry.key));
        }
    }

    pub(super) fn stats(&self) -> CacheStats {
        self.sets.iter().map(lock).fold(CacheStats::default(), |sum, set| CacheStats {
            entries: sum.entries + set.entries.len(),
            bytes: sum.bytes + set.bytes,
            hits: sum.hits + set.hits,
        })
    }

    fn set(&self, token: &TokenDigest) -> MutexGuard<'_, Set> {
        // The upper bits of a product are as even as those of a remainder, and cheaper. There is always a set.
        let at = (u128::from(token.word()) * self.sets.len() as u128) >> 64;
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
            let removed = self.entries.remove(at);
            self.bytes -= removed.bytes;
        }
    }

    fn retain(&mut self, keep: impl Fn(&Entry) -> bool) {
        self.entries.retain(keep);
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
