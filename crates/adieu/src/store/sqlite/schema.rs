//! The tables, and whether a file is one of ours at all.

use std::{fs, path::Path};

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, TransactionBehavior};

use crate::{Error, revocation::LogId};

/// Written into the header of the file (`PRAGMA application_id`): "ADIE".
const APPLICATION_ID: i64 = 0x4144_4945;

/// Bytes of every SQLite file that has anything in it.
const HEADER: u64 = 100;

/// One step a version; a file is brought from its `user_version` to the last.
const MIGRATIONS: &[&str] = &[include_str!("schema/1.sql")];

/// Says what is wrong with a file, if there is one, and writes nothing to it.
pub(super) fn check(path: &Path) -> Result<(), Error> {
    let unreadable =
        |error: &dyn std::fmt::Display| Error::Foreign(format!("{} can't be read: {error}", path.display()));
    let length = match fs::metadata(path) {
        // It was made, and then the program was killed before SQLite wrote to it.
        Ok(metadata) if metadata.is_file() && metadata.len() == 0 => return Ok(()),
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(unreadable(&error)),
    };
    let foreign = |what: &str| {
        Err(Error::Foreign(format!("{} {what}; it was left as it is, name another data folder", path.display())))
    };
    match main_file(path) {
        Ok(contents) if contents.is_of_another_program() => return foreign("is another program's database"),
        // SQLite itself would write over a file of one byte.
        Ok(_) if length < HEADER => return foreign("is not an SQLite database"),
        Err(rusqlite::Error::SqliteFailure(error, _)) if error.code == ErrorCode::NotADatabase => {
            return foreign("is not an SQLite database");
        }
        // What looks damaged may be a file that another process is writing its log into.
        _ => {}
    }
    let damaged = |what: String| {
        Err(Error::Foreign(format!(
            "{} is damaged ({what}); it was left as it is, restore it from a backup",
            path.display()
        )))
    };
    match inspect(path) {
        // The program was killed before its first transaction, which makes the tables and sets both numbers.
        Ok(Contents { application: 0, version: 0, tables: 0, .. }) => Ok(()),
        Ok(Contents { application: APPLICATION_ID, version, .. }) if version > MIGRATIONS.len() => {
            foreign(&format!("was written by a newer version of adieu (schema {version})"))
        }
        Ok(Contents { application: APPLICATION_ID, damage: None, .. }) => Ok(()),
        Ok(Contents { application: APPLICATION_ID, damage: Some(damage), .. }) => damaged(damage),
        Ok(_) => foreign("is another program's database"),
        Err(rusqlite::Error::SqliteFailure(error, _))
            if !matches!(error.code, ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) =>
        {
            Err(unreadable(&error))
        }
        Err(error) => damaged(error.to_string()),
    }
}

/// What a file says of itself.
struct Contents {
    application: i64,
    version: usize,
    tables: usize,
    damage: Option<String>,
}

impl Contents {
    fn read(connection: &Connection) -> rusqlite::Result<Self> {
        let number = |query| connection.query_row(query, [], |row| row.get(0));
        Ok(Self {
            application: connection.query_row("PRAGMA application_id", [], |row| row.get(0))?,
            version: number("PRAGMA user_version")?,
            tables: number("SELECT count(*) FROM sqlite_schema")?,
            damage: None,
        })
    }

    fn is_of_another_program(&self) -> bool {
        match self.application {
            APPLICATION_ID => false,
            0 => self.version != 0 || self.tables != 0,
            _ => true,
        }
    }
}

/// Without the write-ahead log, where what was written last may still be: it proves that a file is another program's,
/// never that it is ours. Asked first, because to read the log SQLite leaves files of its own beside the database.
///
/// Through SQLite all the same: to open and close the file by other means would drop the locks that every other store of
/// this process has on it (<https://www.sqlite.org/howtocorrupt.html>, 2.2). An `immutable` connection takes no lock and,
/// like all of SQLite's, closes its descriptor only when no other connection has one.
fn main_file(path: &Path) -> rusqlite::Result<Contents> {
    let mut uri = String::from("file:");
    for &byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => uri.push(char::from(byte)),
            _ => uri.push_str(&format!("%{byte:02x}")),
        }
    }
    uri.push_str("?immutable=1");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    Contents::read(&Connection::open_with_flags(uri, flags)?)
}

/// By a connection that can't write, and therefore does not take in the write-ahead log when it closes either. Reads
/// every page: about a tenth of a second for 100 MB.
fn inspect(path: &Path) -> rusqlite::Result<Contents> {
    let connection =
        Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    let mut contents = Contents::read(&connection)?;
    if contents.application == APPLICATION_ID {
        let found: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        contents.damage = (found != "ok").then_some(found);
    }
    Ok(contents)
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
