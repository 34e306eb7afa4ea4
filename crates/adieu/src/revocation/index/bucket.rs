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
    fn put(&self, fingerprint: Fingerprint, value: Self::Value) -> Put;
    fn entries(&self) -> impl Iterator<Item = (Fingerprint, Self::Value)>;
}

const PLACES: usize = 7;

const EVERY_BYTE: u64 = u64::from_le_bytes([1; 8]);
const TOP_BIT_OF_PLACES: u64 = (EVERY_BYTE << 7) & ((1 << (8 * PLACES)) - 1);

/// Seven ids. The eighth word has a byte for each of them, and one byte that says what was pushed on: a bit for each
/// eighth of all ids, so that few look-ups follow one that was not theirs.
///
/// An empty place has the byte 0: it looks the same at a glance as an entry with that byte, and is told apart by its word.
#[derive(Default)]
#[repr(align(64))]
pub(super) struct Ids {
    words: [AtomicU64; PLACES],
    checks: AtomicU64,
}

impl Ids {
    #[inline]
    fn equal_words(&self, word: u64) -> u64 {
        let mut equal = 0;
        for (place, other) in self.words.iter().enumerate() {
            equal |= u64::from(other.load(Ordering::Relaxed) == word) << place;
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
    fn place_of(&self, fingerprint: Fingerprint) -> Found<usize> {
        let mut equal = self.equal_words(fingerprint.word);
        while equal != 0 {
            let place = equal.trailing_zeros() as usize;
            // Again, and with Acquire: what belongs to the word was written before it.
            let word = self.words.get(place).map(|word| word.load(Ordering::Acquire));
            if word == Some(fingerprint.word) && self.has_check(place, fingerprint.check) {
                return Found::Here(place);
            }
            equal &= equal - 1;
        }
        if self.pushed_on(fingerprint) == 0 { Found::Nowhere } else { Found::Further }
    }

    /// Where an entry is that was put in, or goes: calls `before` with an empty place before it is published there.
    fn put_with(&self, fingerprint: Fingerprint, before: impl FnOnce(usize)) -> Result<usize, Put> {
        for (place, word) in self.words.iter().enumerate() {
            match word.load(Ordering::Relaxed) {
                0 => {
                    self.add_to_checks(u64::from(fingerprint.check) << (8 * place));
                    before(place);
                    word.store(fingerprint.word, Ordering::Release);
                    return Err(Put::Added);
                }
                taken if taken == fingerprint.word && self.has_check(place, fingerprint.check) => return Ok(place),
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

    fn fingerprints(&self) -> impl Iterator<Item = Fingerprint> {
        let checks = self.checks.load(Ordering::Relaxed).to_le_bytes();
        let words = self.words.iter().map(|word| word.load(Ordering::Relaxed));
        words.zip(checks).take_while(|&(word, _)| word != 0).map(|(word, check)| Fingerprint { word, check })
    }
}

impl Bucket for Ids {
    type Value = ();

    #[inline]
    fn glance(&self, fingerprint: Fingerprint) -> u64 {
        let checks = self.checks.load(Ordering::Relaxed);
        Self::equal_checks(checks, fingerprint.check) | checks & Self::pushed_bit(fingerprint)
    }

    #[inline]
    fn find(&self, fingerprint: Fingerprint) -> Found<()> {
        match self.place_of(fingerprint) {
            Found::Here(_) => Found::Here(()),
            Found::Nowhere => Found::Nowhere,
            Found::Further => Found::Further,
        }
    }

    fn put(&self, fingerprint: Fingerprint, (): ()) -> Put {
        self.put_with(fingerprint, |_| {}).map_or_else(|put| put, |_| Put::Known)
    }

    fn entries(&self) -> impl Iterator<Item = (Fingerprint, ())> {
        self.fingerprints().map(|fingerprint| (fingerprint, ()))
    }
}

/// Seven ids, and on a second line, which is read only for an id that is there, the last `iat` that is revoked of each.
#[derive(Default)]
pub(super) struct CutOffs {
    ids: Ids,
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
    type Value = Timestamp;

    #[inline]
    fn glance(&self, fingerprint: Fingerprint) -> u64 {
        self.ids.glance(fingerprint)
    }

    #[inline]
    fn find(&self, fingerprint: Fingerprint) -> Found<Timestamp> {
        match self.ids.place_of(fingerprint) {
            Found::Here(place) => Found::Here(self.time(place)),
            Found::Nowhere => Found::Nowhere,
            Found::Further => Found::Further,
        }
    }

    fn put(&self, fingerprint: Fingerprint, time: Timestamp) -> Put {
        match self.ids.put_with(fingerprint, |place| self.raise(place, time)) {
            Ok(place) => {
                self.raise(place, time);
                Put::Known
            }
            Err(put) => put,
        }
    }

    fn entries(&self) -> impl Iterator<Item = (Fingerprint, Timestamp)> {
        self.ids.fingerprints().enumerate().map(|(place, fingerprint)| (fingerprint, self.time(place)))
    }
}
