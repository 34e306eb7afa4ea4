//! The revocation log in SQLite.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension as _, Row, params, types::ValueRef};
use tokio::time::Instant;

use super::{Sqlite, from_time, restore, to_time};
use adieu::{
    Error, Issuer,
    restore::Restorable,
    revocation::{Cursor, Page, Position, Pruned, Revocation, RevocationLog, TargetKind, TargetParts},
    time::Timestamp,
};

/// Entries a page: enough to hide the cost of a call, few enough to keep memory flat while a million are read.
const PAGE: usize = 2_048;
/// Entries one step of pruning removes: less than a millisecond of the writer's time.
const PRUNE_STEP: usize = 256;
/// How often a waiting reader looks for what another process has appended.
const POLL: Duration = Duration::from_millis(100);
/// How long a waiting reader lets appends of this process add up: to read after every commit of a burst would take the
/// time of those who append.
const BURST: Duration = Duration::from_millis(2);

/// Appends within the caller's transaction.
pub(super) fn insert(connection: &Connection, revocation: &Revocation) -> rusqlite::Result<()> {
    insert_at(connection, None, revocation)
}

/// The same at a position that is greater than the last, if one is given.
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

#[async_trait]
impl RevocationLog for Sqlite {
    async fn append(&self, revocations: Vec<Revocation>) -> Result<Position, Error> {
        let position = self
            .transact(move |connection| {
                revocations.iter().try_for_each(|revocation| insert(connection, revocation))?;
                match revocations.as_slice() {
                    [] => head(connection),
                    [..] => Ok(to_position(connection.last_insert_rowid())),
                }
            })
            .await?;
        self.wake_readers();
        Ok(position)
    }

    async fn read(&self, after: Option<&Cursor>, wait: Duration) -> Result<Page, Error> {
        let started = Instant::now();
        let mut appended = self.appended.subscribe();
        loop {
            appended.borrow_and_update();
            let page = self.read_now(after).await?;
            if page.complete {
                // Nobody may take an index for complete that comes from a damaged file.
                self.checked().await?;
            }
            let left = wait.saturating_sub(started.elapsed());
            if !page.entries.is_empty() || page.from_start || left.is_zero() {
                return Ok(page);
            }
            // Whichever comes first: this process appended, or it is time to see whether another has.
            if tokio::time::timeout(left.min(POLL), appended.changed()).await.is_ok() {
                tokio::time::sleep(left.min(BURST)).await;
            }
        }
    }

    fn restorable(&self) -> Option<Arc<dyn Restorable>> {
        Some(Arc::new(self.clone()))
    }

    async fn prune(&self, now: Timestamp) -> Result<Pruned, Error> {
        // The last entry stays for its position; once the mark has passed it, it is hidden and needs no more attention.
        const LAPSED: &str = "SELECT position FROM revocation WHERE position > $1 AND lapses_at <= $2 \
                              AND (position < (SELECT max(position) FROM revocation) \
                                   OR lapses_at > (SELECT pruned_through FROM revocation_log_state)) \
                              ORDER BY position LIMIT $3";
        const DELETE: &str =
            "DELETE FROM revocation WHERE position = $1 AND position < (SELECT max(position) FROM revocation)";
        const MARK: &str = "UPDATE revocation_log_state SET pruned_through = $1 WHERE pruned_through < $1";

        // Looking is the readers' work, so that the writer is never held up by what stays.
        let start = self.pruned_up_to.load(Ordering::Relaxed);
        let lapsed = self
            .query(move |connection| {
                connection
                    .prepare_cached(LAPSED)?
                    .query_map(params![start, from_time(now), PRUNE_STEP], |row| row.get::<_, i64>(0))?
                    .collect::<rusqlite::Result<Vec<_>>>()
            })
            .await?;
        let complete = lapsed.len() < PRUNE_STEP;
        let Some(&last) = lapsed.last() else {
            self.pruned_up_to.store(0, Ordering::Relaxed);
            return Ok(Pruned { removed: 0, complete });
        };
        let removed = self
            .transact(move |connection| {
                connection.prepare_cached(MARK)?.execute([from_time(now)])?;
                let mut delete = connection.prepare_cached(DELETE)?;
                lapsed.iter().map(|position| delete.execute([position])).sum()
            })
            .await?;
        self.pruned_up_to.store(if complete { 0 } else { last }, Ordering::Relaxed);
        Ok(Pruned { removed, complete })
    }
}

/// The entry at a position, also one that has lapsed.
pub(super) fn entry_at(connection: &Connection, position: Position) -> rusqlite::Result<Option<Revocation>> {
    const ENTRY: &str = "SELECT position, kind, issuer, id, moment, lapses_at FROM revocation WHERE position = $1";
    connection.prepare_cached(ENTRY)?.query_row([from_position(position)], |row| entry(row, &mut None)).optional()
}

impl Sqlite {
    /// Tells readers of this process that there is something new.
    pub(super) fn wake_readers(&self) {
        self.appended.send_modify(|appends| *appends = appends.wrapping_add(1));
    }

    async fn read_now(&self, after: Option<&Cursor>) -> Result<Page, Error> {
        let (after, mark) = (after.cloned(), self.witness.mark());
        let anchor = mark.as_ref().map_or(Position::START, |mark| mark.anchor());
        let (page, found) = self
            .follow(move |connection| {
                // One transaction, so that the head, the mark and the entries are of one moment.
                let snapshot = connection.unchecked_transaction()?;
                let found = restore::state(&snapshot, anchor)?;
                let start = after.as_ref().filter(|cursor| cursor.log == found.log && cursor.position <= found.head);
                let from = start.map_or(Position::START, |cursor| cursor.position);
                let (entries, end) = entries(&snapshot, from, found.pruned_through)?;
                let page = Page {
                    entries,
                    cursor: Cursor { log: found.log.clone(), position: end.unwrap_or(found.head) },
                    complete: end.is_none(),
                    from_start: start.is_none(),
                    age: Duration::ZERO,
                    pruned_through: found.pruned_through,
                };
                Ok((page, found))
            })
            .await?;
        if let Some(mark) = mark {
            self.witness.hold(&mark, &found)?;
            self.witness.note(&mark, &found)?;
        }
        Ok(page)
    }
}

/// The last position that was ever given: pruning leaves the last entry where it is.
pub(super) fn head(connection: &Connection) -> rusqlite::Result<Position> {
    const HEAD: &str = "SELECT coalesce(max(position), 0) FROM revocation";
    connection.prepare_cached(HEAD)?.query_row([], |row| row.get(0)).map(to_position)
}

fn to_position(number: i64) -> Position {
    Position::new(u64::try_from(number).unwrap_or(0))
}

fn from_position(position: Position) -> i64 {
    i64::try_from(position.get()).unwrap_or(i64::MAX)
}

/// One page of entries, without the last of the log if it was kept though it had lapsed; and where the page ends, if it is
/// full and there may be more.
fn entries(
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

/// A start reads a million of these. Neighbours mostly have the same issuer: `previous` saves taking in its text again.
fn entry(row: &Row<'_>, previous: &mut Option<Issuer>) -> rusqlite::Result<Revocation> {
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
