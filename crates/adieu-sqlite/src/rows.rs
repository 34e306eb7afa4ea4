//! Reads and writes rows of the tables, within the caller's transaction.

use std::collections::HashMap;

use adieu::{
    Issuer, SessionId, Subject, TokenId,
    engine::everything,
    restore::LogState,
    revocation::{LogId, Position, Revocation, TargetKind, TargetParts},
    session::{Origin, Selection, Session, UsedRefresh},
    time::Timestamp,
};
use rusqlite::{Connection, OptionalExtension, Row, params, types::ValueRef};

use super::{from_time, to_time};

/// Entries per page of the log: enough to hide the cost of a call, few enough to keep memory flat while a million are
/// read.
const PAGE: usize = 2_048;

/// Maximum number of parameters in one statement.
const MAX_PARAMETERS: usize = 500;

/// Every column, in the order in which [`session`] reads them and [`put`] writes them.
macro_rules! columns {
    () => {
        "id, subject, created_at, last_seen_at, address, user_agent, refresh_id, previous_refresh_id, refreshed_at, \
         refresh_expires_at, expires_at, access_expires_at, used_refresh_id, used_at"
    };
}

/// Statements that list sessions: each reads a range of the primary key.
pub(super) const LIST_OF_SUBJECT: &str =
    concat!("SELECT ", columns!(), " FROM session WHERE subject = $1 AND id > $2 ORDER BY id LIMIT $3");
pub(super) const LIST: &str =
    concat!("SELECT ", columns!(), " FROM session WHERE (subject, id) > ($1, $2) ORDER BY subject, id LIMIT $3");

/// Appends a revocation within the caller's transaction.
pub(super) fn insert(connection: &Connection, revocation: &Revocation) -> rusqlite::Result<()> {
    insert_at(connection, None, revocation)
}

/// Like [`insert`], at a position greater than the last one if `position` is set.
pub(super) fn insert_at(
    connection: &Connection,
    position: Option<Position>,
    revocation: &Revocation,
) -> rusqlite::Result<()> {
    const INSERT: &str =
        "INSERT INTO revocation (position, kind, issuer, id, moment, lapses_at) VALUES ($1, $2, $3, $4, $5, $6)";
    let TargetParts { kind, id, time } = revocation.target.parts();
    connection.prepare_cached(INSERT)?.execute(params![
        position.map(from_position),
        kind.code(),
        revocation.issuer.as_str(),
        id,
        time.map(from_time),
        from_time(revocation.lapses_at)
    ])?;
    Ok(())
}

/// Returns the entry at a position, even if it has lapsed.
pub(super) fn entry_at(connection: &Connection, position: Position) -> rusqlite::Result<Option<Revocation>> {
    const ENTRY: &str = "SELECT position, kind, issuer, id, moment, lapses_at FROM revocation WHERE position = $1";
    connection.prepare_cached(ENTRY)?.query_row([from_position(position)], |row| entry(row, &mut None)).optional()
}

/// Returns the last position that was ever assigned: pruning keeps the last entry.
pub(super) fn head(connection: &Connection) -> rusqlite::Result<Position> {
    const HEAD: &str = "SELECT coalesce(max(position), 0) FROM revocation";
    connection.prepare_cached(HEAD)?.query_row([], |row| row.get(0)).map(to_position)
}

pub(super) fn to_position(number: i64) -> Position {
    Position::new(u64::try_from(number).unwrap_or(0))
}

pub(super) fn from_position(position: Position) -> i64 {
    i64::try_from(position.get()).unwrap_or(i64::MAX)
}

/// Returns one page of entries, without the log's last entry if it has lapsed. Also returns where the page ends, if
/// it is full and there may be more.
pub(super) fn entries(
    connection: &Connection,
    after: Position,
    pruned_through: Timestamp,
) -> rusqlite::Result<(Vec<Revocation>, Option<Position>)> {
    const ENTRIES: &str = "SELECT position, kind, issuer, id, moment, lapses_at FROM revocation \
                           WHERE position > $1 AND lapses_at > $2 ORDER BY position LIMIT $3";
    let mut statement = connection.prepare_cached(ENTRIES)?;
    let mut rows = statement.query(params![from_position(after), from_time(pruned_through), PAGE])?;
    let mut entries = Vec::new();
    let mut issuer: Option<Issuer> = None;
    while let Some(row) = rows.next()? {
        entries.push(entry(row, &mut issuer)?);
        if entries.len() == PAGE {
            return Ok((entries, Some(to_position(row.get(0)?))));
        }
    }
    Ok((entries, None))
}

/// Decodes an entry. A start decodes a million of these, and neighbours mostly have the same issuer: `previous` saves
/// parsing it again.
pub(super) fn entry(row: &Row<'_>, previous: &mut Option<Issuer>) -> rusqlite::Result<Revocation> {
    let time = |column| match row.get_ref(column)? {
        ValueRef::Integer(seconds) => Ok(to_time(seconds)),
        _ => Err(invalid("a revocation without the time that it needs")),
    };
    let name = row.get_ref(2)?;
    let issuer = match previous {
        Some(issuer) if name.as_bytes().is_ok_and(|name| name == issuer.as_str().as_bytes()) => issuer.clone(),
        _ => previous.insert(Issuer::new(name.as_str().map_err(invalid)?).map_err(invalid)?).clone(),
    };
    let id = row.get_ref(3)?.as_str().map_err(invalid)?;
    let kind = match row.get_ref(1)? {
        ValueRef::Integer(code) => u8::try_from(code).ok().and_then(TargetKind::from_code),
        _ => None,
    };
    let kind = kind.ok_or_else(|| invalid("a revocation of an unknown kind"))?;
    let moment = match row.get_ref(4)? {
        ValueRef::Null => None,
        _ => Some(time(4)?),
    };
    let target = TargetParts { kind, id, time: moment }.try_into().map_err(invalid)?;
    Ok(Revocation { issuer, target, lapses_at: time(5)? })
}

pub(super) fn invalid(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, cause.into())
}

/// Returns the state of the log and the entry at a position, within the caller's transaction.
pub(super) fn state(connection: &Connection, at: Position) -> rusqlite::Result<LogState> {
    const STATE: &str = "SELECT log_id, pruned_through, restored_at FROM revocation_log_state";
    let (log, pruned_through, restored_at) = connection.prepare_cached(STATE)?.query_row([], |row| {
        Ok((row.get::<_, String>(0)?, to_time(row.get(1)?), row.get::<_, Option<i64>>(2)?.map(to_time)))
    })?;
    let head = head(connection)?;
    let entry = entry_at(connection, at)?;
    let log = LogId::new(&log).map_err(invalid)?;
    Ok(LogState {
        lineage: log.clone(),
        log,
        head,
        pruned_through,
        restored_at,
        last: if head == at { entry.clone() } else { entry_at(connection, head)? },
        entry,
    })
}

pub(super) fn log_id(connection: &Connection) -> rusqlite::Result<String> {
    const ID: &str = "SELECT log_id FROM revocation_log_state";
    connection.query_row(ID, [], |row| row.get(0))
}

pub(super) fn find(connection: &Connection, id: &SessionId, subject: &Subject) -> rusqlite::Result<Option<Session>> {
    const FIND: &str = concat!("SELECT ", columns!(), " FROM session WHERE subject = $1 AND id = $2");
    connection.prepare_cached(FIND)?.query_row([subject.as_str(), id.as_str()], session).optional()
}

pub(super) fn oldest(connection: &Connection) -> rusqlite::Result<Option<Session>> {
    const OLDEST: &str = concat!("SELECT ", columns!(), " FROM session ORDER BY id LIMIT 1");
    connection.query_row(OLDEST, [], session).optional()
}

/// Returns the sessions with these ids, by reading all sessions.
pub(super) fn with_ids(connection: &Connection, ids: &[SessionId]) -> rusqlite::Result<HashMap<SessionId, Session>> {
    let mut found = HashMap::with_capacity(ids.len());
    for ids in ids.chunks(MAX_PARAMETERS) {
        let parameters = (1..=ids.len()).map(|number| format!("${number}")).collect::<Vec<_>>().join(",");
        let search = format!("SELECT {} FROM session WHERE id IN ({parameters})", columns!());
        let mut search = connection.prepare(&search)?;
        let mut rows = search.query(rusqlite::params_from_iter(ids.iter().map(SessionId::as_str)))?;
        while let Some(row) = rows.next()? {
            let session = session(row)?;
            found.insert(session.id.clone(), session);
        }
    }
    Ok(found)
}

pub(super) fn exists(connection: &Connection, id: &SessionId, subject: &Subject) -> rusqlite::Result<bool> {
    const EXISTS: &str = "SELECT 1 FROM session WHERE subject = $1 AND id = $2";
    connection.prepare_cached(EXISTS)?.exists([subject.as_str(), id.as_str()])
}

/// Writes a session, replacing an existing one.
pub(super) fn put(connection: &Connection, session: &Session) -> rusqlite::Result<()> {
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

/// Removes sessions and returns them as they were.
pub(super) fn delete(connection: &Connection, selection: &Selection) -> rusqlite::Result<Vec<Session>> {
    let (condition, parameters) = match selection {
        Selection::One(id) => ("WHERE id = $1", vec![id.as_str()]),
        Selection::Owned(id, subject) => return Ok(Vec::from_iter(delete_one(connection, id, subject)?)),
        Selection::OfSubject(subject) => ("WHERE subject = $1", vec![subject.as_str()]),
        Selection::Others(subject, id) => ("WHERE subject = $1 AND id <> $2", vec![subject.as_str(), id.as_str()]),
        // The first of several steps.
        Selection::All { .. } => return remove_some(connection, &Default::default()),
        Selection::Nothing => return Ok(vec![]),
    };
    connection
        .prepare_cached(&format!("DELETE FROM session {condition} RETURNING {}", columns!()))?
        .query_map(rusqlite::params_from_iter(parameters), session)?
        .collect()
}

/// Removes the next sessions after a key, in order, and returns them as they were.
pub(super) fn remove_some(connection: &Connection, (subject, id): &(String, String)) -> rusqlite::Result<Vec<Session>> {
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

/// Removes a session and returns it as it was. Uses two statements: SQLite first copies the result of `DELETE …
/// RETURNING` into a table, which costs more than a second statement.
pub(super) fn delete_one(
    connection: &Connection,
    id: &SessionId,
    subject: &Subject,
) -> rusqlite::Result<Option<Session>> {
    const DELETE: &str = "DELETE FROM session WHERE subject = $1 AND id = $2";
    let session = find(connection, id, subject)?;
    if session.is_some() {
        connection.prepare_cached(DELETE)?.execute([subject.as_str(), id.as_str()])?;
    }
    Ok(session)
}

pub(super) fn session(row: &Row<'_>) -> rusqlite::Result<Session> {
    let time = |column: usize| row.get(column).map(to_time);
    let text = |column: usize| row.get_ref(column)?.as_str().map_err(invalid);
    Ok(Session {
        id: SessionId::new(text(0)?).map_err(invalid)?,
        subject: Subject::new(text(1)?).map_err(invalid)?,
        created_at: time(2)?,
        last_seen_at: time(3)?,
        origin: Origin {
            // A session with an address that cannot be parsed is kept, without the address.
            address: row.get::<_, Option<String>>(4)?.and_then(|text| text.parse().ok()),
            user_agent: row.get(5)?,
        },
        refresh_id: TokenId::new(text(6)?).map_err(invalid)?,
        previous_refresh_id: match row.get_ref(7)? {
            ValueRef::Null => None,
            _ => Some(TokenId::new(text(7)?).map_err(invalid)?),
        },
        refreshed_at: time(8)?,
        refresh_expires_at: time(9)?,
        expires_at: time(10)?,
        access_expires_at: time(11)?,
        used_refresh: match (row.get_ref(12)?, row.get_ref(13)?) {
            (ValueRef::Null, _) | (_, ValueRef::Null) => None,
            _ => Some(UsedRefresh { id: TokenId::new(text(12)?).map_err(invalid)?, at: time(13)? }),
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
