//! Detects that an older copy has replaced the file.

use std::sync::Arc;

use async_trait::async_trait;
use rusqlite::params;

use super::{Sqlite, from_time, rows, to_time};
use adieu::{
    Error,
    restore::{LogReset, LogState, Restorable, Witness},
    revocation::Position,
    session::Ended,
    store::Store,
    time::Timestamp,
};

impl Store for Sqlite {
    fn restorable(&self) -> Option<Arc<dyn Restorable>> {
        Some(Arc::new(self.clone()))
    }
}

#[async_trait]
impl Restorable for Sqlite {
    fn witness(&self) -> &Witness {
        &self.witness
    }

    async fn inspect(&self, at: Position) -> Result<LogState, Error> {
        self.query(move |connection| rows::state(&*connection.unchecked_transaction()?, at)).await
    }

    async fn reset(&self, renewal: LogReset) -> Result<Option<Ended>, Error> {
        const RENAME: &str = "UPDATE revocation_log_state SET log_id = $1, restored_at = $2";
        let ending = renewal.ending.clone();
        let mut ended = self
            .transact(move |connection| {
                if rows::log_id(connection)? != renewal.seen.as_str() {
                    return Ok(None);
                }
                let ended = renewal.ending.revocations(&rows::delete(connection, &renewal.ending.selection)?);
                let mut last = renewal.after.max(rows::head(connection)?);
                for revocation in &ended.revocations {
                    last = Position::new(last.get().saturating_add(1));
                    rows::insert_at(connection, Some(last), revocation)?;
                }
                connection.execute(RENAME, params![renewal.log.as_str(), from_time(renewal.at)])?;
                Ok(Some(ended))
            })
            .await?;
        if let Some(ended) = &mut ended {
            self.end_the_rest(&ending, ended).await?;
        }
        self.wake_readers();
        Ok(ended)
    }

    async fn accept_restore(&self) -> Result<Option<Timestamp>, Error> {
        const RESTORED_AT: &str = "SELECT restored_at FROM revocation_log_state";
        const ACCEPT: &str = "UPDATE revocation_log_state SET restored_at = NULL";
        self.transact(|connection| {
            let restored_at = connection.query_row(RESTORED_AT, [], |row| row.get::<_, Option<i64>>(0))?;
            if restored_at.is_some() {
                connection.execute(ACCEPT, [])?;
            }
            Ok(restored_at.map(to_time))
        })
        .await
    }
}
