//! The reasons for rejecting a token.

use super::TokenType;
use crate::revocation::RevokedBy;

/// The reason why a token was rejected, precise enough for logs.
///
/// Clients see [`TokenError::code`] instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// The request has no token.
    #[error("there is no token")]
    Missing,
    /// The token is longer than the rules allow.
    #[error("the token is too long")]
    TooLong,
    /// The token is not in the JWS compact serialisation (RFC 7515 §7.1), or it is ambiguous, for example because a
    /// member name occurs twice.
    #[error("the token is malformed: {0}")]
    Malformed(&'static str),
    /// The token names a key that is not, or no longer, in the key set; or it names none, and may be signed with a newer key than those of
    /// a [followed set](super::KeySet::followed).
    #[error("the token's key is not known")]
    UnknownKey,
    /// The `alg` of the token is not the algorithm of the key, or of any key.
    #[error("the token's algorithm is not that of the key")]
    AlgorithmMismatch,
    /// The token has an extension that must be understood (`crit`, RFC 7515 §4.1.11; `b64`, RFC 7797).
    #[error("the token requires an extension that is not supported")]
    UnsupportedCritical,
    /// The token is not signed by the key, or was changed after it was signed.
    #[error("the token's signature is wrong")]
    BadSignature,
    /// The token names another issuer than the one whose key signed it, or an issuer that is not accepted.
    #[error("the token is from another issuer")]
    WrongIssuer,
    /// The token is meant for another audience (RFC 7519 §4.1.3).
    #[error("the token is not meant for this audience")]
    WrongAudience,
    /// The `typ` of the header is not accepted (RFC 8725 §3.11). The token may be an identity token or a logout token.
    #[error("the token's `typ` is not one that is accepted")]
    UnknownType,
    /// The token lacks a required claim.
    #[error("the token lacks the claim `{0}`")]
    MissingClaim(&'static str),
    /// A claim has the wrong type or is out of bounds.
    #[error("the token's claim `{0}` is invalid")]
    InvalidClaim(&'static str),
    /// The token lacks the claim of the subject; see [`Rules::with_subject_claim`](super::Rules::with_subject_claim).
    #[error("the token lacks the claim `{0}`, which is to be its subject")]
    MissingSubject(Box<str>),
    /// The claim of the subject is not a text, or is empty or too long; see
    /// [`Rules::with_subject_claim`](super::Rules::with_subject_claim).
    #[error("the token's claim `{0}`, which is to be its subject, is invalid")]
    InvalidSubject(Box<str>),
    /// The token is a refresh token where an access token is required, or the other way round.
    #[error("expected a token of type `{expected}`")]
    WrongTokenType {
        /// The type that is required.
        expected: TokenType,
    },
    /// The token is not valid yet: `nbf` or `iat` is in the future.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// The token has expired: `exp` has been reached.
    #[error("the token has expired")]
    Expired,
    /// A token from a recent login with credentials is required, and this token is not one.
    #[error("a fresh token is needed")]
    NotFresh,
    /// The token has been revoked.
    #[error("the token has been revoked ({0})")]
    Revoked(RevokedBy),
    /// The node cannot prove that its index is recent enough. The token may be valid.
    #[error("the state of revocations is too old to tell")]
    Stale,
}

impl TokenError {
    /// Returns the error code of the API. The codes are coarse: they tell a client what to do, and do not help to forge
    /// tokens.
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
