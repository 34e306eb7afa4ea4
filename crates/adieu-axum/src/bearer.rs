//! Where a token is in a request: the `Authorization` header (RFC 6750 §2.1), and nowhere else.

use std::fmt;

use adieu::token::Refusal;
use axum::{
    extract::{FromRequestParts, OptionalFromRequestParts},
    http::{HeaderMap, header, request::Parts},
};

use crate::{Reason, Refused};

/// The token that a request carries, not verified: for what takes more than an access token, such as logging out.
///
/// 1. The scheme `Bearer` may be written in any case (RFC 9110 §11.1). Credentials of another scheme are no token.
/// 2. With more than one `Authorization` header nobody can tell which is meant, so the request is refused with 400
///    (`invalid_request`, RFC 6750 §3.1).
/// 3. Its length is bounded by the rules of the verifier, before anything of it is read.
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
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refused> {
        Ok(Self(require(&parts.headers)?.to_owned()))
    }
}

impl<S: Sync> OptionalFromRequestParts<S> for BearerToken {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Refused> {
        Ok(find(&parts.headers)?.map(|token| Self(token.to_owned())))
    }
}

/// The token in these headers.
///
/// # Errors
/// When there is none, or more than one.
pub(crate) fn require(headers: &HeaderMap) -> Result<&str, Refused> {
    find(headers)?.ok_or(Refusal::Missing.into())
}

/// The token in these headers, if there is one.
///
/// # Errors
/// When there is more than one, or something that can't be one.
pub(crate) fn find(headers: &HeaderMap) -> Result<Option<&str>, Refused> {
    let mut all = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = all.next() else { return Ok(None) };
    if all.next().is_some() {
        return Err(Reason::Ambiguous("`Authorization` header").into());
    }
    let bytes = value.as_bytes().trim_ascii();
    let end = bytes.iter().position(|byte| *byte == b' ').unwrap_or(bytes.len());
    let (scheme, token) = bytes.split_at(end);
    if !scheme.eq_ignore_ascii_case(b"bearer") {
        return Ok(None);
    }
    match str::from_utf8(token.trim_ascii_start()) {
        Ok("") => Ok(None),
        Ok(token) => Ok(Some(token)),
        Err(_) => Err(Refusal::Malformed("it is not text").into()),
    }
}
