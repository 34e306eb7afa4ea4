//! The revocation log in PostgreSQL.
//!
//! **Positions without gaps.** A plain sequence would not do: transactions commit in another order than that in which they
//! drew their numbers, and a reader would pass over those that come late. So whoever appends, in whatever process, first
//! takes a lock that is let go when the transaction is over, which is after others can see it; then gives the positions that
//! follow the last one. The last entry is never pruned, only hidden once it has lapsed, so a position is never given twice.
//!
//! **Identified.** A standby that takes over has the same tables, perhaps without the last entries. So a cursor carries the
//! timeline of the server's write-ahead log beside the identity of ours, and the file that the table is in: after a promotion, a
//! recovery to a point in time, and when a dump has been put back, nobody's cursor is of use, and all read the log from the
//! beginning once.

use std::{sync::atomic::Ordering, time::Duration};

use async_trait::async_trait;
use sqlx::{PgConnection, Row, postgres::PgRow};
use tokio::time::Instant;

use super::{Postgres, batch::Changes, from_text, from_time, invalid, to_text, to_time};
use adieu::{
    Error, Issuer,
    restore::LogState,
    revocation::{Cursor, LogId, Page, Position, Pruned, Revocation, RevocationLog, TargetKind, TargetParts},
    time::Timestamp,
};

/// Entries a page: enough to hide the cost of a call, few enough to keep memory flat while a million are read.
const PAGE: usize = 2_048;
/// Entries one step of pruning removes: a few milliseconds of the writers' time.
const PRUNE_STEP: usize = 256;
/// How often a waiting reader looks for what another process has appended, whether it was told or not.
const POLL: Duration = Duration::from_millis(100);
/// How long a waiting reader lets appends add up: to read after every commit of a burst would take the time of those who
/// append.
const BURST: Duration = Duration::from_millis(2);

/// Appends, in a transaction that has the lock; gives what the log was like before, with the entry at a position.
pub(super) async fn insert(
    connection: &mut PgConnection,
    revocations: &[Revocation],
    at: Position,
) -> sqlx::Result<LogState> {
    // One statement sees one moment, which is before it appends anything itself.
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

/// Appends one, in a transaction that has the lock, at a position after this one.
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

#[async_trait]
impl RevocationLog for Postgres {
    async fn append(&self, revocations: Vec<Revocation>) -> Result<Position, Error> {
        if revocations.is_empty() {
            return self.head().await;
        }
        let operation = move |changes: &mut Changes| changes.append(revocations.iter().cloned());
        let (so_far, committed) = self.written(self.inner.writer.decide(vec![], operation)?.await)?;
        Ok(Position::new(committed.head_before.get().saturating_add(u64::try_from(so_far).unwrap_or(u64::MAX))))
    }

    async fn read(&self, after: Option<&Cursor>, wait: Duration) -> Result<Page, Error> {
        let started = Instant::now();
        let mut appended = self.inner.appended.subscribe();
        loop {
            appended.borrow_and_update();
            let page = self.read_now(after).await?;
            let left = wait.saturating_sub(started.elapsed());
            if !page.entries.is_empty() || page.from_start || left.is_zero() {
                return Ok(page);
            }
            // Whichever comes first: somebody has told us of an append, or it is time to look.
            if tokio::time::timeout(left.min(POLL), appended.changed()).await.is_ok() {
                tokio::time::sleep(left.min(BURST)).await;
            }
        }
    }

    async fn prune(&self, now: Timestamp) -> Result<Pruned, Error> {
        // The last entry stays for its position; once the mark has passed it, it is hidden and needs no more attention.
        const LAPSED: &str = "SELECT position FROM revocation WHERE position > $1 AND lapses_at <= $2 \
                              AND (position < (SELECT max(position) FROM revocation) \
                                   OR lapses_at > (SELECT pruned_through FROM revocation_log_state)) \
                              ORDER BY position LIMIT $3";
        const DELETE: &str =
            "DELETE FROM revocation WHERE position = ANY($1) AND position < (SELECT max(position) FROM revocation)";
        const MARK: &str = "UPDATE revocation_log_state SET pruned_through = $1 WHERE pruned_through < $1";

        // Looking is the readers' work, so that the writers are never held up by what stays.
        let start = self.inner.pruned_up_to.load(Ordering::Relaxed);
        let limit = i64::try_from(PRUNE_STEP).unwrap_or(i64::MAX);
        let lapsed = self.fetch_all(sqlx::query(LAPSED).bind(start).bind(from_time(now)).bind(limit)).await?;
        let lapsed = lapsed.iter().map(|row| row.try_get(0)).collect::<sqlx::Result<Vec<i64>>>();
        let lapsed = lapsed.map_err(Error::unavailable)?;
        let complete = lapsed.len() < PRUNE_STEP;
        let Some(&last) = lapsed.last() else {
            self.inner.pruned_up_to.store(0, Ordering::Relaxed);
            return Ok(Pruned { removed: 0, complete });
        };
        let removed = self
            .run(move |connection, _| {
                let mark = sqlx::query(MARK).bind(from_time(now));
                let delete = sqlx::query(DELETE).bind(lapsed.clone());
                Box::pin(async move {
                    mark.execute(&mut *connection).await?;
                    Ok(delete.execute(connection).await?.rows_affected())
                })
            })
            .await?;
        self.inner.pruned_up_to.store(if complete { 0 } else { last }, Ordering::Relaxed);
        Ok(Pruned { removed: usize::try_from(removed).unwrap_or(usize::MAX), complete })
    }
}

impl Postgres {
    /// The last position that was ever given: pruning leaves the last entry where it is.
    async fn head(&self) -> Result<Position, Error> {
        const HEAD: &str = "SELECT coalesce(max(position), 0) FROM revocation";
        let row = self.fetch_optional(sqlx::query(HEAD)).await?;
        Ok(to_position(row.map_or(Ok(0), |row| row.try_get(0)).map_err(Error::unavailable)?))
    }

    async fn read_now(&self, after: Option<&Cursor>) -> Result<Page, Error> {
        // One statement sees one moment: the head, the mark and the entries belong together. The first row is the state of the
        // log: whether the cursor is of use, the log's id with its lineage and without, the head, and the mark. The second, if
        // it is there, is the entry that the high-water mark remembers. Those after it are entries; the last one of the log also
        // when it is to be hidden, since it was kept though it had lapsed.
        const READ: &str = "WITH state AS MATERIALIZED (SELECT log_id, lineage, pruned_through, head, \
             lineage = $1 AND $2 <= head AS is_of_use FROM (SELECT log_id, pruned_through, \
             log_id || '-' || left(pg_walfile_name(pg_current_wal_lsn()), 8) || '-' || pg_relation_filenode('revocation') \
             AS lineage FROM revocation_log_state) AS log, \
             (SELECT coalesce(max(position), 0) AS head FROM revocation) AS last) \
             SELECT 0::bigint AS position, is_of_use::integer::bigint AS kind, lineage AS issuer, log_id AS id, \
             head AS moment, pruned_through AS lapses_at, 0 AS part FROM state \
             UNION ALL SELECT position, kind, issuer, id, moment, lapses_at, 1 FROM revocation WHERE position = $4 \
             UNION ALL (SELECT position, kind, issuer, id, moment, lapses_at, 2 FROM revocation \
             WHERE position > (SELECT CASE WHEN is_of_use THEN $2 ELSE 0 END FROM state) \
             AND (lapses_at > (SELECT pruned_through FROM state) OR position = (SELECT head FROM state)) \
             ORDER BY position LIMIT $3) ORDER BY part, position";

        let mark = self.inner.witness.mark();
        // Without a cursor: one of no log.
        let log = after.map_or_else(Default::default, |cursor| to_text(cursor.log.as_str()));
        let position = after.map_or(0, |cursor| from_position(cursor.position));
        let limit = i64::try_from(PAGE).unwrap_or(i64::MAX);
        let anchor = mark.as_ref().map_or(Position::START, |mark| mark.anchor());
        let read = sqlx::query(READ).bind(log).bind(position).bind(limit).bind(from_position(anchor));
        let rows = self.inner.followers.fetch_all(read).await?;
        let (page, mut found) = page(&rows).map_err(Error::unavailable)?;
        if let Some(mark) = mark {
            self.inner.witness.hold(&mark, &found)?;
            if !page.complete {
                // Only what has been read, and with its entry.
                (found.head, found.last) = (page.cursor.position, page.entries.last().cloned());
            }
            self.inner.witness.note(&mark, &found)?;
        }
        Ok(page)
    }
}

fn page(rows: &[PgRow]) -> sqlx::Result<(Page, LogState)> {
    let [state, rows @ ..] = rows else { return Err(invalid("a log without a state")) };
    let (anchor, rows) = match rows {
        [first, rest @ ..] if first.try_get::<i32, _>(6)? == 1 => (Some(entry(first, &mut None)?), rest),
        _ => (None, rows),
    };
    let (head, pruned_through) = (state.try_get(4)?, to_time(state.try_get(5)?));
    let mut entries = Vec::with_capacity(rows.len());
    let mut issuer = None;
    for row in rows {
        entries.push(entry(row, &mut issuer)?);
    }
    let complete = rows.len() < PAGE;
    let end = rows.last().map_or(Ok(head), |last| last.try_get(0))?;
    let lineage = LogId::new(state.try_get(2)?).map_err(invalid)?;
    let found = LogState {
        log: LogId::new(state.try_get(3)?).map_err(invalid)?,
        lineage: lineage.clone(),
        head: to_position(head),
        pruned_through,
        restored_at: None,
        entry: anchor,
        last: entries.last().filter(|_| end == head).cloned(),
    };
    if entries.last().is_some_and(|last| last.lapses_at <= pruned_through) {
        entries.pop();
    }
    let page = Page {
        entries,
        cursor: Cursor { log: lineage, position: to_position(if complete { head } else { end }) },
        complete,
        from_start: state.try_get::<i64, _>(1)? == 0,
        age: Duration::ZERO,
        pruned_through,
    };
    Ok((page, found))
}

pub(super) fn to_position(number: i64) -> Position {
    Position::new(u64::try_from(number).unwrap_or(0))
}

pub(super) fn from_position(position: Position) -> i64 {
    i64::try_from(position.get()).unwrap_or(i64::MAX)
}

/// A start reads a million of these. Neighbours mostly have the same issuer: `previous` saves taking in its text again.
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
