//! Sessions in Redis: a hash of them by id, and indexes by id, subject, and the times that matter.

use std::collections::{HashMap, HashSet};

use async_trait::async_trait;
use redis::{FromRedisValue, Pipeline};
use tokio::time::timeout;

use super::{
    Redis, WRITE_TIMEOUT, codec,
    commit::{Commit, Everything, pause},
    connection::Ask,
    invalid,
};
use adieu::{
    Error, SessionId, Subject,
    engine::{Changes, everything, keys_to_end},
    revocation::Pruned,
    session::{EndSessions, Ended, Rotated, Rotation, Selection, Session, SessionKey, SessionStore},
    time::Timestamp,
};

/// How many sessions one step removes when cleaning up, and how many one step records as seen.
const FORGET_STEP: usize = 256;
const SEEN_STEP: usize = 256;

#[async_trait]
impl SessionStore for Redis {
    async fn create(&self, session: Session) -> Result<(), Error> {
        self.log_in(session).await
    }

    async fn rotate(&self, rotation: Rotation) -> Result<Rotated, Error> {
        let key = (rotation.subject.clone(), rotation.session.clone());
        let (rotated, _) = self.decide(vec![key], move |changes| changes.rotate(&rotation)).await?;
        Ok(rotated)
    }

    async fn end(&self, ending: EndSessions) -> Result<Option<Ended>, Error> {
        Ok(self.end_all(vec![ending]).await?.pop().flatten())
    }

    async fn end_all(&self, endings: Vec<EndSessions>) -> Result<Vec<Option<Ended>>, Error> {
        match endings.iter().map(keys_to_end).collect::<Option<Vec<_>>>() {
            Some(keys) => {
                let end =
                    move |changes: &mut Changes| endings.iter().map(|ending| changes.end(ending)).collect::<Vec<_>>();
                let (ended, _) = self.decide(keys.into_iter().flatten().collect(), end).await?;
                Ok(ended)
            }
            None => in_time(self.search_and_end(&endings)).await,
        }
    }

    async fn session(&self, id: &SessionId) -> Result<Option<Session>, Error> {
        let mut get = redis::pipe();
        get.cmd("HGET").arg(&self.shared.keys.sessions).arg(id.as_str());
        let (found,): (Option<Vec<u8>>,) = self.read(&get).await?;
        found.as_deref().map(codec::session_from_bytes).transpose()
    }

    async fn sessions_of(&self, of: &Subject, after: Option<&SessionId>, limit: usize) -> Result<Vec<Session>, Error> {
        let found = self.list_of(of, after, limit, Asker::Reader).await?;
        found.iter().map(|session| codec::session_from_bytes(session)).collect()
    }

    async fn sessions(&self, after: Option<&SessionKey>, limit: usize) -> Result<Vec<Session>, Error> {
        let from = match after {
            Some(key) => [b"(", codec::owner(&key.subject).as_slice(), key.id.as_str().as_bytes()].concat(),
            None => b"-".to_vec(),
        };
        let found = self.list(&from, b"+", limit, Asker::Reader).await?;
        found.iter().map(|session| codec::session_from_bytes(session)).collect()
    }

    async fn oldest(&self) -> Result<Option<Session>, Error> {
        let mut script = self.shared.scripts.oldest.prepare_invoke();
        script.key(&self.shared.keys.sessions).key(&self.shared.keys.ids);
        let found: Option<Vec<u8>> = self.shared.reader.ask(Ask::Script(&script), 2).await?;
        found.as_deref().map(codec::session_from_bytes).transpose()
    }

    async fn latest_expiry(&self) -> Result<Timestamp, Error> {
        let mut latest = redis::pipe();
        latest.cmd("ZREVRANGE").arg(&self.shared.keys.expiry).arg(0).arg(0).arg("WITHSCORES");
        let (latest,): (Vec<(String, u64)>,) = self.read(&latest).await?;
        Ok(latest.first().map_or(Timestamp::ZERO, |(_, expiry)| Timestamp::from_unix(*expiry)))
    }

    async fn record_last_seen(&self, seen: Vec<(SessionId, Subject, Timestamp)>) -> Result<(), Error> {
        for seen in seen.chunks(SEEN_STEP) {
            // Several may concern the same session.
            let mut latest = HashMap::new();
            for (id, subject, at) in seen {
                let latest = latest.entry((id.clone(), subject.clone())).or_insert(*at);
                *latest = (*latest).max(*at);
            }
            in_time(async {
                while !self.note_seen(&latest).await? {
                    pause().await
                }
                Ok(())
            })
            .await?;
        }
        Ok(())
    }

    async fn delete_expired(&self, now: Timestamp) -> Result<Pruned, Error> {
        let mut script = self.shared.scripts.forget.prepare_invoke();
        for key in self.shared.keys.of_sessions() {
            script.key(key);
        }
        script.arg(now.as_unix()).arg(FORGET_STEP);
        let removed: usize = self.write(Ask::Script(&script)).await?;
        Ok(Pruned { removed, complete: removed < FORGET_STEP })
    }
}

/// Limits the time of a loop that reads, decides and commits until nothing has changed in between. Of callers in
/// conflict, one succeeds each time; the limit ends the attempts of the others.
pub(super) async fn in_time<T>(attempts: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    timeout(WRITE_TIMEOUT, attempts)
        .await
        .unwrap_or_else(|_| Err(Error::unavailable("sessions in Redis were changed by others all the time")))
}

/// Sessions as they were read, with the changes to make.
pub(super) struct View<'a> {
    store: &'a Redis,
    found: HashMap<SessionId, Option<(Vec<u8>, Session)>>,
    /// The subjects of which all sessions were read.
    subjects: HashMap<Subject, Vec<SessionId>>,
    removed: HashSet<SessionId>,
    everything: Option<Everything>,
}

impl<'a> View<'a> {
    pub(super) fn new(store: &'a Redis) -> Self {
        Self { store, found: HashMap::new(), subjects: HashMap::new(), removed: HashSet::new(), everything: None }
    }

    /// Returns a commit with the conditions and the removals.
    pub(super) fn commit(&self) -> Commit<'_> {
        let subjects = self.subjects.iter().map(|(subject, ids)| (codec::owner(subject), ids.len()));
        let found = self.found.iter().map(|(id, found)| (id, found.as_ref().map(|(bytes, _)| bytes.as_slice())));
        Commit {
            subjects: subjects.collect(),
            sessions: found.collect(),
            everything: self.everything.as_ref(),
            removed: self.removed.iter().collect(),
            operations: 1,
            ..Commit::default()
        }
    }

    /// Reads at once what [`View::end`] reads one by one.
    async fn prefetch(&mut self, endings: &[EndSessions]) -> Result<(), Error> {
        let selected = |ending: &'_ EndSessions| match &ending.selection {
            Selection::One(id) | Selection::Owned(id, _) => Some(id.clone()),
            _ => None,
        };
        let provided = |ending: &EndSessions| ending.only_if.as_ref().map(|(id, _)| id.clone());
        self.fetch(endings.iter().flat_map(|ending| selected(ending).into_iter().chain(provided(ending))).collect())
            .await
    }

    async fn fetch(&mut self, mut ids: HashSet<SessionId>) -> Result<(), Error> {
        ids.retain(|id| !self.found.contains_key(id));
        if ids.is_empty() {
            return Ok(());
        }
        let ids: Vec<_> = ids.into_iter().collect();
        let found = self.store.fetch(&ids).await?;
        for (id, bytes) in ids.into_iter().zip(found) {
            let session = bytes.as_deref().map(codec::session_from_bytes).transpose()?;
            self.found.insert(id, bytes.zip(session));
        }
        Ok(())
    }

    /// Uses the writing connection, with the time limit of a write.
    async fn ask<T: FromRedisValue>(&self, pipeline: &Pipeline) -> Result<T, Error> {
        self.store.write(Ask::Pipeline(pipeline)).await
    }

    async fn find(&mut self, id: &SessionId) -> Result<Option<Session>, Error> {
        self.fetch(HashSet::from([id.clone()])).await?;
        if self.everything.is_some() || self.removed.contains(id) {
            return Ok(None);
        }
        Ok(self.found.get(id).and_then(Option::as_ref).map(|(_, session)| session.clone()))
    }

    async fn of_subject(&mut self, subject: &Subject) -> Result<Vec<Session>, Error> {
        if !self.subjects.contains_key(subject) {
            let mut ids = Vec::new();
            for bytes in self.store.list_of(subject, None, usize::MAX, Asker::Writer).await? {
                let session = codec::session_from_bytes(&bytes)?;
                ids.push(session.id.clone());
                // Decisions are made from the first version read; if this one differs, the commit is rejected.
                self.found.entry(session.id.clone()).or_insert(Some((bytes, session)));
            }
            self.subjects.insert(subject.clone(), ids);
        }
        let mut sessions = Vec::new();
        for id in self.subjects.get(subject).cloned().unwrap_or_default() {
            sessions.extend(self.find(&id).await?);
        }
        Ok(sessions)
    }

    /// Reads the sessions that were refreshed after a time, and the one with the longest access. The others need no
    /// revocation of their own.
    async fn all(&mut self, since: Timestamp) -> Result<Vec<Session>, Error> {
        if self.everything.is_some() {
            return Ok(Vec::new());
        }
        let keys = &self.store.shared.keys;
        let mut find = redis::pipe();
        find.cmd("ZRANGEBYSCORE").arg(&keys.refreshed).arg(format!("({}", since.as_unix())).arg("+inf");
        find.cmd("ZREVRANGE").arg(&keys.access).arg(0).arg(0);
        let (refreshed, longest): (Vec<String>, Vec<String>) = self.ask(&find).await?;
        let ids =
            refreshed.iter().chain(&longest).map(SessionId::new).collect::<Result<HashSet<_>, _>>().map_err(invalid)?;
        self.fetch(ids.clone()).await?;
        let mut sessions = Vec::with_capacity(ids.len());
        for id in &ids {
            sessions.extend(self.find(id).await?);
        }
        let longest = sessions.iter().map(|session| session.access_expires_at).max().unwrap_or_default();
        self.everything = Some(Everything { since, refreshed: refreshed.len(), longest });
        Ok(sessions)
    }

    pub(super) async fn end(&mut self, ending: &EndSessions) -> Result<Option<Ended>, Error> {
        if let Some((id, subject)) = &ending.only_if
            && self.find(id).await?.is_none_or(|session| session.subject != *subject)
        {
            return Ok(None);
        }
        let sessions = match &ending.selection {
            Selection::One(id) => self.find(id).await?.into_iter().collect(),
            Selection::Owned(id, subject) => {
                self.find(id).await?.into_iter().filter(|session| session.subject == *subject).collect()
            }
            Selection::OfSubject(subject) => self.of_subject(subject).await?,
            Selection::Others(subject, id) => {
                self.of_subject(subject).await?.into_iter().filter(|session| session.id != *id).collect()
            }
            Selection::All { issued_until } => {
                let sessions = self.all(*issued_until).await?;
                // The number is known after the commit.
                return Ok(Some(Ended { sessions: 0, ..ending.revocations(&sessions) }));
            }
            Selection::Nothing => Vec::new(),
        };
        let ended = ending.revocations(&sessions);
        self.removed.extend(sessions.into_iter().map(|session| session.id));
        Ok(Some(ended))
    }
}

/// The connection to use.
#[derive(Clone, Copy)]
enum Asker {
    Reader,
    Writer,
}

impl Redis {
    /// Ends sessions, some of which have to be searched for.
    async fn search_and_end(&self, endings: &[EndSessions]) -> Result<Vec<Option<Ended>>, Error> {
        // The first ending that covers all sessions ends them.
        let everything = everything::find(endings);
        loop {
            let mut view = View::new(self);
            view.prefetch(endings).await?;
            let mut ended = Vec::with_capacity(endings.len());
            for ending in endings {
                ended.push(view.end(ending).await?);
            }
            let revocations: Vec<_> =
                ended.iter().flatten().flat_map(|ended| ended.revocations.iter().cloned()).collect();
            let commit = Commit { revocations: &revocations, ..view.commit() };
            if commit.revocations.is_empty() && commit.removed.is_empty() && commit.everything.is_none() {
                return Ok(ended);
            }
            if let Ok(committed) = self.commit(&commit).await? {
                if let Some(Some(ended)) = everything.and_then(|(place, _)| ended.get_mut(place)) {
                    ended.sessions = committed.ended.saturating_sub(commit.removed.len());
                }
                return Ok(ended);
            }
            pause().await;
        }
    }

    /// Records when sessions were last seen. Returns whether all of them were recorded; sessions that have changed
    /// meanwhile are not.
    async fn note_seen(&self, latest: &HashMap<(SessionId, Subject), Timestamp>) -> Result<bool, Error> {
        let mut view = View::new(self);
        view.fetch(latest.keys().map(|(id, _)| id.clone()).collect()).await?;
        let mut script = self.shared.scripts.seen.prepare_invoke();
        script.key(&self.shared.keys.sessions);
        let mut anything = false;
        for ((id, subject), at) in latest {
            let Some(Some((bytes, session))) = view.found.get(id) else { continue };
            if session.subject == *subject && session.last_seen_at < *at {
                let session = Session { last_seen_at: *at, ..session.clone() };
                script.arg(id.as_str()).arg(bytes.as_slice()).arg(codec::session_to_bytes(&session)?);
                anything = true;
            }
        }
        if !anything {
            return Ok(true);
        }
        let changed: Vec<String> = self.write(Ask::Script(&script)).await?;
        Ok(changed.is_empty())
    }

    /// Reads the stored sessions of a subject, in the order of their ids.
    async fn list_of(
        &self,
        subject: &Subject,
        after: Option<&SessionId>,
        limit: usize,
        asker: Asker,
    ) -> Result<Vec<Vec<u8>>, Error> {
        let owner = codec::owner(subject);
        let from = match after {
            Some(after) => [b"(", owner.as_slice(), after.as_str().as_bytes()].concat(),
            None => [b"[", owner.as_slice()].concat(),
        };
        // Greater than any id: ids are UTF-8, which never has this byte.
        let to = [b"(", owner.as_slice(), b"\xff"].concat();
        self.list(&from, &to, limit, asker).await
    }

    /// Reads the stored sessions of a range of the index of subjects, which is ordered by [`owner`](codec::owner) and
    /// id.
    async fn list(&self, from: &[u8], to: &[u8], limit: usize, asker: Asker) -> Result<Vec<Vec<u8>>, Error> {
        let mut script = self.shared.scripts.list.prepare_invoke();
        script.key(&self.shared.keys.sessions).key(&self.shared.keys.subjects);
        script.arg(from).arg(to).arg(i64::try_from(limit).unwrap_or(-1));
        match asker {
            Asker::Reader => self.shared.reader.ask(Ask::Script(&script), 2).await,
            Asker::Writer => self.write(Ask::Script(&script)).await,
        }
    }
}
