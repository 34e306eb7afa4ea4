//! The rows of the tables.

use adieu::{
    Issuer, SessionId, Subject, TokenId,
    engine::{Key, everything},
    revocation::{Position, Revocation, TargetKind, TargetParts},
    session::{EndSessions, Ended, Origin, Selection, Session, UsedRefresh},
    time::Timestamp,
};
use sqlx::{PgConnection, Row, postgres::PgRow};

use super::{Statement, from_text, from_time, invalid, to_text, to_time};

/// All columns, in the order in which [`session`] reads them.
macro_rules! columns {
    () => {
        "session.id, session.subject, created_at, last_seen_at, address, user_agent, refresh_id, previous_refresh_id, \
         refreshed_at, refresh_expires_at, expires_at, access_expires_at, used_refresh_id, used_at"
    };
}

/// Selects the sessions of these keys, each by an index lookup. A plain join would be planned for the table's size at
/// the time, and might scan all of it.
macro_rules! named {
    () => {
        "FROM unnest($1::text[], $2::text[]) AS named (subject, id), LATERAL (SELECT session.ctid, session.xmin::text AS \
         version, session.* FROM session WHERE session.subject = named.subject AND session.id = named.id OFFSET 0) AS session"
    };
}

pub(super) fn to_position(number: i64) -> Position {
    Position::new(u64::try_from(number).unwrap_or(0))
}

pub(super) fn from_position(position: Position) -> i64 {
    i64::try_from(position.get()).unwrap_or(i64::MAX)
}

/// Decodes an entry. A start reads a million of these, and neighbours usually have the same issuer: `previous` avoids
/// parsing its text again.
pub(super) fn entry<'r>(row: &'r PgRow, previous: &mut Option<(&'r str, Issuer)>) -> sqlx::Result<Revocation> {
    let written: &str = row.try_get(2)?;
    let issuer = match previous {
        Some((text, issuer)) if *text == written => issuer.clone(),
        _ => {
            let issuer = Issuer::new(from_text(written)?).map_err(invalid)?;
            *previous = Some((written, issuer.clone()));
            issuer
        }
    };
    let id = from_text(row.try_get(3)?)?;
    let code: i64 = row.try_get(1)?;
    let kind = u8::try_from(code).ok().and_then(TargetKind::from_code);
    let kind = kind.ok_or_else(|| invalid(format!("a revocation of an unknown kind ({code})")))?;
    let time = row.try_get::<Option<i64>, _>(4)?.map(to_time);
    let target = TargetParts { kind, id: &id, time }.try_into().map_err(invalid)?;
    Ok(Revocation { issuer, target, lapses_at: to_time(row.try_get(5)?) })
}

/// A part of all sessions, and where the next part begins.
#[derive(Default)]
pub(super) struct Removed {
    pub(super) count: usize,
    pub(super) fetched: Vec<Session>,
    pub(super) end: Option<(String, String)>,
}

/// Removes the sessions of one step. Fetches only those that get a revocation of their own, and the one that a cut-off
/// must outlive.
pub(super) async fn remove_some(
    connection: &mut PgConnection,
    issued_until: Timestamp,
    (subject, id): (String, String),
) -> sqlx::Result<Removed> {
    const REMOVE: &str = concat!(
        "WITH step AS MATERIALIZED (SELECT ctid, subject, id FROM session WHERE (subject, id) > ($2, $3) \
         ORDER BY subject, id LIMIT $4), \
         last AS (SELECT subject, id FROM step ORDER BY subject DESC, id DESC LIMIT 1), \
         session AS (DELETE FROM session WHERE ctid = ANY(ARRAY(SELECT ctid FROM step)) RETURNING *) SELECT ",
        columns!(),
        ", (SELECT count(*) FROM session) AS removed, last.subject AS last_subject, last.id AS last_id FROM session, last WHERE refreshed_at > $1 \
         OR (session.subject, session.id) = (SELECT subject, id FROM session ORDER BY access_expires_at DESC LIMIT 1)"
    );
    let step = i64::try_from(everything::STEP).unwrap_or(i64::MAX);
    let remove = sqlx::query(REMOVE).bind(from_time(issued_until)).bind(subject).bind(id).bind(step);
    let rows = remove.fetch_all(connection).await?;
    let Some(first) = rows.first() else { return Ok(Removed::default()) };
    Ok(Removed {
        count: usize::try_from(first.try_get::<i64, _>("removed")?).unwrap_or(usize::MAX),
        fetched: rows.iter().map(session).collect::<sqlx::Result<_>>()?,
        end: Some((first.try_get("last_subject")?, first.try_get("last_id")?)),
    })
}

/// Runs the first step of ending all sessions.
pub(super) async fn end_everything(
    connection: &mut PgConnection,
    ending: &EndSessions,
    issued_until: Timestamp,
) -> sqlx::Result<Ended> {
    let removed = remove_some(connection, issued_until, Default::default()).await?;
    Ok(Ended { sessions: removed.count, ..ending.revocations(&removed.fetched) })
}

/// Returns the sessions of these keys, each with the version of its row.
pub(super) async fn find(
    connection: &mut PgConnection,
    keys: impl IntoIterator<Item = &Key>,
) -> sqlx::Result<Vec<(Session, String)>> {
    const FIND: &str = concat!("SELECT ", columns!(), ", session.version ", named!());
    let (subjects, ids) = columns_of(keys);
    let rows = sqlx::query(FIND).bind(subjects).bind(ids).fetch_all(connection).await?;
    rows.iter().map(|row| Ok((session(row)?, row.try_get(14)?))).collect()
}

pub(super) fn columns_of<'k>(keys: impl IntoIterator<Item = &'k Key>) -> (Vec<String>, Vec<String>) {
    let column = |text| to_text(text).into_owned();
    keys.into_iter().map(|(subject, id)| (column(subject.as_str()), column(id.as_str()))).unzip()
}

/// Binds sessions to the statement that writes them, one array a column.
pub(super) fn bind_sessions<'q>(statement: Statement<'q>, sessions: &[&Session]) -> Statement<'q> {
    fn column<T>(sessions: &[&Session], value: impl Fn(&Session) -> T) -> Vec<T> {
        sessions.iter().map(|session| value(session)).collect()
    }
    let text = |text: &str| to_text(text).into_owned();
    statement
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
        .bind(column(sessions, |session| session.used_refresh.as_ref().map(|used| text(used.id.as_str()))))
        .bind(column(sessions, |session| session.used_refresh.as_ref().map(|used| from_time(used.at))))
}

/// Deletes the selected sessions and returns them.
pub(super) async fn delete(connection: &mut PgConnection, selection: &Selection) -> sqlx::Result<Vec<Session>> {
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
        // `end_everything` ends the first kind.
        Selection::All { .. } | Selection::Nothing => return Ok(vec![]),
    };
    query.fetch_all(connection).await?.iter().map(session).collect()
}

pub(super) fn session(row: &PgRow) -> sqlx::Result<Session> {
    let text = |column: usize| from_text(row.try_get(column)?);
    let time = |column: usize| row.try_get(column).map(to_time);
    let optional = |column: usize| row.try_get::<Option<&str>, _>(column)?.map(from_text).transpose();
    Ok(Session {
        id: SessionId::new(text(0)?).map_err(invalid)?,
        subject: Subject::new(text(1)?).map_err(invalid)?,
        created_at: time(2)?,
        last_seen_at: time(3)?,
        origin: Origin {
            // An address that cannot be parsed is not shown; the session is still valid.
            address: optional(4)?.and_then(|text| text.parse().ok()),
            user_agent: optional(5)?.map(|text| text.into_owned()),
        },
        refresh_id: TokenId::new(text(6)?).map_err(invalid)?,
        previous_refresh_id: optional(7)?.map(TokenId::new).transpose().map_err(invalid)?,
        refreshed_at: time(8)?,
        refresh_expires_at: time(9)?,
        expires_at: time(10)?,
        access_expires_at: time(11)?,
        used_refresh: match (optional(12)?, row.try_get::<Option<i64>, _>(13)?) {
            (Some(id), Some(at)) => Some(UsedRefresh { id: TokenId::new(id).map_err(invalid)?, at: to_time(at) }),
            _ => None,
        },
    })
}

pub(super) use columns;
pub(super) use named;
