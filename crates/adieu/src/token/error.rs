//! Why a token is refused.

use super::TokenType;
use crate::revocation::RevokedBy;

/// The reason why a token was rejected, precise enough for logs.
///
/// Clients see [`TokenError::code`] instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// There was no token.
    #[error("there is no token")]
    Missing,
    /// Longer than the rules allow.
    #[error("the token is too long")]
    TooLong,
    /// Not a token in the JWS compact serialisation (RFC 7515 §7.1), or not one that can be read in one way only.
    #[error("the token is malformed: {0}")]
    Malformed(&'static str),
    /// Names a key that is not, or no longer, one of ours.
    #[error("the token names an unknown key")]
    UnknownKey,
    /// Its `alg` is not the algorithm of the key, or of any key.
    #[error("the token's algorithm is not that of the key")]
    AlgorithmMismatch,
    /// Has an extension that must be understood (`crit`, RFC 7515 §4.1.11; `b64`, RFC 7797).
    #[error("the token requires an extension that is not supported")]
    UnsupportedCritical,
    /// Not signed by the key, or changed since.
    #[error("the token's signature is wrong")]
    BadSignature,
    /// From another issuer than the one whose key signed it.
    #[error("the token is from another issuer")]
    WrongIssuer,
    /// Meant for another audience (RFC 7519 §4.1.3).
    #[error("the token is not meant for this audience")]
    WrongAudience,
    /// The header's `typ` is none that is accepted (RFC 8725 §3.11): perhaps an identity token, or a logout token.
    #[error("the token's `typ` is not one that is accepted")]
    UnknownType,
    /// Lacks a claim that is required.
    #[error("the token lacks the claim `{0}`")]
    MissingClaim(&'static str),
    /// Has a claim of the wrong type or out of its bounds.
    #[error("the token's claim `{0}` is invalid")]
    InvalidClaim(&'static str),
    /// A refresh token where an access token is needed, or the other way round.
    #[error("expected a token of type `{expected}`")]
    WrongTokenType {
        /// The type that is required.
        expected: TokenType,
    },
    /// Not valid yet: `nbf` or `iat` is in the future.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// No longer valid: `exp` has been reached.
    #[error("the token has expired")]
    Expired,
    /// Not from a recent login with credentials, which is needed here.
    #[error("a fresh token is needed")]
    NotFresh,
    /// Logged out.
    #[error("the token has been revoked ({0})")]
    Revoked(RevokedBy),
    /// This node cannot prove that its knowledge of revocations is recent enough. The token may be valid.
    #[error("the state of revocations is too old to tell")]
    Stale,
}

impl TokenError {
    /// Returns the error code of the API. It is coarse on purpose: it tells a client what to do, and does not help to
    /// forge tokens.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Missing => "authorization_required",
            Self::Expired => "token_expired",
            Self::NotYetValid => "token_not_yet_valid",
            Self::Revoked(_) => "token_revoked",
            Self::NotFresh => "fresh_token_required",
            Self::Stale => "revocation_state_stale",
            _ => "invalid_token",
        }
    }
}
