//! The `Authorization` header (RFC 6750 §2.1), and nothing else.

use std::fmt;

use adieu::token::TokenError;
use axum::{
    extract::{FromRequestParts, OptionalFromRequestParts},
    http::{header, request::Parts},
};

use super::find::in_header;
use crate::AuthRejection;

/// The bearer token that a request carries, not verified, whatever the state of the router.
///
/// 1. The scheme `Bearer` may be written in any case (RFC 9110 §11.1). Credentials of another scheme are no token.
/// 2. With more than one `Authorization` header nobody can tell which is meant, so the request is refused with 400
///    (`invalid_request`, RFC 6750 §3.1).
/// 3. Its length is bounded by the rules of the verifier, before anything of it is read.
///
/// For a token wherever the guard looks for one there is [`PresentedToken`](crate::PresentedToken).
#[derive(Clone, PartialEq, Eq)]
pub struct BearerToken(String);

impl BearerToken {
    /// The token as it was sent.
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
