//! Sessions in PostgreSQL.

use std::sync::{MutexGuard, PoisonError};

use async_trait::async_trait;
use sqlx::{PgConnection, Row, postgres::PgRow};

use super::{
    Postgres, from_time,
    log::SCAN_STEP,
    rows::{self, columns, named},
    to_text, to_time,
};
use adieu::{
    Error, SessionId, Subject,
    engine::{Changes, Found, everything, find_owners, keys_to_end},
    revocation::Pruned,
    session::{EndSessions, Ended, Rotated, Rotation, Selection, Session, SessionKey, SessionStore},
    time::Timestamp,
};

/// The maximum number of sessions that one step of cleanup deletes.
const FORGET_STEP: usize = 256;

#[async_trait]
impl SessionStore for Postgres {
    async fn create(&self, session: Session) -> Result<(), Error> {
        self.decide(vec![], move |changes| changes.put(session.clone())).await
    }

    async fn rotate(&self, rotation: Rotation) -> Result<Rotated, Error> {
        let key = (rotation.subject.clone(), rotation.session.clone());
        self.decide(vec![key], move |changes| changes.rotate(&rotation)).await
    }

    async fn end(&self, ending: EndSessions) -> Result<Option<Ended>, Error> {
        Ok(self.end_all(vec![ending]).await?.pop().flatten())
    }

    async fn end_all(&self, mut endings: Vec<EndSessions>) -> Result<Vec<Option<Ended>>, Error> {
        find_owners(&mut endings, |ids| self.search(ids)).await?;
        let everything = everything::find(&endings);
        let outcome = match endings.iter().map(keys_to_end).collect::<Option<Vec<_>>>() {
            Some(keys) => {
                let keys = keys.into_iter().flatten().collect();
                let end = move |changes: &mut Changes| endings.iter().map(|ending| changes.end(ending)).collect();
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
        let mut ended: Vec<Option<Ended>> = self.written(outcome)?.0;
        if let Some((place, ending)) = everything
            && let Some(Some(ended)) = ended.get_mut(place)
        {
            self.end_the_rest(&ending, ended).await?;
        }
        Ok(ended)
    }

    async fn session(&self, id: &SessionId) -> Result<Option<Session>, Error> {
        Ok(self.search(vec![id.clone()]).await?.get(id).cloned())
    }

    async fn sessions_of(&self, of: &Subject, after: Option<&SessionId>, limit: usize) -> Result<Vec<Session>, Error> {
        const LIST_OF_SUBJECT: &str =
            concat!("SELECT ", columns!(), " FROM session WHERE subject = $1 AND id > $2 ORDER BY id LIMIT $3");
        let after = to_text(after.map_or("", SessionId::as_str));
        let list = sqlx::query(LIST_OF_SUBJECT).bind(to_text(of.as_str())).bind(after);
        let rows = self.fetch_all(list.bind(i64::try_from(limit).unwrap_or(i64::MAX))).await?;
        rows.iter().map(rows::session).collect::<Result<_, _>>().map_err(Error::unavailable)
    }

    async fn sessions(&self, after: Option<&SessionKey>, limit: usize) -> Result<Vec<Session>, Error> {
        // A range scan of the primary key.
        const LIST: &str = concat!(
            "SELECT ",
            columns!(),
            " FROM session WHERE (subject, id) > ($1, $2) ORDER BY subject, id LIMIT $3"
        );
        let (subject, id) = after.map_or(("", ""), |key| (key.subject.as_str(), key.id.as_str()));
        let list = sqlx::query(LIST).bind(to_text(subject)).bind(to_text(id));
        let rows = self.fetch_all(list.bind(i64::try_from(limit).unwrap_or(i64::MAX))).await?;
        rows.iter().map(rows::session).collect::<Result<_, _>>().map_err(Error::unavailable)
    }

    async fn oldest(&self) -> Result<Option<Session>, Error> {
        const OLDEST: &str = concat!("SELECT ", columns!(), " FROM session ORDER BY id LIMIT 1");
        let found = self.fetch_optional(sqlx::query(OLDEST)).await?;
        found.as_ref().map(rows::session).transpose().map_err(Error::unavailable)
    }

    async fn latest_expiry(&self) -> Result<Timestamp, Error> {
        // In short steps.
        const LATEST: &str = "WITH step AS MATERIALIZED (SELECT subject, id, greatest(refresh_expires_at, access_expires_at) \
             AS expires_at FROM session WHERE (subject, id) > ($1, $2) ORDER BY subject, id LIMIT $3) \
             SELECT subject, id, (SELECT max(expires_at) FROM step) FROM step ORDER BY subject DESC, id DESC LIMIT 1";
        let (mut latest, mut last) = (Timestamp::ZERO, (String::new(), String::new()));
        loop {
            let step = sqlx::query(LATEST).bind(last.0).bind(last.1).bind(SCAN_STEP);
            let Some(row) = self.fetch_optional(step).await? else { return Ok(latest) };
            let read = || Ok((row.try_get(2)?, (row.try_get(0)?, row.try_get(1)?)));
            let (expires_at, end) = read().map_err(|error: sqlx::Error| Error::unavailable(error))?;
            (latest, last) = (latest.max(to_time(expires_at)), end);
        }
    }

    async fn record_last_seen(&self, seen: Vec<(SessionId, Subject, Timestamp)>) -> Result<(), Error> {
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
            // Not prepared: planned each time for the current size of the table.
            let update = sqlx::query(SEEN).persistent(false).bind(subjects).bind(ids).bind(times);
            Box::pin(async move { update.execute(connection).await.map(drop) })
        })
        .await
    }

    async fn delete_expired(&self, now: Timestamp) -> Result<Pruned, Error> {
        // In short steps, however many sessions stay.
        const EXPIRED: &str = "SELECT subject, id FROM \
             (SELECT subject, id, greatest(refresh_expires_at, access_expires_at) AS expires_at FROM session \
              WHERE (subject, id) > ($1, $2) ORDER BY subject, id LIMIT $4) AS step \
             WHERE expires_at < $3 ORDER BY subject, id LIMIT $5";
        const END: &str = "SELECT subject, id FROM session WHERE (subject, id) > ($1, $2) \
                           ORDER BY subject, id OFFSET $3 - 1 LIMIT 1";
        const FORGET: &str = concat!(
            "DELETE FROM session WHERE ctid = ANY(ARRAY(SELECT session.ctid ",
            named!(),
            ")) AND greatest(refresh_expires_at, access_expires_at) < $3"
        );

        // As in the log: a reader's connection searches, and each step continues where the last one ended.
        let (subject, id) = self.forgotten_up_to().clone();
        let limit = i64::try_from(FORGET_STEP).unwrap_or(i64::MAX);
        let expired = sqlx::query(EXPIRED).bind(&subject).bind(&id).bind(from_time(now)).bind(SCAN_STEP).bind(limit);
        let name = |row: &PgRow| {
            let name = || Ok((row.try_get(0)?, row.try_get(1)?));
            name().map_err(|error: sqlx::Error| Error::unavailable(error))
        };
        let expired: Vec<(String, String)> =
            self.fetch_all(expired).await?.iter().map(name).collect::<Result<_, _>>()?;
        let next = if expired.len() < FORGET_STEP {
            let end = self.fetch_optional(sqlx::query(END).bind(&subject).bind(&id).bind(SCAN_STEP)).await?;
            end.as_ref().map(name).transpose()?
        } else {
            expired.last().cloned()
        };
        let removed = match expired.as_slice() {
            [] => 0,
            [..] => {
                // Some sessions may have been refreshed since.
                self.run(move |connection, _| {
                    let (subjects, ids): (Vec<_>, Vec<_>) = expired.iter().cloned().unzip();
                    let forget = sqlx::query(FORGET).bind(subjects).bind(ids).bind(from_time(now));
                    Box::pin(async move { Ok(forget.execute(connection).await?.rows_affected()) })
                })
                .await?
            }
        };
        let complete = next.is_none();
        *self.forgotten_up_to() = next.unwrap_or_default();
        Ok(Pruned { removed: usize::try_from(removed).unwrap_or(usize::MAX), complete })
    }
}

impl Postgres {
    /// Searches all sessions for these ids.
    async fn search(&self, ids: Vec<SessionId>) -> Result<Found, Error> {
        const SEARCH: &str = concat!("SELECT ", columns!(), " FROM session WHERE id = ANY($1)");
        let search = async |ids: Vec<SessionId>| {
            let ids: Vec<_> = ids.iter().map(|id| to_text(id.as_str()).into_owned()).collect();
            let rows = self.fetch_all(sqlx::query(SEARCH).bind(ids)).await?;
            let found = rows.iter().map(|row| rows::session(row).map(|session| (session.id.clone(), session)));
            found.collect::<sqlx::Result<_>>().map_err(Error::unavailable)
        };
        self.inner.searches.find(ids, search).await
    }

    /// Ends the remaining sessions after the first step, in steps from the beginning, where no session is left.
    pub(super) async fn end_the_rest(&self, ending: &EndSessions, ended: &mut Ended) -> Result<(), Error> {
        let Selection::All { issued_until } = ending.selection else { return Ok(()) };
        let mut from = <(String, String)>::default();
        loop {
            let (ending, before, start) = (ending.clone(), ended.clone(), from);
            let step = self.inner.writer.run(move |connection, changes| {
                let (ending, before, start) = (ending.clone(), before.clone(), start.clone());
                Box::pin(async move {
                    let removed = rows::remove_some(connection, issued_until, start).await?;
                    let step = everything::later_step(&ending, &removed.fetched, &before);
                    changes.append(step.revocations.iter().cloned());
                    Ok((Ended { sessions: removed.count, ..step }, removed.end))
                })
            })?;
            let ((step, end), _) = self.written(step.await)?;
            let Some(end) = end else { return Ok(()) };
            everything::add(ended, step);
            from = end;
        }
    }

    fn forgotten_up_to(&self) -> MutexGuard<'_, (String, String)> {
        self.inner.forgotten_up_to.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends sessions with statements, for any selection.
async fn end(
    connection: &mut PgConnection,
    changes: &mut Changes,
    ending: &EndSessions,
) -> sqlx::Result<Option<Ended>> {
    const EXISTS: &str = "SELECT 1 FROM session WHERE subject = $1 AND id = $2";
    if let Some((id, subject)) = &ending.only_if {
        let exists = sqlx::query(EXISTS).bind(to_text(subject.as_str())).bind(to_text(id.as_str()));
        if exists.fetch_optional(&mut *connection).await?.is_none() {
            return Ok(None);
        }
    }
    let ended = match ending.selection {
        Selection::All { issued_until } => rows::end_everything(connection, ending, issued_until).await?,
        _ => ending.revocations(&rows::delete(connection, &ending.selection).await?),
    };
    changes.append(ended.revocations.iter().cloned());
    Ok(Some(ended))
}
