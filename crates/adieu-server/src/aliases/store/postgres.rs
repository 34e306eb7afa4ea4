//! Aliases in PostgreSQL.

use std::collections::{BTreeMap, HashMap};

use adieu::{Error, Issuer, Subject, time::Timestamp};
use adieu_events::Alias;
use adieu_postgres::{Postgres, from_text, to_text};
use async_trait::async_trait;
use sqlx::{Row, postgres::PgRow};

use super::{
    AliasFilter, AliasStore, INDEX, KnownAlias, LIST, MAX_SUBJECTS, Named, REMOVE_ALIAS, REMOVE_SUBJECT, Removal, read,
    table,
};

/// The steps that brought the table to where it is.
const SCHEMA: &[&str] = &[table!("TEXT COLLATE \"C\""), INDEX];

/// Brings the table of aliases in PostgreSQL up to date.
///
/// # Errors
/// When that fails, or a newer version has written there.
pub async fn migrate_postgres(store: &Postgres) -> Result<(), Error> {
    store.migrate("aliases", SCHEMA).await
}

/// Returns whether the table is that of this version.
///
/// # Errors
/// When that is unknown, or a newer version has written there.
pub async fn is_migrated_postgres(store: &Postgres) -> Result<bool, Error> {
    store.is_migrated("aliases", SCHEMA).await
}

/// Adds aliases in the order of the key, so that two nodes that add the same ones do not wait for each other in a circle. The snapshot of the
/// statement is from before it adds any.
const ADD: &str = "
    WITH new AS (
        SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[])
            AS new (issuer, kind, value, subject, seen_at)
    ), added AS (
        INSERT INTO alias (issuer, kind, value, subject, seen_at)
            SELECT issuer, kind, value, subject, seen_at FROM new ORDER BY issuer, kind, value, subject
            ON CONFLICT (issuer, kind, value, subject) DO UPDATE SET seen_at = excluded.seen_at
            WHERE excluded.seen_at >= alias.seen_at + 3600
    ), earlier AS (
        SELECT issuer, kind, value, subject, row_number()
            OVER (PARTITION BY issuer, kind, value ORDER BY seen_at DESC, subject) AS number
        FROM alias WHERE (issuer, kind, value) IN (SELECT issuer, kind, value FROM new)
        AND (issuer, kind, value, subject) NOT IN (SELECT issuer, kind, value, subject FROM new)
    )
    DELETE FROM alias USING earlier
        WHERE (alias.issuer, alias.kind, alias.value, alias.subject)
            = (earlier.issuer, earlier.kind, earlier.value, earlier.subject)
        AND earlier.number + (SELECT count(*) FROM new WHERE (new.issuer, new.kind, new.value)
            = (earlier.issuer, earlier.kind, earlier.value)) > $6";

#[async_trait]
impl AliasStore for Postgres {
    async fn add_aliases(&self, aliases: Vec<KnownAlias>) -> Result<u64, Error> {
        // A statement can write a row once.
        let mut latest = BTreeMap::<Named, Timestamp>::new();
        for KnownAlias { named, seen_at } in aliases {
            let known = latest.entry(named).or_insert(seen_at);
            *known = seen_at.max(*known);
        }
        let column = |value: fn(&Named) -> &str| -> Vec<_> {
            latest.keys().map(|named| to_text(value(named)).into_owned()).collect()
        };
        let add = sqlx::query(ADD)
            .bind(column(|named| named.issuer.as_str()))
            .bind(column(|named| named.alias.kind().as_str()))
            .bind(column(|named| named.alias.value()))
            .bind(column(|named| named.subject.as_str()))
            .bind(latest.values().map(|time| i64::try_from(time.as_unix()).unwrap_or(i64::MAX)).collect::<Vec<_>>())
            .bind(i64::try_from(MAX_SUBJECTS).unwrap_or(i64::MAX));
        self.execute(add).await
    }

    async fn subjects_with(&self, issuer: &Issuer, aliases: Vec<Alias>) -> Result<HashMap<Alias, Vec<Subject>>, Error> {
        const SUBJECTS: &str = "SELECT issuer, alias.kind, alias.value, subject, seen_at FROM alias \
            JOIN unnest($2::text[], $3::text[]) AS wanted (kind, value) \
            ON alias.kind = wanted.kind AND alias.value = wanted.value WHERE issuer = $1";
        let kinds: Vec<_> = aliases.iter().map(|alias| alias.kind().as_str()).collect();
        let values: Vec<_> = aliases.iter().map(|alias| to_text(alias.value()).into_owned()).collect();
        let rows =
            self.fetch_all(sqlx::query(SUBJECTS).bind(to_text(issuer.as_str())).bind(kinds).bind(values)).await?;
        let mut found = HashMap::<_, Vec<_>>::new();
        for row in &rows {
            let Named { alias, subject, .. } = known(row).map_err(Error::unavailable)?.named;
            found.entry(alias).or_default().push(subject);
        }
        Ok(found)
    }

    async fn aliases(
        &self,
        filter: &AliasFilter,
        after: Option<&Named>,
        limit: usize,
    ) -> Result<Vec<KnownAlias>, Error> {
        let [issuer, kind, value, subject] = after.map_or([""; 4], Named::columns);
        let alias = filter.alias.as_ref();
        let list = sqlx::query(LIST)
            .bind(to_text(issuer))
            .bind(kind)
            .bind(to_text(value))
            .bind(to_text(subject))
            .bind(filter.issuer.as_ref().map(|issuer| to_text(issuer.as_str())))
            .bind(alias.map(|alias| alias.kind().as_str()))
            .bind(alias.map(|alias| to_text(alias.value())))
            .bind(filter.subject.as_ref().map(|subject| to_text(subject.as_str())))
            .bind(i64::try_from(limit).unwrap_or(i64::MAX));
        self.fetch_all(list).await?.iter().map(known).collect::<Result<_, _>>().map_err(Error::unavailable)
    }

    async fn remove_aliases(&self, issuer: &Issuer, which: &Removal) -> Result<u64, Error> {
        let issuer = to_text(issuer.as_str());
        let remove = match which {
            Removal::Alias(alias, subject) => sqlx::query(REMOVE_ALIAS)
                .bind(issuer)
                .bind(alias.kind().as_str())
                .bind(to_text(alias.value()))
                .bind(subject.as_ref().map(|subject| to_text(subject.as_str()))),
            Removal::Subject(subject) => sqlx::query(REMOVE_SUBJECT).bind(issuer).bind(to_text(subject.as_str())),
        };
        self.execute(remove).await
    }
}

fn known(row: &PgRow) -> sqlx::Result<KnownAlias> {
    let text = |column: usize| from_text(row.try_get(column)?);
    let seen_at = u64::try_from(row.try_get::<i64, _>(4)?).unwrap_or(0);
    read(&text(0)?, &text(1)?, &text(2)?, &text(3)?, seen_at).map_err(sqlx::Error::Decode)
}
