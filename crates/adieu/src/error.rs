//! Errors that do not come from a token.

use std::{borrow::Cow, error::Error as StdError, fmt, sync::Arc};

use crate::{IdError, algorithm::Algorithm};

/// An error that does not come from a token. Rejected tokens have a [`TokenError`](crate::token::TokenError).
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The store could not read or write, or another node did not answer. Nothing is guaranteed; the caller may retry.
    #[error("the store is unavailable")]
    Unavailable(#[source] Arc<dyn StdError + Send + Sync>),
    /// The log of the store is an older state of itself: a backup was restored, or a standby without the last entries was
    /// promoted. Nothing was done. The node handles it at once; then the caller may retry.
    #[error("the revocation log was rolled back: {0}")]
    RolledBack(RollbackCause),
    /// The store holds something that this version did not write: another program's file, a newer schema, or damage. It is
    /// left unchanged.
    #[error("{0}")]
    IncompatibleStore(String),
    /// The server of a store does not give the guarantees that a store needs, such as durability.
    #[error("{0}")]
    UnsuitableServer(String),
    /// An invalid id.
    #[error(transparent)]
    Id(#[from] IdError),
    /// A key, or a set of keys, that cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Claims or header parameters that a token must not contain, or that make it too long.
    #[error("{0}")]
    Claims(String),
    /// Another node rejected the credentials or the request of this client. A retry fails until the operator has allowed it.
    #[error("{0}")]
    Unauthorized(String),
    /// An operation that this node, or the node it follows, does not support. A retry fails.
    #[error("{0}")]
    Unsupported(String),
    /// A setting that is invalid, or contradicts another.
    #[error(transparent)]
    InvalidSetting(#[from] SettingError),
}

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
    /// The secret is a key in PEM form: whoever has the public key could sign.
    #[error("a key in PEM form is not a secret for {0}")]
    SecretIsPem(Algorithm),
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
        "the PEM block must be `{expected}`, not another kind; `openssl pkcs8 -topk8 -nocrypt`, `openssl pkey -pubout` or, for a \
         certificate, `openssl x509 -pubkey -noout` converts it"
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

/// An invalid setting.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SettingError {
    setting: &'static str,
    message: Cow<'static, str>,
}

impl SettingError {
    /// Returns the name of the setting, such as `access_lifetime`.
    #[must_use]
    pub fn setting(&self) -> &'static str {
        self.setting
    }
}

impl Error {
    /// Returns an [`Error::Unavailable`] with this cause.
    pub fn unavailable(cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::Unavailable(Arc::from(cause.into()))
    }

    /// Returns an [`Error::InvalidSetting`] for the setting of this name. The message says what was expected.
    pub fn setting(setting: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self::InvalidSetting(SettingError { setting, message: message.into() })
    }
}

/// An error and all its causes, in one line.
#[doc(hidden)]
#[derive(Debug)]
pub struct Chain<'a>(pub &'a (dyn StdError + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.0)?;
        let mut causes = std::iter::successors(self.0.source(), |&error| error.source());
        causes.try_for_each(|cause| write!(formatter, ": {cause}"))
    }
}

/// The evidence that a log went back to an older state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RollbackCause {
    /// The log ends before the position in the high-water mark.
    Shorter,
    /// The log has a different entry at a remembered position.
    OtherEntry,
    /// A remembered entry is missing, although it has not lapsed.
    MissingEntry,
    /// The log was pruned further before.
    LessPruned,
    /// The log has an identity that it had before an earlier restore.
    Former,
    /// The log is empty and has another identity, although entries were seen before: the store was emptied or
    /// replaced by an empty one.
    Emptied,
}

impl fmt::Display for RollbackCause {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Shorter => "the log ends before an entry that was seen in it",
            Self::OtherEntry => "the log has another entry where one was seen",
            Self::MissingEntry => "the log has lost an entry that was seen in it",
            Self::LessPruned => "the log was pruned further before",
            Self::Former => "the log has an identity from before its last restore",
            Self::Emptied => "the log is empty and has another identity, and entries were seen in the one before",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_written_with_its_causes() {
        let error = Error::unavailable(std::io::Error::other("disk full"));
        assert_eq!(Chain(&error).to_string(), "the store is unavailable: disk full");
    }
}
