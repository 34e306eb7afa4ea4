//! The tables, and checks that a file belongs to this program.

use std::{fs, path::Path};

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, TransactionBehavior, config::DbConfig};

use adieu::{Error, revocation::LogId};

/// Written into the header of the file (`PRAGMA application_id`): "ADIE".
const APPLICATION_ID: i64 = 0x4144_4945;

/// The length of the smallest SQLite file that is not empty, in bytes.
const HEADER: u64 = 100;

/// One step per version: a file is migrated from its `user_version` to the last.
const MIGRATIONS: &[&str] = &[include_str!("schema/1.sql"), include_str!("schema/2.sql"), include_str!("schema/3.sql")];

/// The state of a file before it is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// The file does not exist or is empty.
    New,
    /// The file belongs to this program, but opening it changes it: it has an older schema, or no write-ahead log.
    Older,
    /// The file is up to date.
    Current,
}

/// Checks whether a file exists and belongs to this program, without writing to it.
pub(super) fn identify(path: &Path) -> Result<State, Error> {
    let length = match fs::metadata(path) {
        // The process that created it was killed before SQLite wrote to it.
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
        // SQLite itself would overwrite a file of one byte.
        Ok(_) if length < HEADER => return Err(foreign("is not an SQLite database")),
        Err(rusqlite::Error::SqliteFailure(error, _))
            if error.code == ErrorCode::NotADatabase && !has_journal(path) =>
        {
            return Err(foreign("is not an SQLite database"));
        }
        // A file that looks damaged may be one that another process is moving its log into.
        _ => {}
    }
    if has_journal(path) {
        roll_back(path).map_err(|error| why(path, &error))?;
    }
    match inspect(path) {
        // The process was killed before its first transaction, which creates the tables and sets both numbers.
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

/// Returns whether a transaction may have to be undone that began before the file had a write-ahead log: the machine or the
/// process failed during the first start.
fn has_journal(path: &Path) -> bool {
    let mut journal = path.as_os_str().to_owned();
    journal.push("-journal");
    fs::metadata(journal).is_ok_and(|metadata| metadata.len() > 0)
}

/// Lets SQLite undo that transaction, which a connection that only reads cannot.
fn roll_back(path: &Path) -> rusqlite::Result<()> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_handler(Some(super::wait_for_another_process))?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.query_row("PRAGMA user_version", [], |_| Ok(()))
}

/// Checks the pages of a file for damage. Reads every page: about 0.1 s for 100 MB.
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

/// The numbers in the header of a file.
struct Contents {
    application: i64,
    version: usize,
    tables: usize,
    /// Whether it has a write-ahead log.
    has_log: bool,
}

impl Contents {
    fn read(connection: &Connection) -> rusqlite::Result<Self> {
        // One snapshot: another process may be creating the tables.
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

/// Opens the file without its write-ahead log, which may hold the latest writes: the result can show that a file
/// belongs to another program, never that it belongs to this one. It is checked first, because reading the log makes
/// SQLite leave files of its own beside the database.
///
/// It still goes through SQLite: opening and closing the file by other means would drop the locks that every other
/// store of this process has on it (<https://www.sqlite.org/howtocorrupt.html>, 2.2). An `immutable` connection takes
/// no lock and, like any SQLite connection, closes its descriptor only if no other connection uses the file.
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

/// Returns whether a file of this length has all pages that its header counts, as far as the write-ahead log has been
/// moved into it.
pub(super) fn is_whole(path: &Path, length: u64) -> bool {
    let pages = |connection: &Connection| -> rusqlite::Result<u64> {
        let number = |query| connection.query_row(query, [], |row| row.get::<_, u64>(0));
        Ok(number("PRAGMA page_count")?.saturating_mul(number("PRAGMA page_size")?))
    };
    main_file(path).and_then(|connection| pages(&connection)).is_ok_and(|bytes| bytes > 0 && bytes <= length)
}

/// Reads the header of the file, including its write-ahead log.
fn inspect(path: &Path) -> rusqlite::Result<Contents> {
    Contents::read(&look_at(path)?)
}

/// Opens a connection that cannot write, and so leaves the write-ahead log in place when it closes.
pub(super) fn look_at(path: &Path) -> rusqlite::Result<Connection> {
    Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)
}

/// Returns whether the file has tables of an earlier version.
pub(super) fn is_outdated(path: &Path) -> Result<bool, Error> {
    let contents = inspect(path).map_err(|error| why(path, &error))?;
    Ok((1..MIGRATIONS.len()).contains(&contents.version))
}

/// Returns the version of the tables, and that of the tables of each component.
pub(super) fn versions(path: &Path) -> rusqlite::Result<(usize, Vec<(String, usize)>)> {
    let connection = look_at(path)?;
    let version = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let has_components: bool =
        connection.query_row("SELECT count(*) FROM sqlite_schema WHERE name = 'component'", [], |row| row.get(0))?;
    if !has_components {
        return Ok((version, Vec::new()));
    }
    let mut components = connection.prepare("SELECT name, version FROM component ORDER BY name")?;
    let components = components.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok((version, components.collect::<Result<_, _>>()?))
}

/// Migrates the tables to this version, in one transaction. Several processes may do so at the same time.
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

/// Returns how many steps of a component have run.
pub(super) fn component_version(connection: &Connection, component: &str) -> rusqlite::Result<usize> {
    const VERSION: &str = "SELECT version FROM component WHERE name = $1";
    Ok(connection.query_row(VERSION, [component], |row| row.get(0)).optional()?.unwrap_or(0))
}

/// Migrates the tables of a component to the last of `steps`. Returns the version found if it is newer than that.
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
