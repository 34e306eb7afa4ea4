//! Public keys as JSON (RFC 7517, RFC 7518 §6, RFC 8037 §2).

use aws_lc_rs::digest;
use serde::{Deserialize, Serialize, de::IgnoredAny};

use crate::{
    Error,
    token::{Algorithm, KeyError, KeyId, KeySet, VerifyingKey, base64url},
};

/// A public key as JSON (RFC 7517 §4). It cannot hold a private key, and a JWK with a private part is rejected: it has been
/// published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "ReadJwk")]
pub struct Jwk {
    /// The key itself.
    #[serde(flatten)]
    pub key: PublicKey,
    /// The one algorithm that it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alg: Option<Algorithm>,
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kid: Option<KeyId>,
    /// What it is for; `sig` when it verifies signatures.
    #[serde(rename = "use", skip_serializing_if = "Option::is_none")]
    pub key_use: Option<String>,
    /// What may be done with it, if it says; `verify` must be among it (RFC 7517 §4.3).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_ops: Option<Vec<String>>,
}

/// A key as it is published, with what makes it a private one (RFC 7518 §6, RFC 8037 §2).
#[derive(Deserialize)]
struct ReadJwk {
    #[serde(flatten)]
    key: PublicKey,
    alg: Option<Algorithm>,
    kid: Option<KeyId>,
    #[serde(rename = "use")]
    key_use: Option<String>,
    key_ops: Option<Vec<String>>,
    #[serde(flatten)]
    others: std::collections::HashMap<String, IgnoredAny>,
}

impl TryFrom<ReadJwk> for Jwk {
    type Error = &'static str;

    fn try_from(read: ReadJwk) -> Result<Self, &'static str> {
        const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

        let ReadJwk { key, alg, kid, key_use, key_ops, others } = read;
        if PRIVATE.into_iter().any(|part| others.contains_key(part)) {
            return Err("not a public key: it has a private part");
        }
        Ok(Self { key, alg, kid, key_use, key_ops })
    }
}

/// The numbers of a public key, in base64url.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kty")]
#[non_exhaustive]
pub enum PublicKey {
    /// RSA (RFC 7518 §6.3.1).
    #[serde(rename = "RSA")]
    Rsa {
        /// The modulus.
        n: String,
        /// The exponent.
        e: String,
    },
    /// A point on a NIST curve (RFC 7518 §6.2.1).
    #[serde(rename = "EC")]
    Ec {
        /// The curve's name.
        crv: String,
        /// The x coordinate, in full length.
        x: String,
        /// The y coordinate, in full length.
        y: String,
    },
    /// An Edwards curve key (RFC 8037 §2).
    #[serde(rename = "OKP")]
    Okp {
        /// The curve's name.
        crv: String,
        /// The public key.
        x: String,
    },
}

/// The document that an issuer publishes (RFC 7517 §5).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Jwks {
    /// Every key that a token may still be signed with.
    pub keys: Vec<Jwk>,
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

impl PublicKey {
    /// The SHA-256 thumbprint (RFC 7638; RFC 8037 §2 for Ed25519), in base64url: the same key has the same one everywhere.
    #[must_use]
    pub fn thumbprint(&self) -> String {
        // The required members, in the order of their names, without white space (RFC 7638 §3.3). The values are
        // base64url or the name of a curve if this crate made the key; anything else is not a key, and its thumbprint
        // equals no other.
        let canonical = match self {
            Self::Rsa { n, e } => format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#),
            Self::Ec { crv, x, y } => format!(r#"{{"crv":"{crv}","kty":"EC","x":"{x}","y":"{y}"}}"#),
            Self::Okp { crv, x } => format!(r#"{{"crv":"{crv}","kty":"OKP","x":"{x}"}}"#),
        };
        base64url::encode(digest::digest(&digest::SHA256, canonical.as_bytes()).as_ref())
    }
}
