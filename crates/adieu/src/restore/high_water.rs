//! The file of the high-water mark.
//!
//! A record in the file has a checksum and fills one of three pages. It overwrites the last record until that has been
//! synced to the disk, and then the oldest one, so one of the other two pages is always intact. The first record is empty, and
//! is synced before any other is written.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, ErrorKind, Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use aws_lc_rs::digest::{SHA256, digest};
use tokio::sync::Notify;

use super::mark::{Mark, hex};
use crate::{Error, restore::LogState, retry::Outage, time::Timestamp};

const SLOTS: u64 = 3;
/// The size of a record: a page of memory and of most disks, in bytes.
const SLOT: usize = 4_096;
/// The start of a record; the number of the record follows, in twenty digits.
const NAME: &str = "adieu high-water 1 ";
const DIGITS: usize = 20;
/// The length of the checksum, in bytes.
const CHECKSUM: usize = 16;

/// How long to wait for a file that another process has locked. Locks are held for microseconds, unless that process is
/// suspended meanwhile, as happens on a busy machine. A change can be written later; a file can't be opened later.
const CHANGE_PATIENCE: Duration = Duration::from_millis(2);
const OPEN_PATIENCE: Duration = Duration::from_secs(2);
/// The delay between two attempts to lock the file.
const RETRY_DELAY: Duration = Duration::from_micros(20);

/// The high-water mark: a file that remembers, outside of the store, how far its log has been. See [`restore`](super).
///
/// 1. **Small and private.** A few kilobytes, readable only by its owner. It contains ids, positions and digests, but
///    no token and no secret.
/// 2. **Never torn.** Each record has a checksum, and an intact earlier record remains until a newer one has been
///    synced to the disk.
/// 3. **Cheap.** Raising the mark is one write into the page cache. The file is synced when it is opened, in the background
///    once a second, and at the end. So `kill -9` loses nothing, and a power loss loses at most the last second or two.
/// 4. **Shared.** Several processes on one machine, such as a server and a command, may use the same file.
/// 5. **Rejected if it is damaged** or is another file: it is left unchanged and the node does not start. Without it
///    the node cannot tell whether a backup was restored, so the operator has to decide. A missing file is created.
///
/// If the file cannot be *written* later, the node logs that and continues; the mark then detects less.
#[derive(Debug)]
pub struct HighWater {
    path: PathBuf,
    file: File,
    state: Mutex<State>,
    /// The value of [`HighWater::restored_at`] plus one; zero for none.
    restored_at: AtomicU64,
    /// Notified when an engine detects that its log went back.
    alarm: Notify,
}

#[derive(Debug, Default)]
struct State {
    mark: Option<Arc<Mark>>,
    /// The number of the last record that this process has read or written.
    number: u64,
    /// Whether the mark is ahead of the file.
    pending: bool,
    /// Whether a record has not been synced to the disk.
    unsynced: bool,
    /// Whether the last record has been synced, so that the next one goes to another page.
    settled: bool,
    outage: Outage,
}

/// A record in the file; the first one has no mark.
struct Record {
    number: u64,
    mark: Option<Mark>,
}

impl HighWater {
    /// Opens the file, or creates it.
    ///
    /// # Errors
    /// [`Error::IncompatibleStore`] if the file cannot be read or written, is damaged, or is another file. It is left
    /// unchanged.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, Error> {
        let this = Self::read_or_begin(path.into(), Self::begin)?;
        // Also what another process wrote that was killed.
        this.sync();
        Ok(this)
    }

    /// Opens the file, and lets `begin` write the first record if there is none.
    fn read_or_begin(path: PathBuf, begin: impl FnOnce(&Self) -> io::Result<()>) -> Result<Self, Error> {
        let failed = |error: io::Error| {
            Error::IncompatibleStore(format!("the high-water mark {} can't be used: {error}", path.display()))
        };
        let mut options = OpenOptions::new();
        // Two processes may create it at once.
        options.read(true).write(true).create(true).truncate(false);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(&path).map_err(failed)?;
        if file.metadata().map_err(failed)?.len() == 0 {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            let folder = File::open(folder.unwrap_or(Path::new("."))).map_err(failed)?;
            folder.sync_all().map_err(failed)?;
        }
        let this = Self {
            path: path.clone(),
            file,
            state: Mutex::default(),
            restored_at: AtomicU64::default(),
            alarm: Notify::new(),
        };
        if !this.lock(OPEN_PATIENCE) {
            return Err(Error::IncompatibleStore(format!(
                "the high-water mark {} is held by another process",
                this.path.display()
            )));
        }
        let found = this.read().and_then(|found| match found {
            Some(_) => Ok(found),
            None => begin(&this).map_err(failed).map(|()| None),
        });
        this.unlock();
        if let Some(Record { number, mark }) = found? {
            let mut state = this.state();
            (state.mark, state.number) = (mark.map(Arc::new), number);
        }
        Ok(this)
    }

    fn begin(&self) -> io::Result<()> {
        self.write_slot(0, &record(None, 0))
    }

    /// Returns the mark in a file, which is left unchanged; `None` if the file does not exist, or nothing has been
    /// recorded in it.
    ///
    /// # Errors
    /// As [`HighWater::open`].
    pub fn inspect(path: &Path) -> Result<Option<Mark>, Error> {
        if let Err(error) = std::fs::metadata(path)
            && error.kind() == ErrorKind::NotFound
        {
            return Ok(None);
        }
        Ok(Self::read_or_begin(path.to_owned(), |_| Ok(()))?.mark())
    }

    /// Merges the mark in another file of the same log into this one, and removes the other file once this one is on
    /// the disk. Returns whether the other file existed. The call may be repeated after a crash.
    ///
    /// # Errors
    /// As [`HighWater::open`], or [`Error::Unavailable`] if this file could not be written or the other one not be
    /// removed. Both files exist then.
    pub fn merge_from(&self, other: &Path) -> Result<bool, Error> {
        if !std::fs::exists(other).map_err(Error::unavailable)? {
            return Ok(false);
        }
        if let Some(theirs) = Self::inspect(other)? {
            self.change(|mark| match mark {
                Some(mark) => mark.merge(&theirs),
                None => *mark = Some(theirs),
            });
            self.sync();
            let state = self.state();
            if state.pending || state.unsynced {
                return Err(Error::unavailable(format!(
                    "the high-water mark {} can't be written",
                    self.path.display()
                )));
            }
        }
        std::fs::remove_file(other).map_err(Error::unavailable)?;
        Ok(true)
    }

    /// Returns the path of the file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the mark, including what other processes have recorded in the file.
    #[must_use]
    pub fn mark(&self) -> Option<Mark> {
        self.change(|_| ());
        self.known().as_deref().cloned()
    }

    /// Returns the mark as this process knows it, without reading the file.
    pub(crate) fn known(&self) -> Option<Arc<Mark>> {
        self.state().mark.clone()
    }

    /// Records the end of a log and its last entry. Everything in the log must be durable.
    pub fn record(&self, found: &LogState) {
        if self.state().mark.as_ref().is_none_or(|mark| mark.is_behind(found)) {
            self.change(|mark| mark.get_or_insert_with(|| Mark::of(&found.log)).see(found));
        }
    }

    /// Like [`record`](Self::record), for a log that was compared with `held`. Returns `false` and records nothing if
    /// another lineage has raised the mark since.
    pub(super) fn see_held(&self, held: &Mark, found: &LogState) -> bool {
        let contradicts = |mark: &Mark| mark.contradicts(found, held);
        match self.known() {
            Some(mark) if contradicts(&mark) => return false,
            Some(mark) if !mark.is_behind(found) => return true,
            _ => {}
        }
        let mut noted = true;
        self.change(|mark| {
            let mark = mark.get_or_insert_with(|| Mark::of(&found.log));
            noted = !contradicts(mark);
            if noted {
                mark.see(found);
            }
        });
        noted
    }

    /// Wakes the guard, which inspects the log at once.
    pub(crate) fn raise_alarm(&self) {
        self.alarm.notify_one();
    }

    /// Waits until an engine has detected that its log went back. Returns at once if that was before the call.
    pub(crate) async fn alarmed(&self) {
        self.alarm.notified().await;
    }

    /// Returns when a restored backup was detected; `None` once the operator has accepted it. The value is as this node
    /// last saw it.
    #[must_use]
    pub fn restored_at(&self) -> Option<Timestamp> {
        self.restored_at.load(Ordering::Relaxed).checked_sub(1).map(Timestamp::from_unix)
    }

    /// Sets when a restored backup was detected, and returns the previous value.
    pub(crate) fn note_restored(&self, at: Option<Timestamp>) -> Option<Timestamp> {
        let at = at.map_or(0, |at| at.as_unix().saturating_add(1));
        self.restored_at.swap(at, Ordering::Relaxed).checked_sub(1).map(Timestamp::from_unix)
    }

    /// Records the signing keys in the store.
    pub(crate) fn see_keys(&self, mut keys: Vec<String>) {
        keys.sort_unstable();
        if self.known().is_none_or(|mark| mark.has_keys(&keys)) {
            return;
        }
        self.change(|mark| {
            if let Some(mark) = mark {
                mark.see_keys(keys);
            }
        });
    }

    /// Writes a mark that could not be written earlier because another process had locked the file.
    pub(crate) fn write_pending(&self) {
        if self.state().pending {
            self.change(|_| ());
        }
    }

    /// Returns whether there is something to sync to the disk.
    pub(crate) fn is_unsynced(&self) -> bool {
        self.state().unsynced
    }

    /// Syncs the recorded mark to the disk. Blocks as long as the disk takes.
    pub fn sync(&self) {
        // A record that is written from here on may or may not be synced.
        self.state().unsynced = false;
        let synced = self.file.sync_data();
        let mut state = self.state();
        match synced {
            Ok(()) => state.settled = true,
            Err(error) => {
                state.unsynced = true;
                self.log_failure(&state, &error);
            }
        }
    }

    /// A panic leaves no change half done.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the mark in memory, and in the file unless another process has locked it; then the file is written
    /// later.
    fn change(&self, change: impl FnOnce(&mut Option<Mark>)) {
        let mut state = self.state();
        let is_held = !self.lock(CHANGE_PATIENCE);
        let taken_in = if is_held { Ok(()) } else { self.apply(&mut state) };
        let mut mark = state.mark.as_deref().cloned();
        change(&mut mark);
        if mark.as_ref() != state.mark.as_deref() {
            (state.mark, state.pending) = (mark.map(Arc::new), true);
        }
        if is_held {
            return;
        }
        let written = taken_in.and_then(|()| if state.pending { self.write(&mut state) } else { Ok(()) });
        self.unlock();
        match written {
            Ok(()) => _ = state.outage.ends(),
            Err(error) => self.log_failure(&state, &error),
        }
    }

    /// Merges what another process has written since this one last read the file.
    fn apply(&self, state: &mut State) -> io::Result<()> {
        if self.newest()?.is_none_or(|(_, number)| number == state.number) {
            return Ok(());
        }
        let Ok(Some(record)) = self.read() else { return Ok(()) };
        match (&mut state.mark, record.mark) {
            (Some(mark), Some(other)) => Arc::make_mut(mark).merge(&other),
            (mark @ None, Some(other)) => *mark = Some(Arc::new(other)),
            (_, None) => {}
        }
        // The other process may not have synced it.
        (state.number, state.settled) = (record.number, false);
        Ok(())
    }

    fn write(&self, state: &mut State) -> io::Result<()> {
        let Some(mark) = &state.mark else { return Ok(()) };
        let (slot, number) = match self.newest()? {
            Some((slot, number)) if state.settled => ((slot + 1) % SLOTS, number),
            Some(newest) => newest,
            None => (0, 0),
        };
        let number = number.max(state.number) + 1;
        self.write_slot(slot, &record(Some(Mark::clone(mark)), number))?;
        (state.number, state.pending, state.unsynced, state.settled) = (number, false, true, false);
        Ok(())
    }

    /// Returns the page and the number of the newest record. Only [`HighWater::read`] checks whether it is intact.
    fn newest(&self) -> io::Result<Option<(u64, u64)>> {
        let mut newest = None;
        for slot in 0..SLOTS {
            let mut head = [0; NAME.len() + DIGITS];
            match self.read_slot(slot, &mut head) {
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => break,
                read => read?,
            }
            let number = std::str::from_utf8(&head).ok().and_then(|head| head.strip_prefix(NAME)?.parse().ok());
            if let Some(number) = number
                && newest.is_none_or(|(_, greatest)| number > greatest)
            {
                newest = Some((slot, number));
            }
        }
        Ok(newest)
    }

    /// Returns the newest intact record.
    fn read(&self) -> Result<Option<Record>, Error> {
        let failed = |error: &dyn std::fmt::Display| {
            Error::IncompatibleStore(format!("the high-water mark {} can't be read: {error}", self.path.display()))
        };
        let length = self.file.metadata().map_err(|error| failed(&error))?.len();
        let mut newest: Option<Record> = None;
        let mut is_damaged = length > SLOTS * SLOT as u64 || length % SLOT as u64 != 0;
        for slot in 0..(length / SLOT as u64).min(SLOTS) {
            let mut bytes = vec![0; SLOT];
            self.read_slot(slot, &mut bytes).map_err(|error| failed(&error))?;
            match parse(&bytes) {
                Some((number, mark)) if newest.as_ref().is_none_or(|newest| number > newest.number) => {
                    newest = Some(Record { number, mark });
                }
                Some(_) => {}
                // Never written, or lost in a power failure before it was.
                None => is_damaged |= bytes.iter().any(|byte| *byte != 0),
            }
        }
        match newest {
            None if is_damaged && !self.is_torn_beginning(length) => Err(Error::IncompatibleStore(format!(
                "the high-water mark {} is damaged or not a mark, so a restored backup can't be detected: \
                 remove the file and start again; if the store was restored from a backup, then revoke every token \
                 (`adieu revoke --everything`)",
                self.path.display()
            ))),
            newest => Ok(newest),
        }
    }

    /// Returns whether the file has some sectors of the first record and nothing else: the power failed before that was synced,
    /// and nothing was recorded.
    fn is_torn_beginning(&self, length: u64) -> bool {
        let first = record(None, 0);
        let mut bytes = vec![0; first.len().min(usize::try_from(length).unwrap_or(usize::MAX))];
        length <= SLOT as u64
            && self.read_slot(0, &mut bytes).is_ok()
            && bytes.iter().zip(&first).all(|(byte, first)| *byte == 0 || byte == first)
    }

    /// Locks the file against other processes. Returns whether it was locked within `patience`.
    fn lock(&self, patience: Duration) -> bool {
        let started = Instant::now();
        loop {
            match self.file.try_lock() {
                Err(TryLockError::WouldBlock) if started.elapsed() < patience => thread::sleep(RETRY_DELAY),
                Err(TryLockError::WouldBlock) => return false,
                // A file system without locks is not shared by several processes.
                Ok(()) | Err(TryLockError::Error(_)) => return true,
            }
        }
    }

    fn unlock(&self) {
        // Closing the file unlocks it too.
        let _ = self.file.unlock();
    }

    fn read_slot(&self, slot: u64, bytes: &mut [u8]) -> io::Result<()> {
        let mut file = &self.file;
        file.seek(SeekFrom::Start(slot * SLOT as u64))?;
        file.read_exact(bytes)
    }

    fn write_slot(&self, slot: u64, bytes: &[u8]) -> io::Result<()> {
        let mut file = &self.file;
        file.seek(SeekFrom::Start(slot * SLOT as u64))?;
        file.write_all(bytes)
    }

    fn log_failure(&self, state: &State, error: &io::Error) {
        if state.outage.begins() {
            tracing::error!(
                target: "adieu::restore", %error, file = %self.path.display(),
                "the high-water mark can't be written: a restored backup may go undetected"
            );
        }
    }
}

impl Drop for HighWater {
    fn drop(&mut self) {
        self.change(|_| ());
        if self.is_unsynced() {
            self.sync();
        }
    }
}

/// One page: the name and the number, the checksum, and then the mark as JSON, which an operator can read.
fn record(mut mark: Option<Mark>, number: u64) -> Vec<u8> {
    loop {
        let text = serde_json::to_string(&mark).unwrap_or_default();
        let head = format!("{NAME}{number:0DIGITS$}");
        let checksum = hex(digest(&SHA256, format!("{head}{text}").as_bytes()).as_ref(), CHECKSUM);
        let mut page = format!("{head} {checksum}\n{text}\n").into_bytes();
        if page.len() <= SLOT || !mark.as_mut().is_some_and(Mark::shrink) {
            page.resize(SLOT, b' ');
            return page;
        }
    }
}

fn parse(page: &[u8]) -> Option<(u64, Option<Mark>)> {
    let (first, rest) = std::str::from_utf8(page).ok()?.split_once('\n')?;
    let (text, padding) = rest.split_once('\n')?;
    let (head, checksum) = first.rsplit_once(' ')?;
    if padding.bytes().any(|byte| byte != b' ') {
        return None;
    }
    if hex(digest(&SHA256, format!("{head}{text}").as_bytes()).as_ref(), CHECKSUM) != checksum {
        return None;
    }
    Some((head.strip_prefix(NAME)?.parse().ok()?, serde_json::from_str(text).ok()?))
}
