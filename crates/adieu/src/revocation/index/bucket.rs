//! One cache line of entries, filled by one writer under the eyes of any number of readers.
//!
//! 1. Entries are added and never moved or taken out, so a reader needs no lock and no second look.
//! 2. An entry is published by its word, with `Release`, after everything that belongs to it.
//! 3. A glance is one load and no branch: it compares the bytes of all entries at once. What is not there gets past it
//!    once in twenty or thirty times.

use super::{
    fingerprint::Fingerprint,
    sync::{AtomicU64, Ordering},
};
use crate::time::Timestamp;

/// What a look-up in one bucket tells.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found<V> {
    /// It is here.
    Here(V),
    /// It is nowhere in this leaf.
    Nowhere,
    /// It is not here, but something was pushed on to the next bucket.
    Further,
}

impl<V> Found<V> {
    #[inline]
    fn map<W>(self, with: impl FnOnce(V) -> W) -> Found<W> {
        match self {
            Self::Here(value) => Found::Here(with(value)),
            Self::Nowhere => Found::Nowhere,
            Self::Further => Found::Further,
        }
    }
}

/// What became of an entry.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Put {
    /// It took an empty place.
    Added,
    /// It was here already.
    Known,
    /// It belongs into the next bucket.
    Full,
}

/// A cache line of entries. `put` is called by one thread at a time.
pub(super) trait Bucket: Default + Send + Sync {
    /// What is kept of an entry beside its fingerprint.
    type Value: Copy;
    /// Whether a look-up must go on to [`find`](Self::find): zero means that the entry is nowhere in this leaf.
    fn glance(&self, fingerprint: Fingerprint) -> u64;
    fn find(&self, fingerprint: Fingerprint) -> Found<Self::Value>;
    /// Of an entry that is known, the value is replaced (of a cut-off, raised).
    fn put(&self, fingerprint: Fingerprint, value: Self::Value) -> Put;
    fn entries(&self) -> impl Iterator<Item = (Fingerprint, Self::Value)>;
}

/// In which group of a shelf an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tag(u8);

impl Tag {
    /// How many there are.
    pub(super) const COUNT: u8 = 1 << TAG_BITS;

    /// All of them.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        (0..Self::COUNT).map(Self)
    }

    /// As a member of a set of tags.
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

/// What is kept on a shelf beside a fingerprint.
pub(super) trait Tagged {
    fn tag(self) -> Tag;
}

/// What is kept of the fact that everything of somebody until a time has ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct CutOff {
    pub(super) tag: Tag,
    /// The last `iat` that is revoked.
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

const TAG_BITS: u32 = 5;
/// Neither the leaf nor the bucket is chosen by these bits of a word.
const TAG_SHIFT: u32 = 32;

/// The bits of a word that are compared where each has a tag in it…
const ALL_BUT_THE_TAG: u64 = !(((1 << TAG_BITS) - 1) << TAG_SHIFT);
/// …and where it has none.
const ALL: u64 = u64::MAX;

const PLACES: usize = 7;

const EVERY_BYTE: u64 = u64::from_le_bytes([1; 8]);
const TOP_BIT_OF_PLACES: u64 = (EVERY_BYTE << 7) & ((1 << (8 * PLACES)) - 1);

/// Seven ids. The eighth word has a byte for each of them, and one byte that says what was pushed on: a bit for each
/// eighth of all ids, so that few look-ups follow one that was not theirs.
///
/// An empty place has the byte 0: it looks the same at a glance as an entry with that byte, and is told apart by its word.
#[derive(Default)]
#[repr(align(64))]
struct Line<const COMPARED: u64> {
    words: [AtomicU64; PLACES],
    checks: AtomicU64,
}

impl<const COMPARED: u64> Line<COMPARED> {
    #[inline]
    const fn same(word: u64, other: u64) -> bool {
        (word ^ other) & COMPARED == 0
    }

    #[inline]
    fn equal_words(&self, word: u64) -> u64 {
        let mut equal = 0;
        for (place, other) in self.words.iter().enumerate() {
            equal |= u64::from(Self::same(other.load(Ordering::Relaxed), word)) << place;
        }
        equal
    }

    /// Non-zero if the byte of some place is `check`.
    #[inline]
    fn equal_checks(checks: u64, check: u8) -> u64 {
        // The lowest zero byte of the difference, and perhaps some above it: a carry only comes out of a zero byte.
        let difference = checks ^ (EVERY_BYTE * u64::from(check));
        difference.wrapping_sub(EVERY_BYTE) & !difference & TOP_BIT_OF_PLACES
    }

    #[inline]
    fn pushed_on(&self, fingerprint: Fingerprint) -> u64 {
        self.checks.load(Ordering::Relaxed) & Self::pushed_bit(fingerprint)
    }

    #[inline]
    fn pushed_bit(fingerprint: Fingerprint) -> u64 {
        1 << (8 * PLACES + usize::from(fingerprint.check % 8))
    }

    fn has_check(&self, place: usize, check: u8) -> bool {
        self.checks.load(Ordering::Relaxed).to_le_bytes().get(place) == Some(&check)
    }

    #[inline]
    fn find(&self, fingerprint: Fingerprint) -> Found<usize> {
        let mut equal = self.equal_words(fingerprint.word);
        while equal != 0 {
            let place = equal.trailing_zeros() as usize;
            // Again, and with Acquire: what belongs to the word was written before it.
            let word = self.words.get(place).map_or(0, |word| word.load(Ordering::Acquire));
            if Self::same(word, fingerprint.word) && self.has_check(place, fingerprint.check) {
                return Found::Here(place);
            }
            equal &= equal - 1;
        }
        if self.pushed_on(fingerprint) == 0 { Found::Nowhere } else { Found::Further }
    }

    /// Where an entry is that was put in, or goes: calls `before` with an empty place before it is published there.
    /// Its tag is the given one from then on.
    fn put(&self, fingerprint: Fingerprint, tag: u64, before: impl FnOnce(usize)) -> Result<usize, Put> {
        let tagged = fingerprint.word & COMPARED | tag;
        for (place, word) in self.words.iter().enumerate() {
            match word.load(Ordering::Relaxed) {
                0 => {
                    self.add_to_checks(u64::from(fingerprint.check) << (8 * place));
                    before(place);
                    word.store(tagged, Ordering::Release);
                    return Err(Put::Added);
                }
                taken if Self::same(taken, tagged) && self.has_check(place, fingerprint.check) => {
                    word.store(tagged, Ordering::Release);
                    return Ok(place);
                }
                _ => {}
            }
        }
        self.add_to_checks(Self::pushed_bit(fingerprint));
        Err(Put::Full)
    }

    /// In two steps, which is a fifth of the time of one: there is one writer.
    fn add_to_checks(&self, bits: u64) {
        self.checks.store(self.checks.load(Ordering::Relaxed) | bits, Ordering::Release);
    }

    #[inline]
    fn glance(&self, fingerprint: Fingerprint) -> u64 {
        let checks = self.checks.load(Ordering::Relaxed);
        Self::equal_checks(checks, fingerprint.check) | checks & Self::pushed_bit(fingerprint)
    }

    fn tag(&self, place: usize) -> Tag {
        Tag::of_word(self.words.get(place).map_or(0, |word| word.load(Ordering::Relaxed)))
    }

    fn entries(&self) -> impl Iterator<Item = (Fingerprint, Tag)> {
        let checks = self.checks.load(Ordering::Relaxed).to_le_bytes();
        let words = self.words.iter().map(|word| word.load(Ordering::Relaxed));
        let taken = words.zip(checks).take_while(|&(word, _)| word != 0);
        taken.map(|(word, check)| (Fingerprint { word: word & COMPARED, check }, Tag::of_word(word)))
    }
}

/// Seven ids, 72 bits of each.
#[derive(Default)]
pub(super) struct Ids(Line<ALL>);

impl Bucket for Ids {
    type Value = ();

    #[inline]
    fn glance(&self, fingerprint: Fingerprint) -> u64 {
        self.0.glance(fingerprint)
    }

    #[inline]
    fn find(&self, fingerprint: Fingerprint) -> Found<()> {
        self.0.find(fingerprint).map(|_| ())
    }

    fn put(&self, fingerprint: Fingerprint, (): ()) -> Put {
        self.0.put(fingerprint, 0, |_| {}).map_or_else(|put| put, |_| Put::Known)
    }

    fn entries(&self) -> impl Iterator<Item = (Fingerprint, ())> {
        self.0.entries().map(|(fingerprint, _)| (fingerprint, ()))
    }
}

/// Seven ids, 67 bits of each and its tag.
#[derive(Default)]
pub(super) struct TaggedIds(Line<ALL_BUT_THE_TAG>);

impl Bucket for TaggedIds {
    type Value = Tag;

    #[inline]
    fn glance(&self, fingerprint: Fingerprint) -> u64 {
        self.0.glance(fingerprint)
    }

    #[inline]
    fn find(&self, fingerprint: Fingerprint) -> Found<Tag> {
        self.0.find(fingerprint).map(|place| self.0.tag(place))
    }

    fn put(&self, fingerprint: Fingerprint, tag: Tag) -> Put {
        self.0.put(fingerprint, tag.to_word(), |_| {}).map_or_else(|put| put, |_| Put::Known)
    }

    fn entries(&self) -> impl Iterator<Item = (Fingerprint, Tag)> {
        self.0.entries()
    }
}

/// Seven ids with their tags, and on a second line, which is read only for an id that is there, the last `iat` that is
/// revoked of each.
#[derive(Default)]
pub(super) struct CutOffs {
    ids: Line<ALL_BUT_THE_TAG>,
    times: [AtomicU64; PLACES],
}

impl CutOffs {
    fn time(&self, place: usize) -> Timestamp {
        Timestamp::from_unix(self.times.get(place).map_or(0, |time| time.load(Ordering::Acquire)))
    }

    /// The latest cut-off wins.
    fn raise(&self, place: usize, time: Timestamp) {
        if let Some(known) = self.times.get(place)
            && known.load(Ordering::Relaxed) < time.as_unix()
        {
            known.store(time.as_unix(), Ordering::Release);
        }
    }
}

impl Bucket for CutOffs {
    type Value = CutOff;

    #[inline]
    fn glance(&self, fingerprint: Fingerprint) -> u64 {
        self.ids.glance(fingerprint)
    }

    #[inline]
    fn find(&self, fingerprint: Fingerprint) -> Found<CutOff> {
        self.ids.find(fingerprint).map(|place| CutOff { tag: self.ids.tag(place), issued_until: self.time(place) })
    }

    fn put(&self, fingerprint: Fingerprint, CutOff { tag, issued_until }: CutOff) -> Put {
        match self.ids.put(fingerprint, tag.to_word(), |place| self.raise(place, issued_until)) {
            Ok(place) => {
                self.raise(place, issued_until);
                Put::Known
            }
            Err(put) => put,
        }
    }

    fn entries(&self) -> impl Iterator<Item = (Fingerprint, CutOff)> {
        let with_time = |(place, (fingerprint, tag))| (fingerprint, CutOff { tag, issued_until: self.time(place) });
        self.ids.entries().enumerate().map(with_time)
    }
}
