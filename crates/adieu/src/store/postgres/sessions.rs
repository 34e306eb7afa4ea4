//! Sessions in PostgreSQL.

use std::{
    collections::HashMap,
    sync::{MutexGuard, PoisonError},
};

use async_trait::async_trait;
use sqlx::{PgConnection, Row, postgres::PgRow};

use super::{
    Postgres,
    batch::{Changes, Key},
    from_text, from_time, invalid, log, to_text, to_time,
};
use crate::{
    Error, SessionId, Subject, TokenId,
    revocation::{Position, Pruned},
    session::{Ended, Ending, Origin, Rotated, Rotation, Selection, Session, SessionKey, SessionStore},
    time::Timestamp,
};

/// Sessions that one step of tidying up removes.
const FORGET_STEP: i64 = 256;

/// Every column, in the order in which [`session`] reads them and [`put`] writes them.
macro_rules! columns {
    () => {
        "session.id, session.subject, created_at, last_seen_at, address, user_agent, refresh_id, previous_refresh_id, \
         refreshed_at, refresh_expires_at, expires_at, access_expires_at"
    };
}

#[async_trait]
impl SessionStore for Postgres {
    async fn create(&self, session: Session) -> Result<(), Error> {
        self.decide(vec![], move |changes| changes.put(session.clone())).await
    }

    async fn rotate(&self, rotation: Rotation) -> Result<Rotated, Error> {
        let key = (rotation.subject.clone(), rotation.session.clone());
        self.decide(vec![key.clone()], move |changes| {
            let rotated = rotation.decide(changes.find(&key).cloned());
            match &rotated {
                Rotated::Fresh(session) | Rotated::Again(session) => changes.put(session.clone()),
                Rotated::Reused(_, revocation) => {
                    changes.remove(&key);
                    changes.append([revocation.clone()]);
                }
                Rotated::Ended => {}
            }
            rotated
        })
        .await
    }

    async fn end(&self, ending: Ending) -> Result<Option<Ended>, Error> {
        Ok(self.end_all(vec![ending]).await?.pop().flatten())
    }

    async fn end_all(&self, mut endings: Vec<Ending>) -> Result<Vec<Option<Ended>>, Error> {
        self.find_owners(&mut endings).await?;
        let outcome = match endings.iter().map(keys).collect::<Option<Vec<_>>>() {
            Some(keys) => {
                let keys = keys.into_iter().flatten().collect();
                let end =
                    move |changes: &mut Changes| endings.iter().map(|ending| end_known(changes, ending)).collect();
                self.inner.writer.decide(keys, end)?.await
            }
            None => {
                let end = self.inner.writer.run(move |connection, changes| {
                    let endings = endings.clone();
                    Box::pin(async move {
                        let mut ended = Vec::with_capacity(endings.len());
                        for ending in &endings {
                            ended.push(end(connection, changes, ending).await?);
                        }
                        Ok(ended)
                    })
                });
                end?.await
            }
        };
        let (mut ended, committed): (Vec<Option<Ended>>, _) = self.written(outcome)?;
        let head_before = log::to_position(committed.head_before).get();
        for position in ended.iter_mut().flatten().filter_map(|ended| ended.appended_at.as_mut()) {
            *position = Position::new(head_before.saturating_add(position.get()));
        }
        Ok(ended)
    }

    async fn session(&self, id: &SessionId) -> Result<Option<Session>, Error> {
        const BY_ID: &str = concat!("SELECT ", columns!(), " FROM session WHERE id = $1 LIMIT 1");
        let found = self.fetch_optional(sqlx::query(BY_ID).bind(to_text(id.as_str()))).await?;
        found.as_ref().map(session).transpose().map_err(Error::unavailable)
    }

    async fn sessions_of(
        &self,
        subject: &Subject,
        after: Option<&SessionId>,
        limit: usize,
    ) -> Result<Vec<Session>, Error> {
        const LIST_OF_SUBJECT: &str =
            concat!("SELECT ", columns!(), " FROM session WHERE subject = $1 AND id > $2 ORDER BY id LIMIT $3");
        let after = to_text(after.map_or("", SessionId::as_str));
        let list = sqlx::query(LIST_OF_SUBJECT).bind(to_text(subject.as_str())).bind(after);
        let rows = self.fetch_all(list.bind(i64::try_from(limit).unwrap_or(i64::MAX))).await?;
        rows.iter().map(session).collect::<Result<_, _>>().map_err(Error::unavailable)
    }

    async fn sessions(&self, after: Option<&SessionKey>, limit: usize) -> Result<Vec<Session>, Error> {
        // A range of the primary key.
        const LIST: &str = concat!(
            "SELECT ",
            columns!(),
            " FROM session WHERE (subject, id) > ($1, $2) ORDER BY subject, id LIMIT $3"
        );
        let (subject, id) = after.map_or(("", ""), |key| (key.subject.as_str(), key.id.as_str()));
        let list = sqlx::query(LIST).bind(to_text(subject)).bind(to_text(id));
        let rows = self.fetch_all(list.bind(i64::try_from(limit).unwrap_or(i64::MAX))).await?;
        rows.iter().map(session).collect::<Result<_, _>>().map_err(Error::unavailable)
    }

    async fn oldest(&self) -> Result<Option<Session>, Error> {
        const OLDEST: &str = concat!("SELECT ", columns!(), " FROM session ORDER BY id LIMIT 1");
        let found = self.fetch_optional(sqlx::query(OLDEST)).await?;
        found.as_ref().map(session).transpose().map_err(Error::unavailable)
    }

    async fn latest_expiry(&self) -> Result<Timestamp, Error> {
        const LATEST: &str = "SELECT coalesce(max(greatest(refresh_expires_at, access_expires_at)), 0) FROM session";
        let row = self.fetch_optional(sqlx::query(LATEST)).await?;
        Ok(row.map(|row| row.try_get(0)).transpose().map_err(Error::unavailable)?.map(to_time).unwrap_or_default())
    }

    async fn seen(&self, seen: Vec<(SessionId, Subject, Timestamp)>) -> Result<(), Error> {
        const SEEN: &str = "UPDATE session SET last_seen_at = used.at \
                            FROM (SELECT subject, id, max(at) AS at \
                                  FROM unnest($1::text[], $2::text[], $3::bigint[]) AS given (subject, id, at) \
                                  GROUP BY subject, id) AS used \
                            WHERE session.subject = used.subject AND session.id = used.id \
                            AND session.last_seen_at < used.at";
        if seen.is_empty() {
            return Ok(());
        }
        self.run(move |connection, _| {
            let subjects: Vec<_> = seen.iter().map(|(_, subject, _)| to_text(subject.as_str()).into_owned()).collect();
            let ids: Vec<_> = seen.iter().map(|(id, ..)| to_text(id.as_str()).into_owned()).collect();
            let times: Vec<_> = seen.iter().map(|(.., at)| from_time(*at)).collect();
            let update = sqlx::query(SEEN).bind(subjects).bind(ids).bind(times);
            Box::pin(async move { update.execute(connection).await.map(drop) })
        })
        .await
    }

    async fn forget_expired(&self, now: Timestamp) -> Result<Pruned, Error> {
        const EXPIRED: &str = "SELECT subject, id FROM session WHERE (subject, id) > ($1, $2) \
                               AND greatest(refresh_expires_at, access_expires_at) < $3 ORDER BY subject, id LIMIT $4";
        const FORGET: &str = "DELETE FROM session USING unnest($1::text[], $2::text[]) AS expired (subject, id) \
                              WHERE session.subject = expired.subject AND session.id = expired.id \
                              AND greatest(refresh_expires_at, access_expires_at) < $3";

        // As with the log: looking is the readers' work, and each step goes on where the last one ended.
        let (subject, id) = self.forgotten_up_to().clone();
        let expired = sqlx::query(EXPIRED).bind(subject).bind(id).bind(from_time(now)).bind(FORGET_STEP);
        let expired = self.fetch_all(expired).await?;
        let names = |row: &PgRow| Ok((row.try_get::<String, _>(0)?, row.try_get::<String, _>(1)?));
        let expired: Vec<_> = expired.iter().map(names).collect::<sqlx::Result<_>>().map_err(Error::unavailable)?;
        let complete = i64::try_from(expired.len()).is_ok_and(|expired| expired < FORGET_STEP);
        let next = if complete { Default::default() } else { expired.last().cloned().unwrap_or_default() };
        let removed = match expired.as_slice() {
            [] => 0,
            [..] => {
                // Some may have been refreshed since.
                self.run(move |connection, _| {
                    let (subjects, ids): (Vec<_>, Vec<_>) = expired.iter().cloned().unzip();
                    let forget = sqlx::query(FORGET).bind(subjects).bind(ids).bind(from_time(now));
                    Box::pin(async move { Ok(forget.execute(connection).await?.rows_affected()) })
                })
                .await?
            }
        };
        *self.forgotten_up_to() = next;
        Ok(Pruned { removed: usize::try_from(removed).unwrap_or(usize::MAX), complete })
    }
}

impl Postgres {
    /// Looks up whose the sessions are that are named by their ids alone, all at once since all sessions are looked through.
    /// Whose one is never changes, so a reader can do it.
    async fn find_owners(&self, endings: &mut [Ending]) -> Result<(), Error> {
        const OWNERS: &str = "SELECT id, subject FROM session WHERE id = ANY($1)";
        let wanted = |ending: &Ending| match &ending.selection {
            Selection::One(id) => Some(to_text(id.as_str()).into_owned()),
            _ => None,
        };
        let ids: Vec<String> = endings.iter().filter_map(wanted).collect();
        if ids.is_empty() {
            return Ok(());
        }
        let owner = |row: &PgRow| {
            let id = SessionId::new(from_text(row.try_get(0)?)?).map_err(invalid)?;
            Ok((id, Subject::new(from_text(row.try_get(1)?)?).map_err(invalid)?))
        };
        let owners = self.fetch_all(sqlx::query(OWNERS).bind(ids)).await?;
        let owners = owners.iter().map(owner).collect::<sqlx::Result<HashMap<_, _>>>().map_err(Error::unavailable)?;
        for ending in endings {
            if let Selection::One(id) = &ending.selection {
                ending.selection = match owners.get(id) {
                    Some(subject) => Selection::Owned(id.clone(), subject.clone()),
                    None => Selection::Nothing,
                };
            }
        }
        Ok(())
    }

    fn forgotten_up_to(&self) -> MutexGuard<'_, (String, String)> {
        self.inner.forgotten_up_to.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The sessions that an ending looks at, if it says which.
fn keys(ending: &Ending) -> Option<Vec<Key>> {
    let mut keys: Vec<Key> = ending.provided.iter().map(|(id, subject)| (subject.clone(), id.clone())).collect();
    match &ending.selection {
        Selection::Owned(id, subject) => keys.push((subject.clone(), id.clone())),
        Selection::Nothing => {}
        Selection::One(_) | Selection::OfSubject(_) | Selection::Others(..) | Selection::All { .. } => return None,
    }
    Some(keys)
}

/// An ending that says which sessions it looks at.
fn end_known(changes: &mut Changes, ending: &Ending) -> Option<Ended> {
    if let Some((id, subject)) = &ending.provided {
        changes.find(&(subject.clone(), id.clone()))?;
    }
    let removed = match &ending.selection {
        Selection::Owned(id, subject) => changes.remove(&(subject.clone(), id.clone())),
        _ => None,
    };
    let ended = ending.revocations(removed.as_slice());
    Some(append(changes, ended))
}

/// Appends what goes with an ending. Where that is, is counted from the last position before the batch, until that is known.
fn append(changes: &mut Changes, ended: Ended) -> Ended {
    let so_far = changes.append(ended.revocations.iter().cloned());
    let appended_at = (!ended.revocations.is_empty()).then(|| Position::new(u64::try_from(so_far).unwrap_or(0)));
    Ended { appended_at, ..ended }
}

/// Any ending, by itself.
async fn end(connection: &mut PgConnection, changes: &mut Changes, ending: &Ending) -> sqlx::Result<Option<Ended>> {
    const EXISTS: &str = "SELECT 1 FROM session WHERE subject = $1 AND id = $2";
    if let Some((id, subject)) = &ending.provided {
        let exists = sqlx::query(EXISTS).bind(to_text(subject.as_str())).bind(to_text(id.as_str()));
        if exists.fetch_optional(&mut *connection).await?.is_none() {
            return Ok(None);
        }
    }
    let ended = match ending.selection {
        Selection::All { issued_until } => end_everything(connection, ending, issued_until).await?,
        _ => ending.revocations(&delete(connection, &ending.selection).await?),
    };
    Ok(Some(append(changes, ended)))
}

/// Of all there are, only those that get a revocation of their own are fetched, and the one that a cut-off has to outlive:
/// a million would take longer than an operation may.
pub(super) async fn end_everything(
    connection: &mut PgConnection,
    ending: &Ending,
    issued_until: Timestamp,
) -> sqlx::Result<Ended> {
    const END: &str = concat!(
        "WITH session AS (DELETE FROM session RETURNING *) SELECT ",
        columns!(),
        ", (SELECT count(*) FROM session) FROM session WHERE refreshed_at > $1 \
         OR (subject, id) = (SELECT subject, id FROM session ORDER BY access_expires_at DESC LIMIT 1)"
    );
    let rows = sqlx::query(END).bind(from_time(issued_until)).fetch_all(connection).await?;
    let sessions = match rows.first() {
        Some(row) => usize::try_from(row.try_get::<i64, _>(12)?).unwrap_or(usize::MAX),
        None => 0,
    };
    let fetched = rows.iter().map(session).collect::<sqlx::Result<Vec<_>>>()?;
    Ok(Ended { sessions, ..ending.revocations(&fetched) })
}

/// The sessions of these names.
pub(super) async fn find(
    connection: &mut PgConnection,
    keys: impl IntoIterator<Item = &Key>,
) -> sqlx::Result<Vec<Session>> {
    const FIND: &str = concat!(
        "SELECT ",
        columns!(),
        " FROM unnest($1::text[], $2::text[]) AS wanted (subject, id) \
         JOIN session ON session.subject = wanted.subject AND session.id = wanted.id"
    );
    let (subjects, ids) = columns_of(keys);
    sqlx::query(FIND).bind(subjects).bind(ids).fetch_all(connection).await?.iter().map(session).collect()
}

/// Removes the sessions of these names.
pub(super) async fn remove(connection: &mut PgConnection, keys: &[&Key]) -> sqlx::Result<()> {
    const REMOVE: &str = "DELETE FROM session USING unnest($1::text[], $2::text[]) AS ended (subject, id) \
                          WHERE session.subject = ended.subject AND session.id = ended.id";
    let (subjects, ids) = columns_of(keys.iter().copied());
    sqlx::query(REMOVE).bind(subjects).bind(ids).execute(connection).await.map(drop)
}

fn columns_of<'k>(keys: impl IntoIterator<Item = &'k Key>) -> (Vec<String>, Vec<String>) {
    let column = |text| to_text(text).into_owned();
    keys.into_iter().map(|(subject, id)| (column(subject.as_str()), column(id.as_str()))).unzip()
}

/// Writes sessions down, each once, in place of what was there.
pub(super) async fn put(connection: &mut PgConnection, sessions: &[&Session]) -> sqlx::Result<()> {
    const PUT: &str = "INSERT INTO session (id, subject, created_at, last_seen_at, address, user_agent, refresh_id, \
         previous_refresh_id, refreshed_at, refresh_expires_at, expires_at, access_expires_at) \
         SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::text[], $6::text[], $7::text[], \
         $8::text[], $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[]) \
         ON CONFLICT (subject, id) DO UPDATE SET last_seen_at = excluded.last_seen_at, refresh_id = excluded.refresh_id, \
         previous_refresh_id = excluded.previous_refresh_id, refreshed_at = excluded.refreshed_at, \
         refresh_expires_at = excluded.refresh_expires_at, access_expires_at = excluded.access_expires_at";

    fn column<T>(sessions: &[&Session], value: impl Fn(&Session) -> T) -> Vec<T> {
        sessions.iter().map(|session| value(session)).collect()
    }
    let text = |text: &str| to_text(text).into_owned();
    sqlx::query(PUT)
        .bind(column(sessions, |session| text(session.id.as_str())))
        .bind(column(sessions, |session| text(session.subject.as_str())))
        .bind(column(sessions, |session| from_time(session.created_at)))
        .bind(column(sessions, |session| from_time(session.last_seen_at)))
        .bind(column(sessions, |session| session.origin.address.map(|address| address.to_string())))
        .bind(column(sessions, |session| session.origin.user_agent.as_deref().map(text)))
        .bind(column(sessions, |session| text(session.refresh_id.as_str())))
        .bind(column(sessions, |session| session.previous_refresh_id.as_ref().map(|id| text(id.as_str()))))
        .bind(column(sessions, |session| from_time(session.refreshed_at)))
        .bind(column(sessions, |session| from_time(session.refresh_expires_at)))
        .bind(column(sessions, |session| from_time(session.expires_at)))
        .bind(column(sessions, |session| from_time(session.access_expires_at)))
        .execute(connection)
        .await
        .map(drop)
}

/// Removes sessions and gives what they were.
async fn delete(connection: &mut PgConnection, selection: &Selection) -> sqlx::Result<Vec<Session>> {
    const OWNED: &str = concat!("DELETE FROM session WHERE subject = $1 AND id = $2 RETURNING ", columns!());
    const OF_SUBJECT: &str = concat!("DELETE FROM session WHERE subject = $1 RETURNING ", columns!());
    const OTHERS: &str = concat!("DELETE FROM session WHERE subject = $1 AND id <> $2 RETURNING ", columns!());
    const ONE: &str = concat!("DELETE FROM session WHERE id = $1 RETURNING ", columns!());
    let query = match selection {
        Selection::One(id) => sqlx::query(ONE).bind(to_text(id.as_str())),
        Selection::Owned(id, subject) => sqlx::query(OWNED).bind(to_text(subject.as_str())).bind(to_text(id.as_str())),
        Selection::OfSubject(subject) => sqlx::query(OF_SUBJECT).bind(to_text(subject.as_str())),
        Selection::Others(subject, id) => {
            sqlx::query(OTHERS).bind(to_text(subject.as_str())).bind(to_text(id.as_str()))
        }
        // The first is ended by `end_everything`.
        Selection::All { .. } | Selection::Nothing => return Ok(vec![]),
    };
    query.fetch_all(connection).await?.iter().map(session).collect()
}

fn session(row: &PgRow) -> sqlx::Result<Session> {
    let text = |column: usize| from_text(row.try_get(column)?);
    let time = |column: usize| row.try_get(column).map(to_time);
    let optional = |column: usize| row.try_get::<Option<&str>, _>(column)?.map(from_text).transpose();
    Ok(Session {
        id: SessionId::new(text(0)?).map_err(invalid)?,
        subject: Subject::new(text(1)?).map_err(invalid)?,
        created_at: time(2)?,
        last_seen_at: time(3)?,
        origin: Origin {
            // An address that can't be read is one that can't be shown: no reason to lose the session.
            address: optional(4)?.and_then(|text| text.parse().ok()),
            user_agent: optional(5)?.map(|text| text.into_owned()),
        },
        refresh_id: TokenId::new(text(6)?).map_err(invalid)?,
        previous_refresh_id: optional(7)?.map(TokenId::new).transpose().map_err(invalid)?,
        refreshed_at: time(8)?,
        refresh_expires_at: time(9)?,
        expires_at: time(10)?,
        access_expires_at: time(11)?,
    })
}
