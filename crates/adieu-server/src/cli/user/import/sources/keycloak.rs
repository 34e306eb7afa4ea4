//! Keycloak's export of a realm, in one file or in several.

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use super::{Record, RowError, typed};

const SOURCE: &str = "Keycloak";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct User {
    username: String,
    enabled: Option<bool>,
    #[serde(default)]
    credentials: Vec<Credential>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Credential {
    r#type: String,
    /// JSON in a text, as the other one.
    secret_data: Option<String>,
    credential_data: Option<String>,
}

#[derive(Deserialize)]
struct Secret {
    value: String,
    salt: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    algorithm: String,
    hash_iterations: u32,
    #[serde(default)]
    additional_parameters: Value,
}

pub(super) fn record(object: Value) -> Result<Record, RowError> {
    let user: User = typed(object, SOURCE)?;
    let password = user.credentials.iter().find(|credential| credential.r#type == "password");
    let hash = text_of(password.ok_or(RowError::NoPassword)?)?;
    Record::new(&user.username, &hash, !user.enabled.unwrap_or(true))
}

fn text_of(password: &Credential) -> Result<String, RowError> {
    let Secret { value, salt } = parse(password.secret_data.as_deref())?;
    let Data { algorithm, hash_iterations, additional_parameters } = parse(password.credential_data.as_deref())?;
    let decode = |text: &str| STANDARD.decode(text).map_err(|_| RowError::Export(SOURCE));
    let (digest, salt) = (decode(&value)?, STANDARD_NO_PAD.encode(decode(&salt)?));
    let (length, digest) = (digest.len(), STANDARD_NO_PAD.encode(digest));
    // Each parameter is a list of texts.
    let parameter = |name: &str| {
        let value = additional_parameters.get(name).and_then(|list| list.get(0)).and_then(Value::as_str);
        value.ok_or(RowError::Export(SOURCE))
    };
    match algorithm.as_str() {
        "pbkdf2" => Ok(format!("$pbkdf2$i={hash_iterations},l={length}${salt}${digest}")),
        "pbkdf2-sha256" | "pbkdf2-sha512" => Ok(format!("${algorithm}$i={hash_iterations},l={length}${salt}${digest}")),
        "argon2" => {
            let version = match parameter("version")? {
                "1.3" => 19,
                "1.0" => 16,
                _ => return Err(RowError::Export(SOURCE)),
            };
            let (kind, memory, lanes) = (parameter("type")?, parameter("memory")?, parameter("parallelism")?);
            Ok(format!("$argon2{kind}$v={version}$m={memory},t={hash_iterations},p={lanes}${salt}${digest}"))
        }
        _ => Err(RowError::Algorithm),
    }
}

fn parse<T: DeserializeOwned>(text: Option<&str>) -> Result<T, RowError> {
    text.and_then(|text| serde_json::from_str(text).ok()).ok_or(RowError::Export(SOURCE))
}
