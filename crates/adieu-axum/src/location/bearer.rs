//! The bearer token of the `Authorization` header (RFC 6750 §2.1).

use std::fmt;

use adieu::token::TokenError;
use axum::{
    extract::{FromRequestParts, OptionalFromRequestParts},
    http::{header, request::Parts},
};

use super::find::in_header;
use crate::AuthRejection;

/// The bearer token of a request, unverified; works with any router state.
///
/// 1. The scheme `Bearer` is matched case-insensitively (RFC 9110 §11.1). Credentials of another scheme are not a token.
/// 2. A request with more than one `Authorization` header is ambiguous and is rejected with 400 (`invalid_request`, RFC 6750
///    §3.1).
/// 3. The verifier's rules limit its length before any of it is parsed.
///
/// [`PresentedToken`](crate::PresentedToken) extracts a token from wherever the guard looks for one.
#[derive(Clone, PartialEq, Eq)]
pub struct BearerToken(String);

impl BearerToken {
    /// Returns the token as it was sent.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for BearerToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("BearerToken(…)")
    }
}

impl<S: Sync> FromRequestParts<S> for BearerToken {
    type Rejection = AuthRejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, AuthRejection> {
        let token = in_header(&parts.headers, &header::AUTHORIZATION, "Bearer")?;
        Ok(Self(token.ok_or(TokenError::Missing)?.to_owned()))
    }
}

impl<S: Sync> OptionalFromRequestParts<S> for BearerToken {
    type Rejection = AuthRejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, AuthRejection> {
        Ok(in_header(&parts.headers, &header::AUTHORIZATION, "Bearer")?.map(|token| Self(token.to_owned())))
    }
}
