//! Aliases in SQLite.

use std::collections::HashMap;

use adieu::{Error, Issuer, Subject};
use adieu_events::Alias;
use adieu_sqlite::Sqlite;
use async_trait::async_trait;
use rusqlite::{Row, params};

use super::{
    AliasFilter, AliasStore, INDEX, KnownAlias, LIST, MAX_SUBJECTS, Named, REMOVE_ALIAS, REMOVE_SUBJECT, Removal, read,
    table,
};

/// The steps that brought the table to where it is.
const SCHEMA: &[&str] = &[concat!(table!("TEXT"), " WITHOUT ROWID"), INDEX];

/// Brings the table of aliases up to date.
///
/// # Errors
/// When that fails, or a newer version has written there.
pub async fn migrate(store: &Sqlite) -> Result<(), Error> {
    store.migrate("aliases", SCHEMA).await
}

/// Returns whether the table is that of this version.
///
/// # Errors
/// When that is unknown, or a newer version has written there.
pub async fn is_migrated(store: &Sqlite) -> Result<bool, Error> {
    store.is_migrated("aliases", SCHEMA).await
}

#[async_trait]
impl AliasStore for Sqlite {
    async fn add_aliases(&self, aliases: Vec<KnownAlias>) -> Result<u64, Error> {
        const MAKE_ROOM: &str = "DELETE FROM alias WHERE issuer = $1 AND kind = $2 AND value = $3 AND subject IN \
            (SELECT subject FROM alias WHERE issuer = $1 AND kind = $2 AND value = $3 AND subject <> $4 \
            ORDER BY seen_at DESC, subject LIMIT -1 OFFSET $5)";
        const ADD: &str = "INSERT INTO alias (issuer, kind, value, subject, seen_at) VALUES ($1, $2, $3, $4, $5) \
            ON CONFLICT (issuer, kind, value, subject) DO UPDATE SET seen_at = excluded.seen_at \
            WHERE excluded.seen_at >= alias.seen_at + 3600";
        self.transact(move |connection| {
            let (mut make_room, mut add) = (connection.prepare_cached(MAKE_ROOM)?, connection.prepare_cached(ADD)?);
            let mut dropped = 0;
            for KnownAlias { named: Named { issuer, alias, subject }, seen_at } in &aliases {
                let (issuer, kind, value, subject) =
                    (issuer.as_str(), alias.kind().as_str(), alias.value(), subject.as_str());
                dropped += make_room.execute(params![issuer, kind, value, subject, MAX_SUBJECTS - 1])?;
                add.execute(params![issuer, kind, value, subject, seen_at.as_unix()])?;
            }
            Ok(dropped as u64)
        })
        .await
    }

    async fn subjects_with(&self, issuer: &Issuer, aliases: Vec<Alias>) -> Result<HashMap<Alias, Vec<Subject>>, Error> {
        const SUBJECTS: &str = "SELECT subject FROM alias WHERE issuer = $1 AND kind = $2 AND value = $3";
        let issuer = issuer.clone();
        self.query(move |connection| {
            let mut find = connection.prepare_cached(SUBJECTS)?;
            let mut found = HashMap::new();
            for alias in &aliases {
                let named = params![issuer.as_str(), alias.kind().as_str(), alias.value()];
                let subjects = find.query_map(named, subject)?.collect::<rusqlite::Result<Vec<_>>>()?;
                if !subjects.is_empty() {
                    found.insert(alias.clone(), subjects);
                }
            }
            Ok(found)
        })
        .await
    }

    async fn aliases(
        &self,
        filter: &AliasFilter,
        after: Option<&Named>,
        limit: usize,
    ) -> Result<Vec<KnownAlias>, Error> {
        let (filter, after) = (filter.clone(), after.cloned());
        self.query(move |connection| {
            let [issuer, kind, value, subject] = after.as_ref().map_or([""; 4], Named::columns);
            let alias = filter.alias.as_ref();
            // SQLite numbers the parameters by their first occurrence, which is their order.
            let values = params![
                issuer,
                kind,
                value,
                subject,
                filter.issuer.as_ref().map(Issuer::as_str),
                alias.map(|alias| alias.kind().as_str()),
                alias.map(Alias::value),
                filter.subject.as_ref().map(Subject::as_str),
                limit,
            ];
            connection.prepare_cached(LIST)?.query_map(values, known)?.collect()
        })
        .await
    }

    async fn remove_aliases(&self, issuer: &Issuer, which: &Removal) -> Result<u64, Error> {
        let (issuer, which) = (issuer.clone(), which.clone());
        self.transact(move |connection| {
            let removed = match &which {
                Removal::Alias(alias, subject) => {
                    let subject = subject.as_ref().map(Subject::as_str);
                    let named = params![issuer.as_str(), alias.kind().as_str(), alias.value(), subject];
                    connection.prepare_cached(REMOVE_ALIAS)?.execute(named)?
                }
                Removal::Subject(subject) => {
                    connection.prepare_cached(REMOVE_SUBJECT)?.execute([issuer.as_str(), subject.as_str()])?
                }
            };
            Ok(removed as u64)
        })
        .await
    }
}

fn subject(row: &Row<'_>) -> rusqlite::Result<Subject> {
    let invalid = |error: adieu::IdError| {
        rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(error))
    };
    Subject::new(row.get::<_, String>(0)?).map_err(invalid)
}

fn known(row: &Row<'_>) -> rusqlite::Result<KnownAlias> {
    let text = |column| row.get::<_, String>(column);
    read(&text(0)?, &text(1)?, &text(2)?, &text(3)?, row.get(4)?)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(2, rusqlite::types::Type::Text, error))
}
