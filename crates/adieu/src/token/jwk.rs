//! Public keys as JSON (RFC 7517, RFC 7518 §6, RFC 8037 §2).

use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};

use super::{Algorithm, KeyId, base64url};

/// A public key as JSON. Has no place for a private one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Jwk {
    /// The key itself.
    #[serde(flatten)]
    pub key: PublicKey,
    /// The one algorithm that it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alg: Option<Algorithm>,
    /// Its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kid: Option<KeyId>,
    /// What it is for; `sig` when it verifies signatures.
    #[serde(default, rename = "use", skip_serializing_if = "Option::is_none")]
    pub key_use: Option<String>,
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

impl PublicKey {
    /// The SHA-256 thumbprint (RFC 7638; RFC 8037 §2 for Ed25519), in base64url: the same key has the same one everywhere.
    #[must_use]
    pub fn thumbprint(&self) -> String {
        // The required members, in the order of their names, without white space (RFC 7638 §3.3). What is between the
        // quotation marks is base64url or a curve's name wherever we made it; anything else is no key, and its
        // thumbprint is nobody's.
        let canonical = match self {
            Self::Rsa { n, e } => format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#),
            Self::Ec { crv, x, y } => format!(r#"{{"crv":"{crv}","kty":"EC","x":"{x}","y":"{y}"}}"#),
            Self::Okp { crv, x } => format!(r#"{{"crv":"{crv}","kty":"OKP","x":"{x}"}}"#),
        };
        base64url::encode(digest::digest(&digest::SHA256, canonical.as_bytes()).as_ref())
    }
}
