//! Where accounts are kept.

use adieu::{Error, Subject, store::Sqlite, time::Timestamp};
use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::{password::PasswordHash, text::Username};

/// Somebody who can log in.
#[derive(Debug, Clone)]
pub struct Account {
    /// Its id, opaque: the `sub` of its tokens.
    pub id: Subject,
    /// The name to log in with.
    pub username: Username,
    /// How its password is kept.
    pub password: PasswordHash,
    /// Goes up whenever the password is changed, and stays when it is only hashed anew.
    pub password_version: i64,
    /// Whether its tokens carry `is_admin`.
    pub is_admin: bool,
    /// Whether it may not log in.
    pub is_disabled: bool,
    /// When it was made.
    pub created_at: Timestamp,
}

/// Keeps accounts. Each call is one atomic step, durable when it returns.
#[async_trait]
pub trait AccountStore: Send + Sync + 'static {
    /// Adds accounts; gives, for each, whether it was added. The ones that were not have a name that is taken.
    ///
    /// # Errors
    /// When the store could not be written: then none was added.
    async fn add(&self, accounts: Vec<Account>) -> Result<Vec<bool>, Error>;

    /// The account with this id.
    ///
    /// # Errors
    /// When the store could not be read.
    async fn by_id(&self, id: &Subject) -> Result<Option<Account>, Error>;

    /// The account with this name.
    ///
    /// # Errors
    /// When the store could not be read.
    async fn by_username(&self, username: &Username) -> Result<Option<Account>, Error>;

    /// At most `limit` accounts by id, those after `after`.
    ///
    /// # Errors
    /// When the store could not be read.
    async fn list(&self, after: Option<&Subject>, limit: usize) -> Result<Vec<Account>, Error>;

    /// Changes one account; false when there is none.
    ///
    /// # Errors
    /// When the store could not be written.
    async fn change(&self, id: &Subject, change: Change) -> Result<bool, Error>;
}

/// What is changed of an account.
#[derive(Debug, Clone)]
pub enum Change {
    /// A new password.
    Password(PasswordHash),
    /// The same password, hashed anew, if it is still the one of this version.
    Rehash(PasswordHash, i64),
    /// It may not log in.
    Disable,
    /// It may log in again.
    Enable,
    /// It goes.
    Delete,
}

/// The steps that brought the tables to where they are.
const SCHEMA: &[&str] = &["
    CREATE TABLE account (
        id               TEXT PRIMARY KEY,
        username         TEXT NOT NULL UNIQUE,
        password         TEXT NOT NULL,
        password_version BIGINT NOT NULL,
        is_admin         BOOLEAN NOT NULL,
        is_disabled      BOOLEAN NOT NULL,
        created_at       BIGINT NOT NULL
    ) WITHOUT ROWID;
"];

/// Brings the tables of accounts up to date.
///
/// # Errors
/// When that fails, or a newer version has written there.
pub async fn migrate(store: &Sqlite) -> Result<(), Error> {
    store.migrate("accounts", SCHEMA).await
}

macro_rules! columns {
    () => {
        "id, username, password, password_version, is_admin, is_disabled, created_at"
    };
}

#[async_trait]
impl AccountStore for Sqlite {
    async fn add(&self, accounts: Vec<Account>) -> Result<Vec<bool>, Error> {
        const ADD: &str = concat!(
            "INSERT INTO account (",
            columns!(),
            ") VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (username) DO NOTHING"
        );
        self.transact(move |connection| {
            let mut add = connection.prepare_cached(ADD)?;
            let add = |account: &Account| {
                let added = add.execute(params![
                    account.id.as_str(),
                    account.username.as_str(),
                    account.password.as_str(),
                    account.password_version,
                    account.is_admin,
                    account.is_disabled,
                    account.created_at.as_unix()
                ])?;
                Ok(added == 1)
            };
            accounts.iter().map(add).collect()
        })
        .await
    }

    async fn by_id(&self, id: &Subject) -> Result<Option<Account>, Error> {
        const BY_ID: &str = concat!("SELECT ", columns!(), " FROM account WHERE id = $1");
        let id = id.clone();
        self.query(move |connection| one(connection, BY_ID, id.as_str())).await
    }

    async fn by_username(&self, username: &Username) -> Result<Option<Account>, Error> {
        const BY_USERNAME: &str = concat!("SELECT ", columns!(), " FROM account WHERE username = $1");
        let username = username.clone();
        self.query(move |connection| one(connection, BY_USERNAME, username.as_str())).await
    }

    async fn list(&self, after: Option<&Subject>, limit: usize) -> Result<Vec<Account>, Error> {
        const LIST: &str = concat!("SELECT ", columns!(), " FROM account WHERE id > $1 ORDER BY id LIMIT $2");
        let after = after.map_or_else(String::new, Subject::to_string);
        self.query(move |connection| {
            connection.prepare_cached(LIST)?.query_map(params![after, limit], account)?.collect()
        })
        .await
    }

    async fn change(&self, id: &Subject, change: Change) -> Result<bool, Error> {
        // SQLite numbers `$1` and `$2` by where they first appear, whatever their digits.
        const PASSWORD: &str =
            "UPDATE account SET password = $1, password_version = password_version + 1 WHERE id = $2";
        const REHASH: &str = "UPDATE account SET password = $1 WHERE id = $2 AND password_version = $3";
        const SET_DISABLED: &str = "UPDATE account SET is_disabled = $1 WHERE id = $2";
        const DELETE: &str = "DELETE FROM account WHERE id = $1";
        let id = id.clone();
        self.transact(move |connection| {
            let prepare = |statement| connection.prepare_cached(statement);
            let id = id.as_str();
            let changed = match &change {
                Change::Password(password) => prepare(PASSWORD)?.execute(params![password.as_str(), id])?,
                Change::Rehash(password, version) => {
                    prepare(REHASH)?.execute(params![password.as_str(), id, version])?
                }
                Change::Disable => prepare(SET_DISABLED)?.execute(params![true, id])?,
                Change::Enable => prepare(SET_DISABLED)?.execute(params![false, id])?,
                Change::Delete => prepare(DELETE)?.execute([id])?,
            };
            Ok(changed == 1)
        })
        .await
    }
}

fn one(connection: &Connection, statement: &str, parameter: &str) -> rusqlite::Result<Option<Account>> {
    connection.prepare_cached(statement)?.query_row([parameter], account).optional()
}

fn account(row: &Row<'_>) -> rusqlite::Result<Account> {
    let invalid = |column, error: Box<dyn std::error::Error + Send + Sync>| {
        rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, error)
    };
    Ok(Account {
        id: Subject::new(row.get::<_, String>(0)?).map_err(|error| invalid(0, error.into()))?,
        username: Username::new(&row.get::<_, String>(1)?).map_err(|error| invalid(1, error.into()))?,
        password: PasswordHash::parse(&row.get::<_, String>(2)?).map_err(|error| invalid(2, error.into()))?,
        password_version: row.get(3)?,
        is_admin: row.get(4)?,
        is_disabled: row.get(5)?,
        created_at: Timestamp::from_unix(row.get(6)?),
    })
}
