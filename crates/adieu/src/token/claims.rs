//! What a token says.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Issuer, SessionId, Subject, TokenId, time::Timestamp};

use super::TokenError;

/// The claims that have a field of their own; all others are [`Claims::custom`].
pub(super) const REGISTERED: [&str; 10] = ["iss", "sub", "aud", "iat", "nbf", "exp", "jti", "sid", "type", "fresh"];

/// The claims that say elsewhere what `type` says here: simplejwt's, Cognito's and Keycloak's. They are custom claims that
/// must not name anything else.
pub(super) const TYPE_SIBLINGS: [&str; 3] = ["token_type", "token_use", "typ"];

/// What a token says (RFC 7519 §4).
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Claims {
    /// Who signed it (`iss`).
    pub issuer: Issuer,
    /// Who it speaks for (`sub`).
    pub subject: Subject,
    /// Whom it is meant for (`aud`); empty when it does not say.
    pub audience: Vec<String>,
    /// When it was issued (`iat`).
    pub issued_at: Option<Timestamp>,
    /// When it begins to be valid (`nbf`).
    pub not_before: Option<Timestamp>,
    /// When it stops being valid, that second excluded (`exp`).
    pub expires_at: Timestamp,
    /// Its own name (`jti`).
    pub token_id: TokenId,
    /// The login that it comes from (`sid`).
    pub session: Option<SessionId>,
    /// What it is for (`type`).
    pub token_type: TokenType,
    /// Whether it comes from a login with credentials (`fresh`).
    pub fresh: Fresh,
    /// Everything else, which this crate carries and does not understand.
    pub custom: Map<String, Value>,
}

/// What a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenType {
    /// Sent with each request; short-lived.
    Access,
    /// Exchanged for new tokens, and for nothing else; long-lived.
    Refresh,
}

/// Whether a token comes from a login with credentials rather than from a refresh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Fresh {
    /// It does not.
    #[default]
    No,
    /// It does.
    Yes,
    /// It does, and counts as such up to a time, that second excluded.
    Until(Timestamp),
}

impl Claims {
    /// The claims of a new token with a random id, valid from now on and for `lifetime`; neither fresh nor of a session.
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

    /// Passes on a token of the type that is needed.
    ///
    /// # Errors
    /// [`TokenError::WrongTokenType`].
    pub fn require_type(&self, expected: TokenType) -> Result<(), TokenError> {
        self.token_type.require(expected)
    }

    /// Passes on a token that is fresh now.
    ///
    /// # Errors
    /// [`TokenError::NotFresh`].
    pub fn require_fresh(&self, now: Timestamp) -> Result<(), TokenError> {
        self.fresh.require(now)
    }
}

impl TokenType {
    /// The name in the claim `type`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Access => "access",
            Self::Refresh => "refresh",
        }
    }

    /// The name in the header's `typ`: `at+jwt` (RFC 9068 §2.1), and `rt+jwt`, for which there is no standard.
    ///
    /// Two names, so that nobody takes one kind for the other who knows only the header (RFC 8725 §3.12).
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

/// What a claim such as `type` names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NamedType {
    /// No type: how a token is sent (`Bearer`, RFC 6750), or how it is written.
    None,
    One(TokenType),
    /// An identity token, a logout token, an offline one: anything else.
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
    /// Whether it counts as fresh now.
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
