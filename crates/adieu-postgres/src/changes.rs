//! The sessions that the operations of a batch read and change, in memory.

use std::collections::{HashMap, HashSet, hash_map::Entry};

use adieu::{revocation::Revocation, session::Session};
use sqlx::PgConnection;

use super::rows::{self, Key};

fn key(session: &Session) -> Key {
    (session.subject.clone(), session.id.clone())
}

/// The sessions that operations read and change, and the entries that they append.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// The sessions that were read; `None` for one that does not exist (any more).
    sessions: HashMap<Key, Option<Session>>,
    changed: HashSet<Key>,
    pub(super) appended: Vec<Revocation>,
}

impl Changes {
    /// Returns the session of this key, which must be among the keys of the operation.
    pub(super) fn find(&self, key: &Key) -> Option<&Session> {
        self.sessions.get(key)?.as_ref()
    }

    /// Stores a session, replacing the previous one.
    pub(super) fn put(&mut self, session: Session) {
        let key = key(&session);
        self.changed.insert(key.clone());
        self.sessions.insert(key, Some(session));
    }

    /// Removes and returns a session.
    pub(super) fn remove(&mut self, key: &Key) -> Option<Session> {
        let removed = self.sessions.get_mut(key)?.take();
        if removed.is_some() {
            self.changed.insert(key.clone());
        }
        removed
    }

    /// Appends to the log, and returns how many entries the batch has appended so far.
    pub(super) fn append(&mut self, revocations: impl IntoIterator<Item = Revocation>) -> usize {
        self.appended.extend(revocations);
        self.appended.len()
    }

    pub(super) async fn read(&mut self, connection: &mut PgConnection, keys: HashSet<&Key>) -> sqlx::Result<()> {
        self.sessions.clear();
        self.changed.clear();
        if keys.is_empty() {
            return Ok(());
        }
        let found = rows::find(connection, keys.iter().copied()).await?;
        self.sessions = found.into_iter().map(|session| (key(&session), Some(session))).collect();
        for key in keys {
            if let Entry::Vacant(place) = self.sessions.entry(key.clone()) {
                place.insert(None);
            }
        }
        Ok(())
    }

    pub(super) async fn write(&mut self, connection: &mut PgConnection) -> sqlx::Result<()> {
        let (mut put, mut removed) = (Vec::new(), Vec::new());
        for key in &self.changed {
            match self.find(key) {
                Some(session) => put.push(session),
                None => removed.push(key),
            }
        }
        if !put.is_empty() {
            rows::put(connection, &put).await?;
        }
        if !removed.is_empty() {
            rows::remove(connection, &removed).await?;
        }
        Ok(())
    }
}
