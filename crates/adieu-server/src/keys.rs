//! Changes of the signing keys by an operator: on stable storage, and in the audit trail.

use std::time::Duration;

use adieu::{
    Error, Subject,
    revocation::Revocation,
    time::Timestamp,
    token::{Algorithm, KeyId, RemovedKey, StoredKey, remove_key, rotate_key},
};

use crate::{
    audit::{Entry, Event},
    node::Node,
    store::Stores,
};

/// Returns all keys in the order in which they sign.
///
/// # Errors
/// Fails if the store can't be read.
pub(crate) async fn all(stores: &Stores) -> Result<Vec<StoredKey>, Error> {
    stores.core().keys().await
}

/// Creates a key, which is published now and signs `after` that.
///
/// # Errors
/// Fails if no key can be generated, if there are too many, or if the store can't be written.
pub(crate) async fn rotate(
    stores: &Stores,
    algorithm: Option<Algorithm>,
    now: Timestamp,
    after: Duration,
    actor: Option<&Subject>,
) -> Result<StoredKey, Error> {
    let key = rotate_key(&*stores.core(), algorithm, now, now.plus(after)).await?;
    record(Event::KeyAdded, &key.id, actor).await;
    Ok(key)
}

/// Removes a key, and revokes all that it has signed and ever will. Returns `None` if there is no such key.
///
/// The revocation comes first: a follower that was given the public key must not accept its tokens for longer than a node.
///
/// # Errors
/// Fails if the store can't be read or written: then the key may still be stored.
pub(crate) async fn remove(
    node: &Node,
    id: &str,
    now: Timestamp,
    actor: Option<&Subject>,
) -> Result<Option<RemovedKey>, Error> {
    let store = node.stores().core();
    let Some(key) = store.keys().await?.into_iter().find(|key| key.id == id) else { return Ok(None) };
    let Ok(key) = KeyId::new(key.id) else { return Ok(None) };
    node.sessions.append(vec![Revocation::of_key(node.sessions.issuer().clone(), key)]).await?;
    let Some(removed) = remove_key(&*store, id, now).await? else { return Ok(None) };
    record(Event::KeyRemoved, id, actor).await;
    if let Some(successor) = &removed.successor {
        record(Event::KeyAdded, &successor.id, actor).await;
    }
    Ok(Some(removed))
}

async fn record(event: Event, key: &str, actor: Option<&Subject>) {
    Entry { key_id: Some(key.to_owned()), actor: actor.cloned(), ..Entry::default() }.record(event, None).await;
}
