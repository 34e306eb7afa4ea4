//! What the index remembers of an id: 72 bits that nobody without the secret can aim at.

use siphasher::sip128::SipHasher13;
use uuid::Uuid;

/// An id, or what takes its place, seen from one issuer: 72 bits of its hash.
///
/// An id that is not in the index equals one that is with a probability of 2⁻⁷² for each, wherever in the tables they
/// are: with 100 million facts a check is wrong once in 4.7 × 10¹³, with 4.7 thousand million once in 10¹².
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fingerprint {
    /// Says where it belongs and is what is compared first. Never zero: that is an empty place.
    pub(super) word: u64,
    /// Compared when the word is equal: 64 bits alone would refuse wrongly once in 2 × 10¹¹ with 100 million facts.
    pub(super) check: u8,
}

/// The key of every fingerprint in one index. Without it ids can't be chosen to collide or to fill one bucket.
pub(super) struct Secret(SipHasher13);

/// The secret as one issuer's ids see it.
///
/// Hashing the issuer into a key of its own keeps `("a", "bc")` and `("ab", "c")` apart by construction.
pub(super) struct IssuerSecret {
    hasher: SipHasher13,
    own: Fingerprint,
}

impl Secret {
    /// From the operating system; 122 of the 128 bits are random.
    pub(super) fn random() -> Self {
        let (first, second) = Uuid::new_v4().as_u64_pair();
        Self::new(first, second)
    }

    pub(super) fn new(first: u64, second: u64) -> Self {
        Self(SipHasher13::new_with_keys(first, second))
    }

    pub(super) fn issuer(&self, issuer: &str) -> IssuerSecret {
        let (first, second) = self.0.hash(issuer.as_bytes()).as_u64();
        let hasher = SipHasher13::new_with_keys(first, second);
        // No id is empty.
        IssuerSecret { hasher, own: Fingerprint::of(&hasher, "") }
    }
}

impl IssuerSecret {
    /// Of an id. Kinds of ids need no tag: no two kinds share a table.
    #[inline]
    pub(super) fn fingerprint(&self, id: &str) -> Fingerprint {
        Fingerprint::of(&self.hasher, id)
    }

    /// Of the issuer itself.
    #[inline]
    pub(super) fn own(&self) -> Fingerprint {
        self.own
    }
}

impl Fingerprint {
    #[inline]
    fn of(hasher: &SipHasher13, text: &str) -> Self {
        let (word, rest) = hasher.hash(text.as_bytes()).as_u64();
        let [check, ..] = rest.to_le_bytes();
        Self { word: word.max(1), check }
    }
}
