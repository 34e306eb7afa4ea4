//! Stored password hashes: parsing, computing and comparing them.
//!
//! 1. Each family of schemes has its module, which parses every text form of the family, and limits what a text can
//!    demand. [`PasswordHash::parse`] lists the forms.
//! 2. What a hash costs is known once it is parsed: at most [`MAX_MEMORY`], and at most about two seconds of one core.
//! 3. Digests are compared in constant time.

mod argon2;
mod bcrypt;
mod encoding;
mod pbkdf2;
mod scrypt;

use std::fmt;

pub(super) use argon2::Memory;

use crate::text::Password;

/// Maximum memory of a hash, in KiB: a stored text must not decide how much is allocated.
const MAX_MEMORY: u32 = 256 * 1024;
const MAX_TEXT_BYTES: usize = 512;
/// The lengths of a digest, in bytes: many passwords would match one of a few bytes.
const DIGEST_BYTES: std::ops::RangeInclusive<usize> = 16..=64;

/// An error in a text that should be a password hash. It does not contain the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HashError {
    /// The scheme is not supported.
    #[error("not a supported hash: argon2id, argon2i, bcrypt, PBKDF2 or scrypt")]
    Scheme,
    /// The scheme is supported, but the text is malformed.
    #[error("not a well-formed {0} hash")]
    Form(&'static str),
    /// Verifying the hash would cost too much.
    #[error("the {what} of this {scheme} hash is out of range; at most {most}")]
    TooCostly {
        /// The scheme.
        scheme: &'static str,
        /// The parameter out of range.
        what: &'static str,
        /// The maximum of the parameter.
        most: u32,
    },
}

/// A password hash that can be verified: well-formed, of a supported scheme, and within the cost limits.
#[derive(Clone)]
pub struct PasswordHash {
    text: String,
    scheme: Scheme,
}

#[derive(Clone)]
enum Scheme {
    Argon2(argon2::Hash),
    Bcrypt(bcrypt::Hash),
    Pbkdf2(pbkdf2::Hash),
    Scrypt(scrypt::Hash),
}

impl PasswordHash {
    /// Parses a stored or imported hash. Salts and digests are in Base64, unless stated otherwise.
    ///
    /// | scheme | forms |
    /// |---|---|
    /// | argon2id, argon2i | `$argon2id$v=19$m=…,t=…,p=…$SALT$DIGEST` (PHC); with `argon2` in front (Django) |
    /// | bcrypt | `$2b$12$…`, also `2a` and `2y`; `bcrypt$$2b$12$…` (Django) |
    /// | bcrypt of a SHA-256 | `bcrypt_sha256$$2b$12$…` (Django); `$bcrypt-sha256$v=2,t=2b,r=12$SALT$DIGEST` and `$bcrypt-sha256$2b,12$SALT$DIGEST` (passlib) |
    /// | PBKDF2 with SHA-1, SHA-256 or SHA-512 | `$pbkdf2-sha256$ROUNDS$SALT$DIGEST` (passlib); `$pbkdf2-sha256$i=ROUNDS,l=LENGTH$SALT$DIGEST` (PHC); `pbkdf2_sha256$ROUNDS$SALT$DIGEST` (Django, the salt as text); `pbkdf2:sha256:ROUNDS$SALT$DIGEST` (Werkzeug, the salt as text and the digest in hexadecimal) |
    /// | scrypt | `$scrypt$ln=…,r=…,p=…$SALT$DIGEST` (passlib); `scrypt$N$SALT$R$P$DIGEST` (Django, the salt as text); `scrypt:N:R:P$SALT$DIGEST` (Werkzeug, the salt as text and the digest in hexadecimal) |
    /// | Firebase's scrypt | `$firebase-scrypt$ln=…,r=…,p=1$SALT$DIGEST`: the salt with the project's separator, and the exported hash XOR the project's signer key |
    ///
    /// # Errors
    /// [`HashError`] if the scheme is not supported, the text is malformed, or a parameter is out of range.
    pub fn parse(text: &str) -> Result<Self, HashError> {
        if text.len() > MAX_TEXT_BYTES || !text.is_ascii() {
            return Err(HashError::Scheme);
        }
        let scheme = if let Some(hash) = argon2::Hash::parse(text) {
            Scheme::Argon2(hash?)
        } else if let Some(hash) = bcrypt::Hash::parse(text) {
            Scheme::Bcrypt(hash?)
        } else if let Some(hash) = pbkdf2::Hash::parse(text) {
            Scheme::Pbkdf2(hash?)
        } else if let Some(hash) = scrypt::Hash::parse(text) {
            Scheme::Scrypt(hash?)
        } else {
            return Err(HashError::Scheme);
        };
        Ok(Self { text: text.to_owned(), scheme })
    }

    /// Returns the text to store.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns whether [`Hasher::hash`](super::Hasher::hash) would use the same scheme and parameters today.
    #[must_use]
    pub fn is_current(&self) -> bool {
        matches!(&self.scheme, Scheme::Argon2(hash) if hash.is_current())
    }

    /// Hashes with this server's parameters and a new salt from the system.
    pub(super) fn compute(password: &Password, memory: &mut Memory) -> Option<Self> {
        let (text, hash) = argon2::Hash::compute(password.normalised(), memory)?;
        Some(Self { text, scheme: Scheme::Argon2(hash) })
    }

    /// Compares the password with the hash; `None` if the hash could not be computed.
    pub(super) fn matches(&self, password: &Password, memory: &mut Memory) -> Option<bool> {
        let normalised = self.matches_text(password.normalised(), memory)?;
        // Other software hashes the password as typed, without normalising it.
        if normalised || self.is_current() || password.as_typed() == password.normalised() {
            return Some(normalised);
        }
        self.matches_text(password.as_typed(), memory)
    }

    fn matches_text(&self, password: &str, memory: &mut Memory) -> Option<bool> {
        match &self.scheme {
            Scheme::Argon2(hash) => hash.matches(password, memory),
            Scheme::Bcrypt(hash) => hash.matches(password),
            Scheme::Pbkdf2(hash) => Some(hash.matches(password)),
            Scheme::Scrypt(hash) => hash.matches(password),
        }
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("PasswordHash(…)")
    }
}
