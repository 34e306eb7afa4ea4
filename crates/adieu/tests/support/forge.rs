//! Tokens with valid signatures that the crate's own encoder would never produce.

#[path = "base64url.rs"]
mod base64url;

use aws_lc_rs::hmac;

pub(crate) use base64url::base64url;

/// The secret of every forged token.
pub(crate) const SECRET: &[u8; 32] = b"a secret for tests, of 32 bytes.";

/// Signs any header and claims with HS256.
pub(crate) fn forge(header: &str, claims: &str) -> String {
    sign(&format!("{}.{}", base64url(header.as_bytes()), base64url(claims.as_bytes())))
}

/// Signs any signing input with HS256.
pub(crate) fn sign(signing_input: &str) -> String {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET), signing_input.as_bytes());
    format!("{signing_input}.{}", base64url(tag.as_ref()))
}
