//! The claims of a token.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::{Issuer, SessionId, Subject, TokenId, id::KeyId, revocation::TokenClaims, time::Timestamp};

use super::{TokenError, TokenType};

/// The claims that have a field of their own; all others are [`Claims::custom`].
pub(super) const REGISTERED: [&str; 10] = ["iss", "sub", "aud", "iat", "nbf", "exp", "jti", "sid", "type", "fresh"];

/// The claims that have the meaning of `type` in tokens of simplejwt, Cognito and Keycloak. They are custom claims that
/// must not name another type.
pub(super) const TYPE_SIBLINGS: [&str; 3] = ["token_type", "token_use", "typ"];

/// The claims of a token (RFC 7519 §4).
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Claims {
    /// The issuer that signed the token (`iss`).
    pub issuer: Issuer,
    /// The subject of the token (`sub`).
    pub subject: Subject,
    /// The audience of the token (`aud`); empty if the token has none.
    pub audience: Vec<String>,
    /// The time at which the token was issued (`iat`).
    pub issued_at: Option<Timestamp>,
    /// The time from which the token is valid (`nbf`).
    pub not_before: Option<Timestamp>,
    /// The time at which the token expires (`exp`). It is no longer valid in that second.
    pub expires_at: Timestamp,
    /// The id of the token (`jti`).
    pub token_id: TokenId,
    /// The session that the token belongs to (`sid`).
    pub session: Option<SessionId>,
    /// The type of the token (`type`).
    pub token_type: TokenType,
    /// Whether the token comes from a login with credentials (`fresh`).
    pub fresh: Fresh,
    /// All other claims. This crate passes them on and does not interpret them.
    pub custom: Map<String, Value>,
    /// What else is known of a token that was verified. Claims are equal whatever it is.
    pub(crate) verified: Verified,
}

/// What is known of a verified token besides the claims that an application gets: revocations may match it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Verified {
    /// The id of the key that verified the token.
    pub(super) key_id: Option<KeyId>,
    /// The claims of another issuer that are not trusted, and so not in [`Claims::custom`].
    pub(super) untrusted: Map<String, Value>,
    /// Whether they are those of another issuer, without what is not trusted.
    pub(super) is_restricted: bool,
}

impl PartialEq for Verified {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl TokenClaims for Claims {
    fn has(&self, name: &str, test: &mut dyn FnMut(&str) -> bool) -> bool {
        self.custom.has(name, test) || self.verified.untrusted.has(name, test)
    }
}

/// Whether a token comes from a login with credentials rather than from a refresh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Fresh {
    /// The token comes from a refresh, or does not say.
    #[default]
    No,
    /// The token comes from a login with credentials.
    Yes,
    /// The token comes from a login with credentials and counts as fresh before this time.
    Until(Timestamp),
}

impl Claims {
    /// Creates the claims of a new token with a random id, issued at `now` and valid for `lifetime`. The token is not
    /// fresh and has no session.
    #[must_use]
    pub fn new(issuer: Issuer, subject: Subject, token_type: TokenType, now: Timestamp, lifetime: Duration) -> Self {
        Self {
            issuer,
            subject,
            audience: Vec::new(),
            issued_at: Some(now),
            not_before: Some(now),
            expires_at: now.plus(lifetime),
            token_id: TokenId::random(),
            session: None,
            token_type,
            fresh: Fresh::No,
            custom: Map::new(),
            verified: Verified::default(),
        }
    }

    /// Returns the id of the key that verified the token (`kid`); `None` if the key has none, or if these claims were not
    /// read from a token.
    #[must_use]
    pub fn key_id(&self) -> Option<&KeyId> {
        self.verified.key_id.as_ref()
    }

    /// Checks the type of the token.
    ///
    /// # Errors
    /// Returns [`TokenError::WrongTokenType`] if the type is not `expected`.
    pub fn require_type(&self, expected: TokenType) -> Result<(), TokenError> {
        self.token_type.require(expected)
    }

    /// Checks that the token is fresh at `now`.
    ///
    /// # Errors
    /// Returns [`TokenError::NotFresh`] if it is not.
    pub fn require_fresh(&self, now: Timestamp) -> Result<(), TokenError> {
        self.fresh.require(now)
    }
}

impl TokenType {
    pub(super) fn require(self, expected: Self) -> Result<(), TokenError> {
        if self == expected { Ok(()) } else { Err(TokenError::WrongTokenType { expected }) }
    }
}

impl Fresh {
    /// Returns whether the token is fresh at `now`.
    #[must_use]
    pub fn is_fresh(self, now: Timestamp) -> bool {
        match self {
            Self::No => false,
            Self::Yes => true,
            Self::Until(end) => now < end,
        }
    }

    pub(super) fn require(self, now: Timestamp) -> Result<(), TokenError> {
        if self.is_fresh(now) { Ok(()) } else { Err(TokenError::NotFresh) }
    }
}
