//! Signing keys in PostgreSQL.

use async_trait::async_trait;
use sqlx::{PgConnection, Row, postgres::PgRow};

use super::{Postgres, from_text, from_time, invalid, to_text, to_time};
use adieu::{
    Error,
    token::{KeyStore, StoredKey},
};

const ALL: &str = "SELECT id, algorithm, private_key, created_at, signs_from FROM signing_key ORDER BY signs_from, id";

#[async_trait]
impl KeyStore for Postgres {
    async fn keys(&self) -> Result<Vec<StoredKey>, Error> {
        let rows = self.fetch_all(sqlx::query(ALL)).await?;
        rows.iter().map(key).collect::<Result<_, _>>().map_err(Error::unavailable)
    }

    async fn add_first_key(&self, key: StoredKey) -> Result<Vec<StoredKey>, Error> {
        const ANY: &str = "SELECT 1 FROM signing_key LIMIT 1";
        self.run(move |connection, _| {
            let key = key.clone();
            Box::pin(async move {
                // The lock excludes other writers meanwhile.
                if sqlx::query(ANY).fetch_optional(&mut *connection).await?.is_none() {
                    add(connection, &key).await?;
                }
                all(connection).await
            })
        })
        .await
    }

    async fn replace_keys(&self, added: Option<StoredKey>, removed: Vec<String>) -> Result<Vec<StoredKey>, Error> {
        const REMOVE: &str = "DELETE FROM signing_key WHERE id = ANY($1)";
        let removed: Vec<String> = removed.iter().map(|id| to_text(id).into_owned()).collect();
        self.run(move |connection, _| {
            let (added, removed) = (added.clone(), removed.clone());
            Box::pin(async move {
                if let Some(key) = &added {
                    add(connection, key).await?;
                }
                sqlx::query(REMOVE).bind(removed).execute(&mut *connection).await?;
                all(connection).await
            })
        })
        .await
    }
}

async fn add(connection: &mut PgConnection, key: &StoredKey) -> sqlx::Result<()> {
    const ADD: &str = "INSERT INTO signing_key (id, algorithm, private_key, created_at, signs_from) \
                       VALUES ($1, $2, $3, $4, $5) ON CONFLICT (id) DO NOTHING";
    sqlx::query(ADD)
        .bind(to_text(&key.id))
        .bind(key.algorithm.as_str())
        .bind(key.private_key.as_slice())
        .bind(from_time(key.created_at))
        .bind(from_time(key.signs_from))
        .execute(connection)
        .await
        .map(drop)
}

async fn all(connection: &mut PgConnection) -> sqlx::Result<Vec<StoredKey>> {
    sqlx::query(ALL).fetch_all(connection).await?.iter().map(key).collect()
}

fn key(row: &PgRow) -> sqlx::Result<StoredKey> {
    Ok(StoredKey {
        id: from_text(row.try_get(0)?)?.into_owned(),
        algorithm: row.try_get::<&str, _>(1)?.parse().map_err(|_| invalid("an unknown algorithm"))?,
        private_key: row.try_get::<Vec<u8>, _>(2)?.into(),
        created_at: to_time(row.try_get(3)?),
        signs_from: to_time(row.try_get(4)?),
    })
}
