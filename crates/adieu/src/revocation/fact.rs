//! Revocations and their targets.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::claim::RevokedClaim;
use crate::{Issuer, SessionId, Subject, TokenId, id::KeyId, time::Timestamp};

/// A record that some tokens are no longer valid. A revocation is final.
///
/// Revocations are idempotent and commutative: repeating one changes nothing, an earlier cut-off never weakens a
/// later one, and the order in which they arrive does not matter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    /// The issuer of the revoked tokens. Ids are unique only within one issuer.
    pub issuer: Issuer,
    /// Which tokens are revoked.
    #[serde(flatten)]
    pub target: Target,
    /// When the revocation may be deleted: not before the last token that it can match has expired, including leeway.
    pub lapses_at: Timestamp,
}

/// The maximum leeway that a verifier may grant after `exp`.
pub const MAX_LEEWAY: Duration = Duration::from_secs(60);

/// How much longer than [`MAX_LEEWAY`] a revocation is kept, for nodes whose wall clock is behind that of the pruning node.
const CLOCK_MARGIN: Duration = Duration::from_secs(60);

impl Revocation {
    /// Returns when a revocation may be deleted if the last token that it matches expires at `expires_at`.
    #[must_use]
    pub const fn lapse_for(expires_at: Timestamp) -> Timestamp {
        expires_at.plus(MAX_LEEWAY).plus(CLOCK_MARGIN)
    }

    /// Returns the revocation of a [key](Target::Key), which never lapses.
    #[must_use]
    pub const fn of_key(issuer: Issuer, id: KeyId) -> Self {
        Self { issuer, target: Target::Key { id }, lapses_at: Timestamp::MAX }
    }
}

/// Which tokens a [`Revocation`] revokes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Target {
    /// One token.
    Token {
        /// The `jti` of the token, or its substitute if the token has none.
        id: TokenId,
        /// The `exp` of the token, exactly as in the token: the index groups tokens by it. `None` if the `exp` was
        /// unknown when the token was revoked; each check then needs one more look-up until the revocation lapses.
        expires_at: Option<Timestamp>,
    },
    /// Every token of one session.
    Session {
        /// The `sid` of the session.
        id: SessionId,
    },
    /// Every token of one subject issued at or before a time, including that whole second.
    Subject {
        /// The `sub` of the subject.
        id: Subject,
        /// The last `iat` that is revoked.
        issued_until: Timestamp,
    },
    /// Every token of the issuer issued at or before a time, including that whole second.
    Everything {
        /// The last `iat` that is revoked.
        issued_until: Timestamp,
    },
    /// Every token that a key has signed or ever will: the holder of a stolen key can sign tokens with any `iat`. So such a
    /// revocation never lapses: its [`lapses_at`](Revocation::lapses_at) is [`Timestamp::MAX`].
    Key {
        /// The `kid` of the key.
        id: KeyId,
    },
    /// Every token that has a claim with a value, issued at or before a time, including that whole second.
    Claim {
        /// The claim and its value.
        #[serde(flatten)]
        claim: RevokedClaim,
        /// The last `iat` that is revoked.
        issued_until: Timestamp,
    },
}

/// The kind of a [`Target`], for engines and encodings that store the kind separately.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TargetKind {
    /// [`Target::Token`].
    Token,
    /// [`Target::Session`].
    Session,
    /// [`Target::Subject`].
    Subject,
    /// [`Target::Everything`].
    Everything,
    /// [`Target::Key`].
    Key,
    /// [`Target::Claim`].
    Claim,
}

impl TargetKind {
    const ALL: [Self; 6] = [Self::Token, Self::Session, Self::Subject, Self::Everything, Self::Key, Self::Claim];

    /// Returns the number that represents this kind in storage. It never changes.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Token => 0,
            Self::Session => 1,
            Self::Subject => 2,
            Self::Everything => 3,
            Self::Key => 4,
            Self::Claim => 5,
        }
    }

    /// Returns the kind with this [`code`](Self::code), if there is one.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.code() == code)
    }

    /// Returns the name that represents this kind in storage. It never changes.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Session => "session",
            Self::Subject => "subject",
            Self::Everything => "everything",
            Self::Key => "key",
            Self::Claim => "claim",
        }
    }

    /// Returns the kind with this [`name`](Self::name), if there is one.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// The parts of a [`Target`] as they are stored: the columns of a table, or the fields of an encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TargetParts<'a> {
    /// The kind of the target.
    pub kind: TargetKind,
    /// The id of the token, session, subject or key, or the [id of the claim](RevokedClaim::id); empty for
    /// [`TargetKind::Everything`].
    pub id: &'a str,
    /// The `exp` of a token, or the last `iat` that a cut-off revokes.
    pub time: Option<Timestamp>,
}

/// The error for [`TargetParts`] that are not a valid [`Target`]: the id is invalid, or a cut-off has no time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a target of a revocation: {0}")]
pub struct InvalidTarget(String);

impl Target {
    /// Returns the parts of this target as they are stored.
    #[must_use]
    pub fn parts(&self) -> TargetParts<'_> {
        match self {
            Self::Token { id, expires_at } => {
                TargetParts { kind: TargetKind::Token, id: id.as_str(), time: *expires_at }
            }
            Self::Session { id } => TargetParts { kind: TargetKind::Session, id: id.as_str(), time: None },
            Self::Subject { id, issued_until } => {
                TargetParts { kind: TargetKind::Subject, id: id.as_str(), time: Some(*issued_until) }
            }
            Self::Everything { issued_until } => {
                TargetParts { kind: TargetKind::Everything, id: "", time: Some(*issued_until) }
            }
            Self::Key { id } => TargetParts { kind: TargetKind::Key, id: id.as_str(), time: None },
            Self::Claim { claim, issued_until } => {
                TargetParts { kind: TargetKind::Claim, id: claim.id(), time: Some(*issued_until) }
            }
        }
    }
}

impl TryFrom<TargetParts<'_>> for Target {
    type Error = InvalidTarget;

    fn try_from(parts: TargetParts<'_>) -> Result<Self, InvalidTarget> {
        let TargetParts { kind, id, time } = parts;
        let invalid_id = |error: &dyn std::fmt::Display| InvalidTarget(error.to_string());
        let issued_until = || time.ok_or_else(|| InvalidTarget(format!("a {} without a time", kind.name())));
        Ok(match kind {
            TargetKind::Token => {
                Self::Token { id: TokenId::new(id).map_err(|error| invalid_id(&error))?, expires_at: time }
            }
            TargetKind::Session => Self::Session { id: SessionId::new(id).map_err(|error| invalid_id(&error))? },
            TargetKind::Subject => Self::Subject {
                id: Subject::new(id).map_err(|error| invalid_id(&error))?,
                issued_until: issued_until()?,
            },
            TargetKind::Everything => Self::Everything { issued_until: issued_until()? },
            TargetKind::Key => Self::Key { id: KeyId::new(id).map_err(|error| invalid_id(&error))? },
            TargetKind::Claim => Self::Claim {
                claim: RevokedClaim::from_id(id).map_err(|error| invalid_id(&error))?,
                issued_until: issued_until()?,
            },
        })
    }
}
