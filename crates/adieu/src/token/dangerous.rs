//! What a token says that nobody has checked. It decides nothing: anyone can write it.

use serde_json::{Map, Value};

use super::{DEFAULT_MAX_TOKEN_BYTES, TokenError, base64url};

/// The header of a token as it stands there, to be shown or to find out who might know its key. The token may be forged.
///
/// # Errors
/// [`TokenError::TooLong`] over [`DEFAULT_MAX_TOKEN_BYTES`]; [`TokenError::Malformed`] when there is no header in it.
pub fn unverified_header(token: &str) -> Result<Map<String, Value>, TokenError> {
    if token.len() > DEFAULT_MAX_TOKEN_BYTES {
        return Err(TokenError::TooLong);
    }
    let (header, _) = token.split_once('.').ok_or(TokenError::Malformed("there are not three parts"))?;
    let header = base64url::decode(header).map_err(|_| TokenError::Malformed("a part is not canonical base64url"))?;
    serde_json::from_slice(&header).map_err(|_| TokenError::Malformed("the header is not a JSON object"))
}
