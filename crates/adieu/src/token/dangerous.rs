//! Reads tokens without verifying them. The result must not decide anything, since anyone can forge it.

use serde_json::{Map, Value};

use super::{
    DEFAULT_MAX_TOKEN_BYTES, TokenError, base64url,
    decode::{NOT_BASE64URL, NOT_THREE_PARTS},
};

/// Returns the header of a token without verifying it, to show it or to find the issuer that knows its key. The token
/// may be forged.
///
/// # Errors
/// Returns [`TokenError::TooLong`] if the token is longer than [`DEFAULT_MAX_TOKEN_BYTES`], and
/// [`TokenError::Malformed`] if it has no header.
pub fn unverified_header(token: &str) -> Result<Map<String, Value>, TokenError> {
    part(token, 0, "the header is not a JSON object")
}

/// Returns the claims of a token without verifying it, to show them or to find its issuer or subject. The token may
/// be forged.
///
/// # Errors
/// Returns [`TokenError::TooLong`] if the token is longer than [`DEFAULT_MAX_TOKEN_BYTES`], and
/// [`TokenError::Malformed`] if it has no claims.
pub fn unverified_claims(token: &str) -> Result<Map<String, Value>, TokenError> {
    part(token, 1, "the claims are not a JSON object")
}

fn part(token: &str, index: usize, no_object: &'static str) -> Result<Map<String, Value>, TokenError> {
    if token.len() > DEFAULT_MAX_TOKEN_BYTES {
        return Err(TokenError::TooLong);
    }
    let (signed, _) = token.rsplit_once('.').ok_or(NOT_THREE_PARTS)?;
    let part = signed.split('.').nth(index).ok_or(NOT_THREE_PARTS)?;
    let part = base64url::decode(part).map_err(|_| NOT_BASE64URL)?;
    serde_json::from_slice(&part).map_err(|_| TokenError::Malformed(no_object))
}
