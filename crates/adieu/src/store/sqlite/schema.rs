//! The tables, and whether a file is one of ours at all.

use std::{fs::File, io::Read, path::Path};

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, TransactionBehavior};

use crate::{Error, revocation::LogId};

/// Written into the header of the file (`PRAGMA application_id`): "ADIE".
const APPLICATION_ID: i64 = 0x4144_4945;

/// One step a version; a file is brought from its `user_version` to the last.
const MIGRATIONS: &[&str] = &[include_str!("schema/1.sql")];

/// Says what is wrong with a file, if there is one, and writes nothing to it.
pub(super) fn check(path: &Path) -> Result<(), Error> {
    let mut start = Vec::new();
    match File::open(path).and_then(|file| file.take(Header::BYTES as u64).read_to_end(&mut start)) {
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::Foreign(format!("{} can't be read: {error}", path.display()))),
    }
    let foreign = |what: &str| {
        Err(Error::Foreign(format!("{} {what}; it was left as it is, name another data folder", path.display())))
    };
    match Header::parse(&start) {
        // It was made, and then the program was killed before SQLite wrote to it.
        _ if start.is_empty() => return Ok(()),
        None => return foreign("is not an SQLite database"),
        // Asked before SQLite is let near it, which would leave its own files beside another program's.
        Some(header) if header.is_of_another_program() => return foreign("is another program's database"),
        Some(_) => {}
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
            Err(Error::Foreign(format!("{} can't be read: {error}", path.display())))
        }
        Err(error) => damaged(error.to_string()),
    }
}

/// What the first page says by itself. What was written last may still be in the write-ahead log, so it proves that a
/// file is another program's, never that it is ours.
struct Header {
    application: i64,
    version: u32,
    tables: u16,
}

impl Header {
    const BYTES: usize = 108;

    /// <https://www.sqlite.org/fileformat2.html>
    fn parse(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; Self::BYTES] = bytes.try_into().ok()?;
        let number = |offset: usize| Some(u32::from_be_bytes(bytes.get(offset..offset + 4)?.try_into().ok()?));
        bytes.starts_with(b"SQLite format 3\0").then_some(())?;
        Some(Self {
            application: i64::from(number(68)?),
            version: number(60)?,
            // Cells of the root page of the schema.
            tables: u16::from_be_bytes(bytes.get(103..105)?.try_into().ok()?),
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

/// What the file says of itself, the write-ahead log included, and whether its pages hang together.
struct Contents {
    application: i64,
    version: usize,
    tables: usize,
    damage: Option<String>,
}

/// By a connection that can't write, and therefore does not take in the write-ahead log when it closes either. Reads
/// every page: about a tenth of a second for 100 MB.
fn inspect(path: &Path) -> rusqlite::Result<Contents> {
    let connection =
        Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    let number = |query| connection.query_row(query, [], |row| row.get(0));
    let (application, version, tables) = (
        connection.query_row("PRAGMA application_id", [], |row| row.get(0))?,
        number("PRAGMA user_version")?,
        number("SELECT count(*) FROM sqlite_schema")?,
    );
    let damage = match application {
        APPLICATION_ID => {
            let found: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
            (found != "ok").then_some(found)
        }
        _ => None,
    };
    Ok(Contents { application, version, tables, damage })
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
