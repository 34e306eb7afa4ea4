//! The types of tokens.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The type of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenType {
    /// An access token: short-lived, sent with each request.
    Access,
    /// A refresh token: long-lived, only exchanged for new tokens.
    Refresh,
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
}

impl fmt::Display for TokenType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
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
