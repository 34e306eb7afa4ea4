//! Batches of operations on sessions that the operations name.
//!
//! One command reads the sessions of a batch, and one script applies its changes. In between, the operations are decided
//! one after the other in memory, each seeing the changes of those before it. If another node has changed some of the
//! sessions meanwhile, nothing is applied. The operations on those sessions then continue apart, so that a session that
//! others change all the time delays no other session.

use std::collections::{HashMap, HashSet};

use tokio::time::timeout_at;

use super::{
    Redis, WRITE_TIMEOUT, codec,
    commit::{Commit, Conflict, pause},
    connection::Ask,
};
use adieu::{
    Error, SessionId,
    engine::{
        Changes, Key,
        group_commit::{Job, Keyed, Reply, keyed, reply},
    },
    revocation::Position,
    session::Session,
};

type Batch = Vec<Box<dyn Keyed>>;

/// A new session, and the caller that waits until it is stored.
pub(super) struct Login {
    session: Session,
    reply: Reply<()>,
}

impl Job for Login {
    fn deadline(&self) -> tokio::time::Instant {
        self.reply.deadline
    }

    fn answer(self, outcome: Result<Position, Error>) {
        self.reply.send(Some(()), outcome);
    }
}

impl Redis {
    /// Decides an operation on the sessions of `keys` in a batch. Returns its result, and the last position of the log
    /// before the entries of the batch, if the batch appended any.
    pub(super) async fn decide<T, F>(&self, keys: Vec<Key>, decide: F) -> Result<(T, Position), Error>
    where
        T: Send + 'static,
        F: FnMut(&mut Changes) -> T + Send + 'static,
    {
        let (job, answer) = keyed(keys, WRITE_TIMEOUT, decide);
        self.shared.changes.queue(job)?;
        answer.await
    }

    /// Stores a new session.
    pub(super) async fn log_in(&self, session: Session) -> Result<(), Error> {
        let (reply, answer) = reply(WRITE_TIMEOUT);
        self.shared.logins.queue(Login { session, reply })?;
        answer.await.map(|((), _)| ())
    }

    /// Carries out a batch of logins.
    pub(super) async fn apply_logins(self, batch: Vec<Login>) {
        let commit = Commit {
            put: batch.iter().map(|login| &login.session).collect(),
            operations: batch.len(),
            ..Commit::default()
        };
        // Nothing was read, so nothing can have changed.
        let outcome = self.commit(&commit).await.map(|_| Position::START);
        answer(batch, outcome);
    }

    /// Carries out a batch of operations.
    pub(super) async fn apply(self, batch: Batch) {
        let Some(limit) = batch.iter().map(|job| job.deadline()).max() else { return };
        if timeout_at(limit, self.apply_or_set_apart(batch)).await.is_err() {
            self.shared.writer.give_up();
        }
    }

    async fn apply_or_set_apart(&self, mut batch: Batch) {
        while !batch.is_empty() {
            let conflict = match self.attempt(&mut batch).await {
                Ok(Ok(head_before)) => return answer(batch, Ok(head_before)),
                Ok(Err(conflict)) => conflict,
                Err(error) => return answer(batch, Err(error)),
            };
            let mut apart: HashMap<SessionId, Batch> = HashMap::new();
            let mut others = Batch::new();
            for job in batch {
                match job.keys().iter().find(|(_, id)| conflict.sessions.contains(id)) {
                    Some((_, id)) => apart.entry(id.clone()).or_default().push(job),
                    None => others.push(job),
                }
            }
            for batch in apart.into_values() {
                tokio::spawn(self.clone().apply_apart(batch));
            }
            batch = others;
        }
    }

    /// Carries out operations on a session that other nodes are changing.
    async fn apply_apart(self, mut batch: Batch) {
        let Some(limit) = batch.iter().map(|job| job.deadline()).max() else { return };
        let attempts = async {
            loop {
                pause().await;
                match self.attempt(&mut batch).await {
                    Ok(Ok(head_before)) => return Ok(head_before),
                    Ok(Err(_)) => {}
                    Err(error) => return Err(error),
                }
            }
        };
        let outcome = timeout_at(limit, attempts).await;
        let too_late = || Err(Error::unavailable("a session in Redis was changed by others all the time"));
        answer(batch, outcome.unwrap_or_else(|_| too_late()));
    }

    /// Reads the sessions of a batch, decides, and commits. Operations on sessions that cannot be decoded fail, and leave
    /// the batch. Returns the last position of the log before the entries of the batch, if the batch appended any.
    async fn attempt(&self, batch: &mut Batch) -> Result<Result<Position, Conflict>, Error> {
        let ids: HashSet<_> = batch.iter().flat_map(|job| job.keys()).map(|(_, id)| id.clone()).collect();
        let ids: Vec<_> = ids.into_iter().collect();
        let stored = self.fetch(&ids).await?;
        let mut sessions = Vec::with_capacity(ids.len());
        for (id, bytes) in ids.iter().zip(&stored) {
            match bytes.as_deref().map(codec::session_from_bytes).transpose() {
                Ok(session) => sessions.extend(session),
                Err(error) => {
                    let concerns = |job: &mut Box<dyn Keyed>| job.keys().iter().any(|(_, key)| key == id);
                    batch.extract_if(.., concerns).for_each(|job| job.answer(Err(error.clone())));
                }
            }
        }
        let mut changes = Changes::of(batch.iter().flat_map(|job| job.keys()).collect(), sessions);
        batch.iter_mut().for_each(|job| job.decide(&mut changes));
        if changes.is_empty() {
            return Ok(Ok(Position::START));
        }
        let (put, removed) = changes.changed();
        let commit = Commit {
            sessions: ids.iter().zip(stored.iter().map(Option::as_deref)).collect(),
            revocations: changes.appended(),
            removed: removed.into_iter().map(|(_, id)| id).collect(),
            put,
            operations: batch.len(),
            ..Commit::default()
        };
        let appended = u64::try_from(commit.revocations.len()).unwrap_or(u64::MAX);
        let committed = self.commit(&commit).await?;
        Ok(committed.map(|committed| Position::new(committed.head.get().saturating_sub(appended))))
    }

    /// Returns the sessions with these ids, as they are stored. Uses the writing connection, with the time limit of a
    /// write.
    pub(super) async fn fetch(&self, ids: &[SessionId]) -> Result<Vec<Option<Vec<u8>>>, Error> {
        if ids.is_empty() {
            return Ok(vec![]);
        }
        let mut get = redis::pipe();
        get.cmd("HMGET").arg(&self.shared.keys.sessions);
        for id in ids {
            get.arg(id.as_str());
        }
        let (found,) = self.shared.writer.ask(Ask::Pipeline(&get), 2).await?;
        Ok(found)
    }
}

fn answer<J: Job>(batch: Vec<J>, outcome: Result<Position, Error>) {
    batch.into_iter().for_each(|job| job.answer(outcome.clone()));
}
