//! The rows of the tables: reads and writes within the caller's transaction.

use adieu::{
    Issuer, SessionId, Subject, TokenId,
    engine::everything,
    restore::LogState,
    revocation::{LogId, Position, Revocation, TargetKind, TargetParts},
    session::{EndSessions, Ended, Origin, Selection, Session, UsedRefresh},
    time::Timestamp,
};
use sqlx::{PgConnection, Row, postgres::PgRow};

use super::{from_text, from_time, invalid, to_text, to_time};

/// The key of a session.
pub(super) type Key = (Subject, SessionId);

/// All columns, in the order in which [`session`] reads them and [`put`] writes them.
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
        "FROM unnest($1::text[], $2::text[]) AS named (subject, id), LATERAL (SELECT session.ctid, session.* FROM session \
         WHERE session.subject = named.subject AND session.id = named.id OFFSET 0) AS session"
    };
}

/// Appends entries, in a transaction that holds the lock. Returns the state of the log before, with the entry at a
/// position.
pub(super) async fn insert(
    connection: &mut PgConnection,
    revocations: &[Revocation],
    at: Position,
) -> sqlx::Result<LogState> {
    // One statement sees one snapshot, taken before its own inserts.
    const INSERT: &str = "WITH head AS (SELECT coalesce(max(position), 0) AS position FROM revocation), \
         appended AS (INSERT INTO revocation (position, kind, issuer, id, moment, lapses_at) \
         SELECT head.position + fact.number, fact.kind, fact.issuer, fact.id, fact.moment, fact.lapses_at \
         FROM head, unnest($1::bigint[], $2::text[], $3::text[], $4::bigint[], $5::bigint[]) \
         WITH ORDINALITY AS fact (kind, issuer, id, moment, lapses_at, number)) \
         SELECT head.position, entry.kind, entry.issuer, entry.id, entry.moment, entry.lapses_at, log_id, pruned_through, \
         log_id || '-' || left(pg_walfile_name(pg_current_wal_lsn()), 8) || '-' || pg_relation_filenode('revocation') \
         FROM head CROSS JOIN revocation_log_state LEFT JOIN revocation AS entry ON entry.position = $6";
    let most = revocations.len();
    let (mut kinds, mut issuers, mut ids) =
        (Vec::with_capacity(most), Vec::with_capacity(most), Vec::with_capacity(most));
    let (mut moments, mut lapses_at) = (Vec::with_capacity(most), Vec::with_capacity(most));
    for revocation in revocations {
        let TargetParts { kind, id, time } = revocation.target.parts();
        kinds.push(i64::from(kind.code()));
        issuers.push(to_text(revocation.issuer.as_str()));
        ids.push(to_text(id));
        moments.push(time.map(from_time));
        lapses_at.push(from_time(revocation.lapses_at));
    }
    let insert = sqlx::query(INSERT).bind(kinds).bind(issuers).bind(ids).bind(moments).bind(lapses_at);
    let row = insert.bind(from_position(at)).fetch_one(connection).await?;
    let entry = match row.try_get::<Option<i64>, _>(1)? {
        Some(_) => Some(entry(&row, &mut None)?),
        None => None,
    };
    Ok(LogState {
        log: LogId::new(row.try_get(6)?).map_err(invalid)?,
        lineage: LogId::new(row.try_get(8)?).map_err(invalid)?,
        head: to_position(row.try_get(0)?),
        pruned_through: to_time(row.try_get(7)?),
        restored_at: None,
        entry,
        last: None,
    })
}

/// Appends one entry after this position, in a transaction that holds the lock.
pub(super) async fn insert_after(
    connection: &mut PgConnection,
    after: Position,
    revocation: &Revocation,
) -> sqlx::Result<()> {
    const MOVE: &str = "UPDATE revocation SET position = $1 WHERE position = $2";
    let before = insert(connection, std::slice::from_ref(revocation), Position::START).await?.head;
    let inserted = from_position(before).saturating_add(1);
    let wanted = inserted.max(from_position(after).saturating_add(1));
    if wanted > inserted {
        sqlx::query(MOVE).bind(wanted).bind(inserted).execute(connection).await?;
    }
    Ok(())
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

/// Returns the sessions of these keys.
pub(super) async fn find(
    connection: &mut PgConnection,
    keys: impl IntoIterator<Item = &Key>,
) -> sqlx::Result<Vec<Session>> {
    const FIND: &str = concat!("SELECT ", columns!(), " ", named!());
    let (subjects, ids) = columns_of(keys);
    sqlx::query(FIND).bind(subjects).bind(ids).fetch_all(connection).await?.iter().map(session).collect()
}

/// Deletes the sessions of these keys.
pub(super) async fn remove(connection: &mut PgConnection, keys: &[&Key]) -> sqlx::Result<()> {
    const REMOVE: &str = concat!("DELETE FROM session WHERE ctid = ANY(ARRAY(SELECT session.ctid ", named!(), "))");
    let (subjects, ids) = columns_of(keys.iter().copied());
    sqlx::query(REMOVE).bind(subjects).bind(ids).execute(connection).await.map(drop)
}

pub(super) fn columns_of<'k>(keys: impl IntoIterator<Item = &'k Key>) -> (Vec<String>, Vec<String>) {
    let column = |text| to_text(text).into_owned();
    keys.into_iter().map(|(subject, id)| (column(subject.as_str()), column(id.as_str()))).unzip()
}

/// Writes sessions, each at most once, replacing the previous ones.
pub(super) async fn put(connection: &mut PgConnection, sessions: &[&Session]) -> sqlx::Result<()> {
    const PUT: &str = "INSERT INTO session (id, subject, created_at, last_seen_at, address, user_agent, refresh_id, \
         previous_refresh_id, refreshed_at, refresh_expires_at, expires_at, access_expires_at, used_refresh_id, used_at) \
         SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::text[], $6::text[], $7::text[], \
         $8::text[], $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[], \
         $13::text[], $14::bigint[]) \
         ON CONFLICT (subject, id) DO UPDATE SET last_seen_at = excluded.last_seen_at, refresh_id = excluded.refresh_id, \
         previous_refresh_id = excluded.previous_refresh_id, refreshed_at = excluded.refreshed_at, \
         refresh_expires_at = excluded.refresh_expires_at, access_expires_at = excluded.access_expires_at, \
         used_refresh_id = excluded.used_refresh_id, used_at = excluded.used_at";

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
        .bind(column(sessions, |session| session.used_refresh.as_ref().map(|used| text(used.id.as_str()))))
        .bind(column(sessions, |session| session.used_refresh.as_ref().map(|used| from_time(used.at))))
        .execute(connection)
        .await
        .map(drop)
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
