//! Sessions in SQLite.

use std::sync::{MutexGuard, PoisonError};

use async_trait::async_trait;
use rusqlite::{Connection, params};

use super::{Sqlite, from_time, rows, to_time};
use adieu::{
    Error, SessionId, Subject,
    engine::{Found, everything, find_owners},
    revocation::Pruned,
    session::{EndSessions, Ended, Rotated, Rotation, Selection, Session, SessionKey, SessionStore},
    time::Timestamp,
};

/// Expired sessions that one step deletes.
const FORGET_STEP: usize = 256;

#[async_trait]
impl SessionStore for Sqlite {
    async fn create(&self, session: Session) -> Result<(), Error> {
        self.transact(move |connection| rows::put(connection, &session)).await
    }

    async fn rotate(&self, rotation: Rotation) -> Result<Rotated, Error> {
        let rotated = self
            .transact(move |connection| {
                let session = rows::find(connection, &rotation.session, &rotation.subject)?;
                let rotated = rotation.decide(session);
                match &rotated {
                    Rotated::Fresh(session) | Rotated::WithinGrace(session) => rows::put(connection, session)?,
                    Rotated::Reused(session, revocation) => {
                        rows::delete_one(connection, &session.id, &session.subject)?;
                        rows::insert(connection, revocation)?;
                    }
                    Rotated::Ended => {}
                }
                Ok(rotated)
            })
            .await?;
        if matches!(rotated, Rotated::Reused(..)) {
            self.wake_readers();
        }
        Ok(rotated)
    }

    async fn end(&self, ending: EndSessions) -> Result<Option<Ended>, Error> {
        Ok(self.end_all(vec![ending]).await?.pop().flatten())
    }

    async fn end_all(&self, mut endings: Vec<EndSessions>) -> Result<Vec<Option<Ended>>, Error> {
        find_owners(&mut endings, |ids| self.search(ids)).await?;
        let everything = everything::find(&endings);
        let mut ended = self
            .transact(move |connection| {
                endings.iter().map(|ending| end(connection, ending)).collect::<Result<Vec<_>, _>>()
            })
            .await?;
        if let Some((place, ending)) = everything
            && let Some(Some(ended)) = ended.get_mut(place)
        {
            self.end_the_rest(&ending, ended).await?;
        }
        if ended.iter().flatten().any(|ended| !ended.revocations.is_empty()) {
            self.wake_readers();
        }
        Ok(ended)
    }

    async fn session(&self, id: &SessionId) -> Result<Option<Session>, Error> {
        Ok(self.search(vec![id.clone()]).await?.get(id).cloned())
    }

    async fn sessions_of(&self, of: &Subject, after: Option<&SessionId>, limit: usize) -> Result<Vec<Session>, Error> {
        let of = of.clone();
        let after = after.map_or_else(String::new, SessionId::to_string);
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.query(move |connection| {
            let mut list = connection.prepare_cached(rows::LIST_OF_SUBJECT)?;
            list.query_map(params![of.as_str(), after, limit], rows::session)?.collect()
        })
        .await
    }

    async fn sessions(&self, after: Option<&SessionKey>, limit: usize) -> Result<Vec<Session>, Error> {
        let (subject, id) = after.map(|key| (key.subject.to_string(), key.id.to_string())).unwrap_or_default();
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.query(move |connection| {
            connection.prepare_cached(rows::LIST)?.query_map(params![subject, id, limit], rows::session)?.collect()
        })
        .await
    }

    async fn oldest(&self) -> Result<Option<Session>, Error> {
        self.query(rows::oldest).await
    }

    async fn latest_expiry(&self) -> Result<Timestamp, Error> {
        const LATEST: &str = "SELECT coalesce(max(max(refresh_expires_at, access_expires_at)), 0) FROM session";
        self.query(|connection| connection.query_row(LATEST, [], |row| row.get(0).map(to_time))).await
    }

    async fn record_last_seen(&self, seen: Vec<(SessionId, Subject, Timestamp)>) -> Result<(), Error> {
        const SEEN: &str = "UPDATE session SET last_seen_at = $1 WHERE subject = $2 AND id = $3 AND last_seen_at < $1";
        self.transact(move |connection| {
            let mut statement = connection.prepare_cached(SEEN)?;
            seen.iter().try_for_each(|(id, subject, at)| {
                statement.execute(params![from_time(*at), subject.as_str(), id.as_str()]).map(drop)
            })
        })
        .await
    }

    async fn delete_expired(&self, now: Timestamp) -> Result<Pruned, Error> {
        const EXPIRED: &str = "SELECT subject, id FROM session WHERE (subject, id) > ($1, $2) \
                               AND max(refresh_expires_at, access_expires_at) < $3 ORDER BY subject, id LIMIT $4";
        const FORGET: &str = "DELETE FROM session WHERE subject = $1 AND id = $2 \
                              AND max(refresh_expires_at, access_expires_at) < $3";

        // As in pruning the log: readers search, and each step starts where the last one ended.
        let (subject, id) = self.forgotten_up_to().clone();
        let expired = self
            .query(move |connection| {
                connection
                    .prepare_cached(EXPIRED)?
                    .query_map(params![subject, id, from_time(now), FORGET_STEP], |row| Ok((row.get(0)?, row.get(1)?)))?
                    .collect::<rusqlite::Result<Vec<(String, String)>>>()
            })
            .await?;
        let complete = expired.len() < FORGET_STEP;
        let next = if complete { Default::default() } else { expired.last().cloned().unwrap_or_default() };
        let removed = match expired.as_slice() {
            [] => 0,
            [..] => {
                // Some may have been refreshed since.
                self.transact(move |connection| {
                    let mut forget = connection.prepare_cached(FORGET)?;
                    expired.iter().map(|(subject, id)| forget.execute(params![subject, id, from_time(now)])).sum()
                })
                .await?
            }
        };
        *self.forgotten_up_to() = next;
        Ok(Pruned { removed, complete })
    }
}

impl Sqlite {
    /// Finds these sessions by reading all sessions.
    async fn search(&self, ids: Vec<SessionId>) -> Result<Found, Error> {
        let search = async |ids: Vec<SessionId>| self.query(move |connection| rows::with_ids(connection, &ids)).await;
        self.searches.find(ids, search).await
    }

    /// Ends the remaining sessions after the first step, in steps from the beginning, where no session is left.
    pub(super) async fn end_the_rest(&self, ending: &EndSessions, ended: &mut Ended) -> Result<(), Error> {
        let mut from = <(String, String)>::default();
        loop {
            let (ending, before, start) = (ending.clone(), ended.clone(), from);
            let step = self.transact(move |connection| {
                let removed = rows::remove_some(connection, &start)?;
                let step = everything::later_step(&ending, &removed, &before);
                step.revocations.iter().try_for_each(|revocation| rows::insert(connection, revocation))?;
                let end = removed.last().map(|session| (session.subject.to_string(), session.id.to_string()));
                Ok((step, end))
            });
            let (step, end) = step.await?;
            let Some(end) = end else { return Ok(()) };
            everything::add(ended, step);
            from = end;
        }
    }

    fn forgotten_up_to(&self) -> MutexGuard<'_, (String, String)> {
        self.forgotten_up_to.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn end(connection: &Connection, ending: &EndSessions) -> rusqlite::Result<Option<Ended>> {
    let sessions = match &ending.only_if {
        // Removing the session also checks that it exists.
        Some((id, subject)) if ending.selection == Selection::Owned(id.clone(), subject.clone()) => {
            let Some(session) = rows::delete_one(connection, id, subject)? else { return Ok(None) };
            vec![session]
        }
        Some((id, subject)) if !rows::exists(connection, id, subject)? => return Ok(None),
        _ => rows::delete(connection, &ending.selection)?,
    };
    let ended = ending.revocations(&sessions);
    ended.revocations.iter().try_for_each(|revocation| rows::insert(connection, revocation))?;
    Ok(Some(ended))
}
