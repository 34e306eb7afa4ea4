//! The tables, and the check that the schema belongs to adieu.
//!
//! All tables are in a schema named `adieu`, and are created or changed in one transaction under the writers' lock: of
//! several nodes that start at the same time, one migrates and the others find it done. The version of adieu's own
//! tables is kept like that of a component, under the name `adieu`.

use sqlx::{PgConnection, Row};

use adieu::{Error, revocation::LogId};

/// The migrations, one per version.
const MIGRATIONS: &[&str] = &[include_str!("schema/1.sql"), include_str!("schema/2.sql"), include_str!("schema/3.sql")];

/// The component name of adieu's own tables.
const OURSELVES: &str = "adieu";

const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SET LOCAL lock_timeout = 30000; \
                     SET LOCAL statement_timeout = 0; SELECT pg_advisory_xact_lock(418380178805)";

/// How errors name the database and the schema.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'p>(pub(super) &'p str);

impl Place<'_> {
    fn foreign(self, what: &str) -> Error {
        Error::IncompatibleStore(format!("{}: {what}; it was left as it is", self.0))
    }

    fn newer(self, component: &str, version: i64) -> Error {
        self.foreign(&format!("was written by a newer version of adieu ({component} schema {version})"))
    }
}

/// Creates or migrates the tables. Several nodes may do so at the same time.
pub(super) async fn migrate(connection: &mut PgConnection, place: Place<'_>) -> Result<(), Error> {
    // Usually there is nothing to migrate, which needs no lock: another node may hold it for long.
    if is_current(connection, place).await? == Some(true) {
        return Ok(());
    }
    begin(connection).await?;
    let done = match identify(connection, place).await? {
        Some(version) => version,
        None => {
            make(connection).await?;
            0
        }
    };
    advance(connection, OURSELVES, done, MIGRATIONS, place).await?;
    if done == 0 {
        const STATE: &str = "INSERT INTO revocation_log_state (log_id, pruned_through) VALUES ($1, 0)";
        let log = LogId::random();
        sqlx::query(STATE).bind(log.as_str()).execute(&mut *connection).await.map_err(Error::unavailable)?;
    }
    execute(connection, "COMMIT").await
}

/// Returns whether the tables are those of this version; `None` if there are none.
pub(super) async fn is_current(connection: &mut PgConnection, place: Place<'_>) -> Result<Option<bool>, Error> {
    match identify(connection, place).await? {
        Some(version) => is_last(version, OURSELVES, MIGRATIONS, place).map(Some),
        None => Ok(None),
    }
}

/// Returns whether all steps of a component have run.
pub(super) async fn has_run(
    connection: &mut PgConnection,
    component: &str,
    steps: &[&str],
    place: Place<'_>,
) -> Result<bool, Error> {
    let version = version_of(connection, component).await.map_err(Error::unavailable)?;
    is_last(version, component, steps, place)
}

fn is_last(version: i64, component: &str, steps: &[&str], place: Place<'_>) -> Result<bool, Error> {
    let last = i64::try_from(steps.len()).unwrap_or(i64::MAX);
    if version > last { Err(place.newer(component, version)) } else { Ok(version == last) }
}

/// Migrates the tables of a component.
pub(super) async fn migrate_component(
    connection: &mut PgConnection,
    component: &str,
    steps: &[&'static str],
    place: Place<'_>,
) -> Result<(), Error> {
    begin(connection).await?;
    let done = version_of(connection, component).await.map_err(Error::unavailable)?;
    advance(connection, component, done, steps, place).await?;
    execute(connection, "COMMIT").await
}

/// Returns how many migrations of a component have run.
pub(super) async fn version_of(connection: &mut PgConnection, component: &str) -> sqlx::Result<i64> {
    const VERSION: &str = "SELECT version FROM adieu.component WHERE name = $1";
    let row = sqlx::query(VERSION).persistent(false).bind(component).fetch_optional(connection).await?;
    row.map_or(Ok(0), |row| row.try_get(0))
}

async fn advance(
    connection: &mut PgConnection,
    component: &str,
    done: i64,
    steps: &[&'static str],
    place: Place<'_>,
) -> Result<(), Error> {
    const SET_VERSION: &str = "INSERT INTO component (name, version) VALUES ($1, $2) \
                               ON CONFLICT (name) DO UPDATE SET version = excluded.version";
    let last = i64::try_from(steps.len()).unwrap_or(i64::MAX);
    if done > last {
        return Err(place.newer(component, done));
    }
    for step in steps.iter().skip(usize::try_from(done).unwrap_or(0)) {
        execute(connection, step).await?;
    }
    if done < last {
        let set = sqlx::query(SET_VERSION).persistent(false).bind(component).bind(last);
        set.execute(connection).await.map_err(Error::unavailable)?;
    }
    Ok(())
}

/// Returns the version of adieu's tables; `None` if the schema is missing or empty.
async fn identify(connection: &mut PgConnection, place: Place<'_>) -> Result<Option<i64>, Error> {
    const CONTENTS: &str = "SELECT EXISTS (SELECT 1 FROM pg_class WHERE relnamespace = namespace.oid), \
                            to_regclass('adieu.component') IS NOT NULL AND (SELECT count(*) FROM pg_attribute \
                            WHERE attrelid = to_regclass('adieu.component') AND attname IN ('name', 'version')) = 2, \
                            has_schema_privilege(namespace.oid, 'USAGE') \
                            FROM pg_namespace AS namespace WHERE nspname = 'adieu'";
    let found = sqlx::query(CONTENTS).persistent(false).fetch_optional(&mut *connection).await;
    let found = found.map_err(Error::unavailable)?;
    let Some(found) = found else { return Ok(None) };
    let flag = |column: usize| found.try_get::<bool, _>(column).map_err(Error::unavailable);
    if !flag(2)? {
        return Err(place.foreign("the schema adieu is there, and this user may not use it"));
    }
    if !flag(0)? {
        // An administrator created the schema for a user who may not create schemas.
        return Ok(None);
    }
    let version = if flag(1)? { version_of(connection, OURSELVES).await } else { Ok(0) };
    match version {
        Ok(1..) => version.map(Some).map_err(Error::unavailable),
        Ok(_) => Err(place.foreign("the schema adieu is another program's")),
        Err(error) => Err(why(error, place)),
    }
}

fn why(error: sqlx::Error, place: Place<'_>) -> Error {
    let code = error.as_database_error().and_then(|error| error.code().map(|code| code.into_owned()));
    match code.as_deref() {
        Some("42501") => place.foreign("this user may not read the tables of the schema adieu"),
        // The table is missing, or its columns have other types.
        Some(code) if code.starts_with("42") || code.starts_with("22") => {
            place.foreign("the schema adieu is another program's")
        }
        _ if matches!(error, sqlx::Error::ColumnDecode { .. }) => {
            place.foreign("the schema adieu is another program's")
        }
        _ => Error::unavailable(error),
    }
}

async fn make(connection: &mut PgConnection) -> Result<(), Error> {
    const COMPONENT: &str =
        "CREATE TABLE adieu.component (name TEXT COLLATE \"C\" PRIMARY KEY, version BIGINT NOT NULL)";
    const IS_THERE: &str = "SELECT 1 FROM pg_namespace WHERE nspname = 'adieu'";
    // CREATE SCHEMA needs the right to create schemas even with IF NOT EXISTS.
    let there = sqlx::query(IS_THERE).persistent(false).fetch_optional(&mut *connection).await;
    if there.map_err(Error::unavailable)?.is_none() {
        execute(connection, "CREATE SCHEMA adieu").await?;
    }
    execute(connection, COMPONENT).await
}

async fn begin(connection: &mut PgConnection) -> Result<(), Error> {
    execute(connection, BEGIN).await
}

async fn execute(connection: &mut PgConnection, statements: &'static str) -> Result<(), Error> {
    sqlx::raw_sql(statements).execute(connection).await.map(drop).map_err(Error::unavailable)
}
