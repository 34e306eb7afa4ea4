//! Changing the keys that sign.
//!
//! 1. **Published before use.** A key is in the set of every node of the store from when it is kept, and signs from the
//!    time that it is given on. If that is later than every node and service has read the set, no token is refused
//!    because its key is not known yet.
//! 2. **Kept until its last token has lapsed.** What a key has signed stays good until it expires, for as long as the
//!    key is there; [`delete_lapsed_keys`](crate::session::delete_lapsed_keys) removes it when none of it can be left.
//! 3. **Removing is revoking.** Every node of the store refuses what a removed key has signed within its
//!    `max_staleness`, or refuses everything because it can't know.
//! 4. **There is always one that signs.** Who removes the one that does puts another in its place, in the same step.
//!
//! Each change is one step of the store, which servers may run on meanwhile. Several at once make more keys than were
//! needed, and no harm.

use std::time::Duration;

use crate::{
    Error,
    time::Timestamp,
    token::{Algorithm, KeyError, KeyStore, MAX_KEYS, StoredKey},
};

/// How long a key is published before it signs, unless something else is wanted: longer than what follows a node's keys
/// from its URL believes what it has read, through dozens of relays.
pub const DEFAULT_PUBLICATION_DELAY: Duration = Duration::from_secs(60 * 60);

/// The most keys that a rotation leaves. Several at once go beyond it, and must not go beyond what a set can hold.
const MAX_KEPT: usize = MAX_KEYS / 2;

/// What [`remove_key`] did.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RemovedKey {
    /// The key that was made in the same step, because the one that is gone was to sign; it signs at once.
    pub successor: Option<StoredKey>,
    /// All keys there are now, in the order in which they sign.
    pub keys: Vec<StoredKey>,
}

/// Makes another key, which signs from `signs_from` on; published from now on. Without an algorithm it has that of the
/// last key there is.
///
/// # Errors
/// [`Error::Key`] when there are too many already; [`Error::Unavailable`] when the store could not be read or written.
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

/// Removes the key with this id, because it must not be believed any more. When it is the one that signs now, another
/// with the same algorithm is put in its place, which signs at once. `None` when there is no such key.
///
/// # Errors
/// [`Error::Unavailable`] when the store could not be read or written: then the key may be there still.
pub async fn remove_key(store: &dyn KeyStore, id: &str, now: Timestamp) -> Result<Option<RemovedKey>, Error> {
    let kept = store.keys().await?;
    let Some(key) = kept.iter().find(|key| key.id == id) else { return Ok(None) };
    let successor = StoredKey { signs_from: now, ..StoredKey::generate(key.algorithm, now)? };
    let signs = active_key_at(&kept, now).is_some_and(|signs| signs.id == id);
    let added = signs.then(|| successor.clone());
    let mut keys = store.replace_keys(added.clone(), vec![id.to_owned()]).await?;
    let mut successor = Some(successor);
    if keys.is_empty() {
        // Somebody else has removed the other one, which was to sign by another clock.
        if let Some(key) = successor.clone() {
            keys = store.add_first_key(key).await?;
        }
    }
    Ok(Some(RemovedKey { successor: successor.take_if(|made| keys.iter().any(|key| key.id == made.id)), keys }))
}

/// Of keys in the order in which they sign, the one that signs at this time: of those whose time has come the last one,
/// and the first if none has. `None` if there are none.
#[must_use]
pub fn active_key_at(keys: &[StoredKey], now: Timestamp) -> Option<&StoredKey> {
    keys.iter().rev().find(|key| key.signs_from <= now).or_else(|| keys.first())
}
