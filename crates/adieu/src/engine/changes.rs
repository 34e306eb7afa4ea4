//! The sessions that the operations of a batch read and change, in memory.

use std::collections::{HashMap, HashSet, hash_map::Entry};

use crate::{
    SessionId, Subject,
    revocation::{Position, Revocation},
    session::{EndSessions, Ended, Rotated, Rotation, Selection, Session},
};

/// The key of a session.
pub type Key = (Subject, SessionId);

/// The sessions that the operations of a batch read and change, in memory, and the entries that they append.
#[derive(Debug, Default)]
pub struct Changes {
    /// The sessions that were read; `None` for one that does not exist (any more).
    sessions: HashMap<Key, Option<Session>>,
    changed: HashSet<Key>,
    appended: Vec<Revocation>,
    restarted_after: Option<Position>,
}

impl Changes {
    /// Returns the changes, of which there are none yet, of the sessions with these keys. Those that are not among the
    /// `found` do not exist.
    #[must_use]
    pub fn of(keys: HashSet<&Key>, found: impl IntoIterator<Item = Session>) -> Self {
        let mut sessions: HashMap<_, _> = found
            .into_iter()
            .map(|session| (key(&session), Some(session)))
            .filter(|(key, _)| keys.contains(key))
            .collect();
        for key in keys {
            if let Entry::Vacant(place) = sessions.entry(key.clone()) {
                place.insert(None);
            }
        }
        Self { sessions, ..Self::default() }
    }

    /// Returns the session of this key, which must be among the keys of the operation.
    #[must_use]
    pub fn find(&self, key: &Key) -> Option<&Session> {
        self.sessions.get(key)?.as_ref()
    }

    /// Stores a session, replacing the previous one.
    pub fn put(&mut self, session: Session) {
        let key = key(&session);
        self.changed.insert(key.clone());
        self.sessions.insert(key, Some(session));
    }

    /// Removes and returns a session.
    pub fn remove(&mut self, key: &Key) -> Option<Session> {
        let removed = self.sessions.get_mut(key)?.take();
        if removed.is_some() {
            self.changed.insert(key.clone());
        }
        removed
    }

    /// Decides a rotation and makes its changes. Its session must be among the keys of the operation.
    pub fn rotate(&mut self, rotation: &Rotation) -> Rotated {
        let key = (rotation.subject.clone(), rotation.session.clone());
        let rotated = rotation.decide(self.find(&key).cloned());
        match &rotated {
            Rotated::Fresh(session) | Rotated::WithinGrace(session) if self.find(&key) != Some(session) => {
                self.put(session.clone());
            }
            Rotated::Reused(_, revocation) => {
                self.remove(&key);
                self.append([revocation.clone()]);
            }
            Rotated::Fresh(_) | Rotated::WithinGrace(_) | Rotated::Ended => {}
        }
        rotated
    }

    /// Carries out a request to end sessions that [names](keys_to_end) all of them.
    pub fn end(&mut self, ending: &EndSessions) -> Option<Ended> {
        if let Some((id, subject)) = &ending.only_if {
            self.find(&(subject.clone(), id.clone()))?;
        }
        let removed = match &ending.selection {
            Selection::Owned(id, subject) => self.remove(&(subject.clone(), id.clone())),
            _ => None,
        };
        let ended = ending.revocations(removed.as_slice());
        self.append(ended.revocations.iter().cloned());
        Some(ended)
    }

    /// Appends to the log, and returns how many entries the batch has appended so far.
    pub fn append(&mut self, revocations: impl IntoIterator<Item = Revocation>) -> usize {
        self.appended.extend(revocations);
        self.appended.len()
    }

    /// Gives the new entries positions after this one, even if the log ends before it: for an operation that gives the
    /// log a new identity.
    pub fn restart_after(&mut self, position: Position) {
        self.restarted_after = Some(position);
    }

    /// Returns the position of [`restart_after`](Self::restart_after), if it was called.
    #[must_use]
    pub fn restarted_after(&self) -> Option<Position> {
        self.restarted_after
    }

    /// Returns the entries that were appended.
    #[must_use]
    pub fn appended(&self) -> &[Revocation] {
        &self.appended
    }

    /// Returns the sessions to write, and the keys of those to remove.
    #[must_use]
    pub fn changed(&self) -> (Vec<&Session>, Vec<&Key>) {
        let (mut put, mut removed) = (Vec::new(), Vec::new());
        for key in &self.changed {
            match self.find(key) {
                Some(session) => put.push(session),
                None => removed.push(key),
            }
        }
        (put, removed)
    }

    /// Returns whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changed.is_empty() && self.appended.is_empty()
    }
}

/// Returns the keys of the sessions that a request to end sessions reads; `None` if it does not name all of them.
#[must_use]
pub fn keys_to_end(ending: &EndSessions) -> Option<Vec<Key>> {
    let mut keys: Vec<Key> = ending.only_if.iter().map(|(id, subject)| (subject.clone(), id.clone())).collect();
    match &ending.selection {
        Selection::Owned(id, subject) => keys.push((subject.clone(), id.clone())),
        Selection::Nothing => {}
        Selection::One(_) | Selection::OfSubject(_) | Selection::Others(..) | Selection::All { .. } => return None,
    }
    Some(keys)
}

fn key(session: &Session) -> Key {
    (session.subject.clone(), session.id.clone())
}
