//! Signing keys in SQLite.

use async_trait::async_trait;
use rusqlite::{Connection, Row, params};

use super::{Sqlite, from_time, rows, to_time};
use adieu::{
    Error,
    token::{KeyStore, StoredKey},
};

#[async_trait]
impl KeyStore for Sqlite {
    async fn keys(&self) -> Result<Vec<StoredKey>, Error> {
        self.query(all).await
    }

    async fn add_first_key(&self, key: StoredKey) -> Result<Vec<StoredKey>, Error> {
        const ANY: &str = "SELECT 1 FROM signing_key";
        self.transact(move |connection| {
            if !connection.prepare_cached(ANY)?.exists([])? {
                add(connection, &key)?;
            }
            all(connection)
        })
        .await
    }

    async fn replace_keys(&self, added: Option<StoredKey>, removed: Vec<String>) -> Result<Vec<StoredKey>, Error> {
        const REMOVE: &str = "DELETE FROM signing_key WHERE id = $1";
        self.transact(move |connection| {
            if let Some(key) = &added {
                add(connection, key)?;
            }
            let mut remove = connection.prepare_cached(REMOVE)?;
            removed.iter().try_for_each(|id| remove.execute([id]).map(drop))?;
            all(connection)
        })
        .await
    }
}

fn add(connection: &Connection, key: &StoredKey) -> rusqlite::Result<()> {
    const ADD: &str = "INSERT INTO signing_key (id, algorithm, private_key, created_at, signs_from) \
                       VALUES ($1, $2, $3, $4, $5) ON CONFLICT (id) DO NOTHING";
    connection.prepare_cached(ADD)?.execute(params![
        key.id,
        key.algorithm.as_str(),
        key.private_key.as_slice(),
        from_time(key.created_at),
        from_time(key.signs_from)
    ])?;
    Ok(())
}

fn all(connection: &Connection) -> rusqlite::Result<Vec<StoredKey>> {
    const ALL: &str =
        "SELECT id, algorithm, private_key, created_at, signs_from FROM signing_key ORDER BY signs_from, id";
    connection.prepare_cached(ALL)?.query_map([], key)?.collect()
}

fn key(row: &Row<'_>) -> rusqlite::Result<StoredKey> {
    Ok(StoredKey {
        id: row.get(0)?,
        algorithm: row.get::<_, String>(1)?.parse().map_err(|_| rows::invalid("an unknown algorithm"))?,
        private_key: row.get::<_, Vec<u8>>(2)?.into(),
        created_at: to_time(row.get(3)?),
        signs_from: to_time(row.get(4)?),
    })
}
