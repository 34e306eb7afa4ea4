//! Auth0's export of password hashes, and its format for bulk imports.

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD},
};
use serde::Deserialize;
use serde_json::Value;

use super::{Record, RowError, typed};

const SOURCE: &str = "Auth0";

#[derive(Deserialize)]
struct User {
    email: Option<String>,
    username: Option<String>,
    #[serde(default)]
    identifiers: Vec<Identifier>,
    blocked: Option<bool>,
    #[serde(alias = "passwordHash")]
    password_hash: Option<String>,
    custom_password_hash: Option<Custom>,
}

#[derive(Deserialize)]
struct Identifier {
    r#type: String,
    value: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Custom {
    algorithm: String,
    hash: Encoded,
    salt: Option<Encoded>,
    cost: Option<u32>,
    block_size: Option<u32>,
    parallelization: Option<u32>,
}

#[derive(Deserialize)]
struct Encoded {
    value: String,
    encoding: Option<String>,
}

pub(super) fn record(object: Value) -> Result<Record, RowError> {
    let user: User = typed(object, SOURCE)?;
    let hash = match (user.password_hash, user.custom_password_hash) {
        (Some(hash), _) => hash,
        (None, Some(custom)) => text_of(custom)?,
        (None, None) => return Err(RowError::NoPassword),
    };
    let identifier = user.identifiers.into_iter().find(|identifier| identifier.r#type == "email");
    let name = user.email.or(identifier.map(|identifier| identifier.value)).or(user.username);
    Record::new(&name.ok_or(RowError::Missing("email"))?, &hash, user.blocked.unwrap_or(false))
}

fn text_of(custom: Custom) -> Result<String, RowError> {
    match custom.algorithm.as_str() {
        // A PHC string, or bcrypt's own.
        "argon2" | "bcrypt" | "pbkdf2" => Ok(custom.hash.value),
        "scrypt" => {
            let malformed = || RowError::Export(SOURCE);
            let (Some(cost), Some(block_size), Some(lanes), Some(salt)) =
                (custom.cost, custom.block_size, custom.parallelization, custom.salt)
            else {
                return Err(malformed());
            };
            if !cost.is_power_of_two() {
                return Err(malformed());
            }
            let digest = STANDARD_NO_PAD.encode(decode(&custom.hash)?);
            let salt = STANDARD_NO_PAD.encode(decode(&salt)?);
            Ok(format!("$scrypt$ln={},r={block_size},p={lanes}${salt}${digest}", cost.ilog2()))
        }
        _ => Err(RowError::Algorithm),
    }
}

fn decode(Encoded { value, encoding }: &Encoded) -> Result<Vec<u8>, RowError> {
    let decoded = match encoding.as_deref() {
        Some("hex") => hex::decode(value).ok(),
        Some("base64") => STANDARD.decode(value).ok(),
        Some("utf8") | None => Some(value.as_bytes().to_vec()),
        Some(_) => None,
    };
    decoded.ok_or(RowError::Export(SOURCE))
}
