//! Stored password hashes: parsing and computing them.

use std::fmt;

use argon2::{Algorithm, Argon2, Block, Params, Version};
use base64::{
    Engine as _, alphabet,
    engine::{GeneralPurpose, general_purpose::NO_PAD, general_purpose::STANDARD_NO_PAD},
};
use pbkdf2::{pbkdf2_hmac_array, sha2::Sha256};
use subtle::ConstantTimeEq as _;

use crate::text::Password;

/// Maximum memory of a hash, in KiB: a stored text must not decide how much is allocated.
const MAX_MEMORY: u32 = 256 * 1024;
const MAX_PASSES: u32 = 10;
const MAX_LANES: u32 = 8;
const MAX_ROUNDS: u32 = 10_000_000;
const MAX_BCRYPT_COST: u32 = 16;
const MAX_TEXT_BYTES: usize = 512;

const OUR_MEMORY: u32 = 19 * 1024;
const OUR_PASSES: u32 = 2;
const OUR_LANES: u32 = 1;
const OUR_SALT_BYTES: usize = 16;
const OUR_DIGEST_BYTES: usize = 32;

/// passlib's alphabet, with "." where the standard alphabet has "+".
const PASSLIB: GeneralPurpose = GeneralPurpose::new(&PASSLIB_ALPHABET, NO_PAD);
const PASSLIB_ALPHABET: alphabet::Alphabet =
    match alphabet::Alphabet::new("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789./") {
        Ok(alphabet) => alphabet,
        Err(_) => alphabet::STANDARD,
    };

/// An error in a text that should be a password hash. It does not contain the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HashError {
    /// The scheme is not supported.
    #[error("not a hash of argon2id, argon2i, passlib's pbkdf2_sha256 or bcrypt")]
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
    Argon2 { algorithm: Algorithm, version: Version, params: Params, salt: Vec<u8>, digest: Vec<u8> },
    Pbkdf2 { rounds: u32, salt: Vec<u8>, digest: Vec<u8> },
    Bcrypt,
}

impl PasswordHash {
    /// Parses a stored or imported hash.
    ///
    /// # Errors
    /// [`HashError`] if the scheme is not supported, the text is malformed, or a parameter is out of range.
    pub fn parse(text: &str) -> Result<Self, HashError> {
        if text.len() > MAX_TEXT_BYTES || !text.is_ascii() {
            return Err(HashError::Scheme);
        }
        let mut parts = text.split('$');
        let scheme = match (parts.next(), parts.next()) {
            (Some(""), Some("argon2id")) => read_argon2(Algorithm::Argon2id, parts.collect()),
            (Some(""), Some("argon2i")) => read_argon2(Algorithm::Argon2i, parts.collect()),
            (Some(""), Some("pbkdf2-sha256")) => read_pbkdf2(parts.collect()),
            (Some(""), Some("2a" | "2b" | "2y")) => read_bcrypt(text),
            _ => Err(HashError::Scheme),
        }?;
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
        matches!(
            &self.scheme,
            Scheme::Argon2 { algorithm: Algorithm::Argon2id, version: Version::V0x13, params, salt, digest }
                if (params.m_cost(), params.t_cost(), params.p_cost()) == (OUR_MEMORY, OUR_PASSES, OUR_LANES)
                    && salt.len() >= OUR_SALT_BYTES
                    && digest.len() >= OUR_DIGEST_BYTES
        )
    }

    /// Hashes with this server's parameters and a new salt from the system.
    pub(super) fn compute(password: &Password, memory: &mut Memory) -> Option<Self> {
        let mut salt = [0; OUR_SALT_BYTES];
        getrandom::fill(&mut salt).ok()?;
        let params = Params::new(OUR_MEMORY, OUR_PASSES, OUR_LANES, None).ok()?;
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params.clone());
        let mut digest = vec![0; OUR_DIGEST_BYTES];
        memory.hash(&argon2, password.normalised(), &salt, &mut digest)?;
        let text = format!(
            "$argon2id$v=19$m={OUR_MEMORY},t={OUR_PASSES},p={OUR_LANES}${}${}",
            STANDARD_NO_PAD.encode(salt),
            STANDARD_NO_PAD.encode(&digest)
        );
        let (algorithm, version) = (Algorithm::Argon2id, Version::V0x13);
        Some(Self { text, scheme: Scheme::Argon2 { algorithm, version, params, salt: salt.to_vec(), digest } })
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
            Scheme::Argon2 { algorithm, version, params, salt, digest } => {
                let mut computed = vec![0; digest.len()];
                memory.hash(&Argon2::new(*algorithm, *version, params.clone()), password, salt, &mut computed)?;
                Some(computed.ct_eq(digest).into())
            }
            Scheme::Pbkdf2 { rounds, salt, digest } => {
                let computed: [u8; 32] = pbkdf2_hmac_array::<Sha256, 32>(password.as_bytes(), salt, *rounds);
                Some(computed.as_slice().ct_eq(digest).into())
            }
            // Like every bcrypt, uses only the first 72 bytes, since only those were hashed.
            Scheme::Bcrypt => bcrypt::verify(password, &self.text).ok(),
        }
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("PasswordHash(…)")
    }
}

/// Parses `v=19$m=…,t=…,p=…$salt$digest`; without `v=` it is version 16 (the reference implementation's rule).
fn read_argon2(algorithm: Algorithm, parts: Vec<&str>) -> Result<Scheme, HashError> {
    const SCHEME: &str = "argon2";
    const FORM: HashError = HashError::Form(SCHEME);
    let (version, params, salt, digest) = match parts.as_slice() {
        ["v=19", params, salt, digest] => (Version::V0x13, params, salt, digest),
        ["v=16", params, salt, digest] | [params, salt, digest] => (Version::V0x10, params, salt, digest),
        _ => return Err(FORM),
    };
    let costs: Vec<&str> = params.split(',').collect();
    let [memory, passes, lanes] = costs.as_slice() else { return Err(FORM) };
    let memory = cost(memory, "m=", SCHEME, "m", MAX_MEMORY)?;
    let passes = cost(passes, "t=", SCHEME, "t", MAX_PASSES)?;
    let lanes = cost(lanes, "p=", SCHEME, "p", MAX_LANES)?;
    let salt = STANDARD_NO_PAD.decode(salt).map_err(|_| FORM)?;
    let digest = STANDARD_NO_PAD.decode(digest).map_err(|_| FORM)?;
    // Many passwords would match a digest of a few bytes.
    if !(8..=64).contains(&salt.len()) || !(16..=64).contains(&digest.len()) {
        return Err(FORM);
    }
    let params = Params::new(memory, passes, lanes, Some(digest.len())).map_err(|_| FORM)?;
    Ok(Scheme::Argon2 { algorithm, version, params, salt, digest })
}

/// Parses passlib's `rounds$salt$digest`.
fn read_pbkdf2(parts: Vec<&str>) -> Result<Scheme, HashError> {
    const SCHEME: &str = "pbkdf2_sha256";
    const FORM: HashError = HashError::Form(SCHEME);
    let [rounds, salt, digest] = parts.as_slice() else { return Err(FORM) };
    let rounds = cost(rounds, "", SCHEME, "rounds", MAX_ROUNDS)?;
    let salt = PASSLIB.decode(salt).map_err(|_| FORM)?;
    if digest.len() != 43 {
        return Err(FORM);
    }
    let digest = PASSLIB.decode(digest).map_err(|_| FORM)?;
    Ok(Scheme::Pbkdf2 { rounds, salt, digest })
}

fn read_bcrypt(text: &str) -> Result<Scheme, HashError> {
    const SCHEME: &str = "bcrypt";
    let parts: bcrypt::HashParts = text.parse().map_err(|_| HashError::Form(SCHEME))?;
    match parts.get_cost() {
        0..4 => Err(HashError::Form(SCHEME)),
        4..=MAX_BCRYPT_COST => Ok(Scheme::Bcrypt),
        _ => Err(HashError::TooCostly { scheme: SCHEME, what: "cost", most: MAX_BCRYPT_COST }),
    }
}

/// Parses a decimal number from 1 as these formats write it: no sign, no leading zero.
fn cost(text: &str, prefix: &str, scheme: &'static str, what: &'static str, most: u32) -> Result<u32, HashError> {
    let digits = text.strip_prefix(prefix).ok_or(HashError::Form(scheme))?;
    if digits.is_empty() || digits.starts_with('0') || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(HashError::Form(scheme));
    }
    digits.parse().ok().filter(|number| *number <= most).ok_or(HashError::TooCostly { scheme, what, most })
}

/// The memory blocks of argon2, reused from one password to the next: allocating 19 MiB of fresh memory takes more than half as long as
/// the hashing itself.
#[derive(Default)]
pub(super) struct Memory(Vec<Block>);

impl Memory {
    fn hash(&mut self, argon2: &Argon2<'_>, password: &str, salt: &[u8], digest: &mut [u8]) -> Option<()> {
        let blocks = argon2.params().block_count();
        if self.0.len() < blocks {
            self.0.resize(blocks, Block::new());
        }
        let hashed = argon2.hash_password_into_with_memory(password.as_bytes(), salt, digest, &mut self.0);
        // An imported hash may have needed much more memory than this server's hashes.
        if blocks > OUR_MEMORY as usize {
            self.0.truncate(OUR_MEMORY as usize);
            self.0.shrink_to_fit();
        }
        hashed.ok()
    }
}
