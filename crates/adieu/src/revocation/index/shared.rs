//! The [`Index`]: one writer at a time and any number of readers.

use std::{
    fmt,
    sync::{Arc, OnceLock, PoisonError},
};

use super::{
    IndexStats, TokenFacts,
    fingerprint::{IssuerSecret, IssuerSum},
    hashed::{HashedRevocation, RevocationHasher},
    state::{Lapsed, State},
    sync::{AtomicBool, AtomicU64, Mutex, MutexGuard, Ordering, Published},
};
use crate::{
    Issuer, MAX_ID_BYTES,
    revocation::{Revocation, RevokedBy},
    time::Timestamp,
};

/// How many revocations are inserted before the lock is released for other writers.
const TURN: usize = 256;

/// How many bytes of each kind of table are freed in one step. The allocator takes 20 to 50 µs for each 128 KiB that is
/// no longer in the cache.
const BYTES_AT_ONCE: usize = 1024 * 1024;

/// How many leaves are swept in one step. Copying a full leaf takes up to 200 µs.
const SWEPT_AT_ONCE: usize = 2;

/// All revocations that have not lapsed, in memory, structured for a look-up on every request.
///
/// 1. **A check never waits and never allocates** (except a few bytes at the first check of a thread). It takes one
///    reference to the current state. It reads eight bytes for each kind of revocation that exists, and seldom more if
///    the token is not revoked. Writers add entries in place, or publish a new state. If there are revocations of claims, it also
///    asks for the [claims](TokenFacts::claims) of the token with their names, which may allocate.
/// 2. **Every inserted revocation is found.** A check that starts after [`insert`](Self::insert) returned finds the
///    revocation, even if tables grow or are dropped meanwhile, and even if the clock jumps.
/// 3. **False matches are negligible.** The id of a token with a known `exp` is stored as 72 bits of a keyed hash, other
///    ids as 67 bits. One revocation is mistaken for another with a probability of 2⁻⁷² or 2⁻⁶⁷: with 100 million
///    revocations of the latter kind, one in 1.5 × 10¹² checks rejects a valid token.
/// 4. **An id takes 11.6 to 13.7 bytes.** A cut-off, which is an id and a time, takes twice that. A nearly empty index
///    takes some kilobytes.
/// 5. **Lapsed revocations are dropped.** Tokens that expire in one slot of time are dropped together, at most one slot
///    width late: 64 s for tokens that expire within an hour, and never more than a quarter of a token's lifetime. Other
///    revocations share one table, because a token does not tell when they lapse; they are swept out at most 256 s or
///    two thirds of their lifetime late.
/// 6. **Every step is short.** Growing copies one leaf (128 KiB at most); dropping frees or copies a few leaves. Neither
///    blocks a check.
///
/// A check does not find revocations that were dropped: see [`pruned_through`](Self::pruned_through).
pub struct Index {
    hasher: RevocationHasher,
    /// The issuer of the first revocation. Most services have only one issuer, and so avoid hashing its name per token.
    first_issuer: OnceLock<(Issuer, IssuerSum)>,
    /// Whether the index contains any revocation. In most services it is empty most of the time.
    populated: AtomicBool,
    published: Published<State>,
    pruned_through: AtomicU64,
    writer: Mutex<Writer>,
}

struct Writer {
    /// The published state.
    current: Arc<State>,
    /// The time passed to the last [`Index::drop_lapsed`]. It only determines the width of new slots.
    now: Timestamp,
    /// States that readers may still use. Only the writer drops the last reference, so a check never frees a table.
    retired: Vec<Arc<State>>,
    /// Tables removed from the published state and not yet freed.
    lapsed: Lapsed,
}

impl Index {
    /// Creates an empty index, with a random secret from the operating system.
    ///
    /// # Panics
    /// Panics if the operating system can't provide randomness.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        Self::with_hasher(now, RevocationHasher::random())
    }

    pub(super) fn with_hasher(now: Timestamp, hasher: RevocationHasher) -> Self {
        let current = Arc::new(State::new());
        Self {
            hasher,
            first_issuer: OnceLock::new(),
            populated: AtomicBool::new(false),
            published: Published::new(Arc::clone(&current)),
            pruned_through: AtomicU64::new(0),
            writer: Mutex::new(Writer { current, now, retired: Vec::new(), lapsed: Lapsed::default() }),
        }
    }

    /// Hashes the name of this issuer in advance, because most tokens will be of it. By default, the issuer of the first
    /// revocation takes this place, unless that was hashed elsewhere.
    #[must_use]
    pub fn expecting(self, issuer: &Issuer) -> Self {
        self.first_issuer.get_or_init(|| (issuer.clone(), self.hasher.secret().issuer_sum(issuer.as_str())));
        self
    }

    /// Inserts a revocation. Every check that starts after `insert` returned finds it. Inserting it again changes nothing.
    ///
    /// A revocation that lapsed at or before [`pruned_through`](Self::pruned_through) is skipped: all tokens that it matches
    /// have expired.
    pub fn insert(&self, revocation: &Revocation) {
        self.insert_all(&[self.entry(revocation)]);
    }

    /// Inserts many revocations, each like [`insert`](Self::insert), and lets other writers proceed in between.
    pub fn extend<'a>(&self, revocations: impl IntoIterator<Item = &'a Revocation>) {
        let mut entries = Vec::with_capacity(TURN);
        let mut revocations = revocations.into_iter().peekable();
        while revocations.peek().is_some() {
            // Hash before taking the lock: hashing is most of the work, and other writers can proceed meanwhile.
            entries.extend(revocations.by_ref().take(TURN).map(|revocation| self.entry(revocation)));
            self.insert_all(&entries);
            entries.clear();
        }
    }

    /// Inserts many revocations that the [hasher](Self::hasher) of this index, or another one with its key, has hashed; each
    /// like [`insert`](Self::insert).
    pub fn extend_hashed(&self, revocations: &[HashedRevocation]) {
        revocations.chunks(TURN).for_each(|turn| self.insert_all(turn));
    }

    /// Returns the hasher of this index.
    #[must_use]
    pub fn hasher(&self) -> &RevocationHasher {
        &self.hasher
    }

    fn entry(&self, revocation: &Revocation) -> HashedRevocation {
        let name = revocation.issuer.as_str();
        self.first_issuer.get_or_init(|| (revocation.issuer.clone(), self.hasher.secret().issuer_sum(name)));
        HashedRevocation::new(&self.issuer(name), revocation)
    }

    #[inline]
    fn issuer(&self, name: &str) -> IssuerSecret<'_> {
        let sum = match self.first_issuer.get() {
            Some((first, sum)) if first.as_str() == name => *sum,
            _ => self.hasher.secret().issuer_sum(name),
        };
        self.hasher.secret().of_issuer(sum)
    }

    fn insert_all(&self, entries: &[HashedRevocation]) {
        let mut writer = self.write();
        let pruned_through = self.pruned_through();
        for entry in entries.iter().filter(|entry| entry.lapses_at > pruned_through) {
            if writer.current.insert(writer.now, entry).is_err() {
                let next = writer.current.grown(writer.now, entry);
                self.publish(&mut writer, next);
            }
        }
    }

    /// Returns the kind of revocation that matches this token, or `None` if the token is not revoked. Never blocks, and never
    /// allocates except at the first check of a thread.
    ///
    /// The caller must also compare the expiry with [`pruned_through`](Self::pruned_through), and read it *after* the check.
    #[must_use]
    pub fn check(&self, token: &TokenFacts<'_>) -> Option<RevokedBy> {
        // An issuer name that is too long was never inserted, and the hash does not accept it.
        if !self.populated.load(Ordering::Acquire) || token.issuer.len() > MAX_ID_BYTES {
            return None;
        }
        self.published.load().check(&self.issuer(token.issuer), token)
    }

    /// Drops the groups in which every revocation has lapsed. First raises [`pruned_through`](Self::pruned_through) to the
    /// time at which the last of them lapsed. Call it about every second.
    ///
    /// Each call frees a limited amount of memory, so that no call takes long. Returns whether more can be freed; the caller
    /// should then call it again soon.
    pub fn drop_lapsed(&self, now: Timestamp) -> bool {
        let mut writer = self.write();
        writer.now = now;
        let lapsed_by = now.max(self.pruned_through());
        if let Some(last) = writer.current.last_lapsed(lapsed_by) {
            // Raise the mark first: a check that no longer finds a revocation must already see the mark that covers it.
            self.raise_pruned_through(last);
            let current = Arc::clone(&writer.current);
            let next = current.without_lapsed(lapsed_by, &mut writer.lapsed);
            drop(current);
            self.publish(&mut writer, next);
        }
        if writer.current.is_littered() {
            let next = writer.current.swept(SWEPT_AT_ONCE);
            self.publish(&mut writer, next);
        }
        writer.release_retired();
        if !writer.retired.is_empty() {
            return false;
        }
        let leaves = writer.lapsed.take(BYTES_AT_ONCE);
        let more = !writer.lapsed.is_empty() || writer.current.is_littered();
        drop(writer);
        // Free outside the lock: the allocator may return memory to the system at this moment.
        drop(leaves);
        more
    }

    /// Records that revocations that lapsed at or before `mark` may have been pruned from the log. An earlier mark changes
    /// nothing.
    pub fn raise_pruned_through(&self, mark: Timestamp) {
        self.pruned_through.fetch_max(mark.as_unix(), Ordering::AcqRel);
    }

    /// Returns the time up to which lapsed revocations may have been dropped. A token that expired (its `exp` plus all
    /// leeway) at or before this time counts as expired whatever the clock says, because its revocation may be gone.
    ///
    /// Read it after [`check`](Self::check), not before: otherwise a revocation could be dropped between the two calls.
    #[must_use]
    pub fn pruned_through(&self) -> Timestamp {
        Timestamp::from_unix(self.pruned_through.load(Ordering::Acquire))
    }

    /// Returns the size of the index. Takes the writer lock and walks all tables: use it for metrics, not on every request.
    #[must_use]
    pub fn stats(&self) -> IndexStats {
        let mut writer = self.write();
        writer.release_retired();
        let size = writer.current.size();
        IndexStats {
            entries: size.entries,
            bytes: size_of::<Self>() + size.bytes + writer.lapsed.bytes(),
            slots: size.slots,
        }
    }

    fn write(&self) -> MutexGuard<'_, Writer> {
        // A writer that panicked left the published state intact: states are replaced in one step.
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish(&self, writer: &mut Writer, next: State) {
        let next = Arc::new(next);
        let populated = !next.is_empty();
        writer.current = Arc::clone(&next);
        writer.retired.push(self.published.swap(next));
        self.populated.store(populated, Ordering::Release);
        writer.release_retired();
    }
}

impl Writer {
    fn release_retired(&mut self) {
        // No reader can reach a retired state any more, so a count of one stays one.
        self.retired.retain(|state| Arc::strong_count(state) > 1);
    }
}

impl fmt::Debug for Index {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Index").field("pruned_through", &self.pruned_through()).finish_non_exhaustive()
    }
}
