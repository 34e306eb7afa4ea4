//! PBKDF2 with SHA-1, SHA-256 and SHA-512: passlib, Django, Werkzeug, Keycloak, Auth0.

use std::num::NonZeroU32;

use aws_lc_rs::pbkdf2::{self, PBKDF2_HMAC_SHA1, PBKDF2_HMAC_SHA256, PBKDF2_HMAC_SHA512};

use super::{DIGEST_BYTES, HashError, encoding::Name};

const NAME: Name = Name("PBKDF2");

#[derive(Clone)]
pub(super) struct Hash {
    algorithm: Algorithm,
    rounds: NonZeroU32,
    salt: Vec<u8>,
    digest: Vec<u8>,
}

#[derive(Clone, Copy)]
enum Algorithm {
    Sha1,
    Sha256,
    Sha512,
}

impl Algorithm {
    fn named(name: &str) -> Option<Self> {
        match name {
            "sha1" => Some(Self::Sha1),
            "sha256" => Some(Self::Sha256),
            "sha512" => Some(Self::Sha512),
            _ => None,
        }
    }

    fn digest_bytes(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }

    /// Returns the most rounds of one block of the digest.
    fn max_rounds(self) -> u32 {
        match self {
            Self::Sha1 | Self::Sha256 => 10_000_000,
            Self::Sha512 => 3_000_000,
        }
    }
}

impl Hash {
    /// Parses every form of PBKDF2; `None` if it is another scheme.
    pub(super) fn parse(text: &str) -> Option<Result<Self, HashError>> {
        if let Some(rest) = text.strip_prefix("$pbkdf2") {
            let (name, rest) = rest.split_once('$')?;
            let algorithm = if name.is_empty() { Algorithm::Sha1 } else { Algorithm::named(name.strip_prefix('-')?)? };
            return Some(phc(algorithm, rest));
        }
        if let Some((name, rest)) = text.strip_prefix("pbkdf2_").and_then(|rest| rest.split_once('$')) {
            return Some(django(Algorithm::named(name)?, rest));
        }
        let (name, rest) = text.strip_prefix("pbkdf2:")?.split_once(':')?;
        Some(werkzeug(Algorithm::named(name)?, rest))
    }

    fn of(algorithm: Algorithm, rounds: &str, salt: Vec<u8>, digest: Vec<u8>) -> Result<Self, HashError> {
        if !DIGEST_BYTES.contains(&digest.len()) {
            return Err(NAME.malformed());
        }
        // A longer digest costs all rounds again for each block (RFC 8018 §5.2).
        let blocks = u32::try_from(digest.len().div_ceil(algorithm.digest_bytes())).unwrap_or(u32::MAX);
        let rounds = NAME.number(rounds, "rounds", algorithm.max_rounds() / blocks)?;
        let rounds = NonZeroU32::new(rounds).ok_or_else(|| NAME.malformed())?;
        Ok(Self { algorithm, rounds, salt, digest })
    }

    /// Like [`Hash::of`], if the digest has the length that the other software always writes.
    fn whole(algorithm: Algorithm, rounds: &str, salt: Vec<u8>, digest: Vec<u8>) -> Result<Self, HashError> {
        if digest.len() != algorithm.digest_bytes() {
            return Err(NAME.malformed());
        }
        Self::of(algorithm, rounds, salt, digest)
    }

    /// Compares the password with the hash.
    pub(super) fn matches(&self, password: &str) -> bool {
        let algorithm = match self.algorithm {
            Algorithm::Sha1 => PBKDF2_HMAC_SHA1,
            Algorithm::Sha256 => PBKDF2_HMAC_SHA256,
            Algorithm::Sha512 => PBKDF2_HMAC_SHA512,
        };
        pbkdf2::verify(algorithm, self.rounds, &self.salt, password.as_bytes(), &self.digest).is_ok()
    }
}

/// Parses passlib's `rounds$salt$digest`, and the PHC form `i=rounds,l=length$salt$digest`.
fn phc(algorithm: Algorithm, rest: &str) -> Result<Hash, HashError> {
    let parts: Vec<&str> = rest.split('$').collect();
    let [params, salt, digest] = parts.as_slice() else { return Err(NAME.malformed()) };
    let Some(params) = params.strip_prefix("i=") else {
        return Hash::whole(algorithm, params, NAME.passlib_base64(salt)?, NAME.passlib_base64(digest)?);
    };
    let (rounds, length) = params.split_once(",l=").ok_or_else(|| NAME.malformed())?;
    let digest = NAME.base64(digest)?;
    if length != digest.len().to_string() {
        return Err(NAME.malformed());
    }
    Hash::of(algorithm, rounds, NAME.base64(salt)?, digest)
}

/// Parses `rounds$salt$digest`, with the salt as text.
fn django(algorithm: Algorithm, rest: &str) -> Result<Hash, HashError> {
    let parts: Vec<&str> = rest.split('$').collect();
    let [rounds, salt, digest] = parts.as_slice() else { return Err(NAME.malformed()) };
    Hash::whole(algorithm, rounds, salt.as_bytes().to_vec(), NAME.padded_base64(digest)?)
}

/// Parses `rounds$salt$digest`, with the salt as text and the digest in hexadecimal.
fn werkzeug(algorithm: Algorithm, rest: &str) -> Result<Hash, HashError> {
    let parts: Vec<&str> = rest.split('$').collect();
    let [rounds, salt, digest] = parts.as_slice() else { return Err(NAME.malformed()) };
    Hash::whole(algorithm, rounds, salt.as_bytes().to_vec(), NAME.hexadecimal(digest)?)
}
