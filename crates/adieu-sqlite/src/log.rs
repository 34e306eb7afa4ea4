//! The revocation log in SQLite.

use std::{sync::atomic::Ordering, time::Duration};

use async_trait::async_trait;
use rusqlite::params;

use super::{Sqlite, from_time, rows};
use adieu::{
    Error,
    engine::Polling,
    revocation::{Cursor, Page, Position, Pruned, Revocation, RevocationLog},
    time::Timestamp,
};

/// Entries that one step of pruning removes: less than a millisecond of the writer's time.
const PRUNE_STEP: usize = 256;
/// How a reader waits for entries: only appends of this process notify it.
const POLLING: Polling = Polling { interval: Duration::from_millis(100), burst: Duration::from_millis(2) };

#[async_trait]
impl RevocationLog for Sqlite {
    async fn append(&self, revocations: Vec<Revocation>) -> Result<Position, Error> {
        let position = self
            .transact(move |connection| {
                revocations.iter().try_for_each(|revocation| rows::insert(connection, revocation))?;
                match revocations.as_slice() {
                    [] => rows::head(connection),
                    [..] => Ok(rows::to_position(connection.last_insert_rowid())),
                }
            })
            .await?;
        self.wake_readers();
        Ok(position)
    }

    async fn read(&self, after: Option<&Cursor>, wait: Duration) -> Result<Page, Error> {
        let read = || async {
            let page = self.read_now(after).await?;
            if page.complete {
                // An index from a damaged file must not count as complete.
                self.checked().await?;
            }
            Ok(page)
        };
        POLLING.read(self.appended.subscribe(), wait, read).await
    }

    async fn prune(&self, now: Timestamp) -> Result<Pruned, Error> {
        // The last entry stays for its position. Once the mark has passed it, it is hidden and needs no more work.
        const LAPSED: &str = "SELECT position FROM revocation WHERE position > $1 AND lapses_at <= $2 \
                              AND (position < (SELECT max(position) FROM revocation) \
                                   OR lapses_at > (SELECT pruned_through FROM revocation_log_state)) \
                              ORDER BY position LIMIT $3";
        const DELETE: &str =
            "DELETE FROM revocation WHERE position = $1 AND position < (SELECT max(position) FROM revocation)";
        const MARK: &str = "UPDATE revocation_log_state SET pruned_through = $1 WHERE pruned_through < $1";

        // Readers search, so that entries that stay never delay the writer.
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

impl Sqlite {
    /// Notifies readers of this process of new entries.
    pub(super) fn wake_readers(&self) {
        self.appended.send_modify(|appends| *appends = appends.wrapping_add(1));
    }

    async fn read_now(&self, after: Option<&Cursor>) -> Result<Page, Error> {
        let (after, mark) = (after.cloned(), self.witness.mark());
        let anchor = mark.as_ref().map_or(Position::START, |mark| mark.anchor());
        let (page, found) = self
            .follow(move |connection| {
                // One transaction, so that the head, the mark and the entries are consistent.
                let snapshot = connection.unchecked_transaction()?;
                let found = rows::state(&snapshot, anchor)?;
                let start = after.as_ref().filter(|cursor| cursor.log == found.log && cursor.position <= found.head);
                let from = start.map_or(Position::START, |cursor| cursor.position);
                let (entries, end) = rows::entries(&snapshot, from, found.pruned_through)?;
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
