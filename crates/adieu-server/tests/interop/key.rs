//! A key that both applications share.

use adieu::token::{Algorithm, SigningKey};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

/// The key as stored in a file: a secret, or a private key in PEM.
#[derive(Clone)]
pub(crate) struct SharedKey {
    algorithm: Algorithm,
    text: String,
}

impl SharedKey {
    pub(crate) fn generate(algorithm: Algorithm) -> Self {
        let key = SigningKey::generate(algorithm).unwrap();
        let text = match key.to_pkcs8_der() {
            Some(der) => pem(der.as_slice()),
            None => STANDARD.encode(key.to_secret_bytes().unwrap().as_slice()),
        };
        Self { algorithm, text }
    }

    /// Converts it to Adieu's type.
    pub(crate) fn signing_key(&self) -> SigningKey {
        if self.algorithm.is_symmetric() {
            SigningKey::from_secret(self.algorithm, self.text.as_bytes()).unwrap()
        } else {
            SigningKey::from_pem(self.algorithm, &self.text).unwrap()
        }
    }

    /// Returns the settings of Flask-JWT-Extended.
    pub(crate) fn flask_config(&self) -> Value {
        let name = if self.algorithm.is_symmetric() { "JWT_SECRET_KEY" } else { "JWT_PRIVATE_KEY" };
        json!({ "JWT_ALGORITHM": self.algorithm.to_string(), name: self.text })
    }
}

fn pem(der: &[u8]) -> String {
    let lines: Vec<String> =
        STANDARD.encode(der).as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line).into()).collect();
    format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n"))
}
