//! The in-memory engine.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Bound,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use tokio::sync::watch;

use crate::{
    Error, SessionId, Subject,
    restore::{LogReset, LogState, Mark, Restorable, Witness},
    revocation::{Cursor, LogId, Page, Position, Pruned, Revocation, RevocationLog},
    session::{EndSessions, Ended, Rotated, Rotation, Selection, Session, SessionKey, SessionStore},
    store::Store,
    time::Timestamp,
    token::{KeyStore, StoredKey},
};

/// An in-memory store, for tests and for tools that live as long as their tokens. **Not durable**: revocations and
/// sessions are lost when the process ends.
///
/// Clones share their contents.
#[derive(Debug, Clone)]
pub struct Memory {
    kept: Arc<Mutex<Kept>>,
    head: watch::Sender<Position>,
    witness: Witness,
}

#[derive(Debug)]
struct Kept {
    log_id: LogId,
    restored_at: Option<Timestamp>,
    log: VecDeque<(Position, Revocation)>,
    pruned_through: Timestamp,
    sessions: BTreeMap<SessionKey, Session>,
    keys: Vec<StoredKey>,
}

impl Memory {
    /// Creates an empty store.
    #[must_use]
    pub fn new() -> Self {
        let kept = Kept {
            log_id: LogId::random(),
            restored_at: None,
            log: VecDeque::new(),
            pruned_through: Timestamp::ZERO,
            sessions: BTreeMap::new(),
            keys: Vec::new(),
        };
        Self {
            kept: Arc::new(Mutex::new(kept)),
            head: watch::Sender::new(Position::START),
            witness: Witness::default(),
        }
    }

    /// A panic leaves no change half done: every change below is a single step.
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn append_to(&self, kept: &mut Kept, revocations: &[Revocation]) {
        let position = *self.head.borrow();
        self.append_after(position, kept, revocations);
    }

    /// Returns the mark after comparing the log with it. Call this before anything changes.
    fn hold(&self, kept: &Kept) -> Result<Option<Arc<Mark>>, Error> {
        let mark = self.witness.mark();
        if let Some(mark) = &mark {
            self.witness.hold(mark, &self.state(kept, mark.anchor()))?;
        }
        Ok(mark)
    }

    fn note(&self, held: Option<Arc<Mark>>, kept: &Kept) -> Result<(), Error> {
        held.map_or(Ok(()), |mark| self.witness.note(&mark, &self.state(kept, Position::START)))
    }

    fn state(&self, kept: &Kept, at: Position) -> LogState {
        let head = *self.head.borrow();
        let entry =
            |at: Position| kept.log.iter().rev().find(|(position, _)| *position == at).map(|(_, entry)| entry.clone());
        LogState {
            log: kept.log_id.clone(),
            lineage: kept.log_id.clone(),
            head,
            pruned_through: kept.pruned_through,
            restored_at: kept.restored_at,
            entry: entry(at),
            last: entry(head),
        }
    }

    fn append_after(&self, mut position: Position, kept: &mut Kept, revocations: &[Revocation]) {
        for revocation in revocations {
            position = Position::new(position.get().saturating_add(1));
            kept.log.push_back((position, revocation.clone()));
        }
        self.head.send_replace(position);
    }

    fn end_in(&self, kept: &mut Kept, ending: &EndSessions) -> Option<Ended> {
        if ending.only_if.as_ref().is_some_and(|(id, subject)| kept.find(id, subject).is_none()) {
            return None;
        }
        let ended = kept.remove(&ending.selection);
        let ended = ending.revocations(&ended);
        self.append_to(kept, &ended.revocations);
        Some(ended)
    }

    fn read_now(&self, after: Option<&Cursor>) -> Result<Page, Error> {
        let kept = self.kept();
        let mark = self.hold(&kept)?;
        self.note(mark, &kept)?;
        let head = *self.head.borrow();
        let start = after.filter(|cursor| cursor.log == kept.log_id && cursor.position <= head);
        let from = start.map_or(Position::START, |cursor| cursor.position);
        let first = kept.log.partition_point(|(position, _)| *position <= from);
        Ok(Page {
            entries: kept.log.range(first..).map(|(_, revocation)| revocation.clone()).collect(),
            cursor: Cursor { log: kept.log_id.clone(), position: head },
            complete: true,
            from_start: start.is_none(),
            age: Duration::ZERO,
            pruned_through: kept.pruned_through,
        })
    }
}

impl Kept {
    /// Removes the selected sessions and returns them.
    fn remove(&mut self, selection: &Selection) -> Vec<Session> {
        let selected = self.sessions.iter().filter(|(_, session)| selection.includes(session));
        let keys: Vec<SessionKey> = selected.map(|(key, _)| key.clone()).collect();
        keys.iter().filter_map(|key| self.sessions.remove(key)).collect()
    }

    fn find(&self, id: &SessionId, subject: &Subject) -> Option<&Session> {
        self.sessions.get(&SessionKey { subject: subject.clone(), id: id.clone() })
    }

    /// Returns the sessions after `key`, in order.
    fn after(&self, key: Option<&SessionKey>) -> impl Iterator<Item = &Session> {
        let from = key.map_or(Bound::Unbounded, Bound::Excluded);
        self.sessions.range((from, Bound::Unbounded)).map(|(_, session)| session)
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl RevocationLog for Memory {
    async fn append(&self, revocations: Vec<Revocation>) -> Result<Position, Error> {
        let mut kept = self.kept();
        let mark = self.hold(&kept)?;
        self.append_to(&mut kept, &revocations);
        self.note(mark, &kept)?;
        Ok(*self.head.borrow())
    }

    async fn read(&self, after: Option<&Cursor>, wait: Duration) -> Result<Page, Error> {
        let mut head = self.head.subscribe();
        head.borrow_and_update();
        let page = self.read_now(after)?;
        if !page.entries.is_empty() || page.from_start {
            return Ok(page);
        }
        let _ = tokio::time::timeout(wait, head.changed()).await;
        self.read_now(after)
    }

    async fn prune(&self, now: Timestamp) -> Result<Pruned, Error> {
        let mut kept = self.kept();
        let before = kept.log.len();
        kept.log.retain(|(_, revocation)| revocation.lapses_at > now);
        let removed = before - kept.log.len();
        if removed > 0 {
            kept.pruned_through = kept.pruned_through.max(now);
        }
        Ok(Pruned { removed, complete: true })
    }
}

#[async_trait]
impl SessionStore for Memory {
    async fn create(&self, session: Session) -> Result<(), Error> {
        self.kept().sessions.insert(session.key(), session);
        Ok(())
    }

    async fn rotate(&self, rotation: Rotation) -> Result<Rotated, Error> {
        let mut kept = self.kept();
        let mark = self.hold(&kept)?;
        let rotated = rotation.decide(kept.find(&rotation.session, &rotation.subject).cloned());
        match &rotated {
            Rotated::Fresh(session) | Rotated::WithinGrace(session) => {
                kept.sessions.insert(session.key(), session.clone());
            }
            Rotated::Reused(session, revocation) => {
                kept.sessions.remove(&session.key());
                self.append_to(&mut kept, std::slice::from_ref(revocation));
            }
            Rotated::Ended => {}
        }
        self.note(mark, &kept)?;
        Ok(rotated)
    }

    async fn end(&self, ending: EndSessions) -> Result<Option<Ended>, Error> {
        Ok(self.end_all(vec![ending]).await?.pop().flatten())
    }

    async fn end_all(&self, endings: Vec<EndSessions>) -> Result<Vec<Option<Ended>>, Error> {
        let mut kept = self.kept();
        let mark = self.hold(&kept)?;
        let ended = endings.iter().map(|ending| self.end_in(&mut kept, ending)).collect();
        self.note(mark, &kept)?;
        Ok(ended)
    }

    async fn session(&self, id: &SessionId) -> Result<Option<Session>, Error> {
        Ok(self.kept().sessions.values().find(|session| session.id == *id).cloned())
    }

    async fn sessions_of(&self, of: &Subject, after: Option<&SessionId>, limit: usize) -> Result<Vec<Session>, Error> {
        let kept = self.kept();
        let after = after.map(|id| SessionKey { subject: of.clone(), id: id.clone() });
        let found = kept.after(after.as_ref()).skip_while(|session| session.subject < *of);
        Ok(found.take_while(|session| session.subject == *of).take(limit).cloned().collect())
    }

    async fn sessions(&self, after: Option<&SessionKey>, limit: usize) -> Result<Vec<Session>, Error> {
        Ok(self.kept().after(after).take(limit).cloned().collect())
    }

    async fn oldest(&self) -> Result<Option<Session>, Error> {
        Ok(self.kept().sessions.values().min_by(|one, other| one.id.cmp(&other.id)).cloned())
    }

    async fn latest_expiry(&self) -> Result<Timestamp, Error> {
        Ok(self.kept().sessions.values().map(Session::last_expiry).max().unwrap_or_default())
    }

    async fn record_last_seen(&self, seen: Vec<(SessionId, Subject, Timestamp)>) -> Result<(), Error> {
        let mut kept = self.kept();
        for (id, subject, at) in seen {
            if let Some(session) = kept.sessions.get_mut(&SessionKey { subject, id }) {
                session.last_seen_at = session.last_seen_at.max(at);
            }
        }
        Ok(())
    }

    async fn delete_expired(&self, now: Timestamp) -> Result<Pruned, Error> {
        let mut kept = self.kept();
        let before = kept.sessions.len();
        kept.sessions.retain(|_, session| session.last_expiry() >= now);
        Ok(Pruned { removed: before - kept.sessions.len(), complete: true })
    }
}

#[async_trait]
impl KeyStore for Memory {
    async fn keys(&self) -> Result<Vec<StoredKey>, Error> {
        Ok(self.kept().keys.clone())
    }

    async fn add_first_key(&self, key: StoredKey) -> Result<Vec<StoredKey>, Error> {
        let mut kept = self.kept();
        if kept.keys.is_empty() {
            kept.keys.push(key);
        }
        Ok(kept.keys.clone())
    }

    async fn replace_keys(&self, added: Option<StoredKey>, removed: Vec<String>) -> Result<Vec<StoredKey>, Error> {
        let mut kept = self.kept();
        let new = added.filter(|added| kept.keys.iter().all(|key| key.id != added.id));
        kept.keys.extend(new);
        kept.keys.retain(|key| !removed.contains(&key.id));
        kept.keys.sort_by(|one, other| (one.signs_from, &one.id).cmp(&(other.signs_from, &other.id)));
        Ok(kept.keys.clone())
    }
}

impl Store for Memory {
    fn restorable(&self) -> Option<Arc<dyn Restorable>> {
        Some(Arc::new(self.clone()))
    }
}

#[async_trait]
impl Restorable for Memory {
    fn witness(&self) -> &Witness {
        &self.witness
    }

    async fn inspect(&self, at: Position) -> Result<LogState, Error> {
        Ok(self.state(&self.kept(), at))
    }

    async fn reset(&self, renewal: LogReset) -> Result<Option<Ended>, Error> {
        let mut kept = self.kept();
        if kept.log_id != renewal.seen {
            return Ok(None);
        }
        let ended = kept.remove(&renewal.ending.selection);
        let ended = renewal.ending.revocations(&ended);
        kept.log_id = renewal.log;
        kept.restored_at = Some(renewal.at);
        let after = renewal.after.max(*self.head.borrow());
        self.append_after(after, &mut kept, &ended.revocations);
        Ok(Some(ended))
    }

    async fn accept_restore(&self) -> Result<Option<Timestamp>, Error> {
        Ok(self.kept().restored_at.take())
    }
}

impl Selection {
    fn includes(&self, session: &Session) -> bool {
        match self {
            Self::One(id) => session.id == *id,
            Self::Owned(id, subject) => session.id == *id && session.subject == *subject,
            Self::OfSubject(subject) => session.subject == *subject,
            Self::Others(subject, id) => session.subject == *subject && session.id != *id,
            Self::All { .. } => true,
            Self::Nothing => false,
        }
    }
}
