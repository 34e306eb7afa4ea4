//! The tables, and whether a file is one of ours at all.

use std::{fs::File, io::Read, path::Path};

use rusqlite::{Connection, OpenFlags, OptionalExtension, TransactionBehavior};

use crate::{Error, revocation::LogId};

/// Written into the header of the file (`PRAGMA application_id`): "ADIE".
const APPLICATION_ID: i64 = 0x4144_4945;

/// One step a version; a file is brought from its `user_version` to the last.
const MIGRATIONS: &[&str] = &[include_str!("schema/1.sql")];

/// Says what is wrong with the file before anything is written to it.
pub(super) fn check(path: &Path) -> Result<(), Error> {
    let mut start = [0_u8; 16];
    let read = match File::open(path).and_then(|mut file| file.read(&mut start)) {
        Ok(read) => read,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::Foreign(format!("{} can't be read: {error}", path.display()))),
    };
    if read == 0 {
        return Ok(());
    }
    let foreign = |what: &str| {
        Err(Error::Foreign(format!("{} {what}; it was left as it is, name another data folder", path.display())))
    };
    if start != *b"SQLite format 3\0" {
        return foreign("is not an SQLite database");
    }
    let inspect = || -> rusqlite::Result<(i64, i64, i64)> {
        let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        let application = connection.query_row("PRAGMA application_id", [], |row| row.get(0))?;
        let version = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        let tables = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        Ok((application, version, tables))
    };
    match inspect() {
        // The program was killed before its first transaction, which makes the tables and sets both numbers.
        Ok((0, 0, 0)) => Ok(()),
        Ok((APPLICATION_ID, version, _)) if usize::try_from(version).is_ok_and(|v| v <= MIGRATIONS.len()) => Ok(()),
        Ok((APPLICATION_ID, version, _)) => {
            foreign(&format!("was written by a newer version of adieu (schema {version})"))
        }
        Ok(_) => foreign("is another program's database"),
        Err(error) => foreign(&format!("is damaged ({error})")),
    }
}

/// Reads every page and says whether they hang together. Costs about a tenth of a second for 100 MB.
pub(super) fn check_pages(path: &Path) -> Result<(), Error> {
    let damaged =
        |what: String| Error::Foreign(format!("{} is damaged ({what}); restore it from a backup", path.display()));
    let first = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)
        .and_then(|connection| connection.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0)))
        .map_err(|error| damaged(error.to_string()))?;
    if first == "ok" { Ok(()) } else { Err(damaged(first)) }
}

/// Brings the tables to this version, in one transaction; several processes may do so at once.
pub(super) fn migrate(connection: &mut Connection) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version: i64 = transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let done = usize::try_from(version).unwrap_or(0);
    for migration in MIGRATIONS.iter().skip(done) {
        transaction.execute_batch(migration)?;
    }
    if done == 0 {
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.execute(
            "INSERT INTO revocation_log_state (log_id, pruned_through) VALUES ($1, 0)",
            [LogId::random().as_str()],
        )?;
    }
    if done < MIGRATIONS.len() {
        transaction.pragma_update(None, "user_version", MIGRATIONS.len())?;
    }
    transaction.commit()
}

/// Brings one component's tables to the last of `steps`; the version that is there when it is newer than that.
pub(super) fn migrate_component(
    connection: &Connection,
    component: &str,
    steps: &[&str],
) -> rusqlite::Result<Option<usize>> {
    const VERSION: &str = "SELECT version FROM component WHERE name = $1";
    const SET_VERSION: &str = "INSERT INTO component (name, version) VALUES ($1, $2) \
                               ON CONFLICT (name) DO UPDATE SET version = excluded.version";
    let version: usize = connection.query_row(VERSION, [component], |row| row.get(0)).optional()?.unwrap_or(0);
    if version > steps.len() {
        return Ok(Some(version));
    }
    for step in steps.iter().skip(version) {
        connection.execute_batch(step)?;
    }
    connection.execute(SET_VERSION, rusqlite::params![component, steps.len()])?;
    Ok(None)
}
