//! Whether a file system is one of a network, where SQLite's write-ahead log does not work for several machines, and its locks often
//! not for one.

use std::path::Path;

/// What `statfs` says of those (linux/magic.h, and the sources of the file systems).
#[cfg(target_os = "linux")]
const NETWORKS: [(u32, &str); 9] = [
    (0x6969, "NFS"),
    (0x517B, "SMB"),
    (0xFF53_4D42, "CIFS"),
    (0xFE53_4D42, "SMB2"),
    (0x5346_414F, "AFS"),
    (0x7375_7245, "Coda"),
    (0x564C, "NCP"),
    (0x00C3_6400, "Ceph"),
    (0x0102_1997, "9P"),
];

/// FUSE. Virtual machines and containers use it for files of their host, too.
#[cfg(target_os = "linux")]
const FUSE: u32 = 0x6573_5546;

/// The name of the kind of file system that this file is on, if it is one of those.
#[cfg(target_os = "linux")]
pub(super) fn of(file: &Path) -> Option<&'static str> {
    name(kind(file)?)
}

/// Whether programs that this kernel knows nothing of may write to this file.
#[cfg(target_os = "linux")]
pub(super) fn has_other_writers(file: &Path) -> bool {
    kind(file).is_none_or(|kind| kind == FUSE || name(kind).is_some())
}

#[cfg(target_os = "linux")]
fn kind(file: &Path) -> Option<u32> {
    let kind = rustix::fs::statfs(file).ok()?.f_type;
    // Of either sign, and of 32 or 64 bits, by the machine; the number has 32.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    Some(kind as u32)
}

#[cfg(not(target_os = "linux"))]
pub(super) fn of(_: &Path) -> Option<&'static str> {
    None
}

#[cfg(target_os = "linux")]
fn name(kind: u32) -> Option<&'static str> {
    NETWORKS.iter().find(|(number, _)| *number == kind).map(|(_, name)| *name)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn networks_are_told_from_disks() {
        assert_eq!((name(0x6969), name(0xFF53_4D42)), (Some("NFS"), Some("CIFS")));
        // ext4, tmpfs, xfs, btrfs, overlayfs.
        for kind in [0xEF53, 0x0102_1994, 0x5846_5342, 0x9123_683E, 0x794C_7630] {
            assert_eq!(name(kind), None);
        }
        assert_eq!(of(Path::new("/proc")), None);
        assert_eq!(of(Path::new("/none")), None);
        assert!(!has_other_writers(Path::new("/proc")) && has_other_writers(Path::new("/none")));
    }
}
