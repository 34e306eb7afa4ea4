//! One thing that has ended, and until when that must be remembered.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Issuer, SessionId, Subject, TokenId, time::Timestamp};

/// A fact: what it names ends now, and nothing brings it back.
///
/// Facts only add up. A second one about the same thing changes nothing, an earlier cut-off never weakens a later
/// one, and the order in which they arrive does not matter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    /// Whose tokens it is about: ids mean something only beside the issuer that gave them.
    pub issuer: Issuer,
    /// What has ended.
    #[serde(flatten)]
    pub target: Target,
    /// When it may be forgotten: not before the last token that it could match has expired, with all leeway.
    pub lapses_at: Timestamp,
}

/// The most leeway that a verifier may grant after `exp`.
pub const MAX_LEEWAY: Duration = Duration::from_secs(60);

/// How much longer than that a revocation is kept, for nodes whose wall clock is behind that of the node that prunes.
const CLOCK_MARGIN: Duration = Duration::from_secs(60);

impl Revocation {
    /// When a revocation may be forgotten if the last token that it matches expires at `expires_at`.
    #[must_use]
    pub const fn lapse_for(expires_at: Timestamp) -> Timestamp {
        expires_at.plus(MAX_LEEWAY).plus(CLOCK_MARGIN)
    }
}

/// What a [`Revocation`] ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Target {
    /// One token.
    Token {
        /// Its `jti`, or what stands for it in a token that has none.
        id: TokenId,
        /// Its `exp`, exactly as in the token: it says where the index looks. `None` when whoever revoked it did not
        /// know; that costs every check one look-up more while it lives.
        expires_at: Option<Timestamp>,
    },
    /// Every token of one session.
    Session {
        /// Its `sid`.
        id: SessionId,
    },
    /// Every token of one subject that was issued at or before a time, the whole of that second included.
    Subject {
        /// Its `sub`.
        id: Subject,
        /// The last `iat` that is revoked.
        issued_until: Timestamp,
    },
    /// Every token of the issuer that was issued at or before a time, the whole of that second included.
    Everything {
        /// The last `iat` that is revoked.
        issued_until: Timestamp,
    },
}
