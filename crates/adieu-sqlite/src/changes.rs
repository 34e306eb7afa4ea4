//! Notices writes to the write-ahead log by other programs.
//!
//! The time of a file's last change tells of them, but asking for it is expensive. Since Linux 6.13 a write gets a time of its own if
//! any program has asked for the time since the last write. The next commit then has to sync the inode as well, which is a second write to the disk.
//! So the kernel reports writes instead (inotify), on file systems where it knows of all of them. It reports no write through a memory
//! mapping; no program is known that changes a log in that way, except SQLite its index.

use std::{
    fs::{File, Metadata},
    io,
    path::Path,
    time::SystemTime,
};

/// Writes to one file.
#[derive(Debug)]
pub(super) enum Changes {
    /// Those that the kernel has reported and that were not read yet.
    #[cfg(target_os = "linux")]
    Reported(std::os::fd::OwnedFd),
    /// Those since the file had this stamp.
    Since(Option<Stamp>),
}

impl Changes {
    /// Begins to watch a file.
    pub(super) fn of(path: &Path) -> Self {
        #[cfg(target_os = "linux")]
        if !super::network::has_other_writers(path)
            && let Ok(reports) = linux::watch(path)
        {
            return Self::Reported(reports);
        }
        let _ = path;
        Self::Since(None)
    }

    /// Returns whether the file, which is open as `file`, was written to since the last call. When that is not known, it was.
    pub(super) fn take(&mut self, file: &File) -> bool {
        match self {
            #[cfg(target_os = "linux")]
            Self::Reported(reports) => linux::take(reports),
            Self::Since(last) => {
                let now = file.metadata().ok().map(|metadata| Stamp::of(&metadata));
                let before = std::mem::replace(last, now);
                now.is_none() || now != before
            }
        }
    }
}

/// When a file was last written to, and how long it was then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    modified: Option<SystemTime>,
    length: u64,
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self { modified: metadata.modified().ok(), length: metadata.len() }
    }

    pub(super) fn at(path: &Path) -> io::Result<Self> {
        Ok(Self::of(&std::fs::metadata(path)?))
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::{os::fd::OwnedFd, path::Path};

    use rustix::{
        fs::inotify::{CreateFlags, WatchFlags, add_watch, init},
        io::Errno,
    };

    pub(super) fn watch(path: &Path) -> rustix::io::Result<OwnedFd> {
        let reports = init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        add_watch(&reports, path, WatchFlags::MODIFY)?;
        Ok(reports)
    }

    /// Equal reports in a row are kept as one, so these are few.
    pub(super) fn take(reports: &OwnedFd) -> bool {
        rustix::io::read(reports, &mut [0; 512]) != Err(Errno::AGAIN)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::fs::FileExt as _;

    use super::*;

    #[test]
    fn a_write_is_noticed_once_however_it_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        std::fs::write(&path, [0; 8192]).unwrap();
        let file = File::options().read(true).write(true).open(&path).unwrap();
        let on_this_system = Changes::of(&path);
        #[cfg(target_os = "linux")]
        assert!(matches!(on_this_system, Changes::Reported(_)), "{on_this_system:?}");
        for mut changes in [on_this_system, Changes::Since(None)] {
            changes.take(&file);
            assert!(!changes.take(&file));
            file.write_all_at(b"overwritten", 100).unwrap();
            assert!(changes.take(&file), "{changes:?}");
            assert!(!changes.take(&file));
        }
    }
}
