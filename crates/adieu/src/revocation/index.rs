//! The revocations in memory, made for being asked on every request: see [`Index`] for what it guarantees.
//!
//! From the outside in: `shared` is the index with its one writer and many readers, `state` all facts of one moment,
//! `slots` and `shelf` group them by when they lapse, `tree` is a table that grows leaf by leaf, `leaf` a part of it, and
//! `fingerprint` what is kept of an id. `sync` is all that threads share.

mod fingerprint;
mod leaf;
mod shared;
mod shelf;
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
    /// Facts, among them those that lapsed and lie in a group with one that has not, or are yet to be swept out.
    pub entries: usize,
    /// Bytes of all tables, allocated whole; what an allocator adds is not in.
    pub bytes: usize,
    /// Groups of facts that are forgotten together.
    pub slots: usize,
}
