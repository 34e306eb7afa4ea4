//! Deliveries in SQLite.

use adieu::{Error, revocation::Cursor, time::Timestamp};
use adieu_sqlite::Sqlite;
use async_trait::async_trait;
use rusqlite::{OptionalExtension as _, Row, params};

use super::{
    ADD_NEXT_ATTEMPT, BEGIN, CLAIM, Delivery, DeliveryStore, Holder, LIST, RECORD, RELEASE, REPLAY, SKIP, latest_claim,
    read, table, written,
};

/// The steps that brought the table to where it is.
const SCHEMA: &[&str] =
    &[concat!(table!("TEXT"), " WITHOUT ROWID;"), "ALTER TABLE delivery ADD COLUMN message_id TEXT", ADD_NEXT_ATTEMPT];

/// Brings the table of deliveries up to date.
///
/// # Errors
/// When that fails, or a newer version has written there.
pub async fn migrate(store: &Sqlite) -> Result<(), Error> {
    store.migrate("deliveries", SCHEMA).await
}

/// Returns whether the table is that of this version.
///
/// # Errors
/// When that is unknown, or a newer version has written there.
pub async fn is_migrated(store: &Sqlite) -> Result<bool, Error> {
    store.is_migrated("deliveries", SCHEMA).await
}

#[async_trait]
impl DeliveryStore for Sqlite {
    async fn claim(
        &self,
        receiver: &str,
        holder: &Holder,
        now: Timestamp,
        start: &Cursor,
    ) -> Result<Option<Delivery>, Error> {
        let (receiver, holder, start) = (receiver.to_owned(), holder.clone(), written(Some(start)));
        self.transact(move |connection| {
            let latest = latest_claim(now).as_unix();
            let claim = params![receiver, start, holder.id, holder.until.as_unix(), now.as_unix(), latest];
            connection.prepare_cached(CLAIM)?.query_row(claim, delivery).optional()
        })
        .await
    }

    async fn record(&self, delivery: &Delivery, holder: &Holder) -> Result<bool, Error> {
        let (delivery, holder) = (delivery.clone(), holder.clone());
        self.transact(move |connection| {
            let recorded = connection.prepare_cached(RECORD)?.execute(params![
                written(delivery.cursor.as_ref()),
                delivery.delivered,
                delivery.delivered_at.map(Timestamp::as_unix),
                delivery.failures,
                delivery.failing_since.map(Timestamp::as_unix),
                delivery.error,
                delivery.message_id,
                delivery.next_attempt_at.map(Timestamp::as_unix),
                holder.until.as_unix(),
                delivery.receiver,
                holder.id,
            ])?;
            Ok(recorded == 1)
        })
        .await
    }

    async fn release(&self, holder_id: &str) -> Result<(), Error> {
        let holder = holder_id.to_owned();
        self.transact(move |connection| connection.prepare_cached(RELEASE)?.execute([&holder]).map(drop)).await
    }

    async fn deliveries(&self) -> Result<Vec<Delivery>, Error> {
        self.query(|connection| connection.prepare_cached(LIST)?.query_map([], delivery)?.collect()).await
    }

    async fn begin(&self, receiver: &str, after: &Cursor) -> Result<(), Error> {
        let (receiver, after) = (receiver.to_owned(), written(Some(after)));
        let begin = move |connection: &rusqlite::Connection| {
            connection.prepare_cached(BEGIN)?.execute([&receiver, &after]).map(drop)
        };
        self.transact(begin).await
    }

    async fn replay(&self, receiver: &str) -> Result<bool, Error> {
        let receiver = receiver.to_owned();
        self.transact(move |connection| Ok(connection.prepare_cached(REPLAY)?.execute([&receiver])? == 1)).await
    }

    async fn skip(&self, receiver: &str, message_id: &str) -> Result<bool, Error> {
        let (receiver, id) = (receiver.to_owned(), message_id.to_owned());
        self.transact(move |connection| Ok(connection.prepare_cached(SKIP)?.execute([&receiver, &id])? == 1)).await
    }
}

fn delivery(row: &Row<'_>) -> rusqlite::Result<Delivery> {
    let invalid =
        |error: Error| rusqlite::Error::FromSqlConversionFailure(1, rusqlite::types::Type::Text, Box::new(error));
    Ok(Delivery {
        receiver: row.get(0)?,
        cursor: read(&row.get::<_, String>(1)?).map_err(invalid)?,
        delivered: row.get(2)?,
        delivered_at: row.get::<_, Option<u64>>(3)?.map(Timestamp::from_unix),
        failures: row.get(4)?,
        failing_since: row.get::<_, Option<u64>>(5)?.map(Timestamp::from_unix),
        error: row.get(6)?,
        message_id: row.get(7)?,
        next_attempt_at: row.get::<_, Option<u64>>(8)?.map(Timestamp::from_unix),
    })
}
