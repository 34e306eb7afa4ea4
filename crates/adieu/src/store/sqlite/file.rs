//! Whether the file that is open still is the one of its name.
//!
//! One that was removed or replaced takes commits as before, and whoever starts after that finds nothing of them. So each commit is
//! answered only if, after it, the file, its write-ahead log and the index of that still are where they were; and so is each read, since
//! a follower would otherwise go on with a log to which nobody else appends.
//!
//! None is opened for that: to close it again would drop the locks that SQLite has on it (see `schema`).

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

/// A database, its write-ahead log and the index of that beside it, and which files these were when they were opened.
#[derive(Debug)]
pub(super) struct File {
    path: PathBuf,
    opened: Identity,
    beside: [Beside; 2],
    /// Bytes of the file when that was last looked at. It only grows, but for a `VACUUM`.
    length: AtomicU64,
}

/// A file that SQLite makes with the first read, and that stays as long as anybody has the database open.
#[derive(Debug)]
struct Beside {
    path: PathBuf,
    opened: OnceLock<Identity>,
}

impl File {
    /// That is open already.
    pub(super) fn of(path: &Path) -> Result<Self, Error> {
        let metadata = look_at(path)?;
        Ok(Self {
            path: path.to_owned(),
            opened: identity(&metadata),
            beside: ["-wal", "-shm"].map(|suffix| Beside::of(path, suffix)),
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
        self.beside.iter().try_for_each(Beside::check)
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

impl Beside {
    fn of(path: &Path, suffix: &str) -> Self {
        let mut path = path.as_os_str().to_owned();
        path.push(suffix);
        Self { path: path.into(), opened: OnceLock::new() }
    }

    fn check(&self) -> Result<(), Error> {
        match (look_at(&self.path), self.opened.get()) {
            (Ok(metadata), _) if identity(&metadata) == *self.opened.get_or_init(|| identity(&metadata)) => Ok(()),
            (Ok(_), _) => Err(lost(&self.path, "was replaced")),
            (Err(_), None) => Ok(()),
            (Err(error), Some(_)) => Err(error),
        }
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
