//! Key sets as JSON (RFC 7517 §5).

use serde::{Deserialize, Serialize};

use crate::{
    Error,
    token::{Algorithm, Jwk, KeyError, KeySet, PublicKey, VerifyingKey},
};

/// The document that an issuer publishes (RFC 7517 §5).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Jwks {
    /// Every key that a token may still be signed with.
    pub keys: Vec<Jwk>,
}

impl KeySet {
    /// Returns the document to publish (RFC 7517 §5): the public keys, never a secret.
    #[must_use]
    pub fn jwks(&self) -> Jwks {
        Jwks { keys: self.iter().filter_map(VerifyingKey::to_jwk).collect() }
    }
}

impl Jwks {
    /// Returns the keys of an issuer's document. A key that is not a public key for signatures with a known algorithm is left
    /// out (RFC 7517 §5); so is a second key with the same id.
    ///
    /// `rsa` is what an RSA key is for that does not say it; without, it is left out. A document without any such key is
    /// one all the same: its issuer has none.
    ///
    /// # Errors
    /// [`Error::Key`] when it is no such document, or has more than [`MAX_KEYS`](crate::token::MAX_KEYS) keys that can be used.
    pub fn key_set(document: &[u8], rsa: Option<Algorithm>) -> Result<KeySet, Error> {
        #[derive(Deserialize)]
        struct Document {
            keys: Vec<serde_json::Value>,
        }
        let document: Document = serde_json::from_slice(document).map_err(|_| KeyError::NotAKeySet)?;
        let mut keys: Vec<VerifyingKey> = Vec::new();
        for key in document.keys {
            let Ok(mut jwk) = serde_json::from_value::<Jwk>(key) else { continue };
            if let (PublicKey::Rsa { .. }, None) = (&jwk.key, jwk.alg) {
                jwk.alg = rsa;
            }
            let Ok(key) = VerifyingKey::from_jwk(&jwk) else { continue };
            if !keys.iter().any(|known| known.key_id() == key.key_id()) {
                keys.push(key);
            }
        }
        KeySet::new(keys)
    }
}
