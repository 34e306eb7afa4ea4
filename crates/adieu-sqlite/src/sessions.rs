//! Sessions in SQLite.

use std::{
    collections::HashMap,
    sync::{MutexGuard, PoisonError},
};

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Row, params, types::ValueRef};

use super::{Sqlite, from_time, log, to_time};
use adieu::{
    Error, SessionId, Subject, TokenId,
    engine::{Found, everything},
    revocation::Pruned,
    session::{Ended, Ending, Origin, Rotated, Rotation, Selection, Session, SessionKey, SessionStore, UsedRefresh},
    time::Timestamp,
};

/// Parameters of one statement.
const MOST_PARAMETERS: usize = 500;

/// Sessions that one step of tidying up removes.
const FORGET_STEP: usize = 256;

/// Every column, in the order in which [`session`] reads them and [`put`] writes them.
macro_rules! columns {
    () => {
        "id, subject, created_at, last_seen_at, address, user_agent, refresh_id, previous_refresh_id, refreshed_at, \
         refresh_expires_at, expires_at, access_expires_at, used_refresh_id, used_at"
    };
}

/// Each a range of the primary key.
const LIST_OF_SUBJECT: &str =
    concat!("SELECT ", columns!(), " FROM session WHERE subject = $1 AND id > $2 ORDER BY id LIMIT $3");
const LIST: &str =
    concat!("SELECT ", columns!(), " FROM session WHERE (subject, id) > ($1, $2) ORDER BY subject, id LIMIT $3");

#[async_trait]
impl SessionStore for Sqlite {
    async fn create(&self, session: Session) -> Result<(), Error> {
        self.transact(move |connection| put(connection, &session)).await
    }

    async fn rotate(&self, rotation: Rotation) -> Result<Rotated, Error> {
        let rotated = self
            .transact(move |connection| {
                let session = find(connection, &rotation.session, &rotation.subject)?;
                let rotated = rotation.decide(session);
                match &rotated {
                    Rotated::Fresh(session) | Rotated::Again(session) => put(connection, session)?,
                    Rotated::Reused(session, revocation) => {
                        delete_one(connection, &session.id, &session.subject)?;
                        log::insert(connection, revocation)?;
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

    async fn end(&self, ending: Ending) -> Result<Option<Ended>, Error> {
        Ok(self.end_all(vec![ending]).await?.pop().flatten())
    }

    async fn end_all(&self, mut endings: Vec<Ending>) -> Result<Vec<Option<Ended>>, Error> {
        self.find_owners(&mut endings).await?;
        let everything = endings.iter().position(|ending| matches!(ending.selection, Selection::All { .. }));
        let everything = everything.and_then(|place| Some((place, endings.get(place)?.clone())));
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

    async fn sessions_of(
        &self,
        subject: &Subject,
        after: Option<&SessionId>,
        limit: usize,
    ) -> Result<Vec<Session>, Error> {
        let subject = subject.clone();
        let after = after.map_or_else(String::new, SessionId::to_string);
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.query(move |connection| {
            let mut list = connection.prepare_cached(LIST_OF_SUBJECT)?;
            list.query_map(params![subject.as_str(), after, limit], session)?.collect()
        })
        .await
    }

    async fn sessions(&self, after: Option<&SessionKey>, limit: usize) -> Result<Vec<Session>, Error> {
        let (subject, id) = after.map(|key| (key.subject.to_string(), key.id.to_string())).unwrap_or_default();
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.query(move |connection| {
            connection.prepare_cached(LIST)?.query_map(params![subject, id, limit], session)?.collect()
        })
        .await
    }

    async fn oldest(&self) -> Result<Option<Session>, Error> {
        const OLDEST: &str = concat!("SELECT ", columns!(), " FROM session ORDER BY id LIMIT 1");
        self.query(|connection| connection.query_row(OLDEST, [], session).optional()).await
    }

    async fn latest_expiry(&self) -> Result<Timestamp, Error> {
        const LATEST: &str = "SELECT coalesce(max(max(refresh_expires_at, access_expires_at)), 0) FROM session";
        self.query(|connection| connection.query_row(LATEST, [], |row| row.get(0).map(to_time))).await
    }

    async fn seen(&self, seen: Vec<(SessionId, Subject, Timestamp)>) -> Result<(), Error> {
        const SEEN: &str = "UPDATE session SET last_seen_at = $1 WHERE subject = $2 AND id = $3 AND last_seen_at < $1";
        self.transact(move |connection| {
            let mut statement = connection.prepare_cached(SEEN)?;
            seen.iter().try_for_each(|(id, subject, at)| {
                statement.execute(params![from_time(*at), subject.as_str(), id.as_str()]).map(drop)
            })
        })
        .await
    }

    async fn forget_expired(&self, now: Timestamp) -> Result<Pruned, Error> {
        const EXPIRED: &str = "SELECT subject, id FROM session WHERE (subject, id) > ($1, $2) \
                               AND max(refresh_expires_at, access_expires_at) < $3 ORDER BY subject, id LIMIT $4";
        const FORGET: &str = "DELETE FROM session WHERE subject = $1 AND id = $2 \
                              AND max(refresh_expires_at, access_expires_at) < $3";

        // As with the log: looking is the readers' work, and each step goes on where the last one ended.
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
    /// Looks up whose the sessions are that are named by their ids alone. Whose one is never changes, so a reader can do it.
    async fn find_owners(&self, endings: &mut [Ending]) -> Result<(), Error> {
        let wanted = |ending: &Ending| match &ending.selection {
            Selection::One(id) => Some(id.clone()),
            _ => None,
        };
        let ids: Vec<SessionId> = endings.iter().filter_map(wanted).collect();
        if ids.is_empty() {
            return Ok(());
        }
        let found = self.search(ids).await?;
        for ending in endings {
            if let Selection::One(id) = &ending.selection {
                ending.selection = match found.get(id) {
                    Some(session) => Selection::Owned(id.clone(), session.subject.clone()),
                    None => Selection::Nothing,
                };
            }
        }
        Ok(())
    }

    /// Looks through all sessions, for these.
    async fn search(&self, ids: Vec<SessionId>) -> Result<Found, Error> {
        let search = async |ids: Vec<SessionId>| {
            self.query(move |connection| {
                let mut found = HashMap::with_capacity(ids.len());
                for ids in ids.chunks(MOST_PARAMETERS) {
                    let parameters = (1..=ids.len()).map(|number| format!("${number}")).collect::<Vec<_>>().join(",");
                    let search = format!("SELECT {} FROM session WHERE id IN ({parameters})", columns!());
                    let mut search = connection.prepare(&search)?;
                    let ids = rusqlite::params_from_iter(ids.iter().map(SessionId::as_str));
                    let mut rows = search.query(ids)?;
                    while let Some(row) = rows.next()? {
                        let session = session(row)?;
                        found.insert(session.id.clone(), session);
                    }
                }
                Ok(found)
            })
            .await
        };
        self.searches.find(ids, search).await
    }

    /// Goes on with ending all there are, after the first step. From the beginning again, where nothing is left of that step.
    pub(super) async fn end_the_rest(&self, ending: &Ending, ended: &mut Ended) -> Result<(), Error> {
        let mut from = <(String, String)>::default();
        loop {
            let (ending, before, start) = (ending.clone(), ended.clone(), from);
            let step = self.transact(move |connection| {
                let removed = remove_some(connection, &start)?;
                let step = everything::later_step(&ending, &removed, &before);
                step.revocations.iter().try_for_each(|revocation| log::insert(connection, revocation))?;
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

fn end(connection: &Connection, ending: &Ending) -> rusqlite::Result<Option<Ended>> {
    let sessions = match &ending.provided {
        // To remove it is to find out whether it is there.
        Some((id, subject)) if ending.selection == Selection::Owned(id.clone(), subject.clone()) => {
            let Some(session) = delete_one(connection, id, subject)? else { return Ok(None) };
            vec![session]
        }
        Some((id, subject)) if !exists(connection, id, subject)? => return Ok(None),
        _ => delete(connection, &ending.selection)?,
    };
    let ended = ending.revocations(&sessions);
    ended.revocations.iter().try_for_each(|revocation| log::insert(connection, revocation))?;
    Ok(Some(ended))
}

fn find(connection: &Connection, id: &SessionId, subject: &Subject) -> rusqlite::Result<Option<Session>> {
    const FIND: &str = concat!("SELECT ", columns!(), " FROM session WHERE subject = $1 AND id = $2");
    connection.prepare_cached(FIND)?.query_row([subject.as_str(), id.as_str()], session).optional()
}

fn exists(connection: &Connection, id: &SessionId, subject: &Subject) -> rusqlite::Result<bool> {
    const EXISTS: &str = "SELECT 1 FROM session WHERE subject = $1 AND id = $2";
    connection.prepare_cached(EXISTS)?.exists([subject.as_str(), id.as_str()])
}

/// Writes a session down, in place of what was there.
fn put(connection: &Connection, session: &Session) -> rusqlite::Result<()> {
    const PUT: &str = concat!(
        "INSERT INTO session (",
        columns!(),
        ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) \
         ON CONFLICT (subject, id) DO UPDATE SET last_seen_at = excluded.last_seen_at, refresh_id = excluded.refresh_id, \
         previous_refresh_id = excluded.previous_refresh_id, refreshed_at = excluded.refreshed_at, \
         refresh_expires_at = excluded.refresh_expires_at, access_expires_at = excluded.access_expires_at, \
         used_refresh_id = excluded.used_refresh_id, used_at = excluded.used_at"
    );
    connection.prepare_cached(PUT)?.execute(params![
        session.id.as_str(),
        session.subject.as_str(),
        from_time(session.created_at),
        from_time(session.last_seen_at),
        session.origin.address.map(|address| address.to_string()),
        session.origin.user_agent,
        session.refresh_id.as_str(),
        session.previous_refresh_id.as_ref().map(TokenId::as_str),
        from_time(session.refreshed_at),
        from_time(session.refresh_expires_at),
        from_time(session.expires_at),
        from_time(session.access_expires_at),
        session.used_refresh.as_ref().map(|used| used.id.as_str()),
        session.used_refresh.as_ref().map(|used| from_time(used.at)),
    ])?;
    Ok(())
}

/// Removes sessions and gives what they were.
pub(super) fn delete(connection: &Connection, selection: &Selection) -> rusqlite::Result<Vec<Session>> {
    let (condition, parameters) = match selection {
        Selection::One(id) => ("WHERE id = $1", vec![id.as_str()]),
        Selection::Owned(id, subject) => return Ok(Vec::from_iter(delete_one(connection, id, subject)?)),
        Selection::OfSubject(subject) => ("WHERE subject = $1", vec![subject.as_str()]),
        Selection::Others(subject, id) => ("WHERE subject = $1 AND id <> $2", vec![subject.as_str(), id.as_str()]),
        // The first step.
        Selection::All { .. } => return remove_some(connection, &Default::default()),
        Selection::Nothing => return Ok(vec![]),
    };
    connection
        .prepare_cached(&format!("DELETE FROM session {condition} RETURNING {}", columns!()))?
        .query_map(rusqlite::params_from_iter(parameters), session)?
        .collect()
}

/// Removes some of all there are, those that come next, and gives what they were.
fn remove_some(connection: &Connection, (subject, id): &(String, String)) -> rusqlite::Result<Vec<Session>> {
    const REMOVE: &str = "DELETE FROM session WHERE (subject, id) > ($1, $2) AND (subject, id) <= ($3, $4)";
    let mut list = connection.prepare_cached(LIST)?;
    let step =
        list.query_map(params![subject, id, everything::STEP], session)?.collect::<rusqlite::Result<Vec<_>>>()?;
    if let Some(last) = step.last() {
        let until = params![subject, id, last.subject.as_str(), last.id.as_str()];
        connection.prepare_cached(REMOVE)?.execute(until)?;
    }
    Ok(step)
}

/// In two statements: what `DELETE … RETURNING` returns lies in a table of its own first, which costs more than the second.
fn delete_one(connection: &Connection, id: &SessionId, subject: &Subject) -> rusqlite::Result<Option<Session>> {
    const DELETE: &str = "DELETE FROM session WHERE subject = $1 AND id = $2";
    let session = find(connection, id, subject)?;
    if session.is_some() {
        connection.prepare_cached(DELETE)?.execute([subject.as_str(), id.as_str()])?;
    }
    Ok(session)
}

fn session(row: &Row<'_>) -> rusqlite::Result<Session> {
    let time = |column: usize| row.get(column).map(to_time);
    let text = |column: usize| row.get_ref(column)?.as_str().map_err(log::invalid);
    Ok(Session {
        id: SessionId::new(text(0)?).map_err(log::invalid)?,
        subject: Subject::new(text(1)?).map_err(log::invalid)?,
        created_at: time(2)?,
        last_seen_at: time(3)?,
        origin: Origin {
            // An address that can't be read is one that can't be shown: no reason to lose the session.
            address: row.get::<_, Option<String>>(4)?.and_then(|text| text.parse().ok()),
            user_agent: row.get(5)?,
        },
        refresh_id: TokenId::new(text(6)?).map_err(log::invalid)?,
        previous_refresh_id: match row.get_ref(7)? {
            ValueRef::Null => None,
            _ => Some(TokenId::new(text(7)?).map_err(log::invalid)?),
        },
        refreshed_at: time(8)?,
        refresh_expires_at: time(9)?,
        expires_at: time(10)?,
        access_expires_at: time(11)?,
        used_refresh: match (row.get_ref(12)?, row.get_ref(13)?) {
            (ValueRef::Null, _) | (_, ValueRef::Null) => None,
            _ => Some(UsedRefresh { id: TokenId::new(text(12)?).map_err(log::invalid)?, at: time(13)? }),
        },
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use rusqlite::Connection;

    use super::{LIST, LIST_OF_SUBJECT};
    use crate::schema;

    /// What SQLite would do, step by step.
    fn plan(connection: &Connection, statement: &str) -> Vec<String> {
        let mut explain = connection.prepare(&format!("EXPLAIN QUERY PLAN {statement}")).unwrap();
        explain.query_map(["", "", ""], |row| row.get("detail")).unwrap().collect::<Result<_, _>>().unwrap()
    }

    #[test]
    fn a_page_is_a_range_of_the_primary_key_and_nothing_is_sorted() {
        let mut connection = Connection::open_in_memory().unwrap();
        schema::migrate(&mut connection).unwrap();
        assert_eq!(plan(&connection, LIST), ["SEARCH session USING PRIMARY KEY ((subject,id)>(?,?))"]);
        assert_eq!(plan(&connection, LIST_OF_SUBJECT), ["SEARCH session USING PRIMARY KEY (subject=? AND id>?)"]);
    }
}
