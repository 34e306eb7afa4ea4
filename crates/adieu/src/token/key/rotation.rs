//! Rotation and removal of signing keys.

use std::time::Duration;

use crate::{
    Error,
    time::Timestamp,
    token::{Algorithm, KeyError, KeyStore, MAX_KEYS, StoredKey},
};

/// The default time for which a key is published before it signs: longer than a follower of a node's key URL uses what it
/// has read, through dozens of relays.
pub const DEFAULT_PUBLICATION_DELAY: Duration = Duration::from_secs(60 * 60);

/// The most keys that a rotation leaves. Several at once go beyond it, and must not go beyond what a set can hold.
const MAX_KEPT: usize = MAX_KEYS / 2;

/// What [`remove_key`] did.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RemovedKey {
    /// The key that was created in the same step, because the removed key was the one that signs; it signs at once.
    pub successor: Option<StoredKey>,
    /// All stored keys in the order in which they sign.
    pub keys: Vec<StoredKey>,
}

/// Creates another key, which is published from now on and signs from `signs_from` on. Without an algorithm it has that of the
/// last key.
///
/// If `signs_from` is later than every node and service has read the new set, no token is rejected because its key is not
/// known yet. Tokens of the previous key stay valid until they expire;
/// [`delete_lapsed_keys`](crate::session::delete_lapsed_keys) removes the key after that. Several concurrent calls create
/// several keys, which does no harm.
///
/// # Errors
/// [`Error::Key`] if there are too many keys already, or no key could be generated; [`Error::Unavailable`] if the store could
/// not be read or written.
pub async fn rotate_key(
    store: &dyn KeyStore,
    algorithm: Option<Algorithm>,
    now: Timestamp,
    signs_from: Timestamp,
) -> Result<StoredKey, Error> {
    let kept = store.keys().await?;
    if kept.len() >= MAX_KEPT {
        return Err(KeyError::TooManyStoredKeys { count: kept.len() }.into());
    }
    let algorithm = algorithm.or_else(|| kept.last().map(|key| key.algorithm)).unwrap_or(Algorithm::EdDSA);
    let key = StoredKey { signs_from, ..StoredKey::generate(algorithm, now)? };
    store.replace_keys(Some(key.clone()), vec![]).await?;
    Ok(key)
}

/// Removes the key with this id, because it must not be trusted any more: every node of the store rejects its tokens within
/// `max_staleness`, or rejects every token because it cannot know. If the removed key is the one that signs now, another of
/// the same algorithm is added in the same step, which signs at once. Returns `None` if there is no such key.
///
/// # Errors
/// [`Error::Key`] if no key could be generated; [`Error::Unavailable`] if the store could not be read or written: then the key
/// may still be stored.
pub async fn remove_key(store: &dyn KeyStore, id: &str, now: Timestamp) -> Result<Option<RemovedKey>, Error> {
    let kept = store.keys().await?;
    let Some(key) = kept.iter().find(|key| key.id == id) else { return Ok(None) };
    let successor = StoredKey { signs_from: now, ..StoredKey::generate(key.algorithm, now)? };
    let signs = active_key_at(&kept, now).is_some_and(|signs| signs.id == id);
    let added = signs.then(|| successor.clone());
    let mut keys = store.replace_keys(added.clone(), vec![id.to_owned()]).await?;
    let mut successor = Some(successor);
    if keys.is_empty() {
        // Another process has removed the other key, which was to sign by its clock.
        if let Some(key) = successor.clone() {
            keys = store.add_first_key(key).await?;
        }
    }
    Ok(Some(RemovedKey { successor: successor.take_if(|made| keys.iter().any(|key| key.id == made.id)), keys }))
}

/// Returns the key that signs at `now`, of keys in the order in which they sign: the last one whose time has come, or the
/// first. `None` if there is no key.
#[must_use]
pub fn active_key_at(keys: &[StoredKey], now: Timestamp) -> Option<&StoredKey> {
    keys.iter().rev().find(|key| key.signs_from <= now).or_else(|| keys.first())
}
