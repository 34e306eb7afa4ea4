//! bcrypt, and bcrypt of a SHA-256: most languages, Django, passlib, Auth0.
//!
//! Like every bcrypt, it uses only the first 72 bytes of a password, since only those were hashed. Django and passlib
//! therefore also have schemes that hash the password with SHA-256 first.

use aws_lc_rs::{
    digest::{SHA256, digest},
    hmac,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{HashError, encoding::Name};

const NAME: Name = Name("bcrypt");
const MAX_COST: u32 = 15;
const VERSIONS: [&str; 3] = ["2a", "2b", "2y"];
const SALT_CHARACTERS: usize = 22;

#[derive(Clone)]
pub(super) struct Hash {
    /// As bcrypt itself writes it: `$2b$12$…`.
    text: String,
    key: Key,
}

/// What bcrypt gets as the password.
#[derive(Clone)]
enum Key {
    /// The password.
    Password,
    /// The SHA-256 of the password, in hexadecimal: Django.
    HexSha256,
    /// The SHA-256 of the password, in Base64: passlib until 1.7.2.
    Base64Sha256,
    /// The HMAC-SHA-256 of the password with the text of the salt as its key, in Base64: passlib.
    Base64Hmac,
}

impl Hash {
    /// Parses every form of bcrypt; `None` if it is another scheme.
    pub(super) fn parse(text: &str) -> Option<Result<Self, HashError>> {
        if let Some(rest) = text.strip_prefix("$bcrypt-sha256$") {
            return Some(passlib(rest));
        }
        let (key, text) = match (text.strip_prefix("bcrypt$"), text.strip_prefix("bcrypt_sha256$")) {
            (Some(rest), _) => (Key::Password, rest),
            (_, Some(rest)) => (Key::HexSha256, rest),
            _ => (Key::Password, text),
        };
        let version = text.strip_prefix('$')?.split('$').next()?;
        VERSIONS.contains(&version).then(|| Self::of(key, text.to_owned()))
    }

    fn of(key: Key, text: String) -> Result<Self, HashError> {
        let parts: bcrypt::HashParts = text.parse().map_err(|_| NAME.malformed())?;
        match parts.get_cost() {
            0..4 => Err(NAME.malformed()),
            4..=MAX_COST => Ok(Self { text, key }),
            _ => Err(NAME.too_costly("cost", MAX_COST)),
        }
    }

    /// Compares the password with the hash; `None` if the hash could not be computed.
    pub(super) fn matches(&self, password: &str) -> Option<bool> {
        let key = match self.key {
            Key::Password => return bcrypt::verify(password, &self.text).ok(),
            Key::HexSha256 => {
                digest(&SHA256, password.as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
            }
            Key::Base64Sha256 => STANDARD.encode(digest(&SHA256, password.as_bytes())),
            Key::Base64Hmac => {
                let salt = self.text.rsplit('$').next()?.get(..SALT_CHARACTERS)?;
                STANDARD.encode(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, salt.as_bytes()), password.as_bytes()))
            }
        };
        bcrypt::verify(key, &self.text).ok()
    }
}

/// Parses passlib's `v=2,t=2b,r=12$salt$digest`, and the older `2b,12$salt$digest`.
fn passlib(rest: &str) -> Result<Hash, HashError> {
    let parts: Vec<&str> = rest.split('$').collect();
    let [params, salt, digest] = parts.as_slice() else { return Err(NAME.malformed()) };
    let params: Vec<&str> = params.split(',').collect();
    let (key, version, cost) = match params.as_slice() {
        ["v=2", version, cost] => {
            let version = version.strip_prefix("t=").ok_or_else(|| NAME.malformed())?;
            (Key::Base64Hmac, version, cost.strip_prefix("r=").ok_or_else(|| NAME.malformed())?)
        }
        [version, cost] => (Key::Base64Sha256, *version, *cost),
        _ => return Err(NAME.malformed()),
    };
    if !VERSIONS.contains(&version) || salt.len() != SALT_CHARACTERS {
        return Err(NAME.malformed());
    }
    let cost = NAME.number(cost, "cost", MAX_COST)?;
    Hash::of(key, format!("${version}${cost:02}${salt}{digest}"))
}
