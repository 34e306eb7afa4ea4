//! Signing keys in SQLite.

use async_trait::async_trait;
use rusqlite::{Connection, Row, params};

use super::{Sqlite, from_time, log, to_time};
use crate::{
    Error,
    token::{KeyStore, StoredKey},
};

#[async_trait]
impl KeyStore for Sqlite {
    async fn keys(&self) -> Result<Vec<StoredKey>, Error> {
        self.query(all).await
    }

    async fn add_first_key(&self, key: StoredKey) -> Result<Vec<StoredKey>, Error> {
        const ADD: &str = "INSERT INTO signing_key (id, algorithm, private_key, created_at) \
                           SELECT $1, $2, $3, $4 WHERE NOT EXISTS (SELECT 1 FROM signing_key)";
        self.transact(move |connection| {
            connection.prepare_cached(ADD)?.execute(params![
                key.id,
                key.algorithm.as_str(),
                key.private_key.as_slice(),
                from_time(key.created_at)
            ])?;
            all(connection)
        })
        .await
    }
}

fn all(connection: &Connection) -> rusqlite::Result<Vec<StoredKey>> {
    const ALL: &str = "SELECT id, algorithm, private_key, created_at FROM signing_key ORDER BY created_at, id";
    connection.prepare_cached(ALL)?.query_map([], key)?.collect()
}

fn key(row: &Row<'_>) -> rusqlite::Result<StoredKey> {
    Ok(StoredKey {
        id: row.get(0)?,
        algorithm: row.get::<_, String>(1)?.parse().map_err(|_| log::invalid("an unknown algorithm"))?,
        private_key: row.get::<_, Vec<u8>>(2)?.into(),
        created_at: to_time(row.get(3)?),
    })
}
