//! One writer at a time, any number of readers, and who frees what.

use std::{
    fmt,
    sync::{Arc, OnceLock, PoisonError},
};

use super::{
    IndexStats, TokenFacts,
    fingerprint::{IssuerSecret, IssuerSum, Secret},
    state::{Entry, Lapsed, State},
    sync::{AtomicBool, AtomicU64, Mutex, MutexGuard, Ordering, Published},
};
use crate::{
    Issuer, MAX_ID_BYTES,
    revocation::{Revocation, RevokedBy},
    time::Timestamp,
};

/// How many facts are put in before another writer gets its turn.
const TURN: usize = 256;

/// How much of each sort is given back in one go: 20 to 50 µs for the allocator for each 128 KiB when nothing of them is
/// in the cache any more.
const BYTES_AT_ONCE: usize = 1024 * 1024;

/// How many leaves are swept in one go: to copy one that is full takes up to 200 µs.
const SWEPT_AT_ONCE: usize = 2;

/// All revocations that have not lapsed, in memory, made for being asked on every request.
///
/// 1. **A check never waits and never allocates** (but for some bytes at the first of a thread). It takes one
///    reference to the current state and reads eight bytes for each kind of fact that exists, and seldom more of
///    one that says nothing of the token; a writer replaces what must change beside it.
/// 2. **What was taken in is found.** A check that starts after [`insert`](Self::insert) returned knows the fact,
///    whatever grows or is dropped meanwhile, and wherever the clock has jumped.
/// 3. **Nothing else is found.** The id of a token with an `exp` is kept as 72 bits of a keyed hash, others as 67. A fact
///    is taken for another with a probability of 2⁻⁷² or 2⁻⁶⁷: among 100 million facts of the latter sort there is one
///    false refusal in 1.5 × 10¹² checks.
/// 4. **It costs 11.6 to 13.7 bytes an id** (a cut-off, which is an id and a time: twice that), and some kilobytes when
///    it is nearly empty.
/// 5. **What has lapsed is dropped.** The tokens that expire in one slot of time go together, at most one slot's width
///    late: 64 s for those that expire within an hour, and never more than a quarter of a token's life. Other facts lie
///    in one table, because nothing in a token says when they lapse; they are swept out at most 256 s or two thirds of
///    their life late.
/// 6. **No step is long.** Growing copies one leaf (128 KiB at most), dropping frees or copies a few; neither stops a
///    check.
///
/// What a check can't know is what was forgotten: see [`pruned_through`](Self::pruned_through).
pub struct Index {
    secret: Secret,
    /// The issuer of the first fact. Most services know one only, and need not hash its name for every token.
    first_issuer: OnceLock<(Issuer, IssuerSum)>,
    /// Whether there is anything to look up. Most of the time, in most services, there is not.
    populated: AtomicBool,
    published: Published<State>,
    pruned_through: AtomicU64,
    writer: Mutex<Writer>,
}

struct Writer {
    /// The published state.
    current: Arc<State>,
    /// The time as last told. It chooses how wide a slot is, nothing else.
    now: Timestamp,
    /// States that some reader may still be in. Only the writer lets go of one last, so no check ever frees a table.
    retired: Vec<Arc<State>>,
    /// Slots that are out of the published state.
    lapsed: Lapsed,
}

impl Index {
    /// Empty, with a secret of its own from the operating system.
    ///
    /// # Panics
    /// When the operating system has no randomness to give.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        Self::with_secret(now, Secret::random())
    }

    pub(super) fn with_secret(now: Timestamp, secret: Secret) -> Self {
        let current = Arc::new(State::new());
        Self {
            secret,
            first_issuer: OnceLock::new(),
            populated: AtomicBool::new(false),
            published: Published::new(Arc::clone(&current)),
            pruned_through: AtomicU64::new(0),
            writer: Mutex::new(Writer { current, now, retired: Vec::new(), lapsed: Lapsed::default() }),
        }
    }

    /// Takes in a fact. Every check that starts after this returns knows it; to take it in again changes nothing.
    ///
    /// A fact that lapsed before [`pruned_through`](Self::pruned_through) is left out: whatever it matches is expired.
    pub fn insert(&self, revocation: &Revocation) {
        self.insert_all(&[self.entry(revocation)]);
    }

    /// Takes in many facts, each as [`insert`](Self::insert) does, with other writers let in between.
    pub fn extend<'a>(&self, revocations: impl IntoIterator<Item = &'a Revocation>) {
        let mut entries = Vec::with_capacity(TURN);
        let mut revocations = revocations.into_iter().peekable();
        while revocations.peek().is_some() {
            // Hashed before the lock is taken: that is most of the work, and leaves a gap for whoever waits.
            entries.extend(revocations.by_ref().take(TURN).map(|revocation| self.entry(revocation)));
            self.insert_all(&entries);
            entries.clear();
        }
    }

    fn entry(&self, revocation: &Revocation) -> Entry {
        let name = revocation.issuer.as_str();
        self.first_issuer.get_or_init(|| (revocation.issuer.clone(), self.secret.issuer_sum(name)));
        Entry::new(&self.issuer(name), revocation)
    }

    #[inline]
    fn issuer(&self, name: &str) -> IssuerSecret<'_> {
        let sum = match self.first_issuer.get() {
            Some((first, sum)) if first.as_str() == name => *sum,
            _ => self.secret.issuer_sum(name),
        };
        self.secret.of_issuer(sum)
    }

    fn insert_all(&self, entries: &[Entry]) {
        let mut writer = self.write();
        let pruned_through = self.pruned_through();
        for entry in entries.iter().filter(|entry| entry.lapses_at() > pruned_through) {
            if writer.current.insert(writer.now, entry).is_err() {
                let next = writer.current.grown(writer.now, entry);
                self.publish(&mut writer, next);
            }
        }
    }

    /// Whether this token is revoked, and by what. Never blocks and never allocates.
    ///
    /// The answer also depends on [`pruned_through`](Self::pruned_through), which is to be read *after* this.
    #[must_use]
    pub fn check(&self, token: &TokenFacts<'_>) -> Option<RevokedBy> {
        // Nothing of an issuer without a name that an issuer can have is in, and the hash takes no longer one.
        if !self.populated.load(Ordering::Acquire) || token.issuer.len() > MAX_ID_BYTES {
            return None;
        }
        self.published.load().check(&self.issuer(token.issuer), token)
    }

    /// Forgets the groups of which every fact has lapsed, and raises [`pruned_through`](Self::pruned_through) to the
    /// last of them before they are gone. Call it every second or so.
    ///
    /// Memory is given back a little at a time, so that no call takes long. Returns whether there is more: then another
    /// call is worth it soon.
    pub fn drop_lapsed(&self, now: Timestamp) -> bool {
        let mut writer = self.write();
        writer.now = now;
        let lapsed_by = now.max(self.pruned_through());
        if let Some(last) = writer.current.last_lapsed(lapsed_by) {
            // First: whoever no longer finds a fact must already see the mark that stands for it.
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
        // Not under the lock: the allocator may choose this moment to give all it has back to the system.
        drop(leaves);
        more
    }

    /// Notes that facts which lapsed until `mark` were forgotten elsewhere, as the log says of itself. Never goes back.
    pub fn raise_pruned_through(&self, mark: Timestamp) {
        self.pruned_through.fetch_max(mark.as_unix(), Ordering::AcqRel);
    }

    /// Until when facts have been forgotten: a token that expired (its `exp` with all leeway) at or before this
    /// counts as expired whatever the clock says, because its revocation may be among them.
    ///
    /// Read it after [`check`](Self::check), not before: only then no fact can be forgotten between the two.
    #[must_use]
    pub fn pruned_through(&self) -> Timestamp {
        Timestamp::from_unix(self.pruned_through.load(Ordering::Acquire))
    }

    /// How much there is. Takes the writers' lock and walks over all tables: for metrics, not for every request.
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
        // A writer that panicked left the published state whole: states are replaced in one step.
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
        // No reader can come to a retired state any more, so a count of one stays one.
        self.retired.retain(|state| Arc::strong_count(state) > 1);
    }
}

impl fmt::Debug for Index {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Index").field("pruned_through", &self.pruned_through()).finish_non_exhaustive()
    }
}
