//! The index of the write-ahead log (`-shm`), which every connection has mapped into memory.
//!
//! SQLite changes it by writing to memory. Where the file system has turned read-only meanwhile, or the file immutable, that is no
//! error that could be answered: it is a SIGBUS, and the end of the process. So it is asked before something is written, or the
//! log taken in, whether it can be. A read changes it only when it is the first after a commit, which is a follower's a moment
//! later: a file system that turns read-only in that moment, or in the midst of a commit, may still end the process. What was
//! answered is on the disk by then.

use std::path::Path;

use crate::Error;

/// Makes sure that the index beside this file can be written as far as its file system goes.
///
/// # Errors
/// [`Error::Unavailable`] when that is read-only now.
pub(super) fn check(file: &Path) -> Result<(), Error> {
    #[cfg(unix)]
    {
        use rustix::{fs::Access, io::Errno};
        let mut index = file.as_os_str().to_owned();
        index.push("-shm");
        // It is not opened: to close it again would drop the locks that SQLite has on it (see `schema`). Only these two say that
        // open files can't be written either.
        if let Err(error @ (Errno::ROFS | Errno::PERM)) = rustix::fs::access(&index, Access::WRITE_OK) {
            return Err(Error::unavailable(format!("{} can't be written: {error}", file.display())));
        }
    }
    #[cfg(not(unix))]
    let _ = file;
    Ok(())
}
