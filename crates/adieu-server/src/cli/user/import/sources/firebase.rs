//! Firebase's `auth:export` as JSON, with the hash parameters of the project.
//!
//! Firebase encrypts the project's signer key with a key that scrypt derives from the password, by AES-256 in counter
//! mode, and the encrypted signer key is the hash. The hash XOR the signer key is the key stream, which depends on the
//! password alone. The key stream is stored, and the signer key, a secret of the whole project, is not.

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD},
};
use serde::Deserialize;
use serde_json::Value;

use super::{Record, RowError, typed};

const SOURCE: &str = "Firebase";

/// The hash parameters of a project, as its console shows them.
pub(in crate::cli::user::import) struct HashConfig {
    signer_key: Vec<u8>,
    salt_separator: Vec<u8>,
    rounds: u32,
    mem_cost: u32,
}

/// An error in the hash parameters.
#[derive(Debug, thiserror::Error)]
pub(in crate::cli::user::import) enum HashConfigError {
    #[error("no {0} in the hash parameters of the project")]
    Missing(&'static str),
    #[error("invalid {0} in the hash parameters of the project")]
    Invalid(&'static str),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct User {
    email: Option<String>,
    password_hash: Option<String>,
    salt: Option<String>,
    disabled: Option<bool>,
}

impl HashConfig {
    /// Parses the parameters: `hash_config {`, then lines with a name, a colon, a value and a comma.
    pub(in crate::cli::user::import) fn parse(text: &str) -> Result<Self, HashConfigError> {
        let value = |name: &'static str| {
            let value_of =
                |line: &str| Some(line.trim().strip_prefix(name)?.trim_start().strip_prefix(':')?.to_owned());
            let value = text.lines().find_map(value_of).ok_or(HashConfigError::Missing(name))?;
            Ok(value.trim().trim_end_matches(',').trim_matches('"').to_owned())
        };
        let decoded = |name| STANDARD.decode(value(name)?).map_err(|_| HashConfigError::Invalid(name));
        let number = |name| value(name)?.parse().map_err(|_| HashConfigError::Invalid(name));
        if value("algorithm")? != "SCRYPT" {
            return Err(HashConfigError::Invalid("algorithm"));
        }
        Ok(Self {
            signer_key: decoded("base64_signer_key")?,
            salt_separator: decoded("base64_salt_separator")?,
            rounds: number("rounds")?,
            mem_cost: number("mem_cost")?,
        })
    }

    pub(super) fn record(&self, object: Value) -> Result<Record, RowError> {
        let user: User = typed(object, SOURCE)?;
        let (Some(hash), Some(salt)) = (user.password_hash, user.salt) else { return Err(RowError::NoPassword) };
        if hash.is_empty() {
            return Err(RowError::NoPassword);
        }
        let email = user.email.ok_or(RowError::Missing("email"))?;
        let decode = |text: &str| STANDARD.decode(text).map_err(|_| RowError::Export(SOURCE));
        let (hash, mut salt) = (decode(&hash)?, decode(&salt)?);
        if hash.len() != self.signer_key.len() {
            return Err(RowError::Export(SOURCE));
        }
        salt.extend(&self.salt_separator);
        let stream: Vec<u8> = hash.iter().zip(&self.signer_key).map(|(hash, key)| hash ^ key).collect();
        let text = format!(
            "$firebase-scrypt$ln={},r={},p=1${}${}",
            self.mem_cost,
            self.rounds,
            STANDARD_NO_PAD.encode(salt),
            STANDARD_NO_PAD.encode(stream)
        );
        Record::new(&email, &text, user.disabled.unwrap_or(false))
    }
}
