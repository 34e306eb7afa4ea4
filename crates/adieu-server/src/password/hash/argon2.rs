//! argon2id and argon2i: this server's own hashes, argon2-cffi, passlib, Django, Keycloak.

use argon2::{Algorithm, Argon2, Block, Params, Version};
use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use subtle::ConstantTimeEq as _;

use super::{DIGEST_BYTES, HashError, MAX_MEMORY, encoding::Name};

const NAME: Name = Name("argon2");
const MAX_PASSES: u32 = 10;
const MAX_LANES: u32 = 8;

const OUR_MEMORY: u32 = 19 * 1024;
const OUR_PASSES: u32 = 2;
const OUR_LANES: u32 = 1;
const OUR_SALT_BYTES: usize = 16;
const OUR_DIGEST_BYTES: usize = 32;

#[derive(Clone)]
pub(super) struct Hash {
    algorithm: Algorithm,
    version: Version,
    params: Params,
    salt: Vec<u8>,
    digest: Vec<u8>,
}

impl Hash {
    /// Parses `$argon2id$v=19$m=…,t=…,p=…$salt$digest`; without `v=` it is version 16 (the reference implementation's
    /// rule). `None` if it is another scheme.
    pub(super) fn parse(text: &str) -> Option<Result<Self, HashError>> {
        let text = text.strip_prefix("argon2").filter(|rest| rest.starts_with('$')).unwrap_or(text);
        let (algorithm, rest) = match (text.strip_prefix("$argon2id$"), text.strip_prefix("$argon2i$")) {
            (Some(rest), _) => (Algorithm::Argon2id, rest),
            (_, Some(rest)) => (Algorithm::Argon2i, rest),
            _ => return None,
        };
        Some(Self::of(algorithm, rest))
    }

    fn of(algorithm: Algorithm, rest: &str) -> Result<Self, HashError> {
        let parts: Vec<&str> = rest.split('$').collect();
        let (version, params, salt, digest) = match parts.as_slice() {
            ["v=19", params, salt, digest] => (Version::V0x13, params, salt, digest),
            ["v=16", params, salt, digest] | [params, salt, digest] => (Version::V0x10, params, salt, digest),
            _ => return Err(NAME.malformed()),
        };
        let costs: Vec<&str> = params.split(',').collect();
        let [memory, passes, lanes] = costs.as_slice() else { return Err(NAME.malformed()) };
        let memory = NAME.named(memory, "m", MAX_MEMORY)?;
        let passes = NAME.named(passes, "t", MAX_PASSES)?;
        let lanes = NAME.named(lanes, "p", MAX_LANES)?;
        let (salt, digest) = (NAME.base64(salt)?, NAME.base64(digest)?);
        if !(8..=64).contains(&salt.len()) || !DIGEST_BYTES.contains(&digest.len()) {
            return Err(NAME.malformed());
        }
        let params = Params::new(memory, passes, lanes, Some(digest.len())).map_err(|_| NAME.malformed())?;
        Ok(Self { algorithm, version, params, salt, digest })
    }

    /// Returns whether it is as [`Hash::compute`] makes it.
    pub(super) fn is_current(&self) -> bool {
        let costs = (self.params.m_cost(), self.params.t_cost(), self.params.p_cost());
        self.algorithm == Algorithm::Argon2id
            && self.version == Version::V0x13
            && costs == (OUR_MEMORY, OUR_PASSES, OUR_LANES)
            && self.salt.len() >= OUR_SALT_BYTES
            && self.digest.len() >= OUR_DIGEST_BYTES
    }

    /// Hashes with this server's parameters; returns the text too.
    pub(super) fn compute(password: &str, memory: &mut Memory) -> Option<(String, Self)> {
        let mut salt = [0; OUR_SALT_BYTES];
        getrandom::fill(&mut salt).ok()?;
        let params = Params::new(OUR_MEMORY, OUR_PASSES, OUR_LANES, None).ok()?;
        let (algorithm, version) = (Algorithm::Argon2id, Version::V0x13);
        let argon2 = Argon2::new(algorithm, version, params.clone());
        let mut digest = vec![0; OUR_DIGEST_BYTES];
        memory.hash(&argon2, password, &salt, &mut digest)?;
        let text = format!(
            "$argon2id$v=19$m={OUR_MEMORY},t={OUR_PASSES},p={OUR_LANES}${}${}",
            STANDARD_NO_PAD.encode(salt),
            STANDARD_NO_PAD.encode(&digest)
        );
        Some((text, Self { algorithm, version, params, salt: salt.to_vec(), digest }))
    }

    /// Compares the password with the hash; `None` if the hash could not be computed.
    pub(super) fn matches(&self, password: &str, memory: &mut Memory) -> Option<bool> {
        let mut computed = vec![0; self.digest.len()];
        let argon2 = Argon2::new(self.algorithm, self.version, self.params.clone());
        memory.hash(&argon2, password, &self.salt, &mut computed)?;
        Some(computed.ct_eq(&self.digest).into())
    }
}

/// The memory blocks of argon2, reused from one password to the next: allocating 19 MiB of fresh memory takes more than half as long as
/// the hashing itself.
#[derive(Default)]
pub(in crate::password) struct Memory(Vec<Block>);

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
