//! The revocations in memory, structured for a look-up on every request. [`Index`] documents the guarantees.
//!
//! From the outside in: `shared` is the index with its one writer and many readers, and `state` a snapshot of all
//! revocations. `slots` and `shelf` group revocations by when they lapse, `tree` is a table that grows leaf by leaf,
//! `leaf` is one part of that table, `fingerprint` is the stored hash of an id, and `hashed` a revocation with it. `sync`
//! contains everything that threads share.

mod fingerprint;
mod hashed;
mod leaf;
mod shared;
mod shelf;
mod slots;
mod state;
mod sync;
mod tree;

pub use hashed::{HashedParts, HashedRevocation, RevocationHasher};
pub use shared::Index;

use std::fmt;

use crate::{revocation::TokenClaims, time::Timestamp};

/// The verified claims of a token that [`Index::check`] needs.
#[derive(Clone, Copy, Debug)]
pub struct TokenFacts<'a> {
    /// `iss`.
    pub issuer: &'a str,
    /// `jti`, or its substitute if the token has none.
    pub token_id: &'a str,
    /// `sid`, if the token has one.
    pub session: Option<&'a str>,
    /// `sub`.
    pub subject: &'a str,
    /// `iat`. If it is `None`, every cut-off of the subject and of the issuer applies.
    pub issued_at: Option<Timestamp>,
    /// `exp`, exactly as in the token.
    pub expires_at: Timestamp,
    /// The `kid` of the key that has verified the token, or else that of its header.
    pub key_id: Option<&'a str>,
    /// All other claims. If they are `None`, no revocation of a [claim](super::Target::Claim) matches.
    pub claims: Option<&'a dyn TokenClaims>,
}

/// The kind of revocation that matches a token; the narrowest, if several match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RevokedBy {
    /// The token itself is revoked.
    Token,
    /// The session of the token is revoked.
    Session,
    /// All tokens of the subject issued up to a time are revoked.
    Subject,
    /// All tokens with a value of a claim issued up to a time are revoked.
    Claim,
    /// All tokens that its key has signed are revoked.
    Key,
    /// All tokens of the issuer issued up to a time are revoked.
    Everything,
}

impl fmt::Display for RevokedBy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Token => "the token",
            Self::Session => "its session",
            Self::Subject => "everything of its subject up to a time",
            Self::Claim => "everything with one of its claims up to a time",
            Self::Key => "its key",
            Self::Everything => "everything of its issuer up to a time",
        })
    }
}

/// The size of an [`Index`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct IndexStats {
    /// Number of revocations. Includes lapsed ones in a group with one that has not lapsed, or not yet swept out.
    pub entries: usize,
    /// Allocated bytes of all tables, without the overhead of the allocator.
    pub bytes: usize,
    /// Number of groups of revocations that are dropped together.
    pub slots: usize,
}
