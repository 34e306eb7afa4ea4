//! Reads the files that settings name, at the start, at a reload, and the certificate at intervals.

use std::{
    fs::{File, OpenOptions},
    io::{self, ErrorKind, Read as _},
    path::Path,
};

/// The maximum size of a file.
const MAX_BYTES: usize = 1024 * 1024;

/// Returns the content of a file. Never waits for another process: nothing could interrupt the wait for the writer of a named pipe.
///
/// # Errors
/// If the file is a pipe, a device or a folder, is longer than 1 MiB, or can't be read.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let file = open(OpenOptions::new().read(true), path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::new(ErrorKind::InvalidInput, "not a regular file"));
    }
    // As much as is needed at once, so that no copy of a secret is left behind.
    let mut content = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(MAX_BYTES).min(MAX_BYTES) + 1);
    file.take(MAX_BYTES as u64 + 1).read_to_end(&mut content)?;
    if content.len() > MAX_BYTES {
        return Err(io::Error::new(ErrorKind::FileTooLarge, format!("longer than {MAX_BYTES} bytes")));
    }
    Ok(content)
}

/// Like [`read`], for text.
///
/// # Errors
/// As [`read`], and if the content is not UTF-8.
pub(crate) fn read_text(path: &Path) -> io::Result<String> {
    String::from_utf8(read(path)?).map_err(|_| io::Error::new(ErrorKind::InvalidData, "not UTF-8"))
}

/// Opens a file without waiting for the other end of a named pipe.
pub(crate) fn open(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    #[cfg(unix)]
    {
        use rustix::fs::OFlags;
        std::os::unix::fs::OpenOptionsExt::custom_flags(
            options,
            (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed(),
        );
    }
    options.open(path)
}
