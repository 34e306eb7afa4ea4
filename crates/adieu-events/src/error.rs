//! The reasons for rejecting a message.

use adieu::token::TokenError;

/// The reason why a message was rejected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EventError {
    /// The message is not authentic, not meant for this receiver, or malformed.
    #[error(transparent)]
    Message(#[from] TokenError),
    /// The issuer is trusted, but events of this kind are not accepted from it.
    #[error("events of this kind are not accepted from this issuer")]
    NotAccepted,
    /// The body of a request to revoke a user's tokens, or of a webhook, is not valid.
    #[error("{0}")]
    Body(&'static str),
    /// A webhook is not authentic.
    #[error("{0}")]
    Webhook(&'static str),
    /// There are no webhooks of this name.
    #[error("there are no webhooks of this name")]
    UnknownWebhook,
    /// The subject is not one that tokens of the issuer can have.
    #[error("the subject is unknown")]
    UnknownSubject,
    /// The subject is not a user: all tokens of a user are to be revoked.
    #[error("the subject is not a user")]
    NotAUser,
}

impl EventError {
    /// Returns whether the same message may be accepted later: the keys of the issuer are not known yet. The sender must get a 5xx then,
    /// so that it sends the message again.
    #[must_use]
    pub const fn is_temporary(&self) -> bool {
        matches!(self, Self::Message(TokenError::Stale))
    }

    /// Returns whether newer keys of the issuer may verify the message.
    #[must_use]
    pub const fn needs_keys(&self) -> bool {
        matches!(self, Self::Message(TokenError::Stale | TokenError::UnknownKey))
    }
}
