//! Keys that check signatures.

use std::{fmt, sync::Arc};

use aws_lc_rs::{
    digest,
    encoding::{AsDer, PublicKeyX509Der},
    signature::{ParsedPublicKey, RsaPublicKeyComponents},
};
use secrecy::ExposeSecret;

use crate::{
    Error,
    token::{
        Algorithm, Jwk, KeyError, KeyId, PublicKey, base64url,
        key::{der, hmac::HmacKey},
    },
};

const MIN_RSA_BITS: usize = 2048;
const MAX_RSA_BITS: usize = 8192;

/// The maximum length of a signature in bytes: that of the longest accepted RSA modulus.
pub(in crate::token) const MAX_SIGNATURE_BYTES: usize = MAX_RSA_BITS / 8;

/// How each key in PEM form begins (RFC 7468 §2), perhaps after other text.
const PEM_BOUNDARY: &[u8] = b"-----BEGIN ";

/// A key that verifies signatures, parsed once and cheap to clone.
///
/// It is for one [`Algorithm`], which was checked when the key was created. An HMAC key is secret, since it can also sign.
#[derive(Clone)]
pub struct VerifyingKey {
    algorithm: Algorithm,
    id: Option<KeyId>,
    material: Material,
}

#[derive(Clone)]
enum Material {
    Secret(Arc<HmacKey>),
    Public { key: ParsedPublicKey, numbers: Arc<PublicKey>, print: KeyPrint },
}

/// Identifies a public key: by its numbers, its algorithm and its key id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::token) struct KeyPrint([u8; 16]);

impl KeyPrint {
    fn of(algorithm: Algorithm, numbers: &PublicKey, id: &KeyId) -> Self {
        // The first two hold no line break, so no two keys are written alike.
        let text = format!("{algorithm}\n{}\n{id}", numbers.thumbprint());
        let digest = digest::digest(&digest::SHA256, text.as_bytes());
        Self(digest.as_ref().first_chunk().copied().unwrap_or_default())
    }
}

/// The signature is not valid for the message and the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::token) struct BadSignature;

impl VerifyingKey {
    /// Creates a key from an HMAC secret.
    ///
    /// It has no [`KeyId`] unless it is given one: with a thumbprint of a secret that a person chose, every reader of a token
    /// could try passwords against it.
    ///
    /// # Errors
    /// If the algorithm is not HMAC, the secret is shorter than its hash (32, 48 or 64 bytes), or it is a key in PEM form.
    pub fn from_secret(algorithm: Algorithm, secret: &[u8]) -> Result<Self, Error> {
        let key = HmacKey::new(algorithm, secret).ok_or(KeyError::NeedsKeyPair(algorithm))?;
        if secret.windows(PEM_BOUNDARY.len()).any(|part| part == PEM_BOUNDARY) {
            return Err(KeyError::SecretIsPem(algorithm).into());
        }
        // Fewer bits of secret than of tag make HMAC weaker than its name says (RFC 7518 §3.2).
        let least = algorithm.tag_bytes().unwrap_or_default();
        if secret.len() < least {
            return Err(KeyError::SecretTooShort { algorithm, min_bytes: least }.into());
        }
        Ok(Self { algorithm, id: None, material: Material::Secret(Arc::new(key)) })
    }

    /// Parses a public key in PEM (`-----BEGIN PUBLIC KEY-----`). Its [`KeyId`] is its thumbprint (RFC 7638).
    ///
    /// # Errors
    /// If it is not such a key, or not one for the algorithm: another kind of key, another curve, RSA outside of 2048 to
    /// 8192 bits.
    pub fn from_pem(algorithm: Algorithm, pem: &str) -> Result<Self, Error> {
        Self::from_bytes(algorithm, der::from_pem(pem, "PUBLIC KEY")?.expose_secret())
    }

    /// Parses a public key as an issuer publishes it (RFC 7517). Its [`KeyId`] is its `kid`, or else its thumbprint (RFC 7638).
    ///
    /// # Errors
    /// If it is not a key, not one for its algorithm, not for signatures, or an RSA key without an algorithm.
    pub fn from_jwk(jwk: &Jwk) -> Result<Self, Error> {
        let verifies = |operations: &Vec<String>| operations.iter().any(|operation| operation == "verify");
        if jwk.key_use.as_deref().is_some_and(|key_use| key_use != "sig") || !jwk.key_ops.as_ref().is_none_or(verifies)
        {
            return Err(KeyError::NotForSignatures.into());
        }
        let only_fit = match &jwk.key {
            PublicKey::Rsa { .. } => None,
            PublicKey::Ec { crv, .. } if crv == "P-256" => Some(Algorithm::ES256),
            PublicKey::Ec { crv, .. } if crv == "P-384" => Some(Algorithm::ES384),
            PublicKey::Okp { crv, .. } if crv == "Ed25519" => Some(Algorithm::EdDSA),
            PublicKey::Ec { crv, .. } | PublicKey::Okp { crv, .. } => {
                return Err(KeyError::UnsupportedCurve(crv.escape_debug().to_string()).into());
            }
        };
        let algorithm = jwk.alg.or(only_fit).ok_or(KeyError::MissingAlgorithm)?;
        if only_fit.is_some_and(|only_fit| only_fit != algorithm) {
            return Err(unfit(algorithm));
        }
        let number = |text: &str| base64url::decode(text).map_err(|_| unfit(algorithm));
        let key = match &jwk.key {
            PublicKey::Rsa { n, e } => {
                let parameters = algorithm.rsa().ok_or_else(|| unfit(algorithm))?;
                let (modulus, exponent) = (number(n)?, number(e)?);
                let components = RsaPublicKeyComponents {
                    n: der::without_leading_zeros(&modulus),
                    e: der::without_leading_zeros(&exponent),
                };
                // Parsed once more from the encoding that aws-lc makes, because only that way checks the numbers.
                let unchecked = components.to_parsed_public_key(parameters).map_err(|_| unfit(algorithm))?;
                Self::from_bytes(algorithm, unchecked.as_ref())?
            }
            PublicKey::Ec { x, y, .. } => Self::from_bytes(algorithm, &[vec![0x04], number(x)?, number(y)?].concat())?,
            PublicKey::Okp { x, .. } => {
                let bytes: [u8; 32] = number(x)?.try_into().map_err(|_| unfit(algorithm))?;
                Self::from_bytes(algorithm, &bytes)?
            }
        };
        Ok(match &jwk.kid {
            Some(id) => key.with_key_id(id.clone()),
            None => key,
        })
    }

    /// Parses a `SubjectPublicKeyInfo`, an uncompressed point or the 32 bytes of Ed25519.
    pub(in crate::token) fn from_bytes(algorithm: Algorithm, bytes: &[u8]) -> Result<Self, Error> {
        let verification = algorithm.verification().ok_or(KeyError::NeedsSecret(algorithm))?;
        let key = ParsedPublicKey::new(verification, bytes).map_err(|_| unfit(algorithm))?;
        let numbers = numbers(algorithm, &key)?;
        let id = KeyId::of_thumbprint(&numbers.thumbprint());
        let print = KeyPrint::of(algorithm, &numbers, &id);
        Ok(Self { algorithm, id: Some(id), material: Material::Public { key, numbers: Arc::new(numbers), print } })
    }

    /// Sets the key id.
    #[must_use]
    pub fn with_key_id(mut self, id: KeyId) -> Self {
        if let Material::Public { numbers, print, .. } = &mut self.material {
            *print = KeyPrint::of(self.algorithm, numbers, &id);
        }
        Self { id: Some(id), ..self }
    }

    /// Returns the algorithm of the key.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Returns the key id, the `kid` of its tokens; `None` for a secret without one.
    #[must_use]
    pub fn key_id(&self) -> Option<&KeyId> {
        self.id.as_ref()
    }

    /// Returns the key as an issuer publishes it; `None` for a secret.
    #[must_use]
    pub fn to_jwk(&self) -> Option<Jwk> {
        match &self.material {
            Material::Secret(_) => None,
            Material::Public { numbers, .. } => Some(Jwk {
                key: PublicKey::clone(numbers),
                alg: Some(self.algorithm),
                kid: self.id.clone(),
                key_use: Some("sig".to_owned()),
                key_ops: None,
            }),
        }
    }

    /// Returns the identity of a public key; `None` for a secret.
    pub(in crate::token) fn print(&self) -> Option<KeyPrint> {
        match &self.material {
            Material::Secret(_) => None,
            Material::Public { print, .. } => Some(*print),
        }
    }

    /// Verifies a signature. It must have exactly the length that the algorithm requires, for ECDSA two numbers of full length
    /// (RFC 7518 §3.4). HMAC tags are compared in constant time.
    pub(in crate::token) fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), BadSignature> {
        let is_good = match &self.material {
            Material::Secret(key) => key.verify(message, signature),
            Material::Public { key, .. } => key.verify_sig(message, signature).is_ok(),
        };
        if is_good { Ok(()) } else { Err(BadSignature) }
    }
}

fn unfit(algorithm: Algorithm) -> Error {
    KeyError::Malformed(algorithm).into()
}

/// Returns the numbers of a parsed key, if they are long enough.
fn numbers(algorithm: Algorithm, key: &ParsedPublicKey) -> Result<PublicKey, Error> {
    let unfit = || unfit(algorithm);
    let info: PublicKeyX509Der<'_> = key.as_der().map_err(|_| unfit())?;
    let info = info.as_ref();
    match algorithm {
        Algorithm::ES256 => point(info, "P-256", 32).ok_or_else(unfit),
        Algorithm::ES384 => point(info, "P-384", 48).ok_or_else(unfit),
        Algorithm::EdDSA => {
            let x = info.last_chunk::<32>().ok_or_else(unfit)?;
            Ok(PublicKey::Okp { crv: "Ed25519".to_owned(), x: base64url::encode(x) })
        }
        _ => {
            let (n, e) = der::rsa_numbers(info).ok_or_else(unfit)?;
            let bits = n.len() * 8 - n.first().map_or(0, |first| first.leading_zeros() as usize);
            if !(MIN_RSA_BITS..=MAX_RSA_BITS).contains(&bits) {
                return Err(KeyError::RsaSize { min_bits: MIN_RSA_BITS, max_bits: MAX_RSA_BITS }.into());
            }
            Ok(PublicKey::Rsa { n: base64url::encode(n), e: base64url::encode(e) })
        }
    }
}

/// Returns the uncompressed point at the end of a `SubjectPublicKeyInfo` (RFC 5480 §2.2).
fn point(info: &[u8], curve: &str, coordinate_bytes: usize) -> Option<PublicKey> {
    let at = info.len().checked_sub(2 * coordinate_bytes + 1)?;
    let (x, y) = info.get(at..)?.strip_prefix(&[0x04])?.split_at_checked(coordinate_bytes)?;
    Some(PublicKey::Ec { crv: curve.to_owned(), x: base64url::encode(x), y: base64url::encode(y) })
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("VerifyingKey")
            .field("algorithm", &self.algorithm)
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
