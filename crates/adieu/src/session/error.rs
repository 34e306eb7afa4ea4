//! Why a refresh or a logout failed.

use crate::{Error, revocation::RevokedBy, token::TokenError};

/// The reason why a refresh or a logout failed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The token was rejected.
    #[error(transparent)]
    InvalidToken(#[from] TokenError),
    /// The token is valid, but the subject's other sessions cannot be ended with it: only its issuer knows them, or
    /// it has no session.
    #[error("the other sessions of the token's subject are not known here")]
    UnknownSessions,
    /// The operation failed for a reason other than the token.
    #[error(transparent)]
    Failed(#[from] Error),
}

impl SessionError {
    /// Returns the error for a token whose session has ended.
    #[must_use]
    pub const fn ended() -> Self {
        Self::InvalidToken(TokenError::Revoked(RevokedBy::Session))
    }
}
