//! The keys of one issuer.

use std::sync::Arc;

use tokio::sync::{Notify, watch};

use crate::{
    Error,
    token::{
        Algorithm, KeyError, TokenError, TokenType, VerifyingKey,
        key::{
            header::{EncodedHeaders, Header},
            verifying::KeyPrint,
        },
    },
};

/// The maximum number of keys in a set.
pub const MAX_KEYS: usize = 64;

/// The maximum number of keys that are tried for a token without a `kid`.
pub const MAX_KEYS_TRIED: usize = 4;

/// The keys that may have signed the tokens of one issuer. Immutable: a rotation creates another set.
#[derive(Debug, Clone)]
pub struct KeySet {
    keys: Vec<VerifyingKey>,
    known_headers: Vec<KnownHeader>,
    /// Whether the keys of the issuer are not known yet.
    awaited: bool,
    updates: Option<Arc<KeyUpdates>>,
}

/// Links a set with the task that follows the keys of its issuer: a token that no key of the set has signed asks for newer keys.
#[derive(Debug, Default)]
pub struct KeyUpdates {
    wanted: Notify,
    reads: watch::Sender<u64>,
}

impl KeyUpdates {
    /// Waits until a token asks for newer keys, if none has since this was last called.
    pub async fn wanted(&self) {
        self.wanted.notified().await;
    }

    /// Tells those who wait for newer keys that the issuer's keys have been read. Call it after
    /// [`Decoder::replace_keys`](crate::token::Decoder::replace_keys), and also if the keys have not changed.
    pub fn were_read(&self) {
        self.reads.send_modify(|reads| *reads = reads.wrapping_add(1));
    }

    /// Returns a receiver that changes with each read from now on.
    pub(in crate::token) fn reads(&self) -> watch::Receiver<u64> {
        self.reads.subscribe()
    }
}

/// The header of this set's own tokens: equal bytes have the same meaning, so they need not be parsed.
#[derive(Debug, Clone)]
struct KnownHeader {
    encoded: Arc<str>,
    key: VerifyingKey,
    token_type: TokenType,
}

impl KeySet {
    /// Creates a set of keys.
    ///
    /// # Errors
    /// If two keys have the same [`KeyId`](crate::token::KeyId), or there are more than [`MAX_KEYS`], or more than
    /// [`MAX_KEYS_TRIED`] secrets without an id have the same algorithm.
    pub fn new(keys: impl IntoIterator<Item = VerifyingKey>) -> Result<Self, Error> {
        let keys: Vec<VerifyingKey> = keys.into_iter().collect();
        if keys.len() > MAX_KEYS {
            return Err(KeyError::TooManyKeys { max: MAX_KEYS }.into());
        }
        let mut known_headers = Vec::new();
        for (index, key) in keys.iter().enumerate() {
            let same_algorithm = || keys.iter().filter(|other| other.algorithm() == key.algorithm());
            match key.key_id() {
                Some(id) if keys.iter().take(index).any(|earlier| earlier.key_id() == Some(id)) => {
                    return Err(KeyError::DuplicateKeyId.into());
                }
                None if same_algorithm().filter(|other| other.key_id().is_none()).count() > MAX_KEYS_TRIED => {
                    return Err(
                        KeyError::TooManySecretsWithoutId { algorithm: key.algorithm(), max: MAX_KEYS_TRIED }.into()
                    );
                }
                // Several keys could have signed under this header.
                None if same_algorithm().count() > 1 => {}
                _ => {
                    let headers = EncodedHeaders::of(key);
                    for token_type in [TokenType::Access, TokenType::Refresh] {
                        let encoded = Arc::clone(headers.of_type(token_type));
                        known_headers.push(KnownHeader { encoded, key: key.clone(), token_type });
                    }
                }
            }
        }
        Ok(Self { keys, known_headers, awaited: false, updates: None })
    }

    /// Returns the set of an issuer whose keys are not known yet: every token is rejected with [`TokenError::Stale`].
    #[must_use]
    pub fn pending() -> Self {
        Self { keys: Vec::new(), known_headers: Vec::new(), awaited: true, updates: None }
    }

    /// Returns this set as one that a task keeps up to date. If no key in it has signed a token, a newer one may have: the
    /// token is rejected with [`TokenError::UnknownKey`], even if it names no key, and asks for an update.
    #[must_use]
    pub fn followed(mut self, updates: Arc<KeyUpdates>) -> Self {
        // A key without an id may have been replaced: a token with its header is not certainly its own.
        self.known_headers.retain(|known| known.key.key_id().is_some());
        Self { updates: Some(updates), ..self }
    }

    /// Returns the link with the task that keeps the set up to date.
    pub(in crate::token) fn updates(&self) -> Option<&Arc<KeyUpdates>> {
        self.updates.as_ref()
    }

    /// Returns why a token is rejected that no key in the set has signed, and asks for an update, if a task keeps the set up to date.
    fn unless_newer(&self, refusal: TokenError) -> TokenError {
        match &self.updates {
            Some(updates) => {
                updates.wanted.notify_one();
                TokenError::UnknownKey
            }
            None => refusal,
        }
    }

    /// Returns the keys.
    pub fn iter(&self) -> impl Iterator<Item = &VerifyingKey> {
        self.keys.iter()
    }

    /// Returns whether this public key is in the set.
    pub(in crate::token) fn holds(&self, print: KeyPrint) -> bool {
        self.keys.iter().any(|key| key.print() == Some(print))
    }

    /// Returns whether the set has a public key.
    pub(in crate::token) fn holds_public_keys(&self) -> bool {
        self.keys.iter().any(|key| !key.algorithm().is_symmetric())
    }

    /// Returns the meaning of a header that is, byte for byte, one of this set's own.
    pub(in crate::token) fn recognise(&self, encoded_header: &[u8]) -> Option<(&VerifyingKey, TokenType)> {
        self.known_headers
            .iter()
            .find(|known| known.encoded.as_bytes() == encoded_header)
            .map(|known| (&known.key, known.token_type))
    }

    /// Returns the keys that a header allows: the one that it names, or else the first few of its algorithm.
    pub(in crate::token) fn candidates(&self, header: &Header<'_>) -> Result<Candidates<'_>, TokenError> {
        if self.awaited {
            return Err(TokenError::Stale);
        }
        match header.key_id.as_deref() {
            Some(id) => {
                let key = self.keys.iter().find(|key| key.key_id().is_some_and(|known| known.as_str() == id));
                let key = key.ok_or_else(|| self.unless_newer(TokenError::UnknownKey))?;
                if key.algorithm() == header.algorithm {
                    Ok(Candidates::Named(key))
                } else {
                    Err(TokenError::AlgorithmMismatch)
                }
            }
            None if self.keys.iter().any(|key| key.algorithm() == header.algorithm) => {
                Ok(Candidates::Any(self, header.algorithm))
            }
            None => Err(self.unless_newer(TokenError::AlgorithmMismatch)),
        }
    }
}

/// The keys that may have signed a token.
pub(in crate::token) enum Candidates<'k> {
    Named(&'k VerifyingKey),
    Any(&'k KeySet, Algorithm),
}

impl<'k> Candidates<'k> {
    /// Tries the keys in order, those without an id first, since a token without `kid` is most likely theirs. Returns the key
    /// that has signed.
    pub(in crate::token) fn try_each(
        &self,
        check: impl Fn(&VerifyingKey) -> Result<(), TokenError>,
    ) -> Result<&'k VerifyingKey, TokenError> {
        match *self {
            Self::Named(key) => check(key).map(|()| key),
            Self::Any(set, algorithm) => {
                let keys = &set.keys;
                let fit = |key: &&VerifyingKey| key.algorithm() == algorithm;
                let unnamed = keys.iter().filter(fit).filter(|key| key.key_id().is_none());
                let named = keys.iter().filter(fit).filter(|key| key.key_id().is_some());
                let mut result = Err(TokenError::AlgorithmMismatch);
                for key in unnamed.chain(named).take(MAX_KEYS_TRIED) {
                    match check(key) {
                        Ok(()) => return Ok(key),
                        Err(TokenError::BadSignature) => result = Err(TokenError::BadSignature),
                        Err(refusal) => return Err(refusal),
                    }
                }
                result.map_err(|refusal| set.unless_newer(refusal))
            }
        }
    }
}
