//! The file that remembers, outside of the store, how far its log has been.
//!
//! 1. **Small and private.** A few kilobytes, readable by its owner only. It holds ids, positions and digests: no token, no
//!    secret.
//! 2. **Never torn.** Each record has a checksum and is one page of the file, of which there are three. A record takes the place
//!    of the last one until that has been forced to the disk, and then that of the oldest: one of the other two is always whole.
//! 3. **Cheap.** To raise the mark is one write into memory of the system; it is forced to the disk in the background once a
//!    second, and at the end. So `kill -9` loses nothing, and the loss of power what was noted in the last second or two.
//! 4. **Shared.** Several processes on one machine, such as a server and a command, may use the same file.
//! 5. **Refused when it is damaged**, or is something else: it is left as it is, and the node does not start. That it can't be
//!    known whether a backup was put back is for the operator to decide about, who is told how. A file that is not there
//!    is made.
//!
//! That it can't be *written* later stops nobody: it is logged, and the mark then notices less.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, ErrorKind, Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use aws_lc_rs::digest::{SHA256, digest};
use tokio::sync::Notify;

use super::mark::{Mark, hex};
use crate::{Error, restore::LogState, retry::Outage, time::Timestamp};

const SLOTS: u64 = 3;
/// A page of memory and of most disks.
const SLOT: usize = 4_096;
/// `adieu high-water 1 ` and the number of the record in twenty digits.
const NAME: &str = "adieu high-water 1 ";
const DIGITS: usize = 20;
/// Bytes of the checksum.
const CHECKSUM: usize = 16;

/// How often, and with which pause, it is tried to get at a file that another process holds: it does for microseconds.
const MAX_ATTEMPTS: u32 = 50;
const RETRY_DELAY: Duration = Duration::from_micros(20);

/// How far the log of a store has been, in a file. See the [module](super).
#[derive(Debug)]
pub struct HighWater {
    path: PathBuf,
    file: File,
    state: Mutex<State>,
    /// See [`HighWater::restored_at`]; plus one, and zero for none.
    restored_at: AtomicU64,
    /// Told when an engine has found that its log went back.
    alarm: Notify,
}

#[derive(Debug, Default)]
struct State {
    mark: Option<Arc<Mark>>,
    /// Of the last record that this process has read or written.
    number: u64,
    /// Whether the mark is further than the file.
    pending: bool,
    /// Whether there is a record that has not been forced to the disk.
    unsynced: bool,
    /// Whether the last record has been, so that the next goes to another place.
    settled: bool,
    outage: Outage,
}

/// A record as it lies in the file.
struct Record {
    number: u64,
    mark: Mark,
}

impl HighWater {
    /// Opens the file, or makes it.
    ///
    /// # Errors
    /// [`Error::IncompatibleStore`] when it can't be read or written, is damaged, or is something else: it is left as it is.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, Error> {
        let path = path.into();
        let failed = |error: io::Error| {
            Error::IncompatibleStore(format!("the high-water mark {} can't be used: {error}", path.display()))
        };
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = match options.open(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                // Two processes may make it at once.
                let file = options.create(true).truncate(false).open(&path).map_err(failed)?;
                let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
                let folder = File::open(folder.unwrap_or(Path::new("."))).map_err(failed)?;
                folder.sync_all().map_err(failed)?;
                file
            }
            opened => opened.map_err(failed)?,
        };
        let this = Self {
            path: path.clone(),
            file,
            state: Mutex::default(),
            restored_at: AtomicU64::default(),
            alarm: Notify::new(),
        };
        if !this.lock() {
            return Err(Error::IncompatibleStore(format!(
                "the high-water mark {} is held by another process",
                this.path.display()
            )));
        }
        let record = this.read();
        this.unlock();
        if let Some(record) = record? {
            let mut state = this.state();
            (state.mark, state.number) = (Some(Arc::new(record.mark)), record.number);
        }
        Ok(this)
    }

    /// What a file says, which is left as it is; `None` when it is not there, or nothing has been noted yet.
    ///
    /// # Errors
    /// As [`HighWater::open`].
    pub fn inspect(path: &Path) -> Result<Option<Mark>, Error> {
        if let Err(error) = std::fs::metadata(path)
            && error.kind() == ErrorKind::NotFound
        {
            return Ok(None);
        }
        Ok(Self::open(path)?.mark())
    }

    /// Takes in what another file says of the same log, whichever of the two is further, and removes that file once this one is on
    /// the disk. Whether there was one. It may be called again after a crash.
    ///
    /// # Errors
    /// As [`HighWater::open`], or [`Error::Unavailable`] when this file could not be written or the other not be removed: both are then
    /// there.
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

    /// Where the file is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The mark, with what other processes have noted in the file.
    #[must_use]
    pub fn mark(&self) -> Option<Mark> {
        self.change(|_| ());
        self.known().as_deref().cloned()
    }

    /// The mark as this process knows it, without a look at the file.
    pub(crate) fn known(&self) -> Option<Arc<Mark>> {
        self.state().mark.clone()
    }

    /// Takes note of a log as it was found: where it ends, and with which entry. Everything in it must be durable.
    pub fn record(&self, found: &LogState) {
        if self.state().mark.as_ref().is_none_or(|mark| mark.is_behind(found)) {
            self.change(|mark| mark.get_or_insert_with(|| Mark::of(&found.log)).see(found));
        }
    }

    /// The same of a log that was held against this mark. `false`, and nothing is noted, when another lineage has raised it since.
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

    /// Has the guard look at the log at once.
    pub(crate) fn raise_alarm(&self) {
        self.alarm.notify_one();
    }

    /// Returns when an engine has found that its log went back, also if that was before the call.
    pub(crate) async fn alarmed(&self) {
        self.alarm.notified().await;
    }

    /// When it was noticed that a backup had been put back, until that is accepted; as far as this node knows.
    #[must_use]
    pub fn restored_at(&self) -> Option<Timestamp> {
        self.restored_at.load(Ordering::Relaxed).checked_sub(1).map(Timestamp::from_unix)
    }

    /// Keeps when that was noticed; gives what was kept before.
    pub(crate) fn note_restored(&self, at: Option<Timestamp>) -> Option<Timestamp> {
        let at = at.map_or(0, |at| at.as_unix().saturating_add(1));
        self.restored_at.swap(at, Ordering::Relaxed).checked_sub(1).map(Timestamp::from_unix)
    }

    /// Takes note of the signing keys in the store.
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

    /// Writes what could not be written when it was noted, since another process held the file.
    pub(crate) fn write_pending(&self) {
        if self.state().pending {
            self.change(|_| ());
        }
    }

    /// Whether there is something to be forced to the disk.
    pub(crate) fn is_unsynced(&self) -> bool {
        self.state().unsynced
    }

    /// Forces what was noted to the disk. Takes as long as the disk takes.
    pub fn sync(&self) {
        // What is written from here on may or may not be part of it.
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

    /// Nothing is left half done when a holder panics.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the mark, in memory at once and in the file unless another process holds that; then it is written the next time.
    fn change(&self, change: impl FnOnce(&mut Option<Mark>)) {
        let mut state = self.state();
        let is_held = !self.lock();
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

    /// Adds what another process has written since this one last looked.
    fn apply(&self, state: &mut State) -> io::Result<()> {
        if self.newest()?.is_none_or(|(_, number)| number == state.number) {
            return Ok(());
        }
        let Ok(Some(record)) = self.read() else { return Ok(()) };
        match &mut state.mark {
            Some(mark) => Arc::make_mut(mark).merge(&record.mark),
            None => state.mark = Some(Arc::new(record.mark)),
        }
        state.number = record.number;
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
        self.write_slot(slot, &record(Mark::clone(mark), number))?;
        (state.number, state.pending, state.unsynced, state.settled) = (number, false, true, false);
        Ok(())
    }

    /// Where the newest record begins as one, and its number; whether it is whole, only [`HighWater::read`] knows.
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

    /// The newest record that is whole.
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
                // Never written, or lost with the power before it was.
                None => is_damaged |= bytes.iter().any(|byte| *byte != 0),
            }
        }
        match newest {
            None if is_damaged => Err(Error::IncompatibleStore(format!(
                "the high-water mark {} is damaged or something else, so it is not known whether a backup was put back; \
                 it was left as it is. If none was, remove the file and start again; if one was, remove the file, start, \
                 and revoke everything that was issued until now (`adieu revoke --everything`)",
                self.path.display()
            ))),
            newest => Ok(newest),
        }
    }

    /// Keeps other processes from writing; whether that could be had.
    fn lock(&self) -> bool {
        let mut tries = 0;
        loop {
            match self.file.try_lock() {
                Err(TryLockError::WouldBlock) if tries < MAX_ATTEMPTS => {
                    tries += 1;
                    thread::sleep(RETRY_DELAY);
                }
                Err(TryLockError::WouldBlock) => return false,
                // A file system without locks is not one that several processes share.
                Ok(()) | Err(TryLockError::Error(_)) => return true,
            }
        }
    }

    fn unlock(&self) {
        // Closing the file does the same.
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
                "the high-water mark can't be written: a backup that is put back may go unnoticed"
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
fn record(mut mark: Mark, number: u64) -> Vec<u8> {
    loop {
        let text = serde_json::to_string(&mark).unwrap_or_default();
        let head = format!("{NAME}{number:0DIGITS$}");
        let checksum = hex(digest(&SHA256, format!("{head}{text}").as_bytes()).as_ref(), CHECKSUM);
        let mut page = format!("{head} {checksum}\n{text}\n").into_bytes();
        if page.len() <= SLOT || !mark.shrink() {
            page.resize(SLOT, b' ');
            return page;
        }
    }
}

fn parse(page: &[u8]) -> Option<(u64, Mark)> {
    let (first, rest) = std::str::from_utf8(page).ok()?.split_once('\n')?;
    let (text, _) = rest.split_once('\n')?;
    let (head, checksum) = first.rsplit_once(' ')?;
    if hex(digest(&SHA256, format!("{head}{text}").as_bytes()).as_ref(), CHECKSUM) != checksum {
        return None;
    }
    Some((head.strip_prefix(NAME)?.parse().ok()?, serde_json::from_str(text).ok()?))
}
