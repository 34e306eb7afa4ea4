//! Clients in PostgreSQL.

use adieu::{Error, time::Timestamp};
use adieu_postgres::Postgres;
use async_trait::async_trait;
use sqlx::{Row, postgres::PgRow};

use super::{
    super::{BackchannelLogout, Capability, Client, ClientName, Limits, SecretHash},
    ADD, CHANGE, ClientStore, LIST, REMOVE, SET_SECRET, capabilities, read, told_at, written,
};

/// The steps that brought the tables to where they are.
const SCHEMA: &[&str] = &[
    "
    CREATE TABLE client (
        name       TEXT COLLATE \"C\" PRIMARY KEY,
        secret     TEXT COLLATE \"C\" NOT NULL,
        can        TEXT COLLATE \"C\" NOT NULL,
        created_at BIGINT NOT NULL
    )
",
    "
    ALTER TABLE client ADD COLUMN revocation_quota TEXT;
    ALTER TABLE client ADD COLUMN revocation_horizon BIGINT;
",
    "
    ALTER TABLE client ADD COLUMN backchannel_logout_uri TEXT;
    ALTER TABLE client ADD COLUMN backchannel_logout_private BOOLEAN NOT NULL DEFAULT FALSE;
",
];

/// Brings the tables of clients in PostgreSQL up to date.
///
/// # Errors
/// When that fails, or a newer version has written there.
pub async fn migrate_postgres(store: &Postgres) -> Result<(), Error> {
    store.migrate("clients", SCHEMA).await
}

/// Returns whether the tables are those of this version.
///
/// # Errors
/// When that is unknown, or a newer version has written there.
pub async fn is_migrated_postgres(store: &Postgres) -> Result<bool, Error> {
    store.is_migrated("clients", SCHEMA).await
}

#[async_trait]
impl ClientStore for Postgres {
    async fn add_client(&self, client: Client) -> Result<bool, Error> {
        let (quota, horizon) = written(client.limits);
        let (uri, allow_private) = told_at(&client);
        let add = sqlx::query(ADD)
            .bind(client.name.as_str())
            .bind(client.secret.to_text())
            .bind(capabilities(&client.can))
            .bind(i64::try_from(client.created_at.as_unix()).unwrap_or(i64::MAX))
            .bind(quota)
            .bind(horizon)
            .bind(uri)
            .bind(allow_private);
        Ok(self.execute(add).await? == 1)
    }

    async fn clients(&self) -> Result<Vec<Client>, Error> {
        let rows = self.fetch_all(sqlx::query(LIST)).await?;
        rows.iter().map(client).collect::<Result<_, _>>().map_err(Error::unavailable)
    }

    async fn change_client(
        &self,
        name: &ClientName,
        can: Option<&[Capability]>,
        limits: Limits,
    ) -> Result<bool, Error> {
        let (quota, horizon) = written(limits);
        let change = sqlx::query(CHANGE).bind(can.map(capabilities)).bind(quota).bind(horizon).bind(name.as_str());
        Ok(self.execute(change).await? == 1)
    }

    async fn set_client_secret(&self, name: &ClientName, secret: SecretHash) -> Result<bool, Error> {
        Ok(self.execute(sqlx::query(SET_SECRET).bind(secret.to_text()).bind(name.as_str())).await? == 1)
    }

    async fn remove_client(&self, name: &ClientName) -> Result<bool, Error> {
        Ok(self.execute(sqlx::query(REMOVE).bind(name.as_str())).await? == 1)
    }
}

fn client(row: &PgRow) -> sqlx::Result<Client> {
    let invalid = |error: Box<dyn std::error::Error + Send + Sync>| sqlx::Error::Decode(error);
    let (uri, allow_private) = (row.try_get::<Option<String>, _>(6)?, row.try_get(7)?);
    Ok(Client {
        name: ClientName::new(row.try_get(0)?).map_err(|error| invalid(error.into()))?,
        secret: SecretHash::from_text(row.try_get(1)?).ok_or_else(|| invalid("not a hash".into()))?,
        // What a newer version lets a client do is nothing to this one.
        can: row.try_get::<&str, _>(2)?.split(' ').filter_map(|capability| capability.parse().ok()).collect(),
        limits: read(row.try_get(4)?, row.try_get(5)?).ok_or_else(|| invalid("not a limit".into()))?,
        backchannel_logout: uri.map(|uri| BackchannelLogout { uri, allow_private }),
        created_at: Timestamp::from_unix(u64::try_from(row.try_get::<i64, _>(3)?).unwrap_or(0)),
    })
}
