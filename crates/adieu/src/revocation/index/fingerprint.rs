//! What the index remembers of an id: 72 bits that nobody without the secret can aim at (67 where a tag is kept).
//!
//! The hash is *multilinear*: issuer and id are cut into words `s₁ … sₙ` of 56 bits, and the hash is the upper bits of
//! `m₀ + m₁s₁ + … + mₙsₙ mod 2¹²⁸`, where the secret is the `m`: independent and uniform numbers of 128 bits, one for each
//! place that a word can have.
//!
//! 1. **Two different ids have the same 72 bits with a probability of 2⁻⁷²**, over the choice of the secret, whatever
//!    the ids are: the upper `128 − 56 + 1 = 73` bits are *strongly universal*, which is to say that those of two
//!    different texts are uniform and independent of each other (Lemire and Kaser, "Strongly universal string hashing is
//!    fast", The Computer Journal 57, 2014; the notion is that of Wegman and Carter, 1981). A keyed pseudorandom
//!    function such as SipHash gives as much by assumption, and takes longer.
//! 2. **Different texts are different words.** Each is closed by a byte of 1 before it is filled up with zeros, so that
//!    no last word is zero, and the words of the issuer have other places than those of the id: neither a longer text
//!    nor `("a", "bc")` and `("ab", "c")` can be the same by accident.
//! 3. **The secret must stay in.** Whoever saw hashes could solve for it, as it is linear; nobody does: an index shows
//!    neither hashes nor their order.
//!
//! Ids that count up are sums at equal distances, and could all lie side by side in one bucket if the secret is unlucky.
//! So the bits are mixed in the end. That is a bijection, and leaves the bound as it is. That a byte and a half of a word are never
//! zero adds a hundredth to it.

use crate::MAX_ID_BYTES;

/// What a multiplication takes at once: the more, the fewer bits of the product are strongly universal.
const WORD_BYTES: usize = 7;

/// The words of the longest text and its end.
const MAX_WORDS: usize = (MAX_ID_BYTES + 1).div_ceil(WORD_BYTES);

/// An id, or what takes its place, seen from one issuer: 72 bits of its hash.
///
/// An id that is not in the index equals one that is with a probability of 2⁻⁷² for each, wherever in the tables they
/// are, and of 2⁻⁶⁷ where a tag has taken the place of five bits: if all of 100 million facts are such, a check is wrong
/// once in 1.5 × 10¹².
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fingerprint {
    /// Says where it belongs. The lower half is never zero: that is an empty place.
    pub(super) word: u64,
    /// Is compared first, and then as well: 64 bits alone would refuse wrongly once in 2 × 10¹¹ with 100 million facts. Never
    /// zero either.
    pub(super) check: u8,
}

/// The multipliers of every fingerprint in one index. Without them ids can't be chosen to collide or to fill one bucket.
pub(super) struct Secret {
    start: u128,
    of_issuers: [u128; MAX_WORDS],
    of_ids: [u128; MAX_WORDS],
}

/// An issuer's part of the sum, and the issuer by itself.
#[derive(Clone, Copy)]
pub(super) struct IssuerSum {
    sum: u128,
    own: Fingerprint,
}

/// The secret as one issuer's ids see it.
#[derive(Clone, Copy)]
pub(super) struct IssuerSecret<'s> {
    start: u128,
    own: Fingerprint,
    of_ids: &'s [u128; MAX_WORDS],
}

impl Secret {
    /// From the operating system's randomness.
    ///
    /// # Panics
    /// When there is none.
    pub(super) fn random() -> Self {
        Self::drawn_from(|| {
            let mut bytes = [0; 16];
            #[expect(clippy::expect_used, reason = "without randomness there is no key either, and nothing to check")]
            getrandom::fill(&mut bytes).expect("the operating system has randomness");
            u128::from_ne_bytes(bytes)
        })
    }

    /// From independent and uniform numbers.
    pub(super) fn drawn_from(mut draw: impl FnMut() -> u128) -> Self {
        Self { start: draw(), of_issuers: std::array::from_fn(|_| draw()), of_ids: std::array::from_fn(|_| draw()) }
    }

    /// For [`of_issuer`](Self::of_issuer), now or later.
    #[inline]
    pub(super) fn issuer_sum(&self, issuer: &str) -> IssuerSum {
        let sum = sum(self.start, &self.of_issuers, issuer);
        // No id is empty.
        IssuerSum { sum, own: Fingerprint::of(sum, &self.of_ids, "") }
    }

    #[inline]
    pub(super) fn of_issuer(&self, issuer: IssuerSum) -> IssuerSecret<'_> {
        IssuerSecret { start: issuer.sum, own: issuer.own, of_ids: &self.of_ids }
    }
}

impl IssuerSecret<'_> {
    /// Of an id. Kinds of ids need no tag: no two kinds share a table.
    #[inline]
    pub(super) fn fingerprint(&self, id: &str) -> Fingerprint {
        Fingerprint::of(self.start, self.of_ids, id)
    }

    /// Of the issuer itself.
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
}

/// Of a text of up to [`MAX_ID_BYTES`], which is what ids are; it is for the caller to know that no others are in.
///
/// Not inlined: a check has three of them, and each needs all registers.
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

/// Seven bytes as a number, read as twice four of which one is the same.
#[inline]
fn word(bytes: &[u8; WORD_BYTES]) -> u64 {
    let four = |bytes: Option<&[u8; 4]>| bytes.map_or(0, |bytes| u64::from(u32::from_le_bytes(*bytes)));
    four(bytes.last_chunk()) << 24 | four(bytes.first_chunk())
}

/// A bijection under which numbers at equal distances lie at no equal distances.
#[inline]
fn mixed(word: u64) -> u64 {
    let word = (word ^ word >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    word ^ word >> 32
}

#[cfg(test)]
#[allow(clippy::indexing_slicing)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// The bits that say where an id belongs, and those that are only compared.
    fn bits(fingerprint: Fingerprint) -> u128 {
        u128::from(fingerprint.word) << 8 | u128::from(fingerprint.check)
    }

    fn fingerprint(secret: &Secret, issuer: &str, id: &str) -> u128 {
        bits(secret.of_issuer(secret.issuer_sum(issuer)).fingerprint(id))
    }

    /// What could be taken for another if lengths, ends or zeros were not told apart.
    #[test]
    fn texts_that_begin_alike_differ() {
        let secret = Secret::random();
        let mut seen = HashSet::new();
        for filling in ["a", "\0", "\u{1}"] {
            for length in 0..=MAX_ID_BYTES {
                let text = filling.repeat(length);
                // The empty text is the same whatever it is filled with.
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

    /// Against the definition, word by word.
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

    /// Flipping a bit of an id flips each bit of the fingerprint in half of all secrets.
    #[test]
    fn every_bit_of_an_id_reaches_every_bit() {
        const SECRETS: usize = 400;
        let id = *b"0198c2a5-7d1e-7c43-9c3a-2f1d0f6b7a11";
        let secrets: Vec<Secret> = (0..SECRETS).map(|_| Secret::random()).collect();
        // The seventh bits stay as they are: it must be UTF-8.
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

    /// Ids that count up, as chance would have them: in the branches of the tree (the top of the word), the buckets of
    /// a leaf (its lower half) and the bytes that are compared, under every secret.
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
            // The byte is never zero, and one twice as often.
            cells[2].drain(..2);
            for counts in cells {
                let expected = IDS as f64 / CELLS as f64;
                let chi_square: f64 = counts.iter().map(|&count| (count as f64 - expected).powi(2) / expected).sum();
                worst = worst.max(chi_square);
            }
        }
        // 255 and eight standard deviations of 22.6; without the mixing it is in the thousands.
        assert!(worst < 440.0, "{worst}");
    }
}
