//! What a batch of operations does, in a transaction that has the lock.
//!
//! Operations keep the order in which they were queued. Those that look at sessions whose names they know are taken
//! together: what they look at is read by one statement, they are decided one after the other in memory, each seeing what
//! those before it did, and what they changed is written by two statements. What all of them append to the log is appended
//! at the end, by one.

use std::{
    collections::{HashMap, HashSet, hash_map::Entry},
    sync::Arc,
};

use sqlx::PgConnection;

use super::{
    log, sessions,
    worker::{Failure, Job},
};
use adieu::{
    Error, SessionId, Subject,
    restore::{LogState, Mark, Witness},
    revocation::{Position, Revocation},
    session::Session,
};

/// What a session is found by.
pub(super) type Key = (Subject, SessionId);

pub(super) fn key(session: &Session) -> Key {
    (session.subject.clone(), session.id.clone())
}

/// What operations find and change.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// The sessions that were read; `None` for one that is not there (any more).
    sessions: HashMap<Key, Option<Session>>,
    changed: HashSet<Key>,
    appended: Vec<Revocation>,
}

impl Changes {
    /// The session of this name, which must be among the keys of the operation.
    pub(super) fn find(&self, key: &Key) -> Option<&Session> {
        self.sessions.get(key)?.as_ref()
    }

    /// Writes a session down, in place of what was there.
    pub(super) fn put(&mut self, session: Session) {
        let key = key(&session);
        self.changed.insert(key.clone());
        self.sessions.insert(key, Some(session));
    }

    /// Removes a session and gives what it was.
    pub(super) fn remove(&mut self, key: &Key) -> Option<Session> {
        let removed = self.sessions.get_mut(key)?.take();
        if removed.is_some() {
            self.changed.insert(key.clone());
        }
        removed
    }

    /// Appends to the log, and gives how many entries the batch has appended so far.
    pub(super) fn append(&mut self, revocations: impl IntoIterator<Item = Revocation>) -> usize {
        self.appended.extend(revocations);
        self.appended.len()
    }

    async fn read(&mut self, connection: &mut PgConnection, keys: HashSet<&Key>) -> sqlx::Result<()> {
        self.sessions.clear();
        self.changed.clear();
        if keys.is_empty() {
            return Ok(());
        }
        let found = sessions::find(connection, keys.iter().copied()).await?;
        self.sessions = found.into_iter().map(|session| (key(&session), Some(session))).collect();
        for key in keys {
            if let Entry::Vacant(place) = self.sessions.entry(key.clone()) {
                place.insert(None);
            }
        }
        Ok(())
    }

    async fn write(&mut self, connection: &mut PgConnection) -> sqlx::Result<()> {
        let (mut put, mut removed) = (Vec::new(), Vec::new());
        for key in &self.changed {
            match self.find(key) {
                Some(session) => put.push(session),
                None => removed.push(key),
            }
        }
        if !put.is_empty() {
            sessions::put(connection, &put).await?;
        }
        if !removed.is_empty() {
            sessions::remove(connection, &removed).await?;
        }
        Ok(())
    }
}

/// What operations have appended.
pub(super) struct Appended {
    pub(super) head_before: Position,
    /// The mark that the log was held against, if there is one, and what the log is like then.
    held: Option<(Arc<Mark>, LogState)>,
}

impl Appended {
    /// Notes it, once it is durable.
    pub(super) fn note(self, witness: &Witness) -> Result<(), Error> {
        self.held.map_or(Ok(()), |(mark, log)| witness.note(&mark, &log))
    }
}

/// Runs operations in order. Gives what they appended, if they did.
pub(super) async fn run(
    connection: &mut PgConnection,
    batch: &mut [Job],
    witness: &Witness,
) -> Result<Option<Appended>, Failure> {
    let mut changes = Changes::default();
    let together = |one: &Job, next: &Job| matches!((one, next), (Job::Keyed(_), Job::Keyed(_)));
    for stretch in batch.chunk_by_mut(together) {
        let keyed = stretch.iter().filter_map(|job| match job {
            Job::Keyed(job) => Some(job),
            Job::Alone(_) => None,
        });
        changes.read(connection, keyed.flat_map(|job| job.keys()).collect()).await?;
        for job in stretch {
            match job {
                Job::Keyed(job) => job.decide(&mut changes),
                Job::Alone(job) => job.run(connection, &mut changes).await?,
            }
        }
        changes.write(connection).await?;
    }
    let Some(last) = changes.appended.last() else { return Ok(None) };
    let mark = witness.mark();
    let anchor = mark.as_ref().map_or(Position::START, |mark| mark.anchor());
    let before = log::insert(connection, &changes.appended, anchor).await?;
    let head_before = before.head;
    let held = match mark {
        Some(mark) => {
            witness.hold(&mark, &before).map_err(Failure::OfAll)?;
            let appended = u64::try_from(changes.appended.len()).unwrap_or(u64::MAX);
            let head = Position::new(head_before.get().saturating_add(appended));
            Some((mark, LogState { head, last: Some(last.clone()), ..before }))
        }
        None => None,
    };
    Ok(Some(Appended { head_before, held }))
}
