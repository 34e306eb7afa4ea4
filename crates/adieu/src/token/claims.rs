//! The claims of a token.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Issuer, SessionId, Subject, TokenId, time::Timestamp};

use super::TokenError;

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
}

/// The type of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenType {
    /// An access token: short-lived, sent with each request.
    Access,
    /// A refresh token: long-lived, only exchanged for new tokens.
    Refresh,
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
        }
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
    /// Returns the value of the claim `type`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Access => "access",
            Self::Refresh => "refresh",
        }
    }

    /// Returns the value of the header's `typ`: `at+jwt` (RFC 9068 §2.1) or `rt+jwt`, for which there is no standard.
    ///
    /// The values differ so that a token of one type cannot pass for the other (RFC 8725 §3.12).
    #[must_use]
    pub const fn header_type(self) -> &'static str {
        match self {
            Self::Access => "at+jwt",
            Self::Refresh => "rt+jwt",
        }
    }

    pub(super) fn require(self, expected: Self) -> Result<(), TokenError> {
        if self == expected { Ok(()) } else { Err(TokenError::WrongTokenType { expected }) }
    }
}

/// The meaning of the value of a claim such as `type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NamedType {
    /// No token type: how the token is sent (`Bearer`, RFC 6750) or encoded.
    None,
    One(TokenType),
    /// Any other type, such as an identity, logout or offline token.
    Other,
}

impl NamedType {
    const WORDS: [(&str, Self); 8] = [
        ("access", Self::One(TokenType::Access)),
        ("refresh", Self::One(TokenType::Refresh)),
        ("bearer", Self::None),
        ("access_token", Self::One(TokenType::Access)),
        ("refresh_token", Self::One(TokenType::Refresh)),
        (TokenType::Access.header_type(), Self::One(TokenType::Access)),
        (TokenType::Refresh.header_type(), Self::One(TokenType::Refresh)),
        ("jwt", Self::None),
    ];

    pub(super) fn of(text: &str) -> Self {
        let named = Self::WORDS.into_iter().find(|(word, _)| word.eq_ignore_ascii_case(text));
        named.map_or(Self::Other, |(_, named)| named)
    }
}

impl fmt::Display for TokenType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
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
