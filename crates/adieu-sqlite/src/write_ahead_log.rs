//! Checks that the next start would find every commit.
//!
//! SQLite does not look at the write-ahead log again once it is open. Where another program has truncated it or written into it, commits
//! succeed and are lost: recovery stops at the first frame whose checksum does not continue those before it. So after each commit, and
//! before it is acknowledged, the log is looked at from where it was read last: its length, its header, and the salts of each frame
//! (<https://www.sqlite.org/fileformat2.html#the_write_ahead_log>). When something has changed it since the last commit, it is read as recovery
//! would, with the chain of checksums; and from its beginning if no other process has committed. Only checkpoints write to the database
//! file: if it has changed without one, nothing is acknowledged either.
//!
//! Other processes may append to the log, move it into the file, restart it and truncate it, as SQLite does, at any time.

use std::{
    fs::File,
    io::{self, BufReader, ErrorKind, Read as _, Seek as _, SeekFrom},
    ops::RangeInclusive,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use rusqlite::Connection;

use super::{
    CHECKPOINT,
    changes::{Changes, Stamp},
    wal_index::Index,
};
use crate::Error;

/// Bytes before the first frame, and before the page of each.
const HEADER: u64 = 32;
const FRAME_HEADER: usize = 24;
const PAGE_SIZES: RangeInclusive<u32> = 512..=65_536;
const READ_AT_ONCE: usize = 64 * 1024;
/// The first four bytes; the last bit says that checksums are computed from big-endian words.
const MAGIC: u32 = 0x377f_0682;
/// How often another process may change the log while it is read, and how often and with which pause it is looked whether one that writes
/// to the database file is a checkpoint, which is counted at its end.
const MAX_ATTEMPTS: u32 = 100;
const RETRY_DELAY: Duration = Duration::from_millis(10);

/// Two numbers in the header that are repeated in each frame; they change when the log is restarted.
type Salts = (u32, u32);

/// The write-ahead log of one database, as the connection that writes to it has last seen it.
#[derive(Debug)]
pub(super) struct WriteAheadLog {
    database: PathBuf,
    path: PathBuf,
    file: Option<(File, Changes)>,
    /// Opened when it has to be known whether another process has begun a checkpoint.
    index: Option<Index>,
    seen: Option<Seen>,
    /// Whether the log has changed since it was last seen, as found when a transaction began.
    was_changed: bool,
}

/// What SQLite says of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Counts {
    frames: u64,
    /// How many of them are in the database file.
    checkpointed: u64,
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    salts: Salts,
    counts: Counts,
    /// The checksum of the last frame.
    checksum: Checksum,
    database: Stamp,
}

/// A file that is not what SQLite believes.
enum Failure {
    Io(io::Error),
    Lost(&'static str),
    /// The database file was written to, but not by a checkpoint; or another process has not counted its checkpoint yet.
    Overwritten,
}

impl WriteAheadLog {
    /// Of the database in this file.
    pub(super) fn of(database: &Path) -> Self {
        let mut path = database.as_os_str().to_owned();
        path.push("-wal");
        Self {
            database: database.to_owned(),
            path: path.into(),
            file: None,
            index: None,
            seen: None,
            was_changed: false,
        }
    }

    /// Must be called when a transaction has begun to write, so that no other process does.
    pub(super) fn begin_commit(&mut self) {
        self.was_changed |= self.take_changes();
    }

    /// Checks that the next start would find the last commit. Must be called after each commit.
    ///
    /// # Errors
    /// When the log was truncated or overwritten, or the database file was, or that is not known.
    pub(super) fn check_commit(&mut self, connection: &Connection) -> Result<(), Unacknowledged> {
        let mut tries = 0;
        loop {
            let counts = Counts::of(connection)?;
            let Err(failure) = self.follow(counts) else { return Ok(()) };
            tries += 1;
            match failure {
                Failure::Overwritten if self.has_begun_checkpoint() => {
                    // Counts what another process that has ended did not count; where it goes on, it will do so itself.
                    let _ = connection.execute_batch("PRAGMA wal_checkpoint(PASSIVE)");
                    self.seen = None;
                }
                Failure::Overwritten if tries < MAX_ATTEMPTS => thread::sleep(RETRY_DELAY),
                // Another process may have restarted it meanwhile, which it does only once all is in the database file.
                _ if tries < MAX_ATTEMPTS && (self.take_changes() || Counts::of(connection)? != counts) => {}
                failure => {
                    // In front of it there may be commits that were not acknowledged.
                    self.seen = None;
                    return Err(self.describe(failure));
                }
            }
        }
    }

    /// Makes sure that the whole log is what SQLite believes, before it is moved into the database file.
    ///
    /// # Errors
    /// As [`check_commit`](Self::check_commit).
    pub(super) fn check_all(database: &Path, connection: &Connection) -> Result<(), Unacknowledged> {
        Self::of(database).check_commit(connection)
    }

    /// Moves the log into the database file when it has become long. What can't be moved stays in the log.
    pub(super) fn checkpoint_if_long(&mut self, connection: &Connection) {
        let Some(seen) = &mut self.seen else { return };
        if i64::try_from(seen.counts.frames).is_ok_and(|frames| frames >= CHECKPOINT) {
            let counts = Counts::from(connection, "PRAGMA wal_checkpoint(PASSIVE)");
            match (counts, Stamp::at(&self.database)) {
                (Ok(counts), Ok(stamp)) => {
                    (seen.counts.checkpointed, seen.database) = (counts.checkpointed, stamp);
                }
                // What has been written is not known.
                _ => self.seen = None,
            }
        }
    }

    /// Reads the log up to its last frame, from where it was read last.
    fn follow(&mut self, counts: Counts) -> Result<(), Failure> {
        let database = Stamp::at(&self.database)?;
        if counts.frames == 0 {
            // Everything is in the database file.
            self.seen = None;
            return Ok(());
        }
        let (file, changes) = match &mut self.file {
            Some(file) => file,
            None => self.file.insert((File::open(&self.path)?, Changes::of(&self.path))),
        };
        let file = &*file;
        let header = Header::read(file)?;
        let last = self.seen.filter(|seen| seen.salts == header.salts);
        let start = match last {
            Some(seen) if counts.frames < seen.counts.frames => return Err(Failure::Lost("is an older one")),
            Some(seen) => {
                header.check_last(file, seen.counts.frames, seen.checksum)?;
                (seen.counts.frames, seen.checksum)
            }
            None => (0, header.checksum),
        };
        let (mut checksum, commits) = match last {
            // These frames are of this connection, which has just written them.
            Some(_) if !self.was_changed => header.skim_frames(file, start, counts.frames)?,
            _ => header.read_frames(file, start, counts.frames)?,
        };
        // Whether only this connection has written, to the log and to the database file.
        let is_alone = commits <= 1
            && match (last, self.seen) {
                (Some(seen), _) => seen.counts.checkpointed == counts.checkpointed,
                // Its own new log is in no file yet: whoever has moved it may have written it, too.
                (None, Some(seen)) => counts.checkpointed == 0 && seen.is_followed_by(header.salts),
                (None, None) => false,
            };
        if is_alone {
            if self.was_changed && last.is_some() {
                checksum = header.read_frames(file, (0, header.checksum), counts.frames)?.0;
            }
            if self.seen.is_some_and(|seen| seen.database != database) {
                return Err(Failure::Overwritten);
            }
        }
        // What this connection has written itself is no change.
        changes.take(file);
        self.was_changed = false;
        self.seen = Some(Seen { salts: header.salts, counts, checksum, database });
        Ok(())
    }

    /// Where that can't be read, none is known of.
    fn has_begun_checkpoint(&mut self) -> bool {
        if self.index.is_none() {
            self.index = Index::open(&self.database).ok();
        }
        self.index.as_ref().is_some_and(|index| index.has_begun_checkpoint().unwrap_or(false))
    }

    fn take_changes(&mut self) -> bool {
        self.file.as_mut().is_some_and(|(file, changes)| changes.take(file))
    }

    fn describe(&self, failure: Failure) -> Unacknowledged {
        let lost = |path: &Path, what| Unacknowledged::Lost(super::file::lost(path, what));
        match failure {
            Failure::Io(error) => Unacknowledged::Unknown(Error::unavailable(error)),
            Failure::Lost(what) => lost(&self.path, what),
            Failure::Overwritten => lost(&self.database, "was overwritten"),
        }
    }
}

/// Why a commit can't be acknowledged.
#[derive(Debug)]
pub(super) enum Unacknowledged {
    /// It could not be found out whether it is durable.
    Unknown(Error),
    /// Another program has changed the files: no later commit is durable either.
    Lost(Error),
}

impl From<Error> for Unacknowledged {
    fn from(error: Error) -> Self {
        Self::Unknown(error)
    }
}

impl Counts {
    fn of(connection: &Connection) -> Result<Self, Error> {
        Self::from(connection, "PRAGMA wal_checkpoint(NOOP)").map_err(Error::unavailable)
    }

    fn from(connection: &Connection, pragma: &str) -> rusqlite::Result<Self> {
        connection
            .prepare_cached(pragma)?
            .query_row([], |row| Ok(Self { frames: row.get(1)?, checkpointed: row.get(2)? }))
    }
}

impl Seen {
    /// Whether these are the salts that the log gets when its next frame is written over the first: after a checkpoint of all.
    fn is_followed_by(&self, salts: Salts) -> bool {
        self.counts.frames == self.counts.checkpointed && salts.0 == self.salts.0.wrapping_add(1)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::UnexpectedEof => Self::Lost("was truncated"),
            _ => Self::Io(error),
        }
    }
}

/// The first bytes of a log.
struct Header {
    page_size: usize,
    salts: Salts,
    checksum: Checksum,
    is_big_endian: bool,
}

impl Header {
    fn read(mut file: &File) -> Result<Self, Failure> {
        let mut words = [[0; 4]; 8];
        file.seek(SeekFrom::Start(0))?;
        file.read_exact(words.as_flattened_mut())?;
        let [magic, _, page_size, _, first_salt, second_salt, first, second] = words.map(u32::from_be_bytes);
        let [before @ .., _, _] = &words;
        let is_big_endian = magic == MAGIC | 1;
        let checksum = Checksum::default().and(before.as_flattened(), is_big_endian);
        if magic & !1 != MAGIC || checksum != Checksum(first, second) || !PAGE_SIZES.contains(&page_size) {
            return Err(Failure::Lost("was overwritten"));
        }
        Ok(Self { page_size: page_size as usize, salts: (first_salt, second_salt), checksum, is_big_endian })
    }

    /// Where a frame begins, counted from zero.
    fn place(&self, frame: u64) -> u64 {
        HEADER + frame.saturating_mul((FRAME_HEADER + self.page_size) as u64)
    }

    fn seek(&self, mut file: &File, frame: u64) -> io::Result<()> {
        file.seek(SeekFrom::Start(self.place(frame))).map(drop)
    }

    /// Makes sure that the last frame that was read before is there.
    fn check_last(&self, mut file: &File, frames: u64, checksum: Checksum) -> Result<(), Failure> {
        self.seek(file, frames.saturating_sub(1))?;
        let frame = FrameHeader::read(&mut file)?;
        match frame.salts == self.salts && frame.checksum == checksum {
            true => Ok(()),
            false => Err(Failure::Lost("was overwritten")),
        }
    }

    /// Like [`read_frames`](Self::read_frames), but looks only at what stands before each page, and that the file is long enough.
    fn skim_frames(&self, mut file: &File, after: (u64, Checksum), frames: u64) -> Result<(Checksum, u64), Failure> {
        let (after, mut checksum) = after;
        let mut commits = 0;
        for frame in after..frames {
            self.seek(file, frame)?;
            let frame = FrameHeader::read(&mut file)?;
            if frame.salts != self.salts {
                return Err(Failure::Lost("was overwritten"));
            }
            checksum = frame.checksum;
            commits += u64::from(frame.ends_commit);
        }
        file.seek(SeekFrom::Start(self.place(frames).saturating_sub(1)))?;
        file.read_exact(&mut [0])?;
        Ok((checksum, commits))
    }

    /// Reads the frames after some, as recovery would; the checksum of the last, and how many end a commit.
    fn read_frames(&self, file: &File, after: (u64, Checksum), frames: u64) -> Result<(Checksum, u64), Failure> {
        let (after, mut checksum) = after;
        let mut commits = 0;
        let mut page = vec![0; self.page_size];
        self.seek(file, after)?;
        let mut file = BufReader::with_capacity(READ_AT_ONCE, file);
        for _ in after..frames {
            let frame = FrameHeader::read(&mut file)?;
            file.read_exact(&mut page)?;
            checksum = checksum.and(&frame.start, self.is_big_endian).and(&page, self.is_big_endian);
            if frame.salts != self.salts || frame.checksum != checksum {
                return Err(Failure::Lost("was overwritten"));
            }
            commits += u64::from(frame.ends_commit);
        }
        Ok((checksum, commits))
    }
}

/// What stands before a page in a log.
struct FrameHeader {
    /// The part that the checksum is of.
    start: [u8; 8],
    ends_commit: bool,
    salts: Salts,
    checksum: Checksum,
}

impl FrameHeader {
    fn read(file: &mut impl io::Read) -> io::Result<Self> {
        let mut words = [[0; 4]; FRAME_HEADER / 4];
        file.read_exact(words.as_flattened_mut())?;
        let [_, pages, first_salt, second_salt, first, second] = words.map(u32::from_be_bytes);
        let mut start = [0; 8];
        start.iter_mut().zip(words.as_flattened()).for_each(|(to, from)| *to = *from);
        Ok(Self { start, ends_commit: pages != 0, salts: (first_salt, second_salt), checksum: Checksum(first, second) })
    }
}

/// The checksum of a log up to some place.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Checksum(u32, u32);

impl Checksum {
    /// With what comes next, whose length is a multiple of eight.
    fn and(self, bytes: &[u8], is_big_endian: bool) -> Self {
        let word = |bytes: [u8; 4]| if is_big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) };
        let (words, _) = bytes.as_chunks::<4>();
        let (pairs, _) = words.as_chunks::<2>();
        pairs.iter().fold(self, |Self(first, second), &[even, odd]| {
            let first = first.wrapping_add(word(even)).wrapping_add(second);
            Self(first, second.wrapping_add(word(odd)).wrapping_add(first))
        })
    }
}
