//! Why a refresh or a logout failed.

use crate::{Error, revocation::RevokedBy, token::TokenError};

/// Why a refresh or a logout was not done.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The token is not good for it.
    #[error(transparent)]
    InvalidToken(#[from] TokenError),
    /// The token is good, and no others can be ended with it: they are known to its issuer alone, or it is of no session.
    #[error("the other sessions of the token's subject are not known here")]
    UnknownSessions,
    /// It is not known whether it would be.
    #[error(transparent)]
    Failed(#[from] Error),
}

impl SessionError {
    /// The session of the token has ended.
    #[must_use]
    pub const fn ended() -> Self {
        Self::InvalidToken(TokenError::Revoked(RevokedBy::Session))
    }
}
