//! How long the signing keys of sessions are needed.

use std::time::Duration;

use crate::{
    Error,
    revocation::Revocation,
    session::SessionStore,
    time::Timestamp,
    token::{KeyStore, StoredKey},
};

/// How long after its successor's time a key may still sign, on a node that could not read the keys.
const LATE_SIGNING: Duration = Duration::from_secs(60 * 60);

/// Returns until when the key with this id is kept, if no session lives longer than `session_lifetime`. Returns `None`
/// if the key has no successor yet, or does not exist. No token of a session outlives it.
#[must_use]
pub fn retained_until(keys: &[StoredKey], id: &str, session_lifetime: Duration) -> Option<Timestamp> {
    let successor = keys.iter().skip_while(|key| key.id != id).nth(1)?;
    Some(Revocation::lapse_for(last_signed(successor).plus(session_lifetime)))
}

/// Deletes the keys whose tokens have all expired, and returns their number. `now` must be trusted: a deleted key
/// cannot be recovered.
///
/// In addition to [`retained_until`], this reads the oldest session of the store: earlier settings may have given a
/// session from before the successor's time a longer lifetime, and its key is kept as long as the session exists.
///
/// # Errors
/// [`Error::Unavailable`] if the store could not be read or written. The next call deletes the rest.
pub async fn delete_lapsed_keys(
    store: &dyn KeyStore,
    sessions: &dyn SessionStore,
    session_lifetime: Duration,
    now: Timestamp,
) -> Result<usize, Error> {
    let kept = store.keys().await?;
    let mut lapsed = Vec::new();
    let mut oldest_session = None;
    for (key, successor) in kept.iter().zip(kept.iter().skip(1)) {
        if retained_until(&kept, &key.id, session_lifetime).is_none_or(|until| now < until) {
            break;
        }
        // Read only if there is a key to delete: a store may have to look at all sessions.
        let oldest = match &oldest_session {
            Some(known) => known,
            None => &*oldest_session.insert(sessions.oldest().await?),
        };
        if oldest.as_ref().is_some_and(|session| session.created_at <= last_signed(successor)) {
            break;
        }
        lapsed.push(key.id.clone());
    }
    let count = lapsed.len();
    if count > 0 {
        store.replace_keys(None, lapsed).await?;
    }
    Ok(count)
}

/// The last time at which the key before this one may have signed.
fn last_signed(successor: &StoredKey) -> Timestamp {
    successor.signs_from.plus(LATE_SIGNING)
}
