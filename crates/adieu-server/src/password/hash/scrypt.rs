//! scrypt: Werkzeug, Django, passlib, Auth0, and Firebase's variant.

use aws_lc_rs::cipher::{AES_256, DecryptingKey, DecryptionContext, UnboundCipherKey};
use scrypt::Params;
use subtle::ConstantTimeEq as _;

use super::{DIGEST_BYTES, HashError, MAX_MEMORY, encoding::Name};

const NAME: Name = Name("scrypt");
/// KiB of memory that one hash fills, over all of its lanes.
const MAX_FILLED: u32 = 512 * 1024;
const MAX_LOG_N: u32 = 24;
const MAX_BLOCK_SIZE: u32 = 64;
const MAX_LANES: u32 = 64;
const AES_KEY_BYTES: usize = 32;

#[derive(Clone)]
pub(super) struct Hash {
    params: Params,
    salt: Vec<u8>,
    digest: Vec<u8>,
    is_firebase: bool,
}

impl Hash {
    /// Parses every form of scrypt; `None` if it is another scheme.
    pub(super) fn parse(text: &str) -> Option<Result<Self, HashError>> {
        if let Some(rest) = text.strip_prefix("$scrypt$") {
            return Some(phc(rest, false));
        }
        if let Some(rest) = text.strip_prefix("$firebase-scrypt$") {
            return Some(phc(rest, true));
        }
        if let Some(rest) = text.strip_prefix("scrypt$") {
            return Some(django(rest));
        }
        text.strip_prefix("scrypt:").map(werkzeug)
    }

    fn of(params: Params, salt: Vec<u8>, digest: Vec<u8>) -> Result<Self, HashError> {
        if !DIGEST_BYTES.contains(&digest.len()) {
            return Err(NAME.malformed());
        }
        Ok(Self { params, salt, digest, is_firebase: false })
    }

    /// Compares the password with the hash; `None` if the hash could not be computed.
    pub(super) fn matches(&self, password: &str) -> Option<bool> {
        let mut computed = if self.is_firebase {
            let mut key = [0; AES_KEY_BYTES];
            scrypt::scrypt(password.as_bytes(), &self.salt, &self.params, &mut key).ok()?;
            let key = UnboundCipherKey::new(&AES_256, &key).ok()?;
            // AES-256-CTR of zeros, that is, the key stream.
            let mut stream = vec![0; self.digest.len()];
            let start = DecryptionContext::Iv128([0; 16].into());
            DecryptingKey::ctr(key).ok()?.decrypt(&mut stream, start).ok()?;
            stream
        } else {
            let mut computed = vec![0; self.digest.len()];
            scrypt::scrypt(password.as_bytes(), &self.salt, &self.params, &mut computed).ok()?;
            computed
        };
        let is_equal = computed.ct_eq(&self.digest).into();
        computed.fill(0);
        Some(is_equal)
    }
}

/// Parses `ln=…,r=…,p=…$salt$digest`.
fn phc(rest: &str, is_firebase: bool) -> Result<Hash, HashError> {
    let parts: Vec<&str> = rest.split('$').collect();
    let [params, salt, digest] = parts.as_slice() else { return Err(NAME.malformed()) };
    let params: Vec<&str> = params.split(',').collect();
    let [log_n, block_size, lanes] = params.as_slice() else { return Err(NAME.malformed()) };
    let log_n = NAME.named(log_n, "ln", MAX_LOG_N)?;
    let params = params_of(log_n, NAME.named(block_size, "r", MAX_BLOCK_SIZE)?, NAME.named(lanes, "p", MAX_LANES)?)?;
    let hash = Hash::of(params, NAME.base64(salt)?, NAME.base64(digest)?)?;
    Ok(Hash { is_firebase, ..hash })
}

/// Parses `n$salt$r$p$digest`, with the salt as text.
fn django(rest: &str) -> Result<Hash, HashError> {
    let parts: Vec<&str> = rest.split('$').collect();
    let [n, salt, block_size, lanes, digest] = parts.as_slice() else { return Err(NAME.malformed()) };
    Hash::of(texts(n, block_size, lanes)?, salt.as_bytes().to_vec(), NAME.padded_base64(digest)?)
}

/// Parses `n:r:p$salt$digest`, with the salt as text and the digest in hexadecimal.
fn werkzeug(rest: &str) -> Result<Hash, HashError> {
    let parts: Vec<&str> = rest.split('$').collect();
    let [params, salt, digest] = parts.as_slice() else { return Err(NAME.malformed()) };
    let params: Vec<&str> = params.split(':').collect();
    let [n, block_size, lanes] = params.as_slice() else { return Err(NAME.malformed()) };
    Hash::of(texts(n, block_size, lanes)?, salt.as_bytes().to_vec(), NAME.hexadecimal(digest)?)
}

fn texts(n: &str, block_size: &str, lanes: &str) -> Result<Params, HashError> {
    let n = NAME.number(n, "N", 1 << MAX_LOG_N)?;
    if n < 2 || !n.is_power_of_two() {
        return Err(NAME.malformed());
    }
    params_of(n.ilog2(), NAME.number(block_size, "r", MAX_BLOCK_SIZE)?, NAME.number(lanes, "p", MAX_LANES)?)
}

/// Checks the costs together: the memory is 128·N·r bytes, and each of the lanes fills it once.
fn params_of(log_n: u32, block_size: u32, lanes: u32) -> Result<Params, HashError> {
    let memory = (u64::from(block_size) * 128) << log_n >> 10;
    if memory > MAX_MEMORY.into() {
        return Err(NAME.too_costly("memory in KiB", MAX_MEMORY));
    }
    if memory * u64::from(lanes) > MAX_FILLED.into() {
        return Err(NAME.too_costly("memory in KiB times p", MAX_FILLED));
    }
    let log_n = u8::try_from(log_n).map_err(|_| NAME.malformed())?;
    Params::new(log_n, block_size, lanes).map_err(|_| NAME.malformed())
}
