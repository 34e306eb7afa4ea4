//! Why a key cannot be used.

use crate::token::Algorithm;

/// Why a key, or a set of keys, cannot be used. No variant contains key material.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The algorithm signs with a secret, and the key is a key pair or a public key.
    #[error("{0} needs a secret, not a key pair")]
    NeedsSecret(Algorithm),
    /// The algorithm signs with a key pair, and the key is a secret.
    #[error("{0} needs a key pair, not a secret")]
    NeedsKeyPair(Algorithm),
    /// The secret is shorter than the hash of its algorithm (RFC 7518 §3.2).
    #[error("a secret for {algorithm} must have at least {min_bytes} bytes")]
    SecretTooShort {
        /// The algorithm of the secret.
        algorithm: Algorithm,
        /// The minimum length in bytes.
        min_bytes: usize,
    },
    /// The RSA modulus is too short or too long.
    #[error("an RSA key must have {min_bits} to {max_bits} bits")]
    RsaSize {
        /// The minimum length of the modulus in bits.
        min_bits: usize,
        /// The maximum length of the modulus in bits.
        max_bits: usize,
    },
    /// The key is damaged, or not a key of this algorithm.
    #[error("the key is damaged, or not one for {0}")]
    Malformed(Algorithm),
    /// The text is not a PEM block with the expected label (RFC 7468).
    #[error("the key is not a PEM block `{expected}`")]
    NotPem {
        /// The expected label.
        expected: &'static str,
    },
    /// The text is a PEM block with another label.
    #[error(
        "the PEM block must be `{expected}`, not another kind; `openssl pkcs8 -topk8 -nocrypt` or `openssl pkey -pubout` \
         converts it"
    )]
    WrongPemLabel {
        /// The expected label.
        expected: &'static str,
    },
    /// The text is not a JWK Set (RFC 7517 §5).
    #[error("not a JWK Set, which is an object with the member `keys`")]
    NotAKeySet,
    /// The JWK is of a curve that is not supported.
    #[error("the curve `{0}` is not supported")]
    UnsupportedCurve(String),
    /// The JWK is not for signatures (`use`, `key_ops`; RFC 7517 §4.2 and §4.3).
    #[error("the key is not for signatures")]
    NotForSignatures,
    /// The JWK is an RSA key without `alg`.
    #[error("an RSA key must name its `alg`")]
    MissingAlgorithm,
    /// Two keys of a set have the same key id.
    #[error("two keys of a set have the same id")]
    DuplicateKeyId,
    /// The set has too many keys.
    #[error("a set must not have more than {max} keys")]
    TooManyKeys {
        /// The maximum number of keys.
        max: usize,
    },
    /// The set has too many secrets of one algorithm that have no key id: each would be tried.
    #[error("a set must not have more than {max} secrets for {algorithm} without an id")]
    TooManySecretsWithoutId {
        /// The algorithm of the secrets.
        algorithm: Algorithm,
        /// The maximum number of secrets without a key id.
        max: usize,
    },
    /// The store has too many keys. A key is removed when the last token that it has signed has expired.
    #[error("there are {count} keys already; an old key is removed when the last token that it has signed has expired")]
    TooManyStoredKeys {
        /// The number of keys in the store.
        count: usize,
    },
    /// The key has no key id, and a stored key needs one.
    #[error("a stored key needs a key id")]
    MissingKeyId,
    /// The store has no signing key.
    #[error("the store has no signing key")]
    NoSigningKey,
    /// A key could not be generated: the operating system returned no random numbers.
    #[error("the operating system returned no random numbers for a key")]
    NoRandomness,
    /// The key could not sign.
    #[error("the key could not sign")]
    SigningFailed,
}
