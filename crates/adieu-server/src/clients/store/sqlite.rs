//! Clients in SQLite.

use adieu::{Error, time::Timestamp};
use adieu_sqlite::Sqlite;
use async_trait::async_trait;
use rusqlite::{Row, params};

use super::{
    super::{BackchannelLogout, Capability, Client, ClientName, Limits, SecretHash},
    ADD, CHANGE, ClientStore, LIST, REMOVE, SET_SECRET, capabilities, read, told_at, written,
};

/// The steps that brought the tables to where they are.
const SCHEMA: &[&str] = &[
    "
    CREATE TABLE client (
        name       TEXT PRIMARY KEY,
        secret     TEXT NOT NULL,
        can        TEXT NOT NULL,
        created_at BIGINT NOT NULL
    ) WITHOUT ROWID;
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

/// Brings the tables of clients up to date.
///
/// # Errors
/// When that fails, or a newer version has written there.
pub async fn migrate(store: &Sqlite) -> Result<(), Error> {
    store.migrate("clients", SCHEMA).await
}

/// Returns whether the tables are those of this version.
///
/// # Errors
/// When that is unknown, or a newer version has written there.
pub async fn is_migrated(store: &Sqlite) -> Result<bool, Error> {
    store.is_migrated("clients", SCHEMA).await
}

#[async_trait]
impl ClientStore for Sqlite {
    async fn add_client(&self, client: Client) -> Result<bool, Error> {
        let can = capabilities(&client.can);
        let (quota, horizon) = written(client.limits);
        self.transact(move |connection| {
            let (uri, allow_private) = told_at(&client);
            let added = connection.prepare_cached(ADD)?.execute(params![
                client.name.as_str(),
                client.secret.to_text(),
                can,
                client.created_at.as_unix(),
                quota,
                horizon,
                uri,
                allow_private,
            ])?;
            Ok(added == 1)
        })
        .await
    }

    async fn clients(&self) -> Result<Vec<Client>, Error> {
        self.query(|connection| connection.prepare_cached(LIST)?.query_map([], client)?.collect()).await
    }

    async fn change_client(
        &self,
        name: &ClientName,
        can: Option<&[Capability]>,
        limits: Limits,
    ) -> Result<bool, Error> {
        let (name, can, (quota, horizon)) = (name.clone(), can.map(capabilities), written(limits));
        let change = move |connection: &rusqlite::Connection| {
            let changed = connection.prepare_cached(CHANGE)?.execute(params![can, quota, horizon, name.as_str()])?;
            Ok(changed == 1)
        };
        self.transact(change).await
    }

    async fn set_client_secret(&self, name: &ClientName, secret: SecretHash) -> Result<bool, Error> {
        let (name, secret) = (name.clone(), secret.to_text());
        let set = move |connection: &rusqlite::Connection| {
            Ok(connection.prepare_cached(SET_SECRET)?.execute(params![secret, name.as_str()])? == 1)
        };
        self.transact(set).await
    }

    async fn remove_client(&self, name: &ClientName) -> Result<bool, Error> {
        let name = name.clone();
        self.transact(move |connection| Ok(connection.prepare_cached(REMOVE)?.execute([name.as_str()])? == 1)).await
    }
}

fn client(row: &Row<'_>) -> rusqlite::Result<Client> {
    let invalid = |column, error: Box<dyn std::error::Error + Send + Sync>| {
        rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, error)
    };
    let can = row.get::<_, String>(2)?;
    let (uri, allow_private) = (row.get::<_, Option<String>>(6)?, row.get(7)?);
    Ok(Client {
        name: ClientName::new(&row.get::<_, String>(0)?).map_err(|error| invalid(0, error.into()))?,
        secret: SecretHash::from_text(&row.get::<_, String>(1)?).ok_or_else(|| invalid(1, "not a hash".into()))?,
        // What a newer version lets a client do is nothing to this one.
        can: can.split(' ').filter_map(|capability| capability.parse().ok()).collect(),
        limits: read(row.get::<_, Option<String>>(4)?.as_deref(), row.get(5)?)
            .ok_or_else(|| invalid(4, "not a limit".into()))?,
        backchannel_logout: uri.map(|uri| BackchannelLogout { uri, allow_private }),
        created_at: Timestamp::from_unix(row.get(3)?),
    })
}
