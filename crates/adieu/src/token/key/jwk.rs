//! Public keys as JSON (RFC 7517, RFC 7518 §6, RFC 8037 §2).

use aws_lc_rs::digest;
use serde::{Deserialize, Serialize, de::IgnoredAny};

use crate::token::{Algorithm, KeyId, base64url};

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
