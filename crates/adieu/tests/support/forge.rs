//! Tokens that our own encoder would never make, with good signatures.

use aws_lc_rs::hmac;

/// The secret of every forged token.
pub(crate) const SECRET: &[u8; 32] = b"a secret for tests, of 32 bytes.";

/// Signs a header and claims, whatever they are, with HS256.
pub(crate) fn forge(header: &str, claims: &str) -> String {
    sign(&format!("{}.{}", base64url(header.as_bytes()), base64url(claims.as_bytes())))
}

/// Signs a signing input, whatever it is, with HS256.
pub(crate) fn sign(signing_input: &str) -> String {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET), signing_input.as_bytes());
    format!("{signing_input}.{}", base64url(tag.as_ref()))
}

/// Written once more, so that a mistake of the crate's own encoder does not hide one of its decoder.
pub(crate) fn base64url(bytes: &[u8]) -> String {
    let bits: String = bytes.iter().map(|byte| format!("{byte:08b}")).collect();
    (0..bits.len())
        .step_by(6)
        .map(|at| {
            let group = format!("{:0<6}", &bits[at..bits.len().min(at + 6)]);
            let value = u8::from_str_radix(&group, 2).unwrap();
            char::from(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"[usize::from(value)])
        })
        .collect()
}
