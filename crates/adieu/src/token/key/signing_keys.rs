//! Which key signs now.

use std::{fmt, sync::Arc};

use arc_swap::ArcSwap;

use crate::{
    Error,
    time::Timestamp,
    token::{KeyError, KeyId, KeySet, SigningKey, StoredKey},
};

/// The keys that a process signs with, each from a time on. Never empty. Clones share the keys, also after a replacement.
#[derive(Clone)]
pub struct SigningKeys(Arc<ArcSwap<Schedule>>);

/// In the order in which they sign.
struct Schedule {
    first: SigningKey,
    /// When the first key was created, if it is from a store.
    first_since: Option<Timestamp>,
    later: Vec<(Timestamp, SigningKey)>,
}

impl From<SigningKey> for SigningKeys {
    /// The only key, which always signs.
    fn from(only: SigningKey) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(Schedule { first: only, first_since: None, later: Vec::new() })))
    }
}

impl SigningKeys {
    /// Reads stored keys, which are in the order in which they sign; returns them and the set that verifies their tokens.
    ///
    /// # Errors
    /// If there is no key, or one cannot be used.
    pub(crate) fn read(kept: &[StoredKey]) -> Result<(Self, KeySet), Error> {
        let (schedule, set) = Schedule::read(kept)?;
        Ok((Self(Arc::new(ArcSwap::from_pointee(schedule))), set))
    }

    /// Returns the key to sign with at `now`: the last one whose time has come, or the first.
    #[must_use]
    pub fn at(&self, now: Timestamp) -> SigningKey {
        self.0.load().at(now).clone()
    }

    /// Returns all keys in the order in which they sign.
    #[must_use]
    pub fn all(&self) -> Vec<SigningKey> {
        let schedule = self.0.load();
        std::iter::once(&schedule.first).chain(schedule.later.iter().map(|(_, key)| key)).cloned().collect()
    }

    /// Returns since when the key to sign with at `now` has signed, if it is from a store.
    pub(crate) fn active_since(&self, now: Timestamp) -> Option<Timestamp> {
        let schedule = self.0.load();
        let active = schedule.later.iter().rev().map(|(signs_from, _)| *signs_from).find(|since| *since <= now);
        active.or(schedule.first_since)
    }

    /// Returns the id of the key to sign with at `now`.
    pub(crate) fn id_at(&self, now: Timestamp) -> Option<KeyId> {
        self.0.load().at(now).key_id().cloned()
    }

    /// Replaces the keys. `publish` gets the new set first, so that no token is signed with a key that the verifier of this
    /// node does not know.
    ///
    /// # Errors
    /// If there is no key, or one cannot be used: then nothing changes.
    pub(crate) fn replace(&self, kept: &[StoredKey], publish: impl FnOnce(KeySet)) -> Result<(), Error> {
        let (schedule, set) = Schedule::read(kept)?;
        publish(set);
        self.0.store(Arc::new(schedule));
        Ok(())
    }
}

impl Schedule {
    fn read(kept: &[StoredKey]) -> Result<(Self, KeySet), Error> {
        let mut keys = Vec::with_capacity(kept.len());
        for one in kept {
            keys.push((one.signs_from, SigningKey::try_from(one)?));
        }
        let set = KeySet::new(keys.iter().map(|(_, key)| key.verifying_key().clone()))?;
        let mut keys = keys.into_iter();
        let (signs_from, first) = keys.next().ok_or(KeyError::NoSigningKey)?;
        // The first key of a store has always signed, as far as `signs_from` says.
        let first_since = kept.first().map(|one| one.created_at.max(signs_from));
        Ok((Self { first, first_since, later: keys.collect() }, set))
    }

    fn at(&self, now: Timestamp) -> &SigningKey {
        self.later.iter().rev().find(|(signs_from, _)| *signs_from <= now).map_or(&self.first, |(_, key)| key)
    }
}

impl fmt::Debug for SigningKeys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.all()).finish()
    }
}
