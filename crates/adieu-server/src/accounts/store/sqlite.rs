//! Accounts in SQLite.

use std::collections::HashSet;

use adieu::{Error, Issuer, Subject, time::Timestamp};
use adieu_sqlite::Sqlite;
use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{
    ADD_INVITE, Account, AccountStore, BY_ID, BY_USERNAME, Change, Direction, ENABLE, FORGET_ADDRESSES, FORGET_INVITES,
    Filter, INVITE, INVITES, ISSUE_RESET, ISSUER, Invite, Invited, KNOWN_ADDRESSES, KnownAddress, LastAdmin, NextLogin,
    OWN_PASSWORD, Order, PASSWORD, PROMOTE, PasswordReset, RECORD_ISSUER, REHASH, REMEMBER_ADDRESS, REMOVE_INVITE,
    REQUIRE_PASSWORD_CHANGE, RESET, USE_INVITE, Whose, columns, list, lists, loss,
};
use crate::{
    clients::SecretHash,
    password::PasswordHash,
    text::{NamePart, Username},
};

/// The steps that brought the tables to where they are.
const SCHEMA: &[&str] = &[
    "
    CREATE TABLE account (
        id               TEXT PRIMARY KEY,
        username         TEXT NOT NULL UNIQUE,
        password         TEXT NOT NULL,
        password_version BIGINT NOT NULL,
        is_admin         BOOLEAN NOT NULL,
        is_disabled      BOOLEAN NOT NULL,
        created_at       BIGINT NOT NULL
    ) WITHOUT ROWID;
",
    "
    CREATE TABLE known_address (
        pair        INTEGER PRIMARY KEY,
        known_until BIGINT NOT NULL
    );
    CREATE INDEX known_address_until ON known_address (known_until);
",
    "ALTER TABLE account ADD COLUMN last_login_at BIGINT;",
    "
    ALTER TABLE account ADD COLUMN must_change_password BOOLEAN NOT NULL DEFAULT FALSE;
    CREATE INDEX account_admin ON account (id) WHERE is_admin AND NOT is_disabled;
",
    "
    ALTER TABLE account ADD COLUMN reset_secret TEXT;
    ALTER TABLE account ADD COLUMN reset_until BIGINT;
",
    "
    CREATE TABLE invite (
        id         TEXT PRIMARY KEY,
        secret     TEXT NOT NULL UNIQUE,
        created_at BIGINT NOT NULL,
        expires_at BIGINT NOT NULL
    ) WITHOUT ROWID;
",
    // A column, because SQLite does not search an index of expressions for a pair of values.
    "
    ALTER TABLE account ADD COLUMN last_login BIGINT GENERATED ALWAYS AS (COALESCE(last_login_at, -1)) VIRTUAL;
    CREATE INDEX account_last_login ON account (last_login, id);
",
    "CREATE TABLE server (id INTEGER PRIMARY KEY CHECK (id = 1), issuer TEXT NOT NULL);",
];

/// Brings the tables of accounts up to date.
///
/// # Errors
/// When that fails, or a newer version has written there.
pub async fn migrate(store: &Sqlite) -> Result<(), Error> {
    store.migrate("accounts", SCHEMA).await
}

/// Returns whether the tables are those of this version.
///
/// # Errors
/// When that is unknown, or a newer version has written there.
pub async fn is_migrated(store: &Sqlite) -> Result<bool, Error> {
    store.is_migrated("accounts", SCHEMA).await
}

/// A change that does not apply to the last administrator.
macro_rules! but_not_the_last {
    ($change:ident) => {
        concat!(
            loss!($change),
            " AND (NOT is_admin OR is_disabled OR EXISTS (SELECT 1 FROM account AS other \
             WHERE other.is_admin AND NOT other.is_disabled AND other.id <> account.id))"
        )
    };
}

#[async_trait]
impl AccountStore for Sqlite {
    async fn add(&self, accounts: Vec<Account>) -> Result<Vec<bool>, Error> {
        self.transact(move |connection| accounts.iter().map(|account| add(connection, account)).collect()).await
    }

    async fn add_all(&self, accounts: Vec<Account>) -> Result<bool, Error> {
        self.transact(move |connection| {
            // The transaction has operations of other callers too.
            connection.execute_batch("SAVEPOINT accounts")?;
            let mut adding = accounts.iter().map(|account| add(connection, account));
            let is_whole = adding.try_fold(true, |is_whole, added| Ok::<_, rusqlite::Error>(is_whole && added?))?;
            let end = if is_whole { "RELEASE accounts" } else { "ROLLBACK TO accounts; RELEASE accounts" };
            connection.execute_batch(end)?;
            Ok(is_whole)
        })
        .await
    }

    async fn taken(&self, usernames: Vec<Username>) -> Result<HashSet<Username>, Error> {
        const IS_TAKEN: &str = "SELECT 1 FROM account WHERE username = $1";
        self.query(move |connection| {
            let mut is_taken = connection.prepare_cached(IS_TAKEN)?;
            let mut taken = HashSet::new();
            for username in &usernames {
                if is_taken.exists([username.as_str()])? {
                    taken.insert(username.clone());
                }
            }
            Ok(taken)
        })
        .await
    }

    async fn by_id(&self, id: &Subject) -> Result<Option<Account>, Error> {
        let id = id.clone();
        self.query(move |connection| one(connection, BY_ID, id.as_str())).await
    }

    async fn by_username(&self, username: &Username) -> Result<Option<Account>, Error> {
        let username = username.clone();
        self.query(move |connection| one(connection, BY_USERNAME, username.as_str())).await
    }

    async fn list_in(&self, order: &Order, filter: &Filter, limit: usize) -> Result<Vec<Account>, Error> {
        let list = statement(order);
        let (filter, after, last_login) = (filter.clone(), order.text(), order.last_login());
        self.query(move |connection| {
            let Filter { name, is_admin, is_disabled, last_login_before, last_login_since } = &filter;
            let name = name.as_ref().map(NamePart::as_str);
            let [before, since] = [last_login_before, last_login_since].map(|time| time.map(Timestamp::as_unix));
            let mut list = connection.prepare_cached(list)?;
            // SQLite numbers the parameters by their first occurrence.
            match last_login {
                Some(last_login) => {
                    let values = params![last_login, after, name, is_admin, is_disabled, before, since, limit];
                    list.query_map(values, account)?.collect()
                }
                None => {
                    let values = params![after, name, is_admin, is_disabled, before, since, limit];
                    list.query_map(values, account)?.collect()
                }
            }
        })
        .await
    }

    async fn record_logins(&self, logins: Vec<(Subject, Timestamp)>) -> Result<(), Error> {
        const RECORD: &str = "UPDATE account SET last_login_at = $1 \
                              WHERE id = $2 AND (last_login_at IS NULL OR last_login_at < $1)";
        self.transact(move |connection| {
            let mut record = connection.prepare_cached(RECORD)?;
            logins.iter().try_for_each(|(id, at)| record.execute(params![at.as_unix(), id.as_str()]).map(drop))
        })
        .await
    }

    async fn change(&self, id: &Subject, change: Change) -> Result<bool, Error> {
        let id = id.clone();
        self.transact(move |connection| {
            let prepare = |statement| connection.prepare_cached(statement);
            let id = id.as_str();
            let changed = match &change {
                Change::Password(password, next) => {
                    let must_change = *next == NextLogin::NeedsNewPassword;
                    prepare(PASSWORD)?.execute(params![password.as_str(), must_change, id])?
                }
                Change::OwnPassword(password, version) => {
                    prepare(OWN_PASSWORD)?.execute(params![password.as_str(), id, version])?
                }
                Change::Rehash(password, version) => {
                    prepare(REHASH)?.execute(params![password.as_str(), id, version])?
                }
                Change::RequirePasswordChange => prepare(REQUIRE_PASSWORD_CHANGE)?.execute([id])?,
                Change::IssueReset(PasswordReset { secret, expires_at }, whose) => {
                    let of_anyone = *whose == Whose::Anyone;
                    prepare(ISSUE_RESET)?.execute(params![secret.to_text(), expires_at.as_unix(), id, of_anyone])?
                }
                Change::Reset(password, secret) => {
                    prepare(RESET)?.execute(params![password.as_str(), id, secret.to_text()])?
                }
                Change::Promote => prepare(PROMOTE)?.execute([id])?,
                Change::Enable => prepare(ENABLE)?.execute([id])?,
                Change::Demote(LastAdmin::MayGo) => prepare(loss!(demote))?.execute([id])?,
                Change::Disable(LastAdmin::MayGo) => prepare(loss!(disable))?.execute([id])?,
                Change::Delete(LastAdmin::MayGo) => prepare(loss!(delete))?.execute([id])?,
                Change::Demote(LastAdmin::Stays) => prepare(but_not_the_last!(demote))?.execute([id])?,
                Change::Disable(LastAdmin::Stays) => prepare(but_not_the_last!(disable))?.execute([id])?,
                Change::Delete(LastAdmin::Stays) => prepare(but_not_the_last!(delete))?.execute([id])?,
            };
            Ok(changed == 1)
        })
        .await
    }

    async fn add_invite(&self, invite: Invite) -> Result<(), Error> {
        self.transact(move |connection| {
            let Invite { id, secret, created_at, expires_at } = &invite;
            connection.prepare_cached(FORGET_INVITES)?.execute([created_at.as_unix()])?;
            let values = params![id, secret.to_text(), created_at.as_unix(), expires_at.as_unix()];
            connection.prepare_cached(ADD_INVITE)?.execute(values).map(drop)
        })
        .await
    }

    async fn invites(&self, now: Timestamp, limit: usize) -> Result<Vec<Invite>, Error> {
        self.query(move |connection| {
            connection.prepare_cached(INVITES)?.query_map(params![now.as_unix(), limit], invite)?.collect()
        })
        .await
    }

    async fn invite(&self, secret: &SecretHash, now: Timestamp) -> Result<Option<Invite>, Error> {
        let secret = secret.to_text();
        self.query(move |connection| {
            connection.prepare_cached(INVITE)?.query_row(params![secret, now.as_unix()], invite).optional()
        })
        .await
    }

    async fn remove_invite(&self, id: &str) -> Result<bool, Error> {
        let id = id.to_owned();
        self.transact(move |connection| Ok(connection.prepare_cached(REMOVE_INVITE)?.execute([&id])? == 1)).await
    }

    async fn add_invited(&self, account: Account, secret: &SecretHash, now: Timestamp) -> Result<Invited, Error> {
        let secret = secret.to_text();
        self.transact(move |connection| {
            let values = params![secret, now.as_unix()];
            if !connection.prepare_cached(INVITE)?.exists(values)? {
                return Ok(Invited::NotInvited);
            }
            if !add(connection, &account)? {
                return Ok(Invited::NameTaken);
            }
            connection.prepare_cached(USE_INVITE)?.execute(values)?;
            Ok(Invited::Added)
        })
        .await
    }

    async fn remember_address(&self, known: KnownAddress, now: Timestamp) -> Result<(), Error> {
        self.transact(move |connection| {
            connection.prepare_cached(FORGET_ADDRESSES)?.execute([now.as_unix()])?;
            let values = params![known.pair.cast_signed(), known.until.as_unix()];
            connection.prepare_cached(REMEMBER_ADDRESS)?.execute(values).map(drop)
        })
        .await
    }

    async fn known_addresses(&self, now: Timestamp, limit: usize) -> Result<Vec<KnownAddress>, Error> {
        self.query(move |connection| {
            let known = |row: &Row<'_>| {
                let until = Timestamp::from_unix(row.get(1)?);
                Ok(KnownAddress { pair: row.get::<_, i64>(0)?.cast_unsigned(), until })
            };
            connection.prepare_cached(KNOWN_ADDRESSES)?.query_map(params![now.as_unix(), limit], known)?.collect()
        })
        .await
    }

    async fn record_issuer(&self, issuer: &Issuer) -> Result<(), Error> {
        let issuer = issuer.clone();
        self.transact(move |connection| connection.execute(RECORD_ISSUER, [issuer.as_str()]).map(drop)).await
    }

    async fn issuer(&self) -> Result<Option<Issuer>, Error> {
        let recorded =
            self.query(|connection| connection.query_row(ISSUER, [], |row| row.get::<_, String>(0)).optional());
        recorded.await?.map(Issuer::new).transpose().map_err(Error::unavailable)
    }
}

/// Returns the SQL of a list.
fn statement(order: &Order) -> &'static str {
    // SQLite's `lower` changes ASCII letters only.
    lists!("instr(lower(username), $3) > 0", "last_login")(order)
}

/// Adds an account; returns `false` if its name is taken.
fn add(connection: &Connection, account: &Account) -> rusqlite::Result<bool> {
    const ADD: &str = concat!(
        "INSERT INTO account (",
        columns!(),
        ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT (username) DO NOTHING"
    );
    let added = connection.prepare_cached(ADD)?.execute(params![
        account.id.as_str(),
        account.username.as_str(),
        account.password.as_str(),
        account.password_version,
        account.is_admin,
        account.is_disabled,
        account.created_at.as_unix(),
        account.last_login_at.map(Timestamp::as_unix),
        account.must_change_password,
        account.reset.as_ref().map(|reset| reset.secret.to_text()),
        account.reset.as_ref().map(|reset| reset.expires_at.as_unix())
    ])?;
    Ok(added == 1)
}

fn invite(row: &Row<'_>) -> rusqlite::Result<Invite> {
    let invalid = || rusqlite::Error::FromSqlConversionFailure(1, rusqlite::types::Type::Text, "not a hash".into());
    Ok(Invite {
        id: row.get(0)?,
        secret: SecretHash::from_text(&row.get::<_, String>(1)?).ok_or_else(invalid)?,
        created_at: Timestamp::from_unix(row.get(2)?),
        expires_at: Timestamp::from_unix(row.get(3)?),
    })
}

fn one(connection: &Connection, statement: &str, parameter: &str) -> rusqlite::Result<Option<Account>> {
    connection.prepare_cached(statement)?.query_row([parameter], account).optional()
}

fn account(row: &Row<'_>) -> rusqlite::Result<Account> {
    let invalid = |column, error: Box<dyn std::error::Error + Send + Sync>| {
        rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, error)
    };
    let reset = match row.get::<_, Option<String>>(9)? {
        Some(secret) => Some(PasswordReset {
            secret: SecretHash::from_text(&secret).ok_or_else(|| invalid(9, "not a hash".into()))?,
            expires_at: Timestamp::from_unix(row.get(10)?),
        }),
        None => None,
    };
    Ok(Account {
        id: Subject::new(row.get::<_, String>(0)?).map_err(|error| invalid(0, error.into()))?,
        username: Username::new(&row.get::<_, String>(1)?).map_err(|error| invalid(1, error.into()))?,
        password: PasswordHash::parse(&row.get::<_, String>(2)?).map_err(|error| invalid(2, error.into()))?,
        password_version: row.get(3)?,
        is_admin: row.get(4)?,
        is_disabled: row.get(5)?,
        created_at: Timestamp::from_unix(row.get(6)?),
        last_login_at: row.get::<_, Option<_>>(7)?.map(Timestamp::from_unix),
        must_change_password: row.get(8)?,
        reset,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn each_order_has_an_index() {
        let connection = Connection::open_in_memory().unwrap();
        for step in SCHEMA {
            connection.execute_batch(step).unwrap();
        }
        for direction in [Direction::Ascending, Direction::Descending] {
            for (order, expected) in [
                (Order::Id(direction, None), "account USING PRIMARY KEY (id"),
                (Order::Name(direction, None), "account USING INDEX sqlite_autoindex_account_2 (username"),
                (Order::LastLogin(direction, None), "account USING INDEX account_last_login ((last_login,id)"),
            ] {
                let explain = format!("EXPLAIN QUERY PLAN {}", statement(&order));
                let mut plan = connection.prepare(&explain).unwrap();
                let values = vec![rusqlite::types::Null; plan.parameter_count()];
                let steps = plan.query_map(rusqlite::params_from_iter(values), |row| row.get(3)).unwrap();
                let steps: Vec<String> = steps.map(Result::unwrap).collect();
                assert!(matches!(&*steps, [step] if step.contains(expected)), "{order:?}: {steps:?}");
            }
        }
    }
}
