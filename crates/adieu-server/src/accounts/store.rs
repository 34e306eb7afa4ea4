//! The store of accounts. SQL that the engines share is here.

mod postgres;
mod sqlite;

use std::collections::HashSet;

use adieu::{Error, Issuer, Subject, time::Timestamp};
use async_trait::async_trait;

pub use postgres::{is_migrated_postgres, migrate_postgres};
pub use sqlite::{is_migrated, migrate};

use crate::{
    clients::SecretHash,
    password::PasswordHash,
    text::{NamePart, Username},
};

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
    /// When it last logged in, if it has; see [`AccountStore::record_logins`].
    pub last_login_at: Option<Timestamp>,
    /// Whether it must change its password before it can log in.
    pub must_change_password: bool,
    /// The token with which its password can be reset, if one was issued.
    pub reset: Option<PasswordReset>,
}

/// A token that resets a password once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PasswordReset {
    /// The hash of the secret in the token.
    pub secret: SecretHash,
    /// When the token expires.
    pub expires_at: Timestamp,
}

/// An invitation that has not been used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invite {
    /// Names it, in place of its code.
    pub id: String,
    /// The hash of its code.
    pub secret: SecretHash,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it expires.
    pub expires_at: Timestamp,
}

/// What became of the account of someone with an invitation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Invited {
    /// It was added, and the invitation is used up.
    Added,
    /// There is no such invitation, or not any more.
    NotInvited,
    /// Its name is taken. The invitation can still be used.
    NameTaken,
}

/// Which accounts a list has: those that meet every condition. The default has none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// The name contains this.
    pub name: Option<NamePart>,
    /// Whether it is an administrator's.
    pub is_admin: Option<bool>,
    /// Whether it is disabled.
    pub is_disabled: Option<bool>,
    /// The last login was before this time. An account without a login counts by when it was created.
    pub last_login_before: Option<Timestamp>,
    /// The last login was at this time or later.
    pub last_login_since: Option<Timestamp>,
}

/// The direction of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// The lowest first.
    Ascending,
    /// The highest first.
    Descending,
}

/// The order of a list of accounts, and where it starts: after an account that need not exist any more. Each order has an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// By id, which is by when they were added.
    Id(Direction, Option<Subject>),
    /// By the bytes of the name.
    Name(Direction, Option<Username>),
    /// By the last login, then by id. Accounts without a login are the lowest.
    LastLogin(Direction, Option<(Option<Timestamp>, Subject)>),
}

impl Order {
    /// Returns the same order, starting after this account.
    #[must_use]
    pub fn after(&self, account: &Account) -> Self {
        match self {
            Self::Id(direction, _) => Self::Id(*direction, Some(account.id.clone())),
            Self::Name(direction, _) => Self::Name(*direction, Some(account.username.clone())),
            Self::LastLogin(direction, _) => {
                Self::LastLogin(*direction, Some((account.last_login_at, account.id.clone())))
            }
        }
    }

    const fn direction(&self) -> Direction {
        match self {
            Self::Id(direction, _) | Self::Name(direction, _) | Self::LastLogin(direction, _) => *direction,
        }
    }

    /// Returns the text that the ids or names of the list come after.
    fn text(&self) -> String {
        let after = match self {
            Self::Id(_, after) => after.as_ref().map(Subject::as_str),
            Self::Name(_, after) => after.as_ref().map(Username::as_str),
            Self::LastLogin(_, after) => after.as_ref().map(|(_, id)| id.as_str()),
        };
        match (after, self.direction()) {
            (Some(after), _) => after.to_owned(),
            (None, Direction::Ascending) => String::new(),
            // Higher than any id or name, which have at most 512 bytes.
            (None, Direction::Descending) => "\u{10FFFF}".repeat(129),
        }
    }

    /// Returns the last login that those of the list come after, if that is their order: [`NEVER`] or seconds since 1970.
    fn last_login(&self) -> Option<i64> {
        let Self::LastLogin(direction, after) = self else { return None };
        Some(match (after, direction) {
            (Some((last_login, _)), _) => last_login.map_or(NEVER, to_seconds),
            (None, Direction::Ascending) => NEVER - 1,
            (None, Direction::Descending) => i64::MAX,
        })
    }
}

/// In place of the last login of an account that has none.
const NEVER: i64 = -1;

fn to_seconds(time: Timestamp) -> i64 {
    i64::try_from(time.as_unix()).unwrap_or(i64::MAX)
}

/// A store of accounts. Each call is one atomic step, durable when it returns.
#[async_trait]
pub trait AccountStore: Send + Sync + 'static {
    /// Adds accounts. Returns, for each, whether it was added; it was not if its name is taken.
    ///
    /// # Errors
    /// Fails if the store cannot be written; no account was then added.
    async fn add(&self, accounts: Vec<Account>) -> Result<Vec<bool>, Error>;

    /// Adds all of these accounts in one transaction, or none of them if a name is taken. Returns whether it added them.
    ///
    /// # Errors
    /// Fails if the store cannot be written; no account was then added.
    async fn add_all(&self, accounts: Vec<Account>) -> Result<bool, Error>;

    /// Returns which of these names accounts have.
    ///
    /// # Errors
    /// Fails if the store cannot be read.
    async fn taken(&self, usernames: Vec<Username>) -> Result<HashSet<Username>, Error>;

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

    /// Returns at most `limit` accounts after `after` that meet the filter, ordered by id. With a filter that few accounts
    /// meet, it reads all of them.
    ///
    /// # Errors
    /// Fails if the store cannot be read.
    async fn list(&self, filter: &Filter, after: Option<&Subject>, limit: usize) -> Result<Vec<Account>, Error> {
        self.list_in(&Order::Id(Direction::Ascending, after.cloned()), filter, limit).await
    }

    /// Like [`AccountStore::list`], in any order.
    ///
    /// # Errors
    /// Fails if the store cannot be read.
    async fn list_in(&self, order: &Order, filter: &Filter, limit: usize) -> Result<Vec<Account>, Error>;

    /// Records when accounts have logged in, except where a later login is recorded. Unknown accounts are ignored.
    ///
    /// # Errors
    /// Fails if the store cannot be written; logins may then be recorded or not.
    async fn record_logins(&self, logins: Vec<(Subject, Timestamp)>) -> Result<(), Error>;

    /// Changes an account. Returns `false` if there is no such account, or if the change does not apply to it.
    ///
    /// # Errors
    /// Fails if the store cannot be written.
    async fn change(&self, id: &Subject, change: Change) -> Result<bool, Error>;

    /// Adds an invitation, and deletes those that expired before it was made.
    ///
    /// # Errors
    /// Fails if the store cannot be written.
    async fn add_invite(&self, invite: Invite) -> Result<(), Error>;

    /// Returns at most `limit` invitations that have not expired at `now`, ordered by id.
    ///
    /// # Errors
    /// Fails if the store cannot be read.
    async fn invites(&self, now: Timestamp, limit: usize) -> Result<Vec<Invite>, Error>;

    /// Returns the invitation with this code, unless it has expired at `now`.
    ///
    /// # Errors
    /// Fails if the store cannot be read.
    async fn invite(&self, secret: &SecretHash, now: Timestamp) -> Result<Option<Invite>, Error>;

    /// Removes an invitation. Returns whether there was one with this id.
    ///
    /// # Errors
    /// Fails if the store cannot be written.
    async fn remove_invite(&self, id: &str) -> Result<bool, Error>;

    /// Adds an account and removes the invitation with this code, unless it has expired at `now`: both or neither, also
    /// of several calls at once.
    ///
    /// # Errors
    /// Fails if the store cannot be written.
    async fn add_invited(&self, account: Account, secret: &SecretHash, now: Timestamp) -> Result<Invited, Error>;

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

    /// Records the issuer of the tokens of these accounts, for [`AccountStore::issuer`].
    ///
    /// # Errors
    /// Fails if the store cannot be written.
    async fn record_issuer(&self, issuer: &Issuer) -> Result<(), Error>;

    /// Returns the issuer of the server that was started last on this store; `None` if there was none. A revocation under
    /// another name would match none of its tokens.
    ///
    /// # Errors
    /// Fails if the store cannot be read.
    async fn issuer(&self) -> Result<Option<Issuer>, Error>;
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
    Password(PasswordHash, NextLogin),
    /// Sets the password, if the old one still has this version. It need not be changed before the next login any more.
    OwnPassword(PasswordHash, i64),
    /// Replaces the hash of the same password, if it still has this version.
    Rehash(PasswordHash, i64),
    /// Requires that the password is changed before the next login.
    RequirePasswordChange,
    /// Issues a token that resets the password, in place of an earlier one. Does not apply to a disabled account. Every change
    /// of the password, promoting and disabling the account make it void.
    IssueReset(PasswordReset, Whose),
    /// Sets the password, if the account is not disabled and its token has this secret, which is then void.
    Reset(PasswordHash, SecretHash),
    /// Makes the account an administrator's.
    Promote,
    /// Makes the account an ordinary user's.
    Demote(LastAdmin),
    /// Disables the account.
    Disable(LastAdmin),
    /// Enables the account.
    Enable,
    /// Deletes the account.
    Delete(LastAdmin),
}

/// Whose password a token resets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// That of any user.
    Anyone,
    /// That of a user who is no administrator; the change does not apply to others, also if the user is promoted concurrently.
    User,
}

/// What the next login with a new password is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextLogin {
    /// It starts a session.
    Allowed,
    /// It is refused until the password has been changed again.
    NeedsNewPassword,
}

/// Whether a change applies to the only administrator who is not disabled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LastAdmin {
    /// It does not, also if the other administrators are changed concurrently.
    Stays,
    /// It does.
    MayGo,
}

/// Every column, in the order in which the engines read and write them.
macro_rules! columns {
    () => {
        "id, username, password, password_version, is_admin, is_disabled, created_at, last_login_at, must_change_password, reset_secret, reset_until"
    };
}
use columns;

const BY_ID: &str = concat!("SELECT ", columns!(), " FROM account WHERE id = $1");
const BY_USERNAME: &str = concat!("SELECT ", columns!(), " FROM account WHERE username = $1");
/// The lists of accounts in each order, given the SQL that is true if the name contains the parameter `$3`, and that of the last login.
macro_rules! lists {
    ($contains:literal, $last_login:literal) => {
        |order: &Order| match (order, order.direction()) {
            (Order::Id(..), Direction::Ascending) => list!($contains, "id > $1", "id"),
            (Order::Id(..), Direction::Descending) => list!($contains, "id < $1", "id DESC"),
            (Order::Name(..), Direction::Ascending) => list!($contains, "username > $1", "username"),
            (Order::Name(..), Direction::Descending) => list!($contains, "username < $1", "username DESC"),
            (Order::LastLogin(..), Direction::Ascending) => {
                list!($contains, concat!("(", $last_login, ", id) > ($8, $1)"), concat!($last_login, ", id"))
            }
            (Order::LastLogin(..), Direction::Descending) => {
                list!($contains, concat!("(", $last_login, ", id) < ($8, $1)"), concat!($last_login, " DESC, id DESC"))
            }
        }
    };
}
macro_rules! list {
    ($contains:literal, $after:expr, $order:expr) => {
        concat!(
            "SELECT ",
            $crate::accounts::store::columns!(),
            " FROM account WHERE ",
            $after,
            " \
             AND (CAST($3 AS TEXT) IS NULL OR ",
            $contains,
            ") \
             AND (CAST($4 AS BOOLEAN) IS NULL OR is_admin = $4) \
             AND (CAST($5 AS BOOLEAN) IS NULL OR is_disabled = $5) \
             AND (CAST($6 AS BIGINT) IS NULL OR COALESCE(last_login_at, created_at) < $6) \
             AND (CAST($7 AS BIGINT) IS NULL OR last_login_at >= $7) \
             ORDER BY ",
            $order,
            " LIMIT $2"
        )
    };
}
use list;
use lists;
// SQLite numbers `$1` and `$2` by their first occurrence, whatever their digits.
const PASSWORD: &str = "UPDATE account SET password = $1, password_version = password_version + 1, must_change_password = $2, \
     reset_secret = NULL, reset_until = NULL WHERE id = $3";
const OWN_PASSWORD: &str = "UPDATE account SET password = $1, password_version = password_version + 1, \
                            must_change_password = FALSE, reset_secret = NULL, reset_until = NULL \
                            WHERE id = $2 AND password_version = $3";
const REHASH: &str = "UPDATE account SET password = $1 WHERE id = $2 AND password_version = $3";
const REQUIRE_PASSWORD_CHANGE: &str = "UPDATE account SET must_change_password = TRUE WHERE id = $1";
const ISSUE_RESET: &str = "UPDATE account SET reset_secret = $1, reset_until = $2 WHERE id = $3 AND NOT is_disabled \
                           AND ($4 OR NOT is_admin)";
const RESET: &str = "UPDATE account SET password = $1, password_version = password_version + 1, \
                     must_change_password = FALSE, reset_secret = NULL, reset_until = NULL \
                     WHERE id = $2 AND reset_secret = $3 AND NOT is_disabled";
/// A token that a client has issued must not reset the password of an administrator.
const PROMOTE: &str = "UPDATE account SET is_admin = TRUE, reset_secret = NULL, reset_until = NULL WHERE id = $1";
const ENABLE: &str = "UPDATE account SET is_disabled = FALSE WHERE id = $1";

/// Changes that may take the last administrator away.
macro_rules! loss {
    (demote) => {
        "UPDATE account SET is_admin = FALSE WHERE id = $1"
    };
    (disable) => {
        "UPDATE account SET is_disabled = TRUE, reset_secret = NULL, reset_until = NULL WHERE id = $1"
    };
    (delete) => {
        "DELETE FROM account WHERE id = $1"
    };
}
use loss;

const ADD_INVITE: &str = "INSERT INTO invite (id, secret, created_at, expires_at) VALUES ($1, $2, $3, $4)";
const FORGET_INVITES: &str = "DELETE FROM invite WHERE expires_at <= $1";
const INVITES: &str =
    "SELECT id, secret, created_at, expires_at FROM invite WHERE expires_at > $1 ORDER BY id LIMIT $2";
const INVITE: &str = "SELECT id, secret, created_at, expires_at FROM invite WHERE secret = $1 AND expires_at > $2";
const REMOVE_INVITE: &str = "DELETE FROM invite WHERE id = $1";
const USE_INVITE: &str = "DELETE FROM invite WHERE secret = $1 AND expires_at > $2";

const RECORD_ISSUER: &str =
    "INSERT INTO server (id, issuer) VALUES (1, $1) ON CONFLICT (id) DO UPDATE SET issuer = excluded.issuer";
const ISSUER: &str = "SELECT issuer FROM server";

const REMEMBER_ADDRESS: &str = "INSERT INTO known_address (pair, known_until) VALUES ($1, $2) \
                                ON CONFLICT (pair) DO UPDATE SET known_until = excluded.known_until";
const FORGET_ADDRESSES: &str = "DELETE FROM known_address WHERE known_until <= $1";
const KNOWN_ADDRESSES: &str =
    "SELECT pair, known_until FROM known_address WHERE known_until > $1 ORDER BY known_until DESC LIMIT $2";
