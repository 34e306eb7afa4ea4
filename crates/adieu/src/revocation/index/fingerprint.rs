//! The stored form of an id: a 72-bit keyed hash (67 bits if a tag is stored) whose collisions can't be chosen without
//! the secret.
//!
//! The hash is *multilinear*: issuer and id are cut into words `s₁ … sₙ` of 56 bits, and the hash is the upper bits of
//! `m₀ + m₁s₁ + … + mₙsₙ mod 2¹²⁸`. The secret consists of the `m`: independent and uniform numbers of 128 bits, one for
//! each position of a word. (They are expanded from a random key with SHA-256, so that a key is enough to hash elsewhere.)
//!
//! 1. **Two different ids have the same 72 bits with a probability of 2⁻⁷²**, over the choice of the secret, whatever
//!    the ids are. The upper `128 − 56 + 1 = 73` bits are *strongly universal*: those of two different texts are uniform
//!    and independent of each other (Lemire and Kaser, "Strongly universal string hashing is fast", The Computer
//!    Journal 57, 2014; the term is from Wegman and Carter, 1981). A keyed pseudorandom function such as SipHash gives
//!    the same bound only by assumption, and is slower.
//! 2. **Different texts have different words.** Each text ends with a byte of 1 before it is padded with zeros, so its
//!    last word is never zero. The words of the issuer and of the id have separate positions. So neither padding nor
//!    pairs such as `("a", "bc")` and `("ab", "c")` cause collisions.
//! 3. **The hashes must stay private.** The hash is linear, so an attacker who saw hashes could solve for the secret. An
//!    index reveals neither hashes nor their order.
//!
//! The sums of consecutive ids are equally spaced, and with some secrets they could all fall into one bucket. So the bits
//! are mixed at the end. The mixing is a bijection and does not change the bound. One byte and one half of a word are
//! never zero, which increases the probability by a hundredth.

use crate::MAX_ID_BYTES;

/// How many bytes one multiplication processes. The more bytes, the fewer bits of the product are strongly universal.
const WORD_BYTES: usize = 7;

/// The maximum number of words of a text, including its end mark.
const MAX_WORDS: usize = (MAX_ID_BYTES + 1).div_ceil(WORD_BYTES);

/// A 72-bit hash of an id of one issuer, or of the issuer itself.
///
/// An id that is not in the index collides with each stored id with a probability of 2⁻⁷², wherever in the tables they
/// are, or of 2⁻⁶⁷ if a tag replaces five bits. With 100 million revocations of the latter kind, one check in 1.5 × 10¹²
/// is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fingerprint {
    /// Determines the leaf and the bucket. The lower half is never zero, because zero marks an empty place.
    pub(super) word: u64,
    /// The byte that is compared first, in addition to `word`: with 100 million revocations, 64 bits alone would reject a valid
    /// token once in 2 × 10¹¹ checks. Never zero.
    pub(super) check: u8,
}

/// The multipliers of all fingerprints in one index. An attacker without them can't choose ids that collide or that fill
/// one bucket.
pub(super) struct Secret {
    start: u128,
    of_issuers: [u128; MAX_WORDS],
    of_ids: [u128; MAX_WORDS],
}

/// The part of the sum that belongs to an issuer, and the fingerprint of the issuer itself.
#[derive(Clone, Copy)]
pub(super) struct IssuerSum {
    sum: u128,
    own: Fingerprint,
}

/// The secret, applied to one issuer.
#[derive(Clone, Copy)]
pub(super) struct IssuerSecret<'s> {
    start: u128,
    own: Fingerprint,
    of_ids: &'s [u128; MAX_WORDS],
}

impl Secret {
    /// Creates a secret from independent and uniform numbers.
    pub(super) fn drawn_from(mut draw: impl FnMut() -> u128) -> Self {
        Self { start: draw(), of_issuers: std::array::from_fn(|_| draw()), of_ids: std::array::from_fn(|_| draw()) }
    }

    /// Computes the sum of an issuer, for [`of_issuer`](Self::of_issuer).
    #[inline]
    pub(super) fn issuer_sum(&self, issuer: &str) -> IssuerSum {
        let sum = sum(self.start, &self.of_issuers, issuer);
        // The empty text stands for the issuer itself: an id is never empty.
        IssuerSum { sum, own: Fingerprint::of(sum, &self.of_ids, "") }
    }

    #[inline]
    pub(super) fn of_issuer(&self, issuer: IssuerSum) -> IssuerSecret<'_> {
        IssuerSecret { start: issuer.sum, own: issuer.own, of_ids: &self.of_ids }
    }
}

impl IssuerSecret<'_> {
    /// Returns the fingerprint of an id. The kind of id is not hashed, because each kind has its own table.
    #[inline]
    pub(super) fn fingerprint(&self, id: &str) -> Fingerprint {
        Fingerprint::of(self.start, self.of_ids, id)
    }

    /// Returns the fingerprint of the issuer itself.
    #[inline]
    pub(super) fn own(&self) -> Fingerprint {
        self.own
    }
}

impl Fingerprint {
    #[inline]
    fn of(start: u128, of_ids: &[u128; MAX_WORDS], id: &str) -> Self {
        let [_, _, _, _, _, _, _, check, word @ ..] = sum(start, of_ids, id).to_le_bytes();
        let mut word = mixed(u64::from_le_bytes(word));
        let check = (check ^ word as u8).max(1);
        if word as u32 == 0 {
            word |= 1;
        }
        Self { word, check }
    }

    pub(super) fn to_bytes(self) -> [u8; 9] {
        let mut bytes = [self.check; 9];
        if let Some(word) = bytes.first_chunk_mut() {
            *word = self.word.to_le_bytes();
        }
        bytes
    }

    /// The inverse of [`to_bytes`](Self::to_bytes); `None` if a part is zero that never is.
    pub(super) fn from_bytes([word @ .., check]: [u8; 9]) -> Option<Self> {
        let word = u64::from_le_bytes(word);
        (word as u32 != 0 && check != 0).then_some(Self { word, check })
    }
}

/// Computes the sum of a text of up to [`MAX_ID_BYTES`], the maximum length of an id. The caller ensures the length.
///
/// Not inlined: a check calls it three times, and each call needs all registers.
#[inline(never)]
fn sum(start: u128, multipliers: &[u128; MAX_WORDS], text: &str) -> u128 {
    debug_assert!(text.len() <= MAX_ID_BYTES, "a text that is too long would be cut");
    let text = text.as_bytes();
    let (words, rest) = text.as_chunks::<WORD_BYTES>();
    let mut sum = start;
    for (multiplier, bytes) in multipliers.iter().zip(words) {
        sum = sum.wrapping_add(multiplier.wrapping_mul(u128::from(word(bytes))));
    }
    let bits = 8 * rest.len() as u32;
    let last = match text.last_chunk() {
        Some(&eight) => u64::from_le_bytes(eight).checked_shr(u64::BITS - bits).unwrap_or(0),
        None => rest.iter().rev().fold(0, |last, &byte| last << 8 | u64::from(byte)),
    };
    match multipliers.get(words.len()) {
        Some(multiplier) => sum.wrapping_add(multiplier.wrapping_mul(u128::from(last | 1 << bits))),
        None => sum,
    }
}

/// Returns seven bytes as a number, with two reads of four bytes that overlap by one byte.
#[inline]
fn word(bytes: &[u8; WORD_BYTES]) -> u64 {
    let four = |bytes: Option<&[u8; 4]>| bytes.map_or(0, |bytes| u64::from(u32::from_le_bytes(*bytes)));
    four(bytes.last_chunk()) << 24 | four(bytes.first_chunk())
}

/// Mixes the bits with a bijection, so that equally spaced numbers are no longer equally spaced.
#[inline]
fn mixed(word: u64) -> u64 {
    let word = (word ^ word >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    word ^ word >> 32
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, clippy::unwrap_used)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    impl Secret {
        fn random() -> Self {
            Self::drawn_from(|| {
                let mut bytes = [0; 16];
                getrandom::fill(&mut bytes).unwrap();
                u128::from_ne_bytes(bytes)
            })
        }
    }

    /// Returns the bits that determine the place of an id, and the bits that are only compared.
    fn bits(fingerprint: Fingerprint) -> u128 {
        u128::from(fingerprint.word) << 8 | u128::from(fingerprint.check)
    }

    fn fingerprint(secret: &Secret, issuer: &str, id: &str) -> u128 {
        bits(secret.of_issuer(secret.issuer_sum(issuer)).fingerprint(id))
    }

    /// Texts that would collide if lengths, ends or zeros were not distinguished.
    #[test]
    fn texts_that_begin_alike_differ() {
        let secret = Secret::random();
        let mut seen = HashSet::new();
        for filling in ["a", "\0", "\u{1}"] {
            for length in 0..=MAX_ID_BYTES {
                let text = filling.repeat(length);
                // The empty text is the same whatever byte fills it.
                assert!(
                    seen.insert(fingerprint(&secret, "issuer", &text)) || length == 0,
                    "{length} times {filling:?}"
                );
            }
        }
        for (issuer, id) in [("a", "bc"), ("ab", "c"), ("abc", ""), ("", "abc"), ("issuera", ""), ("a", "issuer")] {
            assert!(seen.insert(fingerprint(&secret, issuer, id)), "({issuer:?}, {id:?})");
        }
    }

    /// Compares the hash with its definition, word by word.
    #[test]
    fn the_sum_is_that_of_the_words_and_the_end() {
        let mut number = 0_u128;
        let secret = Secret::drawn_from(|| {
            number = number.wrapping_mul(0x2360_ed05_1fc6_5da4_4385_df64_9fcc_f645).wrapping_add(1);
            number
        });
        let text: String = (0..MAX_ID_BYTES).map(|place| char::from(b'!' + (place * 7 % 90) as u8)).collect();
        for length in 0..=MAX_ID_BYTES {
            let mut bytes = text.as_bytes()[..length].to_vec();
            bytes.push(1);
            let words = bytes
                .chunks(WORD_BYTES)
                .map(|word| word.iter().rev().fold(0, |word, &byte| word << 8 | u128::from(byte)));
            let expected = words
                .zip(secret.of_ids)
                .fold(5, |sum: u128, (word, multiplier)| sum.wrapping_add(multiplier.wrapping_mul(word)));
            assert_eq!(sum(5, &secret.of_ids, &text[..length]), expected, "{length} bytes");
        }
    }

    /// Flipping a bit of an id flips each bit of the fingerprint under half of all secrets.
    #[test]
    fn every_bit_of_an_id_reaches_every_bit() {
        const SECRETS: usize = 400;
        let id = *b"0198c2a5-7d1e-7c43-9c3a-2f1d0f6b7a11";
        let secrets: Vec<Secret> = (0..SECRETS).map(|_| Secret::random()).collect();
        // The top bit of each byte stays as it is, because the text must be UTF-8.
        for flipped in (0..id.len() * 8).filter(|bit| bit % 8 != 7) {
            let mut other = id;
            other[flipped / 8] ^= 1 << (flipped % 8);
            let [id, other] = [&id, &other].map(|id| std::str::from_utf8(id).unwrap_or_default());
            let mut flips = [0_usize; 72];
            for secret in &secrets {
                let changed = fingerprint(secret, "issuer", id) ^ fingerprint(secret, "issuer", other);
                flips.iter_mut().enumerate().for_each(|(bit, count)| *count += usize::from(changed >> bit & 1 == 1));
            }
            // Eight standard deviations: once in 10¹¹ runs by chance.
            let far = |&count: &usize| count.abs_diff(SECRETS / 2) > 80;
            assert!(!flips.iter().any(far), "bit {flipped}: {flips:?}");
        }
    }

    /// Consecutive ids are distributed as if at random under every secret: over the branches of the tree (the top of the
    /// word), the buckets of a leaf (the lower half of the word) and the compared bytes.
    #[test]
    fn ids_that_count_up_are_spread_like_chance() {
        const IDS: usize = 16_384;
        const CELLS: usize = 256;
        let mut worst: f64 = 0.0;
        for _ in 0..100 {
            let secret = Secret::random();
            let issuer = secret.of_issuer(secret.issuer_sum("issuer"));
            let mut cells = [vec![0_usize; CELLS], vec![0; CELLS], vec![0; CELLS]];
            for number in 0..IDS {
                let Fingerprint { word, check } = issuer.fingerprint(&format!("session-{number:08}"));
                cells[0][(word >> 56) as usize] += 1;
                cells[1][(word >> 24) as usize % CELLS] += 1;
                cells[2][usize::from(check)] += 1;
            }
            // The byte is never zero, and it is one twice as often as any other value.
            cells[2].drain(..2);
            for counts in cells {
                let expected = IDS as f64 / CELLS as f64;
                let chi_square: f64 = counts.iter().map(|&count| (count as f64 - expected).powi(2) / expected).sum();
                worst = worst.max(chi_square);
            }
        }
        // 255 plus eight standard deviations of 22.6; without the mixing the value is in the thousands.
        assert!(worst < 440.0, "{worst}");
    }
}
