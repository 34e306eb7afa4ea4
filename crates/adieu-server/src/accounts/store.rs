//! Where accounts are kept. What the engines ask in the same words is here.

mod postgres;
mod sqlite;

use adieu::{Error, Subject, time::Timestamp};
use async_trait::async_trait;

pub use postgres::migrate_postgres;
pub use sqlite::migrate;

use crate::{password::PasswordHash, text::Username};

/// A user who can log in.
#[derive(Debug, Clone)]
pub struct Account {
    /// Its id, opaque: the `sub` of its tokens.
    pub id: Subject,
    /// The name to log in with.
    pub username: Username,
    /// How its password is kept.
    pub password: PasswordHash,
    /// Increases whenever the password is changed, and stays when it is only rehashed.
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

    /// Changes one account; false when there is none, or none to which the change applies.
    ///
    /// # Errors
    /// When the store could not be written.
    async fn change(&self, id: &Subject, change: Change) -> Result<bool, Error>;

    /// Keeps that a user has logged in from an address, and forgets what lapsed before `now`.
    ///
    /// # Errors
    /// When the store could not be written.
    async fn remember_address(&self, known: KnownAddress, now: Timestamp) -> Result<(), Error>;

    /// At most `limit` of the addresses that have not lapsed at `now`, those that lapse last.
    ///
    /// # Errors
    /// When the store could not be read.
    async fn known_addresses(&self, now: Timestamp, limit: usize) -> Result<Vec<KnownAddress>, Error>;
}

/// That a user has logged in from an address; neither can be told from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownAddress {
    /// The hash of the two.
    pub pair: u64,
    /// Until when it is remembered.
    pub until: Timestamp,
}

/// A change to an account.
#[derive(Debug, Clone)]
pub enum Change {
    /// A new password, whatever the old one is.
    Password(PasswordHash),
    /// A new password, if the old one is still that of this version.
    OwnPassword(PasswordHash, i64),
    /// The same password, rehashed, if it is still the one of this version.
    Rehash(PasswordHash, i64),
    /// It may not log in.
    Disable,
    /// It may log in again.
    Enable,
    /// It goes.
    Delete,
}

/// Every column, in the order in which the engines read and write them.
macro_rules! columns {
    () => {
        "id, username, password, password_version, is_admin, is_disabled, created_at"
    };
}
use columns;

const BY_ID: &str = concat!("SELECT ", columns!(), " FROM account WHERE id = $1");
const BY_USERNAME: &str = concat!("SELECT ", columns!(), " FROM account WHERE username = $1");
const LIST: &str = concat!("SELECT ", columns!(), " FROM account WHERE id > $1 ORDER BY id LIMIT $2");
// SQLite numbers `$1` and `$2` by where they first appear, whatever their digits.
const PASSWORD: &str = "UPDATE account SET password = $1, password_version = password_version + 1 WHERE id = $2";
const OWN_PASSWORD: &str = "UPDATE account SET password = $1, password_version = password_version + 1 WHERE id = $2 \
                            AND password_version = $3";
const REHASH: &str = "UPDATE account SET password = $1 WHERE id = $2 AND password_version = $3";
const SET_DISABLED: &str = "UPDATE account SET is_disabled = $1 WHERE id = $2";
const REMEMBER_ADDRESS: &str = "INSERT INTO known_address (pair, known_until) VALUES ($1, $2) \
                                ON CONFLICT (pair) DO UPDATE SET known_until = excluded.known_until";
const FORGET_ADDRESSES: &str = "DELETE FROM known_address WHERE known_until <= $1";
const KNOWN_ADDRESSES: &str =
    "SELECT pair, known_until FROM known_address WHERE known_until > $1 ORDER BY known_until DESC LIMIT $2";
const DELETE: &str = "DELETE FROM account WHERE id = $1";
