//! The contract of a store of signing keys.

use async_trait::async_trait;

use crate::{
    Error, TokenId,
    time::Timestamp,
    token::{Algorithm, KeyError, KeyId, PrivateKey, SigningKey},
};

/// A signing key as it is stored.
#[derive(Debug, Clone)]
pub struct StoredKey {
    /// Its `kid`.
    pub id: String,
    /// What it signs with.
    pub algorithm: Algorithm,
    /// The key itself.
    pub private_key: PrivateKey,
    /// When it was created.
    pub created_at: Timestamp,
    /// The time from which it signs new tokens, until that of the next key; it is published before. Zero for the first key,
    /// whatever the clock says.
    pub signs_from: Timestamp,
}

/// Stores signing keys, readable only by the nodes that sign.
///
/// What an implementation promises:
///
/// 1. **One step.** Each call is one atomic, durable step, seen by every process that has the store open: there is no moment
///    without a key while one is replaced.
/// 2. **One first key.** Of many nodes that start at once, each with its own new key, all end up with the same one.
/// 3. **Idempotent.** A step that is repeated, because its outcome is unknown, changes nothing; a stored key is never changed.
/// 4. **Unchanged.** The bytes of a key are any bytes, and its id is any text without NUL; ids are compared and ordered byte by
///    byte. None of the bytes appear in a log, an error or a `Debug`.
///
/// After an error, or if the call is dropped, the step has either been taken completely or not at all. The suite in
/// `adieu-conformance` tests all of this.
#[async_trait]
pub trait KeyStore: Send + Sync + 'static {
    /// Returns all keys in the order in which they sign: by [`StoredKey::signs_from`], then by id.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the store could not be read.
    async fn keys(&self) -> Result<Vec<StoredKey>, Error>;

    /// Stores this key if there is none, in one step, so that several nodes that start at once share one key. Returns all
    /// stored keys.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the store could not be written.
    async fn add_first_key(&self, key: StoredKey) -> Result<Vec<StoredKey>, Error>;

    /// Adds a key, unless one with its id is stored, and removes the keys with the given ids, all in one step. Returns all
    /// stored keys.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the store could not be written.
    async fn replace_keys(&self, added: Option<StoredKey>, removed: Vec<String>) -> Result<Vec<StoredKey>, Error>;
}

/// Returns the stored keys in the order in which they sign; generates the first one, for this algorithm, if there is none.
///
/// # Errors
/// If the store fails, or a stored key cannot be used.
pub async fn load_or_make_keys(
    store: &dyn KeyStore,
    algorithm: Algorithm,
    now: Timestamp,
) -> Result<Vec<SigningKey>, Error> {
    keep_one(store, algorithm, now).await?.iter().map(SigningKey::try_from).collect()
}

/// Returns the stored keys; generates the first one if there is none.
pub(crate) async fn keep_one(
    store: &dyn KeyStore,
    algorithm: Algorithm,
    now: Timestamp,
) -> Result<Vec<StoredKey>, Error> {
    let kept = store.keys().await?;
    if kept.is_empty() { store.add_first_key(StoredKey::generate(algorithm, now)?).await } else { Ok(kept) }
}

impl StoredKey {
    /// Generates a key, created at `now`. A secret, whose thumbprint must not be shown, gets a random id.
    pub(super) fn generate(algorithm: Algorithm, now: Timestamp) -> Result<Self, Error> {
        loop {
            let mut key = SigningKey::generate(algorithm)?;
            if key.key_id().is_none() {
                key = key.with_key_id(KeyId::new(TokenId::random().as_str())?);
            }
            // Commands take the id as an argument, and what begins with a hyphen for an option.
            if !key.key_id().is_some_and(|id| id.as_str().starts_with('-')) {
                return Self::of(&key, now);
            }
        }
    }

    /// How a key made at `created_at` is kept.
    ///
    /// # Errors
    /// [`Error::Key`] when it has no id to be kept under.
    pub fn of(key: &SigningKey, created_at: Timestamp) -> Result<Self, Error> {
        let (Some(id), Some(private_key)) = (key.key_id(), key.to_pkcs8_der().or_else(|| key.to_secret_bytes())) else {
            return Err(KeyError::MissingKeyId.into());
        };
        Ok(Self {
            id: id.as_str().to_owned(),
            algorithm: key.algorithm(),
            private_key,
            created_at,
            signs_from: Timestamp::ZERO,
        })
    }
}

impl TryFrom<&StoredKey> for SigningKey {
    type Error = Error;

    fn try_from(kept: &StoredKey) -> Result<Self, Error> {
        let bytes = kept.private_key.as_slice();
        let key = if kept.algorithm.is_symmetric() {
            Self::from_secret(kept.algorithm, bytes)?
        } else {
            Self::from_pkcs8_der(kept.algorithm, bytes)?
        };
        Ok(key.with_key_id(KeyId::new(&kept.id)?))
    }
}
