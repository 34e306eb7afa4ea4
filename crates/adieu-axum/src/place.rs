//! Where a token was found.

use std::fmt;

/// The kind of place where a token was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Place {
    /// A header.
    Header,
    /// The cookie for access tokens.
    AccessCookie,
    /// The cookie for refresh tokens.
    RefreshCookie,
    /// The query string.
    Query,
    /// The JSON body.
    JsonBody,
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Header => "header",
            Self::AccessCookie | Self::RefreshCookie => "cookie",
            Self::Query => "query parameter",
            Self::JsonBody => "member of the body",
        })
    }
}

impl Place {
    /// Returns whether a browser sends the token by itself, so that another site can cause it to.
    #[must_use]
    pub const fn is_cookie(self) -> bool {
        matches!(self, Self::AccessCookie | Self::RefreshCookie)
    }
}
