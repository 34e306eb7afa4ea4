//! Whether the file that is open still is the one of its name.
//!
//! One that was removed or replaced takes commits as before, and whoever starts after that finds nothing of them. So each commit is
//! answered only if, after it, the file and its write-ahead log still are where they were; and so is each read, since a follower would
//! otherwise go on with a log to which nobody else appends.
//!
//! Neither is opened for that: to close it again would drop the locks that SQLite has on it (see `schema`).

use std::{
    fs::Metadata,
    path::{Path, PathBuf},
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{schema, wal_index};
use crate::Error;

/// The device and the number of a file.
type Identity = (u64, u64);

/// A database, its write-ahead log beside it, and which files these were when they were opened.
#[derive(Debug)]
pub(super) struct File {
    path: PathBuf,
    log: PathBuf,
    opened: Identity,
    log_opened: OnceLock<Identity>,
    /// Bytes of the file when that was last looked at. It only grows, but for a `VACUUM`.
    length: AtomicU64,
}

impl File {
    /// That is open already.
    pub(super) fn of(path: &Path) -> Result<Self, Error> {
        let mut log = path.as_os_str().to_owned();
        log.push("-wal");
        let metadata = look_at(path)?;
        Ok(Self {
            path: path.to_owned(),
            log: log.into(),
            opened: identity(&metadata),
            log_opened: OnceLock::new(),
            length: AtomicU64::new(metadata.len()),
        })
    }

    /// Makes sure that it is still what was opened.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when it was removed, replaced or truncated.
    pub(super) fn check(&self) -> Result<(), Error> {
        let metadata = look_at(&self.path)?;
        if identity(&metadata) != self.opened {
            return Err(lost(&self.path, "was replaced"));
        }
        let length = metadata.len();
        if length < self.length.load(Ordering::Relaxed) && !schema::is_whole(&self.path, length) {
            return Err(lost(&self.path, "was truncated"));
        }
        self.length.store(length, Ordering::Relaxed);
        // SQLite makes it with the first read, and it stays as long as anybody has the file open.
        match (look_at(&self.log), self.log_opened.get()) {
            (Ok(metadata), _) if identity(&metadata) == *self.log_opened.get_or_init(|| identity(&metadata)) => Ok(()),
            (Ok(_), _) => Err(lost(&self.log, "was replaced")),
            (Err(_), None) => Ok(()),
            (Err(error), Some(_)) => Err(error),
        }
    }

    /// The same, and that it can be written as far as its file system goes.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when it can't.
    pub(super) fn check_writable(&self) -> Result<(), Error> {
        self.check()?;
        wal_index::check(&self.path)
    }
}

fn look_at(path: &Path) -> Result<Metadata, Error> {
    std::fs::metadata(path).map_err(|error| lost(path, &format!("can't be found: {error}")))
}

fn lost(path: &Path, what: &str) -> Error {
    Error::unavailable(format!("{} {what}, while it was in use", path.display()))
}

#[cfg(unix)]
fn identity(metadata: &Metadata) -> Identity {
    use std::os::unix::fs::MetadataExt as _;
    (metadata.dev(), metadata.ino())
}

/// A system on which a file that is open can't be removed.
#[cfg(not(unix))]
fn identity(_: &Metadata) -> Identity {
    (0, 0)
}
