//! Keys that sign.

use std::{fmt, sync::Arc};

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der},
    rand, rsa, signature,
    signature::{EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair, RsaKeyPair},
};
use secrecy::{ExposeSecret, SecretSlice};

use crate::{
    Error,
    token::{
        Algorithm, KeyError, KeyId, PrivateKey, VerifyingKey,
        key::{der, header::EncodedHeaders, hmac::HmacKey},
    },
};

/// A key that signs tokens with one [`Algorithm`]. Cheap to clone; its `Debug` shows no secret.
#[derive(Clone)]
pub struct SigningKey {
    pair: Arc<Pair>,
    /// The encoded key, for storing it: a secret, or PKCS #8.
    encoded: Arc<SecretSlice<u8>>,
    verifying_key: VerifyingKey,
    headers: EncodedHeaders,
}

enum Pair {
    Hmac(Box<HmacKey>),
    Rsa(RsaKeyPair),
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl SigningKey {
    /// Generates a key from the operating system's random numbers: for HMAC as many bytes as the tag has, for RSA 3072 bits.
    ///
    /// # Errors
    /// [`KeyError::NoRandomness`] if the operating system returns no random numbers.
    pub fn generate(algorithm: Algorithm) -> Result<Self, Error> {
        let failed = |_| KeyError::NoRandomness;
        let random = rand::SystemRandom::new();
        let pkcs8 = match algorithm {
            Algorithm::ES256 | Algorithm::ES384 => {
                EcdsaKeyPair::generate_pkcs8(ecdsa(algorithm)?, &random).map_err(failed)?.as_ref().to_vec()
            }
            Algorithm::EdDSA => Ed25519KeyPair::generate_pkcs8v1(&random).map_err(failed)?.as_ref().to_vec(),
            _ => match algorithm.tag_bytes() {
                Some(length) => {
                    let mut secret = vec![0; length];
                    rand::fill(&mut secret).map_err(failed)?;
                    let secret = SecretSlice::from(secret);
                    return Self::from_secret(algorithm, secret.expose_secret());
                }
                None => {
                    let pair = RsaKeyPair::generate(rsa::KeySize::Rsa3072).map_err(failed)?;
                    let pkcs8: Pkcs8V1Der<'_> = pair.as_der().map_err(failed)?;
                    pkcs8.as_ref().to_vec()
                }
            },
        };
        let pkcs8 = SecretSlice::from(pkcs8);
        Self::from_pkcs8_der(algorithm, pkcs8.expose_secret())
    }

    /// Creates a key from an HMAC secret. It has no [`KeyId`] unless it is given one; see [`VerifyingKey::from_secret`].
    ///
    /// # Errors
    /// Those of [`VerifyingKey::from_secret`].
    pub fn from_secret(algorithm: Algorithm, secret: &[u8]) -> Result<Self, Error> {
        let verifying_key = VerifyingKey::from_secret(algorithm, secret)?;
        let key = HmacKey::new(algorithm, secret).ok_or_else(|| unfit(algorithm))?;
        Ok(Self::new(Pair::Hmac(Box::new(key)), secret, verifying_key))
    }

    /// Parses an unencrypted private key in PKCS #8 (RFC 5958). Its [`KeyId`] is the thumbprint of its public key (RFC 7638).
    ///
    /// # Errors
    /// If it is not such a key, or not one for the algorithm: another kind of key, another curve, RSA outside of 2048 to
    /// 8192 bits.
    pub fn from_pkcs8_der(algorithm: Algorithm, pkcs8: &[u8]) -> Result<Self, Error> {
        let unfit = |_| unfit(algorithm);
        let (pair, verifying_key) = match algorithm {
            Algorithm::ES256 | Algorithm::ES384 => {
                let pair = EcdsaKeyPair::from_pkcs8(ecdsa(algorithm)?, pkcs8).map_err(unfit)?;
                let verifying_key = VerifyingKey::from_bytes(algorithm, pair.public_key().as_ref())?;
                (Pair::Ecdsa(pair), verifying_key)
            }
            Algorithm::EdDSA => {
                let pair = Ed25519KeyPair::from_pkcs8(pkcs8).map_err(unfit)?;
                let verifying_key = VerifyingKey::from_bytes(algorithm, pair.public_key().as_ref())?;
                (Pair::Ed25519(pair), verifying_key)
            }
            _ => {
                if algorithm.is_symmetric() {
                    return Err(KeyError::NeedsSecret(algorithm).into());
                }
                let pair = RsaKeyPair::from_pkcs8(pkcs8).map_err(unfit)?;
                let verifying_key = VerifyingKey::from_bytes(algorithm, pair.public_key().as_ref())?;
                (Pair::Rsa(pair), verifying_key)
            }
        };
        Ok(Self::new(pair, pkcs8, verifying_key))
    }

    /// Parses an unencrypted private key in PEM (`-----BEGIN PRIVATE KEY-----`, which is PKCS #8).
    ///
    /// # Errors
    /// As [`SigningKey::from_pkcs8_der`].
    pub fn from_pem(algorithm: Algorithm, pem: &str) -> Result<Self, Error> {
        Self::from_pkcs8_der(algorithm, der::from_pem(pem, "PRIVATE KEY")?.expose_secret())
    }

    fn new(pair: Pair, encoded: &[u8], verifying_key: VerifyingKey) -> Self {
        let headers = EncodedHeaders::of(&verifying_key);
        Self { pair: Arc::new(pair), encoded: Arc::new(SecretSlice::from(encoded.to_vec())), verifying_key, headers }
    }

    /// Sets the key id.
    #[must_use]
    pub fn with_key_id(self, id: KeyId) -> Self {
        let verifying_key = self.verifying_key.with_key_id(id);
        let headers = EncodedHeaders::of(&verifying_key);
        Self { verifying_key, headers, ..self }
    }

    /// Returns the algorithm of the key.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.verifying_key.algorithm()
    }

    /// Returns the key id, the `kid` of its tokens; `None` for a secret without one.
    #[must_use]
    pub fn key_id(&self) -> Option<&KeyId> {
        self.verifying_key.key_id()
    }

    /// Returns the key that verifies the signatures of this one.
    #[must_use]
    pub fn verifying_key(&self) -> &VerifyingKey {
        &self.verifying_key
    }

    /// Returns the private key in PKCS #8, for storing it; `None` for HMAC.
    #[must_use]
    pub fn to_pkcs8_der(&self) -> Option<PrivateKey> {
        (!self.algorithm().is_symmetric()).then(|| PrivateKey::from(self.encoded.expose_secret().to_vec()))
    }

    /// Returns the HMAC secret, for storing it; `None` for other algorithms.
    #[must_use]
    pub fn to_secret_bytes(&self) -> Option<PrivateKey> {
        self.algorithm().is_symmetric().then(|| PrivateKey::from(self.encoded.expose_secret().to_vec()))
    }

    pub(in crate::token) fn headers(&self) -> &EncodedHeaders {
        &self.headers
    }

    /// Signs a message and passes the signature to `then`.
    pub(in crate::token) fn sign<T>(&self, message: &[u8], then: impl FnOnce(&[u8]) -> T) -> Result<T, Error> {
        let failed = |_| KeyError::SigningFailed;
        // aws-lc draws its own randomness and ignores the one it is given.
        let random = rand::SystemRandom::new();
        match &*self.pair {
            Pair::Hmac(key) => Ok(key.sign(message, then)),
            Pair::Ed25519(pair) => Ok(then(pair.try_sign(message).map_err(failed)?.as_ref())),
            Pair::Ecdsa(pair) => Ok(then(pair.sign(&random, message).map_err(failed)?.as_ref())),
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(rsa_encoding(self.algorithm())?, &random, message, &mut signature).map_err(failed)?;
                Ok(then(&signature))
            }
        }
    }
}

fn unfit(algorithm: Algorithm) -> Error {
    KeyError::Malformed(algorithm).into()
}

fn ecdsa(algorithm: Algorithm) -> Result<&'static EcdsaSigningAlgorithm, Error> {
    match algorithm {
        Algorithm::ES256 => Ok(&signature::ECDSA_P256_SHA256_FIXED_SIGNING),
        Algorithm::ES384 => Ok(&signature::ECDSA_P384_SHA384_FIXED_SIGNING),
        other => Err(unfit(other)),
    }
}

fn rsa_encoding(algorithm: Algorithm) -> Result<&'static dyn signature::RsaEncoding, Error> {
    match algorithm {
        Algorithm::RS256 => Ok(&signature::RSA_PKCS1_SHA256),
        Algorithm::RS384 => Ok(&signature::RSA_PKCS1_SHA384),
        Algorithm::RS512 => Ok(&signature::RSA_PKCS1_SHA512),
        Algorithm::PS256 => Ok(&signature::RSA_PSS_SHA256),
        Algorithm::PS384 => Ok(&signature::RSA_PSS_SHA384),
        Algorithm::PS512 => Ok(&signature::RSA_PSS_SHA512),
        other => Err(unfit(other)),
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("SigningKey")
            .field("algorithm", &self.algorithm())
            .field("id", &self.key_id())
            .finish_non_exhaustive()
    }
}
