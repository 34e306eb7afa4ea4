//! One cache line of entries, filled by one writer under the eyes of any number of readers.
//!
//! 1. Entries are added and never moved or taken out, so a reader needs no lock and no second look.
//! 2. An entry is published by its word, with `Release`, after everything that belongs to it.
//! 3. A look-up reads the whole line: no early exit that a branch predictor could get wrong.

use super::{
    fingerprint::{CHECK_BITS, Fingerprint},
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
    /// How many entries a bucket has on average when its leaf must grow.
    const FILL: usize;

    fn find(&self, fingerprint: Fingerprint) -> Found<Self::Value>;
    fn put(&self, fingerprint: Fingerprint, value: Self::Value) -> Put;
    fn entries(&self) -> impl Iterator<Item = (Fingerprint, Self::Value)>;
}

const IDS: usize = 7;
const PUSHED_ON: u64 = 1 << 63;

/// Seven ids. The eighth word has a byte for each of them and one bit that says that an eighth was pushed on.
#[derive(Default)]
#[repr(align(64))]
pub(super) struct Ids {
    words: [AtomicU64; IDS],
    checks: AtomicU64,
}

impl Ids {
    fn has_check(&self, place: usize, check: u8) -> bool {
        self.checks.load(Ordering::Relaxed).to_le_bytes().get(place) == Some(&check)
    }
}

impl Bucket for Ids {
    type Value = ();
    const FILL: usize = 6;

    #[inline]
    fn find(&self, fingerprint: Fingerprint) -> Found<()> {
        let mut equal = 0_u32;
        for (place, word) in self.words.iter().enumerate() {
            equal |= u32::from(word.load(Ordering::Relaxed) == fingerprint.word) << place;
        }
        while equal != 0 {
            let place = equal.trailing_zeros() as usize;
            // Again, and with Acquire: the check byte was written before the word.
            let word = self.words.get(place).map(|word| word.load(Ordering::Acquire));
            if word == Some(fingerprint.word) && self.has_check(place, fingerprint.check) {
                return Found::Here(());
            }
            equal &= equal - 1;
        }
        if self.checks.load(Ordering::Relaxed) & PUSHED_ON == 0 { Found::Nowhere } else { Found::Further }
    }

    fn put(&self, fingerprint: Fingerprint, (): ()) -> Put {
        for (place, word) in self.words.iter().enumerate() {
            match word.load(Ordering::Relaxed) {
                0 => {
                    let check = u64::from(fingerprint.check) << (CHECK_BITS as usize * place);
                    self.checks.fetch_or(check, Ordering::Relaxed);
                    word.store(fingerprint.word, Ordering::Release);
                    return Put::Added;
                }
                taken if taken == fingerprint.word && self.has_check(place, fingerprint.check) => return Put::Known,
                _ => {}
            }
        }
        self.checks.fetch_or(PUSHED_ON, Ordering::Release);
        Put::Full
    }

    fn entries(&self) -> impl Iterator<Item = (Fingerprint, ())> {
        let checks = self.checks.load(Ordering::Relaxed).to_le_bytes();
        let words = self.words.iter().map(|word| word.load(Ordering::Relaxed));
        words.zip(checks).take_while(|&(word, _)| word != 0).map(|(word, check)| (Fingerprint { word, check }, ()))
    }
}

const CUT_OFFS: usize = 4;
const TIME_BITS: u32 = u64::BITS - CHECK_BITS;
const _: () = assert!(Timestamp::MAX.as_unix() >> TIME_BITS == 0, "a time fits beside its check byte");

/// Four ids, each with the last `iat` that is revoked; a full bucket always sends the look-up on.
#[derive(Default)]
#[repr(align(64))]
pub(super) struct CutOffs([CutOff; CUT_OFFS]);

#[derive(Default)]
struct CutOff {
    word: AtomicU64,
    /// The check byte above the time, so that the two are one value.
    check_and_time: AtomicU64,
}

impl CutOff {
    fn value(fingerprint: Fingerprint, time: Timestamp) -> u64 {
        (u64::from(fingerprint.check) << TIME_BITS) | time.as_unix()
    }

    fn read(&self) -> (u8, Timestamp) {
        let value = self.check_and_time.load(Ordering::Acquire);
        let [.., check] = value.to_le_bytes();
        (check, Timestamp::from_unix(value & ((1 << TIME_BITS) - 1)))
    }
}

impl Bucket for CutOffs {
    type Value = Timestamp;
    const FILL: usize = 3;

    fn find(&self, fingerprint: Fingerprint) -> Found<Timestamp> {
        let mut last = 0;
        for pair in &self.0 {
            last = pair.word.load(Ordering::Acquire);
            if last == fingerprint.word {
                let (check, time) = pair.read();
                if check == fingerprint.check {
                    return Found::Here(time);
                }
            }
        }
        if last == 0 { Found::Nowhere } else { Found::Further }
    }

    fn put(&self, fingerprint: Fingerprint, time: Timestamp) -> Put {
        for pair in &self.0 {
            match pair.word.load(Ordering::Relaxed) {
                0 => {
                    pair.check_and_time.store(CutOff::value(fingerprint, time), Ordering::Relaxed);
                    pair.word.store(fingerprint.word, Ordering::Release);
                    return Put::Added;
                }
                taken if taken == fingerprint.word && pair.read().0 == fingerprint.check => {
                    // The check byte is the same, so the larger value is the later time: the latest cut-off wins.
                    pair.check_and_time.fetch_max(CutOff::value(fingerprint, time), Ordering::Release);
                    return Put::Known;
                }
                _ => {}
            }
        }
        Put::Full
    }

    fn entries(&self) -> impl Iterator<Item = (Fingerprint, Timestamp)> {
        self.0
            .iter()
            .map(|pair| (pair.word.load(Ordering::Relaxed), pair.read()))
            .filter(|&(word, _)| word != 0)
            .map(|(word, (check, time))| (Fingerprint { word, check }, time))
    }
}
