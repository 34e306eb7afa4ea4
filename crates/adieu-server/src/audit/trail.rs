//! The audit trail as a file, which holds the events of servers and of the command line.
//!
//! 1. Each event at [`AUDIT_LOG_TARGET`] is one line, a JSON object: the fields of the event, `at` (seconds since
//!    1970), and `via`, which is `server` or `command_line`; for the command line also the `uid` of the process.
//! 2. A line is appended with one write, so that several processes can share the file.
//! 3. A line is on stable storage before the request is answered or the command prints its result ([`durable`]).
//!    Concurrent callers share one sync of the file.
//! 4. A line that a power failure has left unfinished stays as it is: the next start ends it, and appends after it.
//! 5. The file is opened for each line, so that it can be renamed at any time. A new file is readable by its owner
//!    only. If the file cannot be written, a server logs that and continues. A named pipe without a reader is such a file:
//!    neither opening nor writing waits for another process.
//! 6. A server can be given another file, or none, while it runs.

use std::{
    fs::{File, Metadata, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
};

use adieu::{
    retry::Outage,
    time::{Clock as _, SystemClock},
};
use arc_swap::ArcSwapOption;
use serde_json::Value;
use tokio::task::spawn_blocking;
use tracing::{Event, Level, Subscriber, dispatcher};
use tracing_subscriber::{Layer, filter::Targets, layer::Context, registry::LookupSpan};

use super::AUDIT_LOG_TARGET;
use crate::{event_fields::EventFields, files, text::escaped_json};

/// The process that records an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// A server, for its clients.
    Server,
    /// A command.
    CommandLine,
}

/// Waits until every line written before the call is on stable storage; returns at once if there is no trail. A line
/// that cannot be synced is handled like one that cannot be written.
pub async fn durable() {
    if let Some(trail) = current() {
        trail.durable().await;
    }
}

/// Returns how many writes and syncs of the trail have failed in this process; zero if there is no trail.
pub fn failures() -> u64 {
    current().map_or(0, |trail| trail.0.failures.load(Relaxed))
}

/// Returns the trail of this process, if there is one.
fn current() -> Option<Trail> {
    dispatcher::get_default(|subscriber| subscriber.downcast_ref::<Lines>().map(|lines| lines.0.clone()))
}

/// The file of the trail. Clones share it.
#[derive(Debug, Clone)]
pub struct Trail(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// `None` while there is no trail.
    target: ArcSwapOption<Target>,
    via: Via,
    outage: Outage,
    /// The number of writes and syncs that failed.
    failures: AtomicU64,
    written: Mutex<Written>,
    /// Locked during a sync.
    synced: Arc<tokio::sync::Mutex<Synced>>,
}

/// The file that the next line is written to.
#[derive(Debug)]
struct Target {
    path: Arc<PathBuf>,
    /// Whether this process wrote only a part of its last line, for lack of space.
    is_torn: AtomicBool,
}

impl Target {
    fn new(path: PathBuf) -> Self {
        Self { path: Arc::new(path), is_torn: AtomicBool::new(false) }
    }
}

/// The lines and the name on stable storage.
#[derive(Debug, Default)]
struct Synced {
    /// The number of lines.
    lines: u64,
    /// The file whose name is on stable storage. Another process may have created the file, and not have synced its name yet.
    file: Option<Identity>,
}

/// The device and the number of a file.
type Identity = (u64, u64);

/// The lines written by this process.
#[derive(Debug, Default)]
struct Written {
    lines: u64,
    unsynced: Vec<Unsynced>,
}

/// A file with lines that may not be on stable storage yet.
#[derive(Debug)]
struct Unsynced {
    file: File,
    path: Arc<PathBuf>,
    metadata: Metadata,
    /// Whether it was empty.
    is_new: bool,
}

impl Trail {
    /// Returns a trail in this file, without opening it yet; without a file, nothing is written.
    #[must_use]
    pub fn new(path: Option<PathBuf>, via: Via) -> Self {
        Self(Arc::new(Shared {
            target: ArcSwapOption::from_pointee(path.map(Target::new)),
            via,
            outage: Outage::default(),
            failures: AtomicU64::new(0),
            written: Mutex::default(),
            synced: Arc::default(),
        }))
    }

    /// Checks that the file can be written. Creates it if it does not exist, and ends its last line if that is unfinished.
    ///
    /// # Errors
    /// The reason why it cannot be written, in one phrase.
    pub fn check(&self) -> Result<(), String> {
        let Some(target) = self.0.target.load_full() else { return Ok(()) };
        let path = &target.path;
        let check = || {
            let mut file = open(path)?;
            if is_torn(path, &file.metadata()?) { file.write_all(b"\n") } else { Ok(()) }
        };
        check().map_err(|error| cannot(path, &error))
    }

    /// Appends to this file from the next line on, or to none.
    pub(crate) fn move_to(&self, path: Option<PathBuf>) {
        self.0.target.store(path.map(|path| Arc::new(Target::new(path))));
    }

    /// Returns a layer that writes every event of the target into the file, whatever the log level is.
    pub fn layer<S: Subscriber + for<'s> LookupSpan<'s>>(self) -> impl Layer<S> {
        Lines(self).with_filter(Targets::new().with_target(AUDIT_LOG_TARGET, Level::INFO))
    }

    /// Waits until every line written before the call is on stable storage.
    ///
    /// # Cancel safety
    /// A sync that has begun continues if the caller is cancelled; the next caller waits for it.
    async fn durable(&self) {
        let lines = self.written().lines;
        let mut synced = Arc::clone(&self.0.synced).lock_owned().await;
        if synced.lines >= lines {
            return;
        }
        let trail = self.clone();
        let syncing = spawn_blocking(move || {
            let Written { lines, unsynced } = trail.take_written();
            for file in unsynced {
                trail.report(&file.path, file.sync(&mut synced.file));
            }
            synced.lines = lines;
        });
        // Fails only while the process ends.
        let _ended = syncing.await;
    }

    fn written(&self) -> MutexGuard<'_, Written> {
        self.0.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_written(&self) -> Written {
        let mut written = self.written();
        Written { lines: written.lines, unsynced: std::mem::take(&mut written.unsynced) }
    }

    fn append(&self, Target { path, is_torn }: &Target, line: &str) -> io::Result<()> {
        let mut file = open(path)?;
        let metadata = file.metadata()?;
        let line = if is_torn.load(Relaxed) { format!("\n{line}\n") } else { format!("{line}\n") };
        let length = file.write(line.as_bytes())?;
        is_torn.store(length < line.len(), Relaxed);
        self.written().add(Unsynced { is_new: metadata.len() == 0, path: Arc::clone(path), file, metadata });
        if length < line.len() { Err(io::ErrorKind::WriteZero.into()) } else { Ok(()) }
    }

    /// Reports once if the file cannot be written, and once if it can be written again; on the command line, each
    /// time.
    fn report(&self, path: &Path, outcome: io::Result<()>) {
        if outcome.is_err() {
            self.0.failures.fetch_add(1, Relaxed);
        }
        match (outcome, self.0.via) {
            (Ok(()), _) => {
                if self.0.outage.ends() {
                    tracing::info!("the audit trail can be written again");
                }
            }
            (Err(error), Via::Server) => {
                if self.0.outage.begins() {
                    tracing::error!("{}; what happens meanwhile is missing from it", cannot(path, &error));
                }
            }
            // Without standard error there is no place to report this.
            (Err(error), Via::CommandLine) => {
                drop(writeln!(io::stderr(), "warning: this was done, and {}", cannot(path, &error)));
            }
        }
    }
}

impl Written {
    fn add(&mut self, file: Unsynced) {
        self.lines += 1;
        if !self.unsynced.iter().any(|other| other.is_same(&file)) {
            self.unsynced.push(file);
        }
    }
}

impl Unsynced {
    #[cfg(unix)]
    fn identity(&self) -> Option<Identity> {
        use std::os::unix::fs::MetadataExt as _;
        Some((self.metadata.dev(), self.metadata.ino()))
    }

    #[cfg(not(unix))]
    fn identity(&self) -> Option<Identity> {
        None
    }

    fn is_same(&self, other: &Self) -> bool {
        self.identity().is_some_and(|identity| other.identity() == Some(identity))
    }

    /// Syncs the file, and its name unless it is the one whose name was synced last.
    fn sync(&self, named: &mut Option<Identity>) -> io::Result<()> {
        use io::ErrorKind::{InvalidInput, Unsupported};
        match self.file.sync_data() {
            // A pipe or a terminal has nothing to sync.
            Err(error) if matches!(error.kind(), InvalidInput | Unsupported) => return Ok(()),
            synced => synced?,
        }
        #[cfg(unix)]
        if *named != self.identity() {
            let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            match File::open(folder).and_then(|folder| folder.sync_all()) {
                // The folder of a file that exists may be closed to this process.
                Err(error) if self.is_new => return Err(error),
                Ok(()) | Err(_) => *named = self.identity(),
            }
        }
        Ok(())
    }
}

fn cannot(path: &Path, error: &io::Error) -> String {
    format!("the audit trail in {} can't be written: {error}", path.display())
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    files::open(&mut options, path).map_err(|error| match std::fs::metadata(path) {
        #[cfg(unix)]
        Ok(found) if std::os::unix::fs::FileTypeExt::is_fifo(&found.file_type()) => {
            io::Error::new(error.kind(), "no process reads this named pipe")
        }
        _ => error,
    })
}

/// Returns whether the last line of a file has no end, as far as that can be read.
fn is_torn(path: &Path, metadata: &Metadata) -> bool {
    let last = || {
        let mut file = File::open(path)?;
        let mut last = [0];
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last).map(|()| last)
    };
    metadata.is_file() && metadata.len() > 0 && last().is_ok_and(|last: [u8; 1]| last != *b"\n")
}

struct Lines(Trail);

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let Some(target) = self.0.0.target.load_full() else { return };
        let mut fields = EventFields::default();
        fields.0.insert("at".to_owned(), SystemClock.now().as_unix().into());
        event.record(&mut fields);
        match self.0.0.via {
            Via::Server => drop(fields.0.insert("via".to_owned(), "server".into())),
            Via::CommandLine => {
                fields.0.insert("via".to_owned(), "command_line".into());
                #[cfg(unix)]
                fields.0.insert("uid".to_owned(), rustix::process::getuid().as_raw().into());
            }
        }
        self.0.report(&target.path, self.0.append(&target, &escaped_json(&Value::Object(fields.0).to_string())));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use tracing_subscriber::{layer::SubscriberExt as _, registry};

    use super::*;
    use crate::audit::{self, Entry};

    fn trail() -> (tempfile::TempDir, Trail, tracing::subscriber::DefaultGuard) {
        let folder = tempfile::tempdir().unwrap();
        let trail = Trail::new(Some(folder.path().join("audit.jsonl")), Via::Server);
        let capturing = tracing::subscriber::set_default(registry().with(Some(trail.clone().layer())));
        (folder, trail, capturing)
    }

    fn path(trail: &Trail) -> Arc<PathBuf> {
        Arc::clone(&trail.0.target.load_full().unwrap().path)
    }

    async fn synced(trail: &Trail) -> u64 {
        trail.0.synced.lock().await.lines
    }

    #[tokio::test]
    async fn a_line_is_synced_before_record_returns() {
        let (_folder, trail, _capturing) = trail();
        for lines in 1..=3 {
            Entry::default().record(audit::Event::Login, None).await;
            assert_eq!(
                trail.0.synced.try_lock().map(|synced| synced.lines).ok(),
                Some(lines),
                "and no sync is in progress"
            );
            assert!(trail.written().unsynced.is_empty());
        }
        let written = std::fs::read_to_string(&*path(&trail)).unwrap();
        assert_eq!(written.lines().count(), 3);
    }

    #[tokio::test]
    async fn those_who_wait_at_the_same_time_share_a_sync() {
        let (_folder, trail, _capturing) = trail();
        (0..9).for_each(|_| Entry::default().note(audit::Event::Login, None));
        assert_eq!(trail.written().unsynced.len(), 1, "one file");
        let earlier = trail.durable();
        Entry::default().record(audit::Event::Login, None).await;
        assert_eq!(synced(&trail).await, 10);
        // Nothing is left to be synced for the others.
        std::fs::remove_file(&*path(&trail)).unwrap();
        earlier.await;
        assert_eq!(synced(&trail).await, 10);
    }

    #[tokio::test]
    async fn a_file_that_was_renamed_is_synced_too() {
        let (folder, trail, _capturing) = trail();
        Entry::default().note(audit::Event::Login, None);
        std::fs::rename(&*path(&trail), folder.path().join("old.jsonl")).unwrap();
        Entry::default().note(audit::Event::Logout, None);
        let written = trail.take_written();
        assert_eq!((written.lines, written.unsynced.len()), (2, 2));
        assert!(written.unsynced.iter().all(|file| file.is_new));
    }

    #[tokio::test]
    async fn the_name_of_another_file_is_synced_also_if_another_process_created_it() {
        let (folder, trail, _capturing) = trail();
        let named = async || trail.0.synced.lock().await.file;
        Entry::default().record(audit::Event::Login, None).await;
        let first = named().await;
        std::fs::rename(&*path(&trail), folder.path().join("old.jsonl")).unwrap();
        std::fs::write(&*path(&trail), "{}\n").unwrap();
        Entry::default().record(audit::Event::Logout, None).await;
        assert!(first.is_some() && named().await.is_some() && named().await != first);
    }

    #[tokio::test]
    async fn a_line_that_was_not_finished_does_not_spoil_the_next() {
        let (_folder, trail, _capturing) = trail();
        for (left, kept) in [("{}\n{\"at\":1", "{}\n{\"at\":1\n"), ("{}\n", "{}\n"), ("", "")] {
            std::fs::write(&*path(&trail), left).unwrap();
            trail.check().unwrap();
            Entry::default().record(audit::Event::Login, None).await;
            let written = std::fs::read_to_string(&*path(&trail)).unwrap();
            let added = written.strip_prefix(kept).unwrap();
            assert!(serde_json::from_str::<Value>(added).is_ok(), "{written}");
        }
    }

    #[tokio::test]
    async fn what_has_nothing_to_sync_is_no_failure() {
        let trail = Trail::new(Some("/dev/null".into()), Via::Server);
        let _capturing = tracing::subscriber::set_default(registry().with(Some(trail.clone().layer())));
        Entry::default().record(audit::Event::Login, None).await;
        assert!(!trail.0.outage.is_ongoing());
    }

    #[tokio::test]
    async fn what_can_not_be_seen_in_an_id_is_escaped() {
        let (_folder, trail, _capturing) = trail();
        let token_id = adieu::TokenId::new("x\n\u{1b}\u{202e}y").unwrap();
        let entry = Entry { token_id: Some(token_id.clone()), ..Entry::default() };
        entry.record(audit::Event::Revoked, None).await;
        let written = std::fs::read_to_string(&*path(&trail)).unwrap();
        assert!(written.contains(r"x\n\u001b\u202ey"), "{written}");
        let read: Value = serde_json::from_str(&written).unwrap();
        assert_eq!(read["token_id"], token_id.as_str());
    }
}
