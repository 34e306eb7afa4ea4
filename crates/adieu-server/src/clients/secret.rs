//! The client secret, and the hash of it that the store keeps.

use std::fmt;

use adieu::Error;
use aws_lc_rs::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret as _, SecretString};
use subtle::ConstantTimeEq as _;

/// The characters of a secret. With letters and digits alone, form-encoded credentials (RFC 6749 §2.3.1) equal those
/// that are not form-encoded.
const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// This many characters hold 256 bits.
const LENGTH: usize = 43;

/// A new secret. Not shown by `Debug`, wiped from memory when dropped.
#[derive(Debug)]
pub struct Secret(SecretString);

impl Secret {
    /// Creates a secret that cannot be guessed.
    ///
    /// # Errors
    /// Fails if the system provides no randomness.
    pub fn random() -> Result<Self, Error> {
        let mut secret = String::with_capacity(LENGTH);
        while secret.len() < LENGTH {
            let mut bytes = [0; LENGTH];
            getrandom::fill(&mut bytes).map_err(Error::unavailable)?;
            // Bytes beyond the last whole round of the alphabet would make some characters more likely than others.
            let whole = ALPHABET.len() * (256 / ALPHABET.len());
            let fit = bytes.iter().map(|byte| usize::from(*byte)).filter(|byte| *byte < whole);
            let letters = fit.filter_map(|byte| ALPHABET.get(byte % ALPHABET.len()));
            secret.extend(letters.take(LENGTH - secret.len()).map(|letter| char::from(*letter)));
        }
        Ok(Self(secret.into()))
    }

    /// Returns the secret itself, to be shown once to the operator who created it.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// Returns the hash that is stored.
    #[must_use]
    pub fn hash(&self) -> SecretHash {
        SecretHash::of(self.expose())
    }
}

/// The SHA-256 of a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretHash([u8; SHA256_OUTPUT_LEN]);

impl SecretHash {
    /// Returns the hash of a secret that a client sent.
    #[must_use]
    pub fn of(secret: &str) -> Self {
        let mut hash = [0; SHA256_OUTPUT_LEN];
        // Both have the same length, so the array is filled.
        for (byte, digested) in hash.iter_mut().zip(digest(&SHA256, secret.as_bytes()).as_ref()) {
            *byte = *digested;
        }
        Self(hash)
    }

    /// Returns whether both hashes are equal, in a time that does not depend on where they differ.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }

    /// Returns the hash as stored text.
    #[must_use]
    pub fn to_text(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    /// Parses a stored hash.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok().map(Self)
    }
}

impl fmt::Debug for SecretHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SecretHash(…)")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_new_each_time_and_known_by_its_hash_alone() {
        let (one, other) = (Secret::random().unwrap(), Secret::random().unwrap());
        assert_eq!(one.expose().len(), 43);
        assert!(one.expose().bytes().all(|byte| byte.is_ascii_alphanumeric()), "{}", one.expose());
        assert_ne!(one.expose(), other.expose());
        assert!(one.hash().is(&SecretHash::of(one.expose())) && !one.hash().is(&other.hash()));
        let kept = SecretHash::from_text(&one.hash().to_text()).unwrap();
        assert!(kept.is(&one.hash()));
        assert!(!format!("{one:?}{kept:?}").contains(one.expose()));
    }

    /// FIPS 180-4, of "abc".
    #[test]
    fn what_is_kept_is_sha_256() {
        assert_eq!(SecretHash::of("abc").to_text(), "ungWv48Bz-pBQUDeXa4iI7ADYaOWF3qctBD_YfIAFa0");
    }
}
