//! The index of the write-ahead log (`-shm`), which every connection has mapped into memory.
//!
//! SQLite changes it by writing to memory. Where the file system has turned read-only meanwhile, or the file immutable, that is no
//! error that could be answered: it is a SIGBUS, and the end of the process. So it is asked before something is written, or the
//! log taken in, whether it can be. A read changes it only when it is the first after a commit, which is a follower's a moment
//! later: a file system that turns read-only in that moment, or in the midst of a commit, may still end the process. What was
//! answered is on the disk by then.

use std::{
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom},
    mem::ManuallyDrop,
    path::{Path, PathBuf},
};

use adieu::Error;

/// Where it says how many frames are in the database file, and how many a checkpoint has set out to move there, in the byte order of the
/// machine (<https://www.sqlite.org/walformat.html#the_wal_index_file_format>).
const CHECKPOINTED: u64 = 96;
const ATTEMPTED: u64 = 128;

/// An index, read as a file. It is never closed: that would drop the locks that SQLite has on it (see `schema`).
#[derive(Debug)]
pub(super) struct Index(ManuallyDrop<File>);

impl Index {
    /// Of the database in this file.
    pub(super) fn open(database: &Path) -> io::Result<Self> {
        File::open(path(database)).map(|file| Self(ManuallyDrop::new(file)))
    }

    /// Returns whether a checkpoint has begun and is not counted: it is running, or its process ended before it did.
    pub(super) fn has_begun_checkpoint(&self) -> io::Result<bool> {
        let number = |place| {
            let (mut file, mut bytes) = (&*self.0, [0; 4]);
            file.seek(SeekFrom::Start(place))?;
            file.read_exact(&mut bytes)?;
            Ok::<_, io::Error>(u32::from_ne_bytes(bytes))
        };
        Ok(number(ATTEMPTED)? > number(CHECKPOINTED)?)
    }
}

fn path(database: &Path) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push("-shm");
    path.into()
}

/// Makes sure that the index beside this file can be written as far as its file system goes.
///
/// # Errors
/// [`Error::Unavailable`] when that is read-only now.
pub(super) fn check(file: &Path) -> Result<(), Error> {
    #[cfg(unix)]
    {
        use rustix::{fs::Access, io::Errno};
        // It is not opened: to close it again would drop the locks that SQLite has on it (see `schema`). Only these two say that
        // open files can't be written either.
        if let Err(error @ (Errno::ROFS | Errno::PERM)) = rustix::fs::access(path(file), Access::WRITE_OK) {
            return Err(Error::unavailable(format!("{} can't be written: {error}", file.display())));
        }
    }
    #[cfg(not(unix))]
    let _ = file;
    Ok(())
}
