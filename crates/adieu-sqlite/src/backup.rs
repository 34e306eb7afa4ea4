//! Copies of a store that is in use, also before a migration, and its complete check.

use std::{
    ffi::OsString,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use super::{Sqlite, create_private, rows, schema};
use adieu::{Error, restore::LogState, revocation::Position};

impl Sqlite {
    /// Writes a copy of the store into a new file, readable by its owner only, and returns when the copy is on stable storage, with the state
    /// of its log. The copy is the store of one moment during the call and contains everything that was answered before the call;
    /// this and other processes continue to write meanwhile. It is complete without other files: [`Sqlite::open`] opens it.
    ///
    /// A store that is restored from it lacks what came later; see [`adieu::restore`].
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the file exists or cannot be written, or the store cannot be read. No file is left then.
    pub async fn back_up(&self, to: impl AsRef<Path>) -> Result<LogState, Error> {
        let to = to.as_ref().to_owned();
        // Before the removal on failure, which must not remove what was there before.
        create_private(&to).map_err(Error::unavailable)?;
        let copied = self.copy_into(&to).await;
        if copied.is_err() {
            let _ = fs::remove_file(&to);
        }
        copied
    }

    /// Checks the whole file: pages, indexes, constraints and references. Opening it checks only the pages. Returns at most ten
    /// violations, each as a sentence.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the file cannot be read.
    pub async fn check_integrity(&self) -> Result<Vec<String>, Error> {
        self.checked().await?;
        self.query(|connection| {
            let lines = connection
                .prepare("PRAGMA integrity_check(10)")?
                .query_map([], |row| row.get(0))?
                .collect::<Result<Vec<String>, _>>()?;
            let mut wrong: Vec<String> = lines.into_iter().filter(|line| line != "ok").collect();
            let mut references = connection.prepare("PRAGMA foreign_key_check")?;
            let mut rows = references.query([])?;
            while let Some(row) = rows.next()? {
                let (from, to): (String, String) = (row.get(0)?, row.get(2)?);
                wrong.push(format!("a row of the table {from} refers to one of {to} that does not exist"));
            }
            wrong.truncate(10);
            Ok(wrong)
        })
        .await
    }

    async fn copy_into(&self, to: &Path) -> Result<LogState, Error> {
        self.checked().await?;
        let name = to.to_str().ok_or_else(|| Error::setting("to", "the path is not UTF-8"))?.to_owned();
        self.query(move |connection| connection.execute("VACUUM INTO $1", [&name]).map(drop)).await?;
        let path = to.to_owned();
        let read = move || {
            File::open(&path).and_then(|file| file.sync_all()).map_err(Error::unavailable)?;
            let copy = schema::look_at(&path).map_err(Error::unavailable)?;
            rows::state(&copy, Position::START).map_err(Error::unavailable)
        };
        tokio::task::spawn_blocking(read).await.map_err(Error::unavailable)?
    }
}

/// Copies a file whose tables are about to be migrated to `FILE.before-VERSION`, which only its owner can read, and returns when the copy is on
/// stable storage. An earlier copy of tables that have been migrated further since stays: that migration was interrupted.
pub(super) fn before_migration(path: &Path) -> Result<(), Error> {
    let copy = beside(path, concat!(".before-", env!("CARGO_PKG_VERSION")));
    copy_once(path, &copy).map_err(|error| Error::unavailable(io::Error::other(format!("{}: {error}", copy.display()))))
}

fn copy_once(path: &Path, copy: &Path) -> io::Result<()> {
    // Other processes that are starting wait here.
    #[cfg(unix)]
    let folder = {
        let folder = copy.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let folder = File::open(folder)?;
        folder.lock()?;
        folder
    };
    if is_further(path, copy)? {
        tracing::warn!(copy = %copy.display(), "the migration goes on; the store as it was is in the copy");
        return Ok(());
    }
    // A process that was killed may have left some.
    let part = beside(copy, ".part");
    for left in [&part, &beside(&part, "-journal")] {
        let _ = fs::remove_file(left);
    }
    let written = write(path, &part).and_then(|()| match is_further(&part, copy)? {
        // A process that made the copy has migrated the tables meanwhile.
        true => fs::remove_file(&part),
        false => fs::rename(&part, copy),
    });
    if written.is_err() {
        let _ = fs::remove_file(&part);
    }
    written?;
    #[cfg(unix)]
    folder.sync_all()?;
    tracing::warn!(copy = %copy.display(), "the tables are migrated to this version; the store as it was is in the copy");
    Ok(())
}

/// Returns whether there is a copy from before the tables of a file were migrated as far as they are.
fn is_further(path: &Path, copy: &Path) -> io::Result<bool> {
    let now = schema::versions(path).map_err(io::Error::other)?;
    Ok(schema::versions(copy).is_ok_and(|before| before != now))
}

/// Copies a file of any version into a new one.
fn write(path: &Path, to: &Path) -> io::Result<()> {
    create_private(to)?;
    let name = to.to_str().ok_or_else(|| io::Error::other("the path is not UTF-8"))?;
    let connection = schema::look_at(path).map_err(io::Error::other)?;
    connection.execute("VACUUM INTO $1", [name]).map_err(io::Error::other)?;
    File::open(to)?.sync_all()
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}
