//! Deliveries in PostgreSQL.

use adieu::{Error, revocation::Cursor, time::Timestamp};
use adieu_postgres::{Postgres, to_text};
use async_trait::async_trait;
use sqlx::{Row, postgres::PgRow};

use super::{
    ADD_NEXT_ATTEMPT, BEGIN, CLAIM, Delivery, DeliveryStore, Holder, LIST, RECORD, RELEASE, REPLAY, SKIP, latest_claim,
    read, table, written,
};

/// The steps that brought the table to where it is.
const SCHEMA: &[&str] =
    &[table!("TEXT COLLATE \"C\""), "ALTER TABLE delivery ADD COLUMN message_id TEXT COLLATE \"C\"", ADD_NEXT_ATTEMPT];

/// Brings the table of deliveries in PostgreSQL up to date.
///
/// # Errors
/// When that fails, or a newer version has written there.
pub async fn migrate_postgres(store: &Postgres) -> Result<(), Error> {
    store.migrate("deliveries", SCHEMA).await
}

/// Returns whether the table is that of this version.
///
/// # Errors
/// When that is unknown, or a newer version has written there.
pub async fn is_migrated_postgres(store: &Postgres) -> Result<bool, Error> {
    store.is_migrated("deliveries", SCHEMA).await
}

#[async_trait]
impl DeliveryStore for Postgres {
    async fn claim(
        &self,
        receiver: &str,
        holder: &Holder,
        now: Timestamp,
        start: &Cursor,
    ) -> Result<Option<Delivery>, Error> {
        let claim = sqlx::query(CLAIM)
            .bind(receiver)
            .bind(written(Some(start)))
            .bind(&holder.id)
            .bind(seconds(holder.until))
            .bind(seconds(now))
            .bind(seconds(latest_claim(now)));
        self.fetch_optional(claim).await?.as_ref().map(delivery).transpose()
    }

    async fn record(&self, delivery: &Delivery, holder: &Holder) -> Result<bool, Error> {
        let record = sqlx::query(RECORD)
            .bind(written(delivery.cursor.as_ref()))
            .bind(&delivery.delivered)
            .bind(delivery.delivered_at.map(seconds))
            .bind(i64::from(delivery.failures))
            .bind(delivery.failing_since.map(seconds))
            .bind(&delivery.error)
            .bind(&delivery.message_id)
            .bind(delivery.next_attempt_at.map(seconds))
            .bind(seconds(holder.until))
            .bind(&delivery.receiver)
            .bind(&holder.id);
        Ok(self.execute(record).await? == 1)
    }

    async fn release(&self, holder_id: &str) -> Result<(), Error> {
        self.execute(sqlx::query(RELEASE).bind(holder_id)).await.map(drop)
    }

    async fn deliveries(&self) -> Result<Vec<Delivery>, Error> {
        self.fetch_all(sqlx::query(LIST)).await?.iter().map(delivery).collect()
    }

    async fn begin(&self, receiver: &str, after: &Cursor) -> Result<(), Error> {
        self.execute(sqlx::query(BEGIN).bind(receiver).bind(written(Some(after)))).await.map(drop)
    }

    async fn replay(&self, receiver: &str) -> Result<bool, Error> {
        Ok(self.execute(sqlx::query(REPLAY).bind(to_text(receiver))).await? == 1)
    }

    async fn skip(&self, receiver: &str, message_id: &str) -> Result<bool, Error> {
        Ok(self.execute(sqlx::query(SKIP).bind(to_text(receiver)).bind(to_text(message_id))).await? == 1)
    }
}

fn seconds(time: Timestamp) -> i64 {
    i64::try_from(time.as_unix()).unwrap_or(i64::MAX)
}

fn delivery(row: &PgRow) -> Result<Delivery, Error> {
    let read_row = || -> sqlx::Result<_> {
        let time = |column: usize| -> sqlx::Result<_> {
            let seconds = row.try_get::<Option<i64>, _>(column)?;
            Ok(seconds.map(|seconds| Timestamp::from_unix(u64::try_from(seconds).unwrap_or(0))))
        };
        let delivery = Delivery {
            receiver: row.try_get(0)?,
            cursor: None,
            delivered: row.try_get(2)?,
            delivered_at: time(3)?,
            failures: u32::try_from(row.try_get::<i64, _>(4)?).unwrap_or(u32::MAX),
            failing_since: time(5)?,
            error: row.try_get(6)?,
            message_id: row.try_get(7)?,
            next_attempt_at: time(8)?,
        };
        Ok((delivery, row.try_get::<&str, _>(1)?))
    };
    let (delivery, cursor) = read_row().map_err(Error::unavailable)?;
    Ok(Delivery { cursor: read(cursor)?, ..delivery })
}
