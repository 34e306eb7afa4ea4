//! Accounts in PostgreSQL.

use std::collections::HashSet;

use adieu::{Error, Issuer, Subject, time::Timestamp};
use adieu_postgres::{Postgres, Statement, from_text, to_text};
use async_trait::async_trait;
use sqlx::{Row, postgres::PgRow};

use super::{
    ADD_INVITE, Account, AccountStore, BY_ID, BY_USERNAME, Change, Direction, ENABLE, FORGET_ADDRESSES, FORGET_INVITES,
    Filter, INVITE, INVITES, ISSUE_RESET, ISSUER, Invite, Invited, KNOWN_ADDRESSES, KnownAddress, LastAdmin, NextLogin,
    OWN_PASSWORD, Order, PASSWORD, PROMOTE, PasswordReset, RECORD_ISSUER, REHASH, REMEMBER_ADDRESS, REMOVE_INVITE,
    REQUIRE_PASSWORD_CHANGE, RESET, USE_INVITE, Whose, columns, list, lists, loss, to_seconds,
};
use crate::{
    clients::SecretHash,
    password::PasswordHash,
    text::{NamePart, Username},
};

/// Accounts per statement of one transaction.
const ROWS: usize = 5_000;

/// The steps that brought the tables to where they are.
const SCHEMA: &[&str] = &[
    "
    CREATE TABLE account (
        id               TEXT COLLATE \"C\" PRIMARY KEY,
        username         TEXT COLLATE \"C\" NOT NULL UNIQUE,
        password         TEXT COLLATE \"C\" NOT NULL,
        password_version BIGINT NOT NULL,
        is_admin         BOOLEAN NOT NULL,
        is_disabled      BOOLEAN NOT NULL,
        created_at       BIGINT NOT NULL
    )
",
    "
    CREATE TABLE known_address (
        pair        BIGINT PRIMARY KEY,
        known_until BIGINT NOT NULL
    );
    CREATE INDEX known_address_until ON known_address (known_until)
",
    "ALTER TABLE account ADD COLUMN last_login_at BIGINT",
    "
    ALTER TABLE account ADD COLUMN must_change_password BOOLEAN NOT NULL DEFAULT FALSE;
    CREATE INDEX account_admin ON account (id) WHERE is_admin AND NOT is_disabled
",
    "
    ALTER TABLE account ADD COLUMN reset_secret TEXT;
    ALTER TABLE account ADD COLUMN reset_until BIGINT
",
    "
    CREATE TABLE invite (
        id         TEXT COLLATE \"C\" PRIMARY KEY,
        secret     TEXT COLLATE \"C\" NOT NULL UNIQUE,
        created_at BIGINT NOT NULL,
        expires_at BIGINT NOT NULL
    )
",
    // Not a column as in SQLite, because that would write the whole table again.
    "CREATE INDEX account_last_login ON account (COALESCE(last_login_at, -1), id)",
    "CREATE TABLE server (id INTEGER PRIMARY KEY CHECK (id = 1), issuer TEXT NOT NULL)",
];

/// Brings the tables of accounts in PostgreSQL up to date.
///
/// # Errors
/// When that fails, or a newer version has written there.
pub async fn migrate_postgres(store: &Postgres) -> Result<(), Error> {
    store.migrate("accounts", SCHEMA).await
}

/// Returns whether the tables are those of this version.
///
/// # Errors
/// When that is unknown, or a newer version has written there.
pub async fn is_migrated_postgres(store: &Postgres) -> Result<bool, Error> {
    store.is_migrated("accounts", SCHEMA).await
}

/// A change that does not apply to the last administrator. It locks all administrators, in the order of their ids, and
/// reads each of them as it is then: of two concurrent changes, the second sees what the first has done.
macro_rules! but_not_the_last {
    ($change:ident) => {
        concat!(
            "WITH admin AS MATERIALIZED \
             (SELECT id FROM account WHERE is_admin AND NOT is_disabled ORDER BY id FOR UPDATE) ",
            loss!($change),
            " AND (NOT is_admin OR is_disabled OR (SELECT count(*) FROM admin WHERE admin.id <> $1) > 0)"
        )
    };
}

#[async_trait]
impl AccountStore for Postgres {
    async fn add(&self, accounts: Vec<Account>) -> Result<Vec<bool>, Error> {
        let rows = self.fetch_all(add(&accounts)).await?;
        let added = rows.iter().map(|row| Ok(from_text(row.try_get(0)?)?.into_owned()));
        let mut added: HashSet<String> = added.collect::<sqlx::Result<_>>().map_err(Error::unavailable)?;
        Ok(accounts.iter().map(|account| added.remove(account.id.as_str())).collect())
    }

    async fn add_all(&self, mut accounts: Vec<Account>) -> Result<bool, Error> {
        // As in each statement: in the order of names.
        accounts.sort_unstable_by(|one, other| one.username.cmp(&other.username));
        let expected = u64::try_from(accounts.len()).unwrap_or(u64::MAX);
        self.execute_all(accounts.chunks(ROWS).map(add), expected).await
    }

    async fn taken(&self, usernames: Vec<Username>) -> Result<HashSet<Username>, Error> {
        const TAKEN: &str = "SELECT username FROM account WHERE username = ANY($1::text[])";
        let names: Vec<_> = usernames.iter().map(|name| to_text(name.as_str()).into_owned()).collect();
        let rows = self.fetch_all(sqlx::query(TAKEN).bind(names)).await?;
        let taken = |row: &PgRow| {
            Username::new(&from_text(row.try_get(0)?)?).map_err(|error| sqlx::Error::Decode(error.into()))
        };
        rows.iter().map(taken).collect::<sqlx::Result<_>>().map_err(Error::unavailable)
    }

    async fn by_id(&self, id: &Subject) -> Result<Option<Account>, Error> {
        one(self, BY_ID, id.as_str()).await
    }

    async fn by_username(&self, username: &Username) -> Result<Option<Account>, Error> {
        one(self, BY_USERNAME, username.as_str()).await
    }

    async fn list_in(&self, order: &Order, filter: &Filter, limit: usize) -> Result<Vec<Account>, Error> {
        // In the collation "C" of the column, `lower` changes ASCII letters only.
        let list = lists!("strpos(lower(username), $3) > 0", "COALESCE(last_login_at, -1)")(order);
        let after = order.text();
        let Filter { name, is_admin, is_disabled, last_login_before, last_login_since } = filter;
        let list = sqlx::query(list)
            .bind(to_text(&after))
            .bind(i64::try_from(limit).unwrap_or(i64::MAX))
            .bind(name.as_ref().map(NamePart::as_str))
            .bind(is_admin)
            .bind(is_disabled)
            .bind(last_login_before.map(to_seconds))
            .bind(last_login_since.map(to_seconds));
        let list = match order.last_login() {
            Some(last_login) => list.bind(last_login),
            None => list,
        };
        self.fetch_all(list).await?.iter().map(account).collect::<Result<_, _>>().map_err(Error::unavailable)
    }

    async fn record_logins(&self, logins: Vec<(Subject, Timestamp)>) -> Result<(), Error> {
        const RECORD: &str = "UPDATE account SET last_login_at = login.at \
                              FROM unnest($1::text[], $2::bigint[]) AS login (id, at) \
                              WHERE account.id = login.id AND (last_login_at IS NULL OR last_login_at < login.at)";
        let ids: Vec<_> = logins.iter().map(|(id, _)| to_text(id.as_str()).into_owned()).collect();
        let times: Vec<_> = logins.iter().map(|(_, at)| to_seconds(*at)).collect();
        self.execute(sqlx::query(RECORD).bind(ids).bind(times)).await.map(drop)
    }

    async fn change(&self, id: &Subject, change: Change) -> Result<bool, Error> {
        let id = to_text(id.as_str());
        let statement = match &change {
            Change::Password(password, next) => {
                sqlx::query(PASSWORD).bind(password.as_str()).bind(*next == NextLogin::NeedsNewPassword).bind(id)
            }
            Change::OwnPassword(password, version) => {
                sqlx::query(OWN_PASSWORD).bind(password.as_str()).bind(id).bind(version)
            }
            Change::Rehash(password, version) => sqlx::query(REHASH).bind(password.as_str()).bind(id).bind(version),
            Change::RequirePasswordChange => sqlx::query(REQUIRE_PASSWORD_CHANGE).bind(id),
            Change::IssueReset(PasswordReset { secret, expires_at }, whose) => {
                let issue = sqlx::query(ISSUE_RESET).bind(secret.to_text()).bind(to_seconds(*expires_at)).bind(id);
                issue.bind(*whose == Whose::Anyone)
            }
            Change::Reset(password, secret) => {
                sqlx::query(RESET).bind(password.as_str()).bind(id).bind(secret.to_text())
            }
            Change::Promote => sqlx::query(PROMOTE).bind(id),
            Change::Enable => sqlx::query(ENABLE).bind(id),
            Change::Demote(LastAdmin::MayGo) => sqlx::query(loss!(demote)).bind(id),
            Change::Disable(LastAdmin::MayGo) => sqlx::query(loss!(disable)).bind(id),
            Change::Delete(LastAdmin::MayGo) => sqlx::query(loss!(delete)).bind(id),
            Change::Demote(LastAdmin::Stays) => sqlx::query(but_not_the_last!(demote)).bind(id),
            Change::Disable(LastAdmin::Stays) => sqlx::query(but_not_the_last!(disable)).bind(id),
            Change::Delete(LastAdmin::Stays) => sqlx::query(but_not_the_last!(delete)).bind(id),
        };
        Ok(self.execute(statement).await? == 1)
    }

    async fn add_invite(&self, invite: Invite) -> Result<(), Error> {
        let Invite { id, secret, created_at, expires_at } = invite;
        self.execute(sqlx::query(FORGET_INVITES).bind(to_seconds(created_at))).await?;
        let add = sqlx::query(ADD_INVITE).bind(id).bind(secret.to_text());
        self.execute(add.bind(to_seconds(created_at)).bind(to_seconds(expires_at))).await.map(drop)
    }

    async fn invites(&self, now: Timestamp, limit: usize) -> Result<Vec<Invite>, Error> {
        let list = sqlx::query(INVITES).bind(to_seconds(now)).bind(i64::try_from(limit).unwrap_or(i64::MAX));
        self.fetch_all(list).await?.iter().map(invite).collect::<sqlx::Result<_>>().map_err(Error::unavailable)
    }

    async fn invite(&self, secret: &SecretHash, now: Timestamp) -> Result<Option<Invite>, Error> {
        let row = self.fetch_optional(sqlx::query(INVITE).bind(secret.to_text()).bind(to_seconds(now))).await?;
        row.as_ref().map(invite).transpose().map_err(Error::unavailable)
    }

    async fn remove_invite(&self, id: &str) -> Result<bool, Error> {
        Ok(self.execute(sqlx::query(REMOVE_INVITE).bind(to_text(id))).await? == 1)
    }

    async fn add_invited(&self, account: Account, secret: &SecretHash, now: Timestamp) -> Result<Invited, Error> {
        // Of two that use one invitation at once, the second waits for the first, and then removes nothing.
        let use_invite = sqlx::query(USE_INVITE).bind(secret.to_text()).bind(to_seconds(now));
        if self.execute_all([use_invite, add(&[account])].into_iter(), 2).await? {
            return Ok(Invited::Added);
        }
        Ok(if self.invite(secret, now).await?.is_some() { Invited::NameTaken } else { Invited::NotInvited })
    }

    async fn remember_address(&self, known: KnownAddress, now: Timestamp) -> Result<(), Error> {
        self.execute(sqlx::query(FORGET_ADDRESSES).bind(to_seconds(now))).await?;
        let (pair, until) = (known.pair.cast_signed(), to_seconds(known.until));
        self.execute(sqlx::query(REMEMBER_ADDRESS).bind(pair).bind(until)).await.map(drop)
    }

    async fn known_addresses(&self, now: Timestamp, limit: usize) -> Result<Vec<KnownAddress>, Error> {
        let list = sqlx::query(KNOWN_ADDRESSES).bind(to_seconds(now)).bind(i64::try_from(limit).unwrap_or(i64::MAX));
        let known = |row: &PgRow| {
            let (pair, until): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
            Ok(KnownAddress { pair: pair.cast_unsigned(), until: from_seconds(until) })
        };
        self.fetch_all(list).await?.iter().map(known).collect::<sqlx::Result<_>>().map_err(Error::unavailable)
    }

    async fn record_issuer(&self, issuer: &Issuer) -> Result<(), Error> {
        self.execute(sqlx::query(RECORD_ISSUER).bind(to_text(issuer.as_str()).into_owned())).await.map(drop)
    }

    async fn issuer(&self) -> Result<Option<Issuer>, Error> {
        let Some(row) = self.fetch_optional(sqlx::query(ISSUER)).await? else { return Ok(None) };
        let issuer = from_text(row.try_get(0).map_err(Error::unavailable)?).map_err(Error::unavailable)?;
        Issuer::new(&*issuer).map(Some).map_err(Error::unavailable)
    }
}

fn add(accounts: &[Account]) -> Statement<'static> {
    // In the order of names: two that add the same ones at once must not wait for each other in a circle.
    const ADD: &str = concat!(
        "INSERT INTO account (",
        columns!(),
        ") SELECT ",
        columns!(),
        " FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::boolean[], $6::boolean[], $7::bigint[], $8::bigint[], $9::boolean[], $10::text[], $11::bigint[]) \
         WITH ORDINALITY AS added (",
        columns!(),
        ", number) ORDER BY username, number ON CONFLICT (username) DO NOTHING RETURNING id"
    );
    fn column<T>(accounts: &[Account], value: impl Fn(&Account) -> T) -> Vec<T> {
        accounts.iter().map(value).collect()
    }
    sqlx::query(ADD)
        .bind(column(accounts, |account| to_text(account.id.as_str()).into_owned()))
        .bind(column(accounts, |account| to_text(account.username.as_str()).into_owned()))
        .bind(column(accounts, |account| account.password.as_str().to_owned()))
        .bind(column(accounts, |account| account.password_version))
        .bind(column(accounts, |account| account.is_admin))
        .bind(column(accounts, |account| account.is_disabled))
        .bind(column(accounts, |account| to_seconds(account.created_at)))
        .bind(column(accounts, |account| account.last_login_at.map(to_seconds)))
        .bind(column(accounts, |account| account.must_change_password))
        .bind(column(accounts, |account| account.reset.as_ref().map(|reset| reset.secret.to_text())))
        .bind(column(accounts, |account| account.reset.as_ref().map(|reset| to_seconds(reset.expires_at))))
}

fn invite(row: &PgRow) -> sqlx::Result<Invite> {
    let invalid = || sqlx::Error::Decode("not a hash".into());
    Ok(Invite {
        id: from_text(row.try_get(0)?)?.into_owned(),
        secret: SecretHash::from_text(row.try_get(1)?).ok_or_else(invalid)?,
        created_at: from_seconds(row.try_get(2)?),
        expires_at: from_seconds(row.try_get(3)?),
    })
}

async fn one(store: &Postgres, statement: &'static str, parameter: &str) -> Result<Option<Account>, Error> {
    let row = store.fetch_optional(sqlx::query(statement).bind(to_text(parameter))).await?;
    row.as_ref().map(account).transpose().map_err(Error::unavailable)
}

fn account(row: &PgRow) -> sqlx::Result<Account> {
    let invalid = |error: Box<dyn std::error::Error + Send + Sync>| sqlx::Error::Decode(error);
    let reset = match row.try_get::<Option<&str>, _>(9)? {
        Some(secret) => Some(PasswordReset {
            secret: SecretHash::from_text(secret).ok_or_else(|| invalid("not a hash".into()))?,
            expires_at: from_seconds(row.try_get(10)?),
        }),
        None => None,
    };
    Ok(Account {
        id: Subject::new(from_text(row.try_get(0)?)?).map_err(|error| invalid(error.into()))?,
        username: Username::new(&from_text(row.try_get(1)?)?).map_err(|error| invalid(error.into()))?,
        password: PasswordHash::parse(row.try_get(2)?).map_err(|error| invalid(error.into()))?,
        password_version: row.try_get(3)?,
        is_admin: row.try_get(4)?,
        is_disabled: row.try_get(5)?,
        created_at: from_seconds(row.try_get(6)?),
        last_login_at: row.try_get::<Option<_>, _>(7)?.map(from_seconds),
        must_change_password: row.try_get(8)?,
        reset,
    })
}

fn from_seconds(seconds: i64) -> Timestamp {
    Timestamp::from_unix(u64::try_from(seconds).unwrap_or(0))
}
