//! The contract between signing keys and whatever keeps them.

use async_trait::async_trait;

use crate::{
    Error, TokenId,
    time::Timestamp,
    token::{Algorithm, KeyError, KeyId, PrivateKey, SigningKey},
};

/// A signing key as it is kept.
#[derive(Debug, Clone)]
pub struct StoredKey {
    /// Its `kid`.
    pub id: String,
    /// What it signs with.
    pub algorithm: Algorithm,
    /// The key itself.
    pub private_key: PrivateKey,
    /// When it was made.
    pub created_at: Timestamp,
    /// From when on new tokens are signed with it, until the next key's time comes; published before. Zero for the first
    /// key, whatever the clock says.
    pub signs_from: Timestamp,
}

/// Keeps signing keys, readable by nobody but the nodes that sign.
///
/// What an implementation promises:
///
/// 1. **One step.** Each call is one atomic, durable step, seen by every process that has the store open: nobody finds a moment
///    without a key while one is replaced.
/// 2. **One first key.** Of many nodes that start at once, each with a key that it has made, all end up with the same one.
/// 3. **Nothing twice.** A step that is taken again, because nobody was told how it went, changes nothing; a key that is there is
///    never changed.
/// 4. **As it was.** The bytes of a key are any bytes, and its id is any text without NUL; ids are compared and ordered byte by
///    byte. None of the bytes appear in a log, an error or a `Debug`.
///
/// After an error, or when the call is dropped, the step has been taken or not, whole. `adieu-conformance` tries all of this with an engine of yours.
#[async_trait]
pub trait KeyStore: Send + Sync + 'static {
    /// All keys, in the order in which they sign: by [`StoredKey::signs_from`], then by id.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the store could not be read.
    async fn keys(&self) -> Result<Vec<StoredKey>, Error>;

    /// Keeps this key if there is none, in one step, so that of several nodes that start at once one makes the key.
    /// Gives all keys there are now.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the store could not be written.
    async fn add_first_key(&self, key: StoredKey) -> Result<Vec<StoredKey>, Error>;

    /// Adds a key, if one is given and none is there with its id, and removes those with these ids that are there, all in one
    /// step. Gives all keys there are now.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the store could not be written.
    async fn replace_keys(&self, added: Option<StoredKey>, removed: Vec<String>) -> Result<Vec<StoredKey>, Error>;
}

/// The keys that are kept, in the order in which they sign; the first one, for this algorithm, is made if there is none.
///
/// # Errors
/// When the store fails, or when a key that is kept can't be used.
pub async fn load_or_make_keys(
    store: &dyn KeyStore,
    algorithm: Algorithm,
    now: Timestamp,
) -> Result<Vec<SigningKey>, Error> {
    keep_one(store, algorithm, now).await?.iter().map(SigningKey::try_from).collect()
}

/// The keys that are kept; the first one is made if there is none.
pub(crate) async fn keep_one(
    store: &dyn KeyStore,
    algorithm: Algorithm,
    now: Timestamp,
) -> Result<Vec<StoredKey>, Error> {
    let kept = store.keys().await?;
    if kept.is_empty() { store.add_first_key(StoredKey::generate(algorithm, now)?).await } else { Ok(kept) }
}

impl StoredKey {
    /// A new key, made `now`. A secret, which has no thumbprint that may be shown, is given a random id.
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
