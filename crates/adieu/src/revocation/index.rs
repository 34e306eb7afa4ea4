//! The revocations in memory, made for being asked on every request.
//!
//! 1. **A check never waits and never allocates.** It takes one reference to the current state and reads a cache line or
//!    two for each kind of fact that exists; a writer replaces what must change beside it.
//! 2. **What was taken in is found.** A check that starts after [`Index::insert`] returned knows the fact, whatever grows
//!    or is dropped meanwhile, and wherever the clock has jumped.
//! 3. **Nothing else is found.** An id is kept as 72 bits of a keyed hash. Each fact that a check is compared with is
//!    taken for another with a probability of 2⁻⁷²: one false refusal in 4.7 × 10¹³ checks among 100 million facts.
//! 4. **It costs 10.7 to 14.3 bytes an id** (a cut-off, which is an id and a time: 21 to 29), and some kilobytes when
//!    it is nearly empty.
//! 5. **What has lapsed is dropped slot by slot**, at most one slot's width late. A slot is 64 s wide for tokens that expire
//!    within an hour, and never wider than a quarter of a token's life, or two thirds of the life of other facts.
//! 6. **No step is long.** Growing copies one leaf (256 KiB at most), dropping frees a few; neither stops a check.
//!
//! What a check can't know is what was forgotten: see [`Index::pruned_through`].

mod bucket;
mod fingerprint;
mod shared;
mod slots;
mod state;
mod sync;
mod tree;

pub use shared::Index;

use std::fmt;

use crate::time::Timestamp;

/// What a check has to know of a token, all of it verified.
#[derive(Clone, Copy, Debug)]
pub struct TokenFacts<'a> {
    /// `iss`.
    pub issuer: &'a str,
    /// `jti`, or what stands for it.
    pub token_id: &'a str,
    /// `sid`, if it has one.
    pub session: Option<&'a str>,
    /// `sub`.
    pub subject: &'a str,
    /// `iat`. Without one, every cut-off of its subject and its issuer applies.
    pub issued_at: Option<Timestamp>,
    /// `exp`, exactly as in the token.
    pub expires_at: Timestamp,
}

/// Which fact ended a token; the narrowest, if several did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RevokedBy {
    /// The token itself.
    Token,
    /// Its session.
    Session,
    /// Everything of its subject that was issued until a time.
    Subject,
    /// Everything of its issuer that was issued until a time.
    Everything,
}

impl fmt::Display for RevokedBy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Token => "the token",
            Self::Session => "its session",
            Self::Subject => "everything of its subject up to a time",
            Self::Everything => "everything of its issuer up to a time",
        })
    }
}

/// How much an [`Index`] holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct IndexStats {
    /// Facts, those that lapsed and lie in a slot with one that has not among them.
    pub entries: usize,
    /// Bytes of all tables, allocated whole; what an allocator adds is not in.
    pub bytes: usize,
    /// Slots, each of which is dropped whole.
    pub slots: usize,
}
