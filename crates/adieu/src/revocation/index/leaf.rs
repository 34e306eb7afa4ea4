//! A hash table of entries, with one writer and any number of concurrent readers.
//!
//! A leaf is one allocation of words: the number of entries, then a *glance* for each bucket of seven entries, then the ids
//! of all buckets, then, for cut-offs, their times.
//!
//! 1. Nearly every look-up finds nothing and reads one glance: eight bytes that summarize 56 or 112. So a million
//!    revocations need less than two megabytes of processor cache instead of fifteen.
//! 2. Entries are added and never moved or removed, so a reader needs no lock and no second read.
//! 3. The writer publishes an entry by storing its word with `Release`, after everything else of the entry.
//! 4. Checking a glance takes one load and no branch: it compares the bytes of all entries at once. One in twenty to thirty
//!    look-ups of absent entries passes it.
//! 5. A leaf has 5½ entries per bucket when it must grow and 4¾ when it has just grown, so an id takes between 11.6 and
//!    13.7 bytes (a cut-off, which is an id and a time, nearly twice that). Fuller buckets would save another byte, and
//!    a quarter of the look-ups would continue to the next bucket.

use std::{iter, marker::PhantomData, sync::Arc};

use super::{
    fingerprint::Fingerprint,
    sync::{AtomicU64, LEAF_BYTES, Ordering},
};
use crate::time::Timestamp;

/// How the entries of a leaf are stored.
pub(super) trait Kind: Send + Sync + 'static {
    /// The value stored with the fingerprint of an entry.
    type Value: Copy;
    /// The bits of a word that are compared; the other bits contain the tag.
    const COMPARED: u64;
    /// Whether each entry has a time.
    const TIMED: bool = false;
    /// Creates the value from a word and a time.
    fn value(word: u64, time: Timestamp) -> Self::Value;
    /// Returns the part of the value that is stored in the word.
    fn tag_of(value: Self::Value) -> u64;
    /// Returns the time of the value, if the kind has one.
    fn time_of(_: Self::Value) -> Timestamp {
        Timestamp::from_unix(0)
    }
}

/// Ids with 72 bits each.
pub(super) struct Ids;

/// Ids with 67 bits and a tag each.
pub(super) struct TaggedIds;

/// Ids with their tags and the last revoked `iat` of each. The `iat` is stored apart, and read only for ids that are found.
pub(super) struct CutOffs;

impl Kind for Ids {
    type Value = ();
    const COMPARED: u64 = u64::MAX;

    fn value(_: u64, _: Timestamp) {}

    fn tag_of((): ()) -> u64 {
        0
    }
}

impl Kind for TaggedIds {
    type Value = Tag;
    const COMPARED: u64 = ALL_BUT_THE_TAG;

    fn value(word: u64, _: Timestamp) -> Tag {
        Tag::of_word(word)
    }

    fn tag_of(tag: Tag) -> u64 {
        tag.to_word()
    }
}

impl Kind for CutOffs {
    type Value = CutOff;
    const COMPARED: u64 = ALL_BUT_THE_TAG;
    const TIMED: bool = true;

    fn value(word: u64, issued_until: Timestamp) -> CutOff {
        CutOff { tag: Tag::of_word(word), issued_until }
    }

    fn tag_of(cut_off: CutOff) -> u64 {
        cut_off.tag.to_word()
    }

    fn time_of(cut_off: CutOff) -> Timestamp {
        cut_off.issued_until
    }
}

/// The group of an entry in a shelf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tag(u8);

impl Tag {
    /// The number of tags.
    pub(super) const COUNT: u8 = 1 << TAG_BITS;

    /// Iterates over all tags.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        (0..Self::COUNT).map(Self)
    }

    /// Returns the bit of this tag in a set of tags.
    pub(super) const fn bit(self) -> u32 {
        1 << self.0
    }

    const fn to_word(self) -> u64 {
        (self.0 as u64) << TAG_SHIFT
    }

    const fn of_word(word: u64) -> Self {
        Self((word >> TAG_SHIFT) as u8 % Self::COUNT)
    }
}

/// A value stored in a shelf with a fingerprint.
pub(super) trait Tagged {
    fn tag(self) -> Tag;
}

/// The stored form of a cut-off: all tokens of a subject or issuer issued up to a time are revoked.
#[derive(Clone, Copy, Debug)]
pub(super) struct CutOff {
    pub(super) tag: Tag,
    /// The last revoked `iat`.
    pub(super) issued_until: Timestamp,
}

impl Tagged for Tag {
    fn tag(self) -> Tag {
        self
    }
}

impl Tagged for CutOff {
    fn tag(self) -> Tag {
        self.tag
    }
}

/// The error for an entry that was not inserted, because the leaf must grow first.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Crowded;

const TAG_BITS: u32 = 5;
/// The position of the tag in a word. These bits choose neither the leaf nor the bucket.
const TAG_SHIFT: u32 = 32;
const ALL_BUT_THE_TAG: u64 = !(((1 << TAG_BITS) - 1) << TAG_SHIFT);

/// The number of entries in a bucket. Its glance has a byte for each of them, which is zero only if the place is empty. The
/// last byte records which entries overflowed into the next bucket: one bit for each eighth of all ids, so that few
/// look-ups continue in vain.
const PLACES: usize = 7;

/// How many entries two buckets have on average when their leaf must grow; their capacity is fourteen.
const FILL_OF_TWO: usize = 11;

const EVERY_BYTE: u64 = u64::from_le_bytes([1; 8]);
const TOP_BIT_OF_PLACES: u64 = (EVERY_BYTE << 7) & ((1 << (8 * PLACES)) - 1);

/// The size of the reference counts in a shared allocation.
pub(super) const ARC_HEADER: usize = 2 * size_of::<usize>();

/// A leaf of a tree. A clone shares the entries.
pub(super) struct Leaf<K> {
    words: Arc<[AtomicU64]>,
    buckets: u32,
    /// The number of bits of a word used by the forks above.
    depth: u32,
    kind: PhantomData<K>,
}

impl<K> Clone for Leaf<K> {
    fn clone(&self) -> Self {
        Self { words: Arc::clone(&self.words), ..*self }
    }
}

impl<K: Kind> Leaf<K> {
    const WORDS_OF_A_BUCKET: usize = 1 + PLACES + if K::TIMED { PLACES } else { 0 };

    /// The maximum number of buckets before a leaf is split. Copying this many takes a fraction of a millisecond.
    pub(super) const MAX_BUCKETS: usize = LEAF_BYTES.div_ceil(Self::WORDS_OF_A_BUCKET * size_of::<u64>());

    /// Creates a leaf with room for `entries` entries, as if it had just grown.
    pub(super) fn for_entries(entries: usize, depth: u32) -> Self {
        Self::with_buckets((entries * 2 * 7).div_ceil(FILL_OF_TWO * 6).max(1), depth)
    }

    fn with_buckets(count: usize, depth: u32) -> Self {
        let words = 1 + count * Self::WORDS_OF_A_BUCKET;
        Self {
            words: (0..words).map(|_| AtomicU64::new(0)).collect(),
            // A leaf has fewer than 2³² ids, because 32 bits of a word choose a bucket.
            buckets: u32::try_from(count).unwrap_or(u32::MAX),
            depth,
            kind: PhantomData,
        }
    }

    /// Returns the number of bits of a word used by the forks above.
    pub(super) fn depth(&self) -> u32 {
        self.depth
    }

    /// Returns the number of entries. Only the writer calls this.
    pub(super) fn len(&self) -> usize {
        self.words.first().map_or(0, |count| count.load(Ordering::Relaxed)) as usize
    }

    /// Returns the allocated bytes of this leaf.
    pub(super) fn bytes(&self) -> usize {
        ARC_HEADER + size_of_val(&*self.words)
    }

    fn buckets(&self) -> usize {
        self.buckets as usize
    }

    /// Returns how many buckets this leaf would have after growing.
    pub(super) fn larger(&self) -> usize {
        (self.buckets() * 7).div_ceil(6)
    }

    /// Returns the bucket of an entry. If that bucket is full, the entry goes into a later one.
    #[inline]
    fn first(&self, fingerprint: Fingerprint) -> usize {
        // The lower half of the word as a fraction of the buckets: as even as a remainder, without a division.
        let fraction = fingerprint.word & u64::from(u32::MAX);
        ((fraction * u64::from(self.buckets)) >> 32) as usize
    }

    /// Iterates over the buckets where an entry may be, in order, each one once.
    fn way(&self, fingerprint: Fingerprint) -> impl Iterator<Item = usize> {
        let first = self.first(fingerprint);
        (first..self.buckets()).chain(0..first)
    }

    #[inline]
    fn glance(&self, bucket: usize) -> Option<&AtomicU64> {
        self.words.get(1 + bucket)
    }

    fn word(&self, bucket: usize, place: usize) -> Option<&AtomicU64> {
        self.words.get(1 + self.buckets() + PLACES * bucket + place)
    }

    fn time(&self, bucket: usize, place: usize) -> Option<&AtomicU64> {
        self.words.get(1 + (1 + PLACES) * self.buckets() + PLACES * bucket + place)
    }

    /// Returns the value stored with this fingerprint, if there is an entry.
    ///
    /// Nearly every look-up finds nothing. It then takes one load from the leaf and one well-predicted branch, so the
    /// processor starts on the next tree before the cache line of this leaf has arrived.
    #[inline]
    pub(super) fn find(&self, fingerprint: Fingerprint) -> Option<K::Value> {
        let glance = self.glance(self.first(fingerprint))?.load(Ordering::Relaxed);
        if candidates(glance, fingerprint.check) | glance & pushed_on(fingerprint) == 0 {
            return None;
        }
        self.find_on_its_way(fingerprint)
    }

    #[cold]
    fn find_on_its_way(&self, fingerprint: Fingerprint) -> Option<K::Value> {
        let (bucket, place) = self.place_of(fingerprint)?;
        self.value(bucket, place)
    }

    /// Returns the bucket and the place of an entry, if there is one.
    fn place_of(&self, fingerprint: Fingerprint) -> Option<(usize, usize)> {
        for bucket in self.way(fingerprint) {
            let glance = self.glance(bucket)?.load(Ordering::Relaxed);
            let mut candidates = candidates(glance, fingerprint.check);
            while candidates != 0 {
                let place = lowest(candidates);
                let word = self.word(bucket, place)?.load(Ordering::Relaxed);
                if (word ^ fingerprint.word) & K::COMPARED == 0 && has_check(glance, place, fingerprint.check) {
                    return Some((bucket, place));
                }
                candidates &= candidates - 1;
            }
            if glance & pushed_on(fingerprint) == 0 {
                return None;
            }
        }
        None
    }

    fn value(&self, bucket: usize, place: usize) -> Option<K::Value> {
        // With Acquire, because everything that belongs to the word was written before it.
        let word = self.word(bucket, place)?.load(Ordering::Acquire);
        let time = if K::TIMED { self.time(bucket, place)?.load(Ordering::Acquire) } else { 0 };
        Some(K::value(word, Timestamp::from_unix(time)))
    }

    /// Adds an entry in place. Every look-up that starts later in this leaf or in a clone of it finds the entry. If the
    /// entry exists already, replaces its tag and raises its time.
    pub(super) fn insert(&self, fingerprint: Fingerprint, value: K::Value) -> Result<(), Crowded> {
        let done = match self.place_of(fingerprint) {
            Some((bucket, place)) => self.publish(bucket, place, fingerprint, value),
            None if self.len() >= self.buckets() * FILL_OF_TWO / 2 => None,
            None => self.append(fingerprint, value),
        };
        done.ok_or(Crowded)
    }

    /// Adds an entry that does not exist yet. Returns `None` if there is no room.
    fn append(&self, fingerprint: Fingerprint, value: K::Value) -> Option<()> {
        for bucket in self.way(fingerprint) {
            let glance = self.glance(bucket)?;
            let seen = glance.load(Ordering::Relaxed);
            // A load and a store take a fifth of the time of one atomic step, and suffice because there is one writer.
            let empty = candidates(seen, 0);
            if empty != 0 {
                let place = lowest(empty);
                glance.store(seen | u64::from(fingerprint.check) << (8 * place), Ordering::Release);
                let count = self.words.first()?;
                count.store(count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
                return self.publish(bucket, place, fingerprint, value);
            }
            glance.store(seen | pushed_on(fingerprint), Ordering::Release);
        }
        None
    }

    fn publish(&self, bucket: usize, place: usize, fingerprint: Fingerprint, value: K::Value) -> Option<()> {
        self.raise(bucket, place, value)?;
        let word = fingerprint.word & K::COMPARED | K::tag_of(value);
        self.word(bucket, place)?.store(word, Ordering::Release);
        Some(())
    }

    /// Raises the time of an entry; the latest time wins.
    fn raise(&self, bucket: usize, place: usize, value: K::Value) -> Option<()> {
        if K::TIMED {
            let time = self.time(bucket, place)?;
            let raised = K::time_of(value).as_unix().max(time.load(Ordering::Relaxed));
            time.store(raised, Ordering::Release);
        }
        Some(())
    }

    /// Returns a leaf with the same entries and more room.
    pub(super) fn grown(&self) -> Self {
        let copy = Self::with_buckets(self.larger(), self.depth);
        copy.apply(self.entries());
        copy
    }

    /// Returns a leaf without the entries for which `keep` returns `false`, or `None` if all entries are kept.
    pub(super) fn without(&self, keep: &impl Fn(K::Value) -> bool) -> Option<Self> {
        let kept = self.entries().filter(|&(_, value)| keep(value)).count();
        if kept == self.len() {
            return None;
        }
        let rest = Self::for_entries(kept, self.depth);
        rest.apply(self.entries().filter(|&(_, value)| keep(value)));
        Some(rest)
    }

    /// Returns two leaves, with the entries divided by the next bit.
    pub(super) fn split(&self) -> [Self; 2] {
        let bit = u64::BITS - 1 - self.depth;
        let goes_right = |(fingerprint, _): &(Fingerprint, K::Value)| fingerprint.word >> bit & 1 == 1;
        let right = self.entries().filter(goes_right).count();
        let halves = [self.len() - right, right].map(|entries| Self::for_entries(entries, self.depth + 1));
        let [left, right] = &halves;
        left.apply(self.entries().filter(|entry| !goes_right(entry)));
        right.apply(self.entries().filter(goes_right));
        halves
    }

    /// Returns one leaf with the entries of several leaves, closer to the root.
    pub(super) fn joined<'l>(leaves: impl Iterator<Item = &'l Self> + Clone, depth: u32) -> Self {
        let joined = Self::for_entries(leaves.clone().map(Self::len).sum(), depth);
        joined.apply(leaves.flat_map(Self::entries));
        joined
    }

    /// Adds distinct entries to a leaf that was created large enough for them.
    fn apply(&self, entries: impl Iterator<Item = (Fingerprint, K::Value)>) {
        for (fingerprint, value) in entries {
            let taken = self.append(fingerprint, value);
            debug_assert_eq!(taken, Some(()), "a leaf made for so many entries has room for them");
        }
    }

    fn entries(&self) -> impl Iterator<Item = (Fingerprint, K::Value)> {
        (0..self.buckets()).flat_map(move |bucket| {
            let glance = self.glance(bucket).map_or(0, |glance| glance.load(Ordering::Relaxed));
            iter::zip(0..PLACES, glance.to_le_bytes()).map_while(move |(place, check)| {
                let word = self.word(bucket, place)?.load(Ordering::Relaxed);
                let fingerprint = Fingerprint { word: word & K::COMPARED, check };
                if check == 0 { None } else { Some((fingerprint, self.value(bucket, place)?)) }
            })
        })
    }
}

/// Returns the places of a bucket whose byte is `check`, each as the top bit of its byte. May include false ones above the
/// lowest, because the subtraction carries out of a matching byte.
#[inline]
pub(super) fn candidates(glance: u64, check: u8) -> u64 {
    let difference = glance ^ (EVERY_BYTE * u64::from(check));
    difference.wrapping_sub(EVERY_BYTE) & !difference & TOP_BIT_OF_PLACES
}

/// Returns the first of some places.
fn lowest(places: u64) -> usize {
    places.trailing_zeros() as usize / 8
}

fn has_check(glance: u64, place: usize, check: u8) -> bool {
    glance.to_le_bytes().get(place) == Some(&check)
}

/// Returns the bit of a glance that is set if an entry like this one overflowed into the next bucket.
#[inline]
fn pushed_on(fingerprint: Fingerprint) -> u64 {
    1 << (8 * PLACES + usize::from(fingerprint.check % 8))
}
