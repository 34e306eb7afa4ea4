//! The revocation log in PostgreSQL.
//!
//! **Positions without gaps.** A plain sequence has gaps: transactions commit in another order than they drew their
//! numbers, and a reader would skip those that commit late. So every append, in every process, first takes a lock that
//! is released at the end of the transaction, after the commit is visible. It then assigns the positions that follow
//! the last one. Pruning never removes the last entry but hides it once it has expired, so a position is never assigned
//! twice.
//!
//! **Identified.** A promoted standby has the same tables, perhaps without the last entries. So a cursor carries the
//! timeline of the server's write-ahead log and the file of the table beside the identity of the log. After a
//! promotion, a point-in-time recovery or a restored dump, all cursors are invalid, and all readers read the log from
//! the beginning once.

use std::{sync::atomic::Ordering, time::Duration};

use async_trait::async_trait;
use sqlx::{Row, postgres::PgRow};

use super::{Postgres, from_time, invalid, rows, to_text, to_time};
use adieu::{
    Error,
    engine::{Changes, Polling},
    restore::LogState,
    revocation::{Cursor, LogId, Page, Position, Pruned, Revocation, RevocationLog},
    time::Timestamp,
};

/// Entries per page: enough to amortize a round trip, few enough to keep memory flat while a million are read.
const PAGE: usize = 2_048;
/// Entries that one step of pruning removes: a few milliseconds of the writers' time.
const PRUNE_STEP: usize = 256;
/// Entries or sessions that one statement of a cleanup reads: far from its time limit, also from a slow disk.
pub(super) const SCAN_STEP: i64 = 50_000;
/// How a reader waits for entries of this process and of others.
const POLLING: Polling = Polling { interval: Duration::from_millis(100), burst: Duration::from_millis(2) };

#[async_trait]
impl RevocationLog for Postgres {
    async fn append(&self, revocations: Vec<Revocation>) -> Result<Position, Error> {
        if revocations.is_empty() {
            return self.head().await;
        }
        let operation = move |changes: &mut Changes| changes.append(revocations.iter().cloned());
        let (so_far, head_before) = self.written(self.inner.writer.decide(vec![], operation)?.await)?;
        Ok(Position::new(head_before.get().saturating_add(u64::try_from(so_far).unwrap_or(u64::MAX))))
    }

    async fn read(&self, after: Option<&Cursor>, wait: Duration) -> Result<Page, Error> {
        POLLING.read(self.inner.appended.subscribe(), wait, || self.read_now(after)).await
    }

    async fn prune(&self, now: Timestamp) -> Result<Pruned, Error> {
        // In short steps, however many entries stay. The last entry of the log stays for its position. Once
        // `pruned_through` has passed it, it is hidden and needs no more work.
        const LAPSED: &str = "SELECT position FROM \
             (SELECT position, lapses_at FROM revocation WHERE position > $1 ORDER BY position LIMIT $3) AS step \
             WHERE lapses_at <= $2 AND (position < (SELECT max(position) FROM revocation) \
                                        OR lapses_at > (SELECT pruned_through FROM revocation_log_state)) \
             ORDER BY position LIMIT $4";
        const END: &str = "SELECT position FROM revocation WHERE position > $1 ORDER BY position OFFSET $2 - 1 LIMIT 1";
        const DELETE: &str =
            "DELETE FROM revocation WHERE position = ANY($1) AND position < (SELECT max(position) FROM revocation)";
        const MARK: &str = "UPDATE revocation_log_state SET pruned_through = $1 WHERE pruned_through < $1";

        // A reader's connection searches, so that entries that stay never delay the writers.
        let start = self.inner.pruned_up_to.load(Ordering::Relaxed);
        let limit = i64::try_from(PRUNE_STEP).unwrap_or(i64::MAX);
        let lapsed = sqlx::query(LAPSED).bind(start).bind(from_time(now)).bind(SCAN_STEP).bind(limit);
        let position = |row: &PgRow| row.try_get(0).map_err(Error::unavailable);
        let lapsed: Vec<i64> = self.fetch_all(lapsed).await?.iter().map(position).collect::<Result<_, _>>()?;
        let next = if lapsed.len() < PRUNE_STEP {
            let end = self.fetch_optional(sqlx::query(END).bind(start).bind(SCAN_STEP)).await?;
            end.as_ref().map(position).transpose()?
        } else {
            lapsed.last().copied()
        };
        let removed = match lapsed.as_slice() {
            [] => 0,
            [..] => {
                self.run(move |connection, _| {
                    let mark = sqlx::query(MARK).bind(from_time(now));
                    let delete = sqlx::query(DELETE).bind(lapsed.clone());
                    Box::pin(async move {
                        mark.execute(&mut *connection).await?;
                        Ok(delete.execute(connection).await?.rows_affected())
                    })
                })
                .await?
            }
        };
        self.inner.pruned_up_to.store(next.unwrap_or(0), Ordering::Relaxed);
        Ok(Pruned { removed: usize::try_from(removed).unwrap_or(usize::MAX), complete: next.is_none() })
    }
}

impl Postgres {
    /// Returns the last position ever assigned: pruning keeps the last entry.
    async fn head(&self) -> Result<Position, Error> {
        const HEAD: &str = "SELECT coalesce(max(position), 0) FROM revocation";
        let row = self.fetch_optional(sqlx::query(HEAD)).await?;
        Ok(rows::to_position(row.map_or(Ok(0), |row| row.try_get(0)).map_err(Error::unavailable)?))
    }

    async fn read_now(&self, after: Option<&Cursor>) -> Result<Page, Error> {
        // One statement sees one snapshot, so head, mark and entries belong together. The first row is the state of the
        // log: whether the cursor is valid, the log's id with its lineage and without, the head, and the mark. The
        // second row, if present, is the entry that the high-water mark remembers. The following rows are entries. The
        // last entry of the log is among them even if it is hidden, that is expired but kept. Within a join, `max` would
        // read the whole index.
        const READ: &str = "WITH state AS MATERIALIZED (SELECT log_id, lineage, pruned_through, head, \
             lineage = $1 AND $2 <= head AS is_of_use FROM (SELECT log_id, pruned_through, \
             log_id || '-' || left(pg_walfile_name(pg_current_wal_lsn()), 8) || '-' || pg_relation_filenode('revocation') \
             AS lineage, coalesce((SELECT max(position) FROM revocation), 0) AS head FROM revocation_log_state) AS log) \
             SELECT 0::bigint AS position, is_of_use::integer::bigint AS kind, lineage AS issuer, log_id AS id, \
             head AS moment, pruned_through AS lapses_at, 0 AS part FROM state \
             UNION ALL SELECT position, kind, issuer, id, moment, lapses_at, 1 FROM revocation WHERE position = $4 \
             UNION ALL (SELECT position, kind, issuer, id, moment, lapses_at, 2 FROM revocation \
             WHERE position > (SELECT CASE WHEN is_of_use THEN $2 ELSE 0 END FROM state) \
             AND (lapses_at > (SELECT pruned_through FROM state) OR position = (SELECT head FROM state)) \
             ORDER BY position LIMIT $3) ORDER BY part, position";

        let mark = self.inner.witness.mark();
        // Without a cursor: the id of no log.
        let log = after.map_or_else(Default::default, |cursor| to_text(cursor.log.as_str()));
        let position = after.map_or(0, |cursor| rows::from_position(cursor.position));
        let limit = i64::try_from(PAGE).unwrap_or(i64::MAX);
        let anchor = mark.as_ref().map_or(Position::START, |mark| mark.anchor());
        let read = sqlx::query(READ).bind(log).bind(position).bind(limit).bind(rows::from_position(anchor));
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
        [first, rest @ ..] if first.try_get::<i32, _>(6)? == 1 => (Some(rows::entry(first, &mut None)?), rest),
        _ => (None, rows),
    };
    let (head, pruned_through) = (state.try_get(4)?, to_time(state.try_get(5)?));
    let mut entries = Vec::with_capacity(rows.len());
    let mut issuer = None;
    for row in rows {
        entries.push(rows::entry(row, &mut issuer)?);
    }
    let complete = rows.len() < PAGE;
    let end = rows.last().map_or(Ok(head), |last| last.try_get(0))?;
    let lineage = LogId::new(state.try_get(2)?).map_err(invalid)?;
    let found = LogState {
        log: LogId::new(state.try_get(3)?).map_err(invalid)?,
        lineage: lineage.clone(),
        head: rows::to_position(head),
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
        cursor: Cursor { log: lineage, position: rows::to_position(if complete { head } else { end }) },
        complete,
        from_start: state.try_get::<i64, _>(1)? == 0,
        age: Duration::ZERO,
        pruned_through,
    };
    Ok((page, found))
}
