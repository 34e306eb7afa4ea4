//! The tables, and whether a file is one of ours at all.

use std::{fs, path::Path};

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, TransactionBehavior};

use adieu::{Error, revocation::LogId};

/// Written into the header of the file (`PRAGMA application_id`): "ADIE".
const APPLICATION_ID: i64 = 0x4144_4945;

/// Bytes of every SQLite file that has anything in it.
const HEADER: u64 = 100;

/// One step a version; a file is brought from its `user_version` to the last.
const MIGRATIONS: &[&str] = &[include_str!("schema/1.sql"), include_str!("schema/2.sql"), include_str!("schema/3.sql")];

/// What there is to do with a file before it can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// It is not there, or nothing is in it.
    New,
    /// It is ours, but opening it would change it: it has an older schema, or no write-ahead log.
    Older,
    /// Nothing.
    Current,
}

/// Finds out whose a file is, if there is one, and writes nothing to it.
pub(super) fn identify(path: &Path) -> Result<State, Error> {
    let length = match fs::metadata(path) {
        // It was made, and then the program was killed before SQLite wrote to it.
        Ok(metadata) if metadata.is_file() && metadata.len() == 0 => return Ok(State::New),
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(State::New),
        Err(error) => return Err(unreadable(path, &error)),
    };
    let foreign = |what: &str| {
        Error::IncompatibleStore(format!("{} {what}; it was left as it is, name another data folder", path.display()))
    };
    match main_file(path).and_then(|connection| Contents::read(&connection)) {
        Ok(contents) if contents.is_of_another_program() => return Err(foreign("is another program's database")),
        // SQLite itself would write over a file of one byte.
        Ok(_) if length < HEADER => return Err(foreign("is not an SQLite database")),
        Err(rusqlite::Error::SqliteFailure(error, _)) if error.code == ErrorCode::NotADatabase => {
            return Err(foreign("is not an SQLite database"));
        }
        // What looks damaged may be a file that another process is writing its log into.
        _ => {}
    }
    match inspect(path) {
        // The program was killed before its first transaction, which makes the tables and sets both numbers.
        Ok(Contents { application: 0, version: 0, tables: 0, .. }) => Ok(State::New),
        Ok(Contents { application: APPLICATION_ID, version, .. }) if version > MIGRATIONS.len() => {
            Err(foreign(&format!("was written by a newer version of adieu (schema {version})")))
        }
        Ok(Contents { application: APPLICATION_ID, version, has_log, .. }) => {
            Ok(if version == MIGRATIONS.len() && has_log { State::Current } else { State::Older })
        }
        Ok(_) => Err(foreign("is another program's database")),
        Err(error) => Err(why(path, &error)),
    }
}

/// Whether the pages of a file hang together. Reads every one: about a tenth of a second for 100 MB.
pub(super) fn check_pages(path: &Path) -> Result<(), Error> {
    let found = look_at(path)
        .and_then(|connection| connection.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0)));
    match found {
        Ok(found) if found == "ok" => Ok(()),
        Ok(damage) => Err(damaged(path, &damage)),
        Err(error) => Err(why(path, &error)),
    }
}

fn damaged(path: &Path, what: &str) -> Error {
    let what = what.replace('\n', ": ");
    Error::IncompatibleStore(format!(
        "{} is damaged ({what}); it was left as it is, restore it from a backup",
        path.display()
    ))
}

fn unreadable(path: &Path, error: &dyn std::fmt::Display) -> Error {
    Error::IncompatibleStore(format!("{} can't be read: {error}", path.display()))
}

fn why(path: &Path, error: &rusqlite::Error) -> Error {
    match error {
        rusqlite::Error::SqliteFailure(failure, _)
            if !matches!(failure.code, ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) =>
        {
            unreadable(path, failure)
        }
        error => damaged(path, &error.to_string()),
    }
}

/// What a file says of itself.
struct Contents {
    application: i64,
    version: usize,
    tables: usize,
    /// Whether it is written by way of a write-ahead log.
    has_log: bool,
}

impl Contents {
    fn read(connection: &Connection) -> rusqlite::Result<Self> {
        // Of one moment: another process may be making the tables just now.
        let connection = connection.unchecked_transaction()?;
        let number = |query| connection.query_row(query, [], |row| row.get(0));
        Ok(Self {
            application: connection.query_row("PRAGMA application_id", [], |row| row.get(0))?,
            version: number("PRAGMA user_version")?,
            tables: number("SELECT count(*) FROM sqlite_schema")?,
            has_log: connection.query_row("PRAGMA journal_mode", [], |row| row.get::<_, String>(0))? == "wal",
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
fn main_file(path: &Path) -> rusqlite::Result<Connection> {
    let mut uri = String::from("file:");
    for &byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => uri.push(char::from(byte)),
            _ => uri.push_str(&format!("%{byte:02x}")),
        }
    }
    uri.push_str("?immutable=1");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    Connection::open_with_flags(uri, flags)
}

/// Whether a file of this length has all the pages that it says it has, as far as its write-ahead log has been moved into it.
pub(super) fn is_whole(path: &Path, length: u64) -> bool {
    let pages = |connection: &Connection| -> rusqlite::Result<u64> {
        let number = |query| connection.query_row(query, [], |row| row.get::<_, u64>(0));
        Ok(number("PRAGMA page_count")?.saturating_mul(number("PRAGMA page_size")?))
    };
    main_file(path).and_then(|connection| pages(&connection)).is_ok_and(|bytes| bytes > 0 && bytes <= length)
}

/// What the file says of itself, the write-ahead log included.
fn inspect(path: &Path) -> rusqlite::Result<Contents> {
    Contents::read(&look_at(path)?)
}

/// A connection that can't write, and therefore does not take in the write-ahead log when it closes either.
fn look_at(path: &Path) -> rusqlite::Result<Connection> {
    Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)
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

/// How many steps of a component have been run.
pub(super) fn component_version(connection: &Connection, component: &str) -> rusqlite::Result<usize> {
    const VERSION: &str = "SELECT version FROM component WHERE name = $1";
    Ok(connection.query_row(VERSION, [component], |row| row.get(0)).optional()?.unwrap_or(0))
}

/// Brings one component's tables to the last of `steps`; the version that is there when it is newer than that.
pub(super) fn migrate_component(
    connection: &Connection,
    component: &str,
    steps: &[&str],
) -> rusqlite::Result<Option<usize>> {
    const SET_VERSION: &str = "INSERT INTO component (name, version) VALUES ($1, $2) \
                               ON CONFLICT (name) DO UPDATE SET version = excluded.version";
    let version = component_version(connection, component)?;
    if version > steps.len() {
        return Ok(Some(version));
    }
    for step in steps.iter().skip(version) {
        connection.execute_batch(step)?;
    }
    connection.execute(SET_VERSION, rusqlite::params![component, steps.len()])?;
    Ok(None)
}
