//! What a token says that nobody has checked. It decides nothing: anyone can write it.

use serde_json::{Map, Value};

use super::{
    DEFAULT_MAX_TOKEN_BYTES, TokenError, base64url,
    decode::{NOT_BASE64URL, NOT_THREE_PARTS},
};

/// The header of a token as it stands there, to be shown or to find out who might know its key. The token may be forged.
///
/// # Errors
/// [`TokenError::TooLong`] over [`DEFAULT_MAX_TOKEN_BYTES`]; [`TokenError::Malformed`] when there is no header in it.
pub fn unverified_header(token: &str) -> Result<Map<String, Value>, TokenError> {
    part(token, 0, "the header is not a JSON object")
}

/// Returns the claims of a token that nobody has verified, to show them or to find out whose token it is. The token may be forged.
///
/// # Errors
/// [`TokenError::TooLong`] over [`DEFAULT_MAX_TOKEN_BYTES`]; [`TokenError::Malformed`] when there are no claims in it.
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
