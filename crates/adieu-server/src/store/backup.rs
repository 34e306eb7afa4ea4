//! A backup of an embedded store: one line of JSON, the [`Manifest`], and after it the SQLite file.

use std::{
    fs::File,
    io::{self, BufRead, Read, Seek as _, Write},
    path::Path,
};

use adieu::time::{Clock as _, SystemClock, Timestamp};
use anyhow::{Context as _, bail, ensure};
use aws_lc_rs::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};

use super::{Main, Stores, create_private};

/// The version of the format.
const FORMAT: u32 = 1;
/// How every backup begins.
const BEGINNING: &[u8] = b"{\"adieu_backup\":";
/// The maximum length of the first line, in bytes.
const MAX_LINE: u64 = 4_096;
/// The bytes that are read at once.
const BUFFER: usize = 1 << 16;

/// The first line of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The version of the format.
    #[serde(rename = "adieu_backup")]
    pub format: u32,
    /// The version of adieu that wrote it.
    pub version: String,
    /// When it was written.
    pub created_at: Timestamp,
    /// The id of the revocation log.
    pub log: String,
    /// The last position in the log: the high-water mark.
    pub position: u64,
    /// The length of the SQLite file, in bytes.
    pub bytes: u64,
    /// The SHA-256 of the SQLite file, in hexadecimal.
    pub sha256: String,
}

/// Writes a backup of an embedded store. The copy is first written to `scratch`, a file that must not exist, and which is removed.
///
/// # Errors
/// Fails if the store is not embedded or can't be read, or if a file can't be written.
pub async fn write(stores: &Stores, scratch: &Path, mut to: impl Write) -> anyhow::Result<Manifest> {
    let Main::Sqlite(store) = &stores.main else {
        bail!(
            "only the embedded store is backed up by this command: back up PostgreSQL with its own tools, such as pg_dump"
        )
    };
    let created_at = SystemClock.now();
    let state = store.back_up(scratch).await?;
    let copy = File::open(scratch);
    std::fs::remove_file(scratch).with_context(|| format!("cannot remove {}", scratch.display()))?;
    let mut copy = copy.with_context(|| format!("cannot read {}", scratch.display()))?;
    let (bytes, sha256) = transfer(&mut copy, &mut io::sink())?;
    let manifest = Manifest {
        format: FORMAT,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        created_at,
        log: state.log.as_str().to_owned(),
        position: state.head.get(),
        bytes,
        sha256,
    };
    serde_json::to_writer(&mut to, &manifest)?;
    to.write_all(b"\n")?;
    copy.rewind()?;
    transfer(&mut copy, &mut to)?;
    to.flush()?;
    Ok(manifest)
}

/// Writes the SQLite file of a backup to a new file that only its owner can read, and returns when it is on stable storage.
///
/// # Errors
/// Fails if `from` is not a complete, undamaged backup of this or an earlier version, or if the file exists or can't be written. A file that was
/// created is removed then.
pub fn read(mut from: impl BufRead, to: &Path) -> anyhow::Result<Manifest> {
    let mut line = Vec::new();
    from.by_ref().take(MAX_LINE).read_until(b'\n', &mut line)?;
    ensure!(line.starts_with(BEGINNING), "this is not a backup of adieu");
    #[derive(Deserialize)]
    struct Format {
        adieu_backup: u32,
    }
    let format: Format = serde_json::from_slice(&line).context("the first line of the backup is damaged")?;
    ensure!(
        format.adieu_backup <= FORMAT,
        "the backup was written by a newer version of adieu (format {})",
        format.adieu_backup
    );
    let manifest: Manifest = serde_json::from_slice(&line).context("the first line of the backup is damaged")?;

    let mut file = create_private(to).with_context(|| format!("cannot write {}", to.display()))?;
    let written = receive(&manifest, from, &mut file).with_context(|| format!("cannot write {}", to.display()));
    if written.is_err() {
        let _ = std::fs::remove_file(to);
    }
    written.map(|()| manifest)
}

fn receive(manifest: &Manifest, from: impl Read, to: &mut File) -> anyhow::Result<()> {
    // One byte more shows that there is more.
    let (bytes, sha256) = transfer(&mut from.take(manifest.bytes.saturating_add(1)), to)?;
    ensure!(bytes >= manifest.bytes, "the backup is incomplete: it ends after {bytes} of {} bytes", manifest.bytes);
    ensure!(bytes == manifest.bytes, "the backup is damaged: it has more than {} bytes", manifest.bytes);
    ensure!(sha256 == manifest.sha256, "the backup is damaged: its checksum is wrong");
    to.sync_all()?;
    Ok(())
}

/// Copies everything. Returns its length and SHA-256.
fn transfer(from: &mut impl Read, to: &mut impl Write) -> io::Result<(u64, String)> {
    let (mut length, mut digest, mut buffer) = (0, Context::new(&SHA256), vec![0; BUFFER]);
    loop {
        let part = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => buffer.get(..count).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        digest.update(part);
        to.write_all(part)?;
        length += part.len() as u64;
    }
    let digest = digest.finish();
    Ok((length, digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()))
}

/// Returns whether a file is a backup, so that another backup may replace it.
///
/// # Errors
/// Fails if the file can't be read.
pub fn is_backup(file: &Path) -> io::Result<bool> {
    let mut beginning = Vec::new();
    File::open(file)?.take(BEGINNING.len() as u64).read_to_end(&mut beginning)?;
    Ok(beginning == BEGINNING)
}
