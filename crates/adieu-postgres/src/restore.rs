//! Detects that an older copy of the database may have replaced it.

use std::sync::Arc;

use async_trait::async_trait;
use sqlx::{PgConnection, Row as _, postgres::PgRow};

use super::{Postgres, from_time, invalid, rows, to_text, to_time};
use adieu::{
    Error,
    restore::{LogReset, LogState, Restorable, Witness},
    revocation::{LogId, Position},
    session::Ended,
    store::Store,
    time::Timestamp,
};

// One statement sees one snapshot. The first row is the state of the log, in the columns of an entry. Within a join, `max`
// would read the whole index.
const INSPECT: &str = "WITH state AS MATERIALIZED (SELECT log_id, pruned_through, restored_at, \
     coalesce((SELECT max(position) FROM revocation), 0) AS head FROM revocation_log_state) \
     SELECT 0::bigint AS position, coalesce(restored_at, -1) AS kind, log_id AS issuer, \
     log_id || '-' || left(pg_walfile_name(pg_current_wal_lsn()), 8) || '-' || pg_relation_filenode('revocation') \
     AS id, head AS moment, pruned_through AS lapses_at FROM state \
     UNION ALL SELECT position, kind, issuer, id, moment, lapses_at FROM revocation \
     WHERE position = ANY(ARRAY[$1, (SELECT head FROM state)]) ORDER BY position";

/// Reads the state of the log, and the entry at a position.
pub(super) async fn inspect(connection: &mut PgConnection, at: Position) -> sqlx::Result<LogState> {
    state(&sqlx::query(INSPECT).bind(rows::from_position(at)).fetch_all(connection).await?, at)
}

fn state(rows: &[PgRow], at: Position) -> sqlx::Result<LogState> {
    let [state, entries @ ..] = rows else { return Err(invalid("a log without a state")) };
    let (restored_at, head): (i64, i64) = (state.try_get(1)?, state.try_get(4)?);
    let mut found = LogState {
        log: LogId::new(state.try_get(2)?).map_err(invalid)?,
        lineage: LogId::new(state.try_get(3)?).map_err(invalid)?,
        head: rows::to_position(head),
        pruned_through: to_time(state.try_get(5)?),
        restored_at: (restored_at >= 0).then(|| to_time(restored_at)),
        entry: None,
        last: None,
    };
    for row in entries {
        let (position, entry) = (rows::to_position(row.try_get(0)?), rows::entry(row, &mut None)?);
        if position == at {
            found.entry = Some(entry.clone());
        }
        if position == found.head {
            found.last = Some(entry);
        }
    }
    Ok(found)
}

impl Store for Postgres {
    fn restorable(&self) -> Option<Arc<dyn Restorable>> {
        Some(Arc::new(self.clone()))
    }
}

#[async_trait]
impl Restorable for Postgres {
    fn witness(&self) -> &Witness {
        &self.inner.witness
    }

    async fn inspect(&self, at: Position) -> Result<LogState, Error> {
        let rows = self.fetch_all(sqlx::query(INSPECT).bind(rows::from_position(at))).await?;
        state(&rows, at).map_err(Error::unavailable)
    }

    async fn reset(&self, renewal: LogReset) -> Result<Option<Ended>, Error> {
        const RENAME: &str = "UPDATE revocation_log_state SET log_id = $1, restored_at = $2 WHERE log_id = $3";
        let ending = renewal.ending.clone();
        let mut ended = self
            .run(move |connection, changes| {
                let renewal = renewal.clone();
                Box::pin(async move {
                    let rename = sqlx::query(RENAME).bind(to_text(renewal.log.as_str())).bind(from_time(renewal.at));
                    let rename = rename.bind(to_text(renewal.seen.as_str()));
                    if rename.execute(&mut *connection).await?.rows_affected() == 0 {
                        return Ok(None);
                    }
                    let ended = rows::end_everything(connection, &renewal.ending, renewal.at).await?;
                    changes.append(ended.revocations.iter().cloned());
                    changes.restart_after(renewal.after);
                    Ok(Some(ended))
                })
            })
            .await?;
        if let Some(ended) = &mut ended {
            self.end_the_rest(&ending, ended).await?;
        }
        Ok(ended)
    }

    async fn accept_restore(&self) -> Result<Option<Timestamp>, Error> {
        const RESTORED_AT: &str = "SELECT restored_at FROM revocation_log_state";
        const ACCEPT: &str = "UPDATE revocation_log_state SET restored_at = NULL";
        self.run(|connection, _| {
            Box::pin(async move {
                let restored_at: Option<i64> =
                    sqlx::query(RESTORED_AT).fetch_one(&mut *connection).await?.try_get(0)?;
                if restored_at.is_some() {
                    sqlx::query(ACCEPT).execute(connection).await?;
                }
                Ok(restored_at.map(to_time))
            })
        })
        .await
    }
}
