//! The store of accounts. SQL that the engines share is here.

mod postgres;
mod sqlite;

use adieu::{Error, Subject, time::Timestamp};
use async_trait::async_trait;

pub use postgres::migrate_postgres;
pub use sqlite::migrate;

use crate::{password::PasswordHash, text::Username};

/// The account of a user.
#[derive(Debug, Clone)]
pub struct Account {
    /// The opaque id of the account: the `sub` of its tokens.
    pub id: Subject,
    /// The name to log in with.
    pub username: Username,
    /// The hash of its password.
    pub password: PasswordHash,
    /// Incremented when the password is changed, but not when it is only rehashed.
    pub password_version: i64,
    /// Whether its tokens carry `is_admin`.
    pub is_admin: bool,
    /// Whether its login is disabled.
    pub is_disabled: bool,
    /// When the account was created.
    pub created_at: Timestamp,
}

/// A store of accounts. Each call is one atomic step, durable when it returns.
#[async_trait]
pub trait AccountStore: Send + Sync + 'static {
    /// Adds accounts. Returns, for each, whether it was added; it was not if its name is taken.
    ///
    /// # Errors
    /// Fails if the store cannot be written; no account was then added.
    async fn add(&self, accounts: Vec<Account>) -> Result<Vec<bool>, Error>;

    /// Returns the account with this id.
    ///
    /// # Errors
    /// Fails if the store cannot be read.
    async fn by_id(&self, id: &Subject) -> Result<Option<Account>, Error>;

    /// Returns the account with this name.
    ///
    /// # Errors
    /// Fails if the store cannot be read.
    async fn by_username(&self, username: &Username) -> Result<Option<Account>, Error>;

    /// Returns at most `limit` accounts after `after`, ordered by id.
    ///
    /// # Errors
    /// Fails if the store cannot be read.
    async fn list(&self, after: Option<&Subject>, limit: usize) -> Result<Vec<Account>, Error>;

    /// Changes an account. Returns `false` if there is no such account, or if the change does not apply to it.
    ///
    /// # Errors
    /// Fails if the store cannot be written.
    async fn change(&self, id: &Subject, change: Change) -> Result<bool, Error>;

    /// Records that a user has logged in from an address, and deletes records that expired before `now`.
    ///
    /// # Errors
    /// Fails if the store cannot be written.
    async fn remember_address(&self, known: KnownAddress, now: Timestamp) -> Result<(), Error>;

    /// Returns at most `limit` addresses that have not expired at `now`, those that expire last.
    ///
    /// # Errors
    /// Fails if the store cannot be read.
    async fn known_addresses(&self, now: Timestamp, limit: usize) -> Result<Vec<KnownAddress>, Error>;
}

/// The record that a user has logged in from an address. Neither can be derived from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownAddress {
    /// The hash of the user's name and the address.
    pub pair: u64,
    /// When the record expires.
    pub until: Timestamp,
}

/// A change to an account.
#[derive(Debug, Clone)]
pub enum Change {
    /// Sets the password, whatever the old one is.
    Password(PasswordHash),
    /// Sets the password, if the old one still has this version.
    OwnPassword(PasswordHash, i64),
    /// Replaces the hash of the same password, if it still has this version.
    Rehash(PasswordHash, i64),
    /// Disables the account.
    Disable,
    /// Enables the account.
    Enable,
    /// Deletes the account.
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
// SQLite numbers `$1` and `$2` by their first occurrence, whatever their digits.
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
