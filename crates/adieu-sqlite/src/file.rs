//! Checks that the file that is open still is the one of its name.
//!
//! A file that was removed or replaced takes commits as before, and the next process to open it finds none of them. So each commit is
//! acknowledged only if, after it, the file, its write-ahead log and the index of that log still are where they were. The same holds for
//! each read: a follower would otherwise go on with a log to which no node appends.
//!
//! None is opened for that: to close it again would drop the locks that SQLite has on it (see `schema`).

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{schema, wal_index};
use adieu::Error;

/// The device and the number of a file.
type Identity = (u64, u64);

/// A database, its write-ahead log and the index of that beside it, and which files these were when they were opened.
#[derive(Debug)]
pub(super) struct File {
    path: PathBuf,
    opened: Identity,
    log: Beside,
    index: Beside,
    /// Set once a commit was not found where it was written, or the file was written to by another program.
    lost: OnceLock<Error>,
    /// Bytes of the file when that was last looked at. It only grows, but for a `VACUUM`.
    length: AtomicU64,
}

/// A file that SQLite makes with the first read, and that stays as long as anybody has the database open.
#[derive(Debug)]
struct Beside {
    path: PathBuf,
    opened: OnceLock<Identity>,
    /// The greatest length that was seen.
    length: AtomicU64,
}

impl File {
    /// That is open already.
    pub(super) fn of(path: &Path) -> Result<Self, Error> {
        let found = look_at(path)?;
        Ok(Self {
            path: path.to_owned(),
            opened: found.identity,
            log: Beside::of(path, "-wal"),
            index: Beside::of(path, "-shm"),
            lost: OnceLock::new(),
            length: AtomicU64::new(found.length),
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// From now on it is not what was opened, and nothing is answered any more.
    pub(super) fn lose(&self, error: Error) {
        // The first cause explains the others.
        let _ = self.lost.set(error);
    }

    /// Makes sure that it is still what was opened.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when it was removed, replaced, truncated or overwritten.
    pub(super) fn check(&self) -> Result<(), Error> {
        // Read before the file is looked at: another thread may look at it later, and find it longer.
        let before = self.length.load(Ordering::Acquire);
        let Found { identity, length } = look_at(&self.path)?;
        if identity != self.opened {
            return Err(lost(&self.path, "was replaced"));
        }
        if length < before && !schema::is_whole(&self.path, length) {
            return Err(lost(&self.path, "was truncated"));
        }
        self.length.store(length, Ordering::Release);
        self.log.check()?;
        self.check_index()
    }

    /// Makes sure that the index of the write-ahead log is as long as it was. Every connection has it mapped into memory, and would end
    /// the process (SIGBUS) where there is nothing any more; so this is asked before SQLite is.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when it was removed, replaced or truncated, or when all was lost before.
    pub(super) fn check_index(&self) -> Result<(), Error> {
        if let Some(error) = self.lost.get() {
            return Err(error.clone());
        }
        let before = self.index.length.load(Ordering::Acquire);
        let length = self.index.check()?.map_or(0, |found| found.length);
        // As long as anybody has it open it only grows.
        if length < before {
            return Err(lost(&self.index.path, "was truncated"));
        }
        self.index.length.fetch_max(length, Ordering::Release);
        Ok(())
    }

    /// As [`check`](Self::check), and that it can be written as far as its file system goes.
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
        Self { path: path.into(), opened: OnceLock::new(), length: AtomicU64::new(0) }
    }

    fn check(&self) -> Result<Option<Found>, Error> {
        match (look_at(&self.path), self.opened.get()) {
            (Ok(found), _) if found.identity == *self.opened.get_or_init(|| found.identity) => Ok(Some(found)),
            (Ok(_), _) => Err(lost(&self.path, "was replaced")),
            (Err(_), None) => Ok(None),
            (Err(error), Some(_)) => Err(error),
        }
    }
}

/// A file that has a name.
#[derive(Clone, Copy)]
struct Found {
    identity: Identity,
    length: u64,
}

fn look_at(path: &Path) -> Result<Found, Error> {
    find(path).map_err(|error| lost(path, &format!("can't be found: {error}")))
}

pub(super) fn lost(path: &Path, what: &str) -> Error {
    Error::unavailable(format!("{} {what}, while it was in use", path.display()))
}

/// The standard library would also ask when the file was changed, which makes the next commit slower (see `changes`).
#[cfg(target_os = "linux")]
fn find(path: &Path) -> io::Result<Found> {
    use rustix::{
        fs::{AtFlags, CWD, StatxFlags, statx},
        io::Errno,
    };
    match statx(CWD, path, AtFlags::empty(), StatxFlags::INO | StatxFlags::SIZE) {
        Ok(found) => {
            let device = rustix::fs::makedev(found.stx_dev_major, found.stx_dev_minor);
            Ok(Found { identity: (device, found.stx_ino), length: found.stx_size })
        }
        // Not there before Linux 4.11.
        Err(Errno::NOSYS) => find_by_metadata(path),
        Err(error) => Err(error.into()),
    }
}

#[cfg(not(target_os = "linux"))]
fn find(path: &Path) -> io::Result<Found> {
    find_by_metadata(path)
}

#[cfg(unix)]
fn find_by_metadata(path: &Path) -> io::Result<Found> {
    use std::os::unix::fs::MetadataExt as _;
    let metadata = std::fs::metadata(path)?;
    Ok(Found { identity: (metadata.dev(), metadata.ino()), length: metadata.len() })
}

/// A system on which a file that is open can't be removed.
#[cfg(not(unix))]
fn find_by_metadata(path: &Path) -> io::Result<Found> {
    Ok(Found { identity: (0, 0), length: std::fs::metadata(path)?.len() })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::{fs, sync::atomic::AtomicBool, thread};

    use super::*;

    #[test]
    fn a_file_that_grows_while_many_look_at_it_is_not_taken_for_truncated() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("adieu.sqlite");
        let growing = fs::File::create(&path).unwrap();
        let index = fs::File::create(folder.path().join("adieu.sqlite-shm")).unwrap();
        let (file, is_over) = (File::of(&path).unwrap(), AtomicBool::new(false));
        thread::scope(|scope| {
            let look = || {
                while !is_over.load(Ordering::Relaxed) {
                    file.check().unwrap();
                }
            };
            let looking: Vec<_> = (0..3).map(|_| scope.spawn(look)).collect();
            for length in 1..50_000 {
                growing.set_len(length).unwrap();
                index.set_len(length).unwrap();
            }
            is_over.store(true, Ordering::Relaxed);
            looking.into_iter().for_each(|looking| looking.join().unwrap());
        });
    }
}
