//! How long the keys that sessions are signed with are needed.

use std::time::Duration;

use crate::{
    Error,
    revocation::Revocation,
    session::SessionStore,
    time::Timestamp,
    token::{KeyStore, StoredKey},
};

/// For how long after its successor's time a key may have signed all the same: on a node that could not read the keys.
const LATE_SIGNING: Duration = Duration::from_secs(60 * 60);

/// Until when the key with this id is kept, if no session lives for longer than `session_lifetime`; `None` for one that
/// has no successor yet, and for one that is not there. Nothing that the sessions of the store sign lives for longer
/// than its session.
#[must_use]
pub fn retained_until(keys: &[StoredKey], id: &str, session_lifetime: Duration) -> Option<Timestamp> {
    let successor = keys.iter().skip_while(|key| key.id != id).nth(1)?;
    Some(Revocation::lapse_for(last_signed(successor).plus(session_lifetime)))
}

/// Removes the keys that can have signed nothing that is still good, and gives how many there were. `now` must be a
/// time that can be trusted, since nothing brings a key back.
///
/// Beside [`retained_until`] it asks for the oldest session of the store: one from before the successor's time may have
/// been given a longer life by earlier settings, and its key stays for as long as it is there.
///
/// # Errors
/// [`Error::Unavailable`] when the store could not be read or written; what is left will go the next time.
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
        // Asked only when there is something to forget: a store may have to look at all sessions.
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
