//! The embedded store of [`adieu`]: one SQLite file, shared by every process on the machine that opens it.
//!
//! ```
//! use adieu::{Issuer, Node};
//! use adieu_sqlite::Sqlite;
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let file = folder.path().join("adieu.sqlite");
//! # let file = file.as_path();
//! let node = Node::builder(Issuer::new("https://example.org")?).start(Sqlite::open(file).await?).await?;
//! # drop(node);
//! # Ok(())
//! # }
//! ```
//!
//! 1. **Durable.** `journal_mode=WAL`, `synchronous=FULL`: an answered write survives `kill -9` and power loss.
//! 2. **Group commit.** One thread writes. It takes all queued operations, runs them in one transaction, commits once
//!    and answers all callers: 64 callers cost one `fdatasync`.
//! 3. **Isolated failures.** An operation that fails is removed from its transaction, and the others run again
//!    without it.
//! 4. **Bounded.** The queue is bounded: if it is full, the call returns [`Error::Unavailable`] immediately.
//! 5. **Careful.** A damaged file, or one of another program, is rejected before anything is written to it. The store
//!    detects a file that is removed, replaced or truncated while it is open: every later call then returns
//!    [`Error::Unavailable`].
//!
//! Readers have their own threads and never wait for the writer.
//!
//! Parameters are written `$1`, `$2`, as in PostgreSQL. SQLite treats these as names and numbers them by their first
//! occurrence, so every statement must use them in order.

mod backup;
mod changes;
mod file;
mod keys;
mod log;
mod network;
mod restore;
mod rows;
mod schema;
mod sessions;
mod wal_index;
mod worker;
mod write_ahead_log;

use std::{
    cell::Cell,
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rusqlite::{Connection, OpenFlags, config::DbConfig};
use tokio::sync::watch;

#[doc(hidden)]
pub use rusqlite;
#[doc(hidden)]
pub use worker::wait_until_closed;

use adieu::{
    Error,
    engine::{CommitSizes, Searches},
    restore::Witness,
    time::Timestamp,
};
use file::File;
use schema::State;
use worker::{Mode, Running, Worker};
use write_ahead_log::WriteAheadLog;

/// How often and for how long a statement checks whether another process has finished writing. On a busy machine it
/// goes on for longer, until [`BUSY_TRIES`] checks are done.
const BUSY_PAUSE: Duration = Duration::from_micros(500);
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
const BUSY_TRIES: i32 = 5_000;
/// Page cache of the connection that writes, in KiB: it changes pages of sessions again and again. Those that read have SQLite's
/// default of 2 MiB: the system caches the file too, and reading one of 100,000 users at random takes only 5 % longer.
const CACHE: i64 = 16 * 1024;
/// Pages in the write-ahead log from which on a commit moves them into the file: 16 MiB. SQLite's default is a
/// quarter of that, and would move a page of sessions that four logouts have changed four times.
const CHECKPOINT: i64 = 4_000;
/// Reading threads, besides the one that only follows the log: a slow read never delays an index.
const READERS: usize = 2;

/// A store in an SQLite file. Clones share its threads, which end when the last clone is dropped.
#[derive(Debug, Clone)]
pub struct Sqlite {
    path: Arc<PathBuf>,
    /// Unset until the file has been checked for damage.
    writer: Arc<OnceLock<Worker>>,
    checked: watch::Receiver<Option<Result<(), Error>>>,
    readers: Worker,
    follower: Worker,
    searches: Arc<Searches>,
    file: Arc<File>,
    witness: Witness,
    /// Incremented by every append of this process, so that its readers need not poll for them.
    appended: watch::Sender<u64>,
    commit_sizes: CommitSizes,
    /// Whether a write has failed since the store was last known to be writable.
    write_failed: Arc<AtomicBool>,
    /// Where the next step of pruning and the next step of deleting expired sessions start.
    pruned_up_to: Arc<AtomicI64>,
    forgotten_up_to: Arc<Mutex<(String, String)>>,
}

impl Sqlite {
    /// Opens the file, or creates it (readable by its owner only), and migrates its tables. Before the tables of an earlier version are
    /// migrated, the file is copied to `FILE.before-VERSION`. `path` must be a path: SQLite's other names (`:memory:`, `file:…`) are
    /// rejected. [`Memory`](adieu::store::Memory) is a store in memory.
    ///
    /// # Errors
    /// [`Error::InvalidSetting`] if `path` is not a path. [`Error::IncompatibleStore`] if the file is damaged,
    /// belongs to another program, or was written by a newer version; it is left unchanged. [`Error::Unavailable`] if
    /// the file cannot be opened.
    pub async fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        let store = Self::open_while_checking(path).await?;
        store.checked().await?;
        Ok(store)
    }

    /// Opens the file like [`Sqlite::open`], but returns while its pages are still being checked for damage, so that
    /// the log can be read meanwhile. Until the check is done, nothing is written and a read does not reach the end
    /// of the log, so no [`Follower`](adieu::revocation::Follower) becomes ready. Call [`Sqlite::checked`] before
    /// acting on anything that was read.
    ///
    /// # Errors
    /// See [`Sqlite::open`]. Damage that only the check finds is reported by [`Sqlite::checked`].
    #[doc(hidden)]
    pub async fn open_while_checking(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref().to_owned();
        tokio::task::spawn_blocking(move || Self::open_blocking(path)).await.map_err(Error::unavailable)?
    }

    /// Returns whether the file has the tables of this version, without migrating it; `None` if there is no store yet.
    ///
    /// # Errors
    /// [`Error::IncompatibleStore`] if the file is damaged, belongs to another program, or was written by a newer version.
    #[doc(hidden)]
    pub async fn is_current(path: impl AsRef<Path>) -> Result<Option<bool>, Error> {
        let path = path.as_ref().to_owned();
        let version = move || match schema::identify(&path)? {
            State::New => Ok(None),
            // Or only without a write-ahead log, as a copy that SQLite has made.
            State::Older => Ok(Some(!schema::is_outdated(&path)?)),
            State::Current => Ok(Some(true)),
        };
        tokio::task::spawn_blocking(version).await.map_err(Error::unavailable)?
    }

    fn open_blocking(path: PathBuf) -> Result<Self, Error> {
        let shown = path.to_string_lossy();
        if shown.is_empty() || shown.starts_with(':') || shown.starts_with("file:") || shown.starts_with("sqlite:") {
            return Err(Error::setting(
                "path",
                format!("`{shown}` is not the path of a file; for a store in memory use `store::Memory`"),
            ));
        }
        // SQLite puts its other files beside the file that a link leads to.
        let is_link = std::fs::symlink_metadata(&path).is_ok_and(|found| found.is_symlink());
        let path = if is_link { std::fs::canonicalize(&path).unwrap_or(path) } else { path };
        let state = schema::identify(&path)?;
        if state == State::Older {
            schema::check_pages(&path)?;
            if schema::is_outdated(&path)? {
                backup::before_migration(&path)?;
            }
        }
        if state != State::Current {
            make_private(&path)?;
            schema::migrate(&mut connect(&path).map_err(Error::unavailable)?).map_err(Error::unavailable)?;
        }
        let file = Arc::new(File::of(&path)?);
        let sound = Arc::new(AtomicBool::new(false));
        let to_read = |name: &str, count: usize| {
            let connections = (0..count).map(|_| connect_to_read(&path)).collect::<Result<_, _>>();
            Worker::start(name, &file, connections.map_err(Error::unavailable)?, Mode::Read(Arc::clone(&sound)))
        };
        let (readers, follower) = (to_read("adieu-reader", READERS)?, to_read("adieu-follower", 1)?);
        if let Some(network) = network::of(&path) {
            tracing::warn!(
                file = %path.display(),
                "the file is on a network file system ({network}), where SQLite is not durable: keep it on a disk of this \
                 machine, or everything in PostgreSQL"
            );
        }
        let (writer, witness, commit_sizes) = (Arc::new(OnceLock::new()), Witness::default(), CommitSizes::default());
        let (announce, checked) = watch::channel(None);
        let check = {
            let (path, file) = (path.clone(), Arc::clone(&file));
            let (writer, mode) = (Arc::clone(&writer), Mode::GroupCommit(witness.clone(), commit_sizes.clone()));
            let running = Running::begin();
            move || {
                let _running = running;
                let outcome = match state {
                    State::Current => schema::check_pages(&path),
                    State::New | State::Older => Ok(()),
                };
                let outcome = outcome.and_then(|()| {
                    let connection = connect(&path).map_err(Error::unavailable)?;
                    connection.pragma_update(None, "cache_size", -CACHE).map_err(Error::unavailable)?;
                    sound.store(true, Ordering::Release);
                    // Only this thread sets it, once.
                    let _ = writer.set(Worker::start("adieu-writer", &file, vec![connection], mode)?);
                    Ok(())
                });
                announce.send_replace(Some(outcome));
            }
        };
        thread::Builder::new().name("adieu-check".to_owned()).spawn(check).map_err(Error::unavailable)?;
        Ok(Self {
            writer,
            checked,
            readers,
            follower,
            searches: Arc::default(),
            file,
            witness,
            appended: watch::Sender::new(0),
            commit_sizes,
            write_failed: Arc::default(),
            pruned_up_to: Arc::default(),
            forgotten_up_to: Arc::default(),
            path: Arc::new(path),
        })
    }

    /// Waits until the file has been checked for damage.
    ///
    /// # Errors
    /// [`Error::IncompatibleStore`] if the file is damaged; it is left unchanged. [`Error::Unavailable`] if it could
    /// not be opened for writing.
    #[doc(hidden)]
    pub async fn checked(&self) -> Result<(), Error> {
        match self.checked.clone().wait_for(Option::is_some).await.as_deref() {
            Ok(Some(outcome)) => outcome.clone(),
            _ => Err(Error::unavailable("the check of the file has ended without a result")),
        }
    }

    /// Returns the path of the file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns how many operations shared each commit of this process.
    #[must_use]
    #[doc(hidden)]
    pub fn commit_sizes(&self) -> &CommitSizes {
        &self.commit_sizes
    }

    /// Runs an operation that writes, together with others in the queue, and returns when all of them are durable.
    /// The operation may run more than once, after a rollback, and must have no other side effect.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the operation failed or could not be made durable. Its writes may then have happened
    /// or not.
    #[doc(hidden)]
    pub async fn transact<T, F>(&self, operation: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnMut(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        let writer = match self.writer.get() {
            Some(writer) => writer,
            None => {
                self.checked().await?;
                self.writer.get().ok_or_else(|| Error::unavailable("the store's thread has ended"))?
            }
        };
        // A full queue says nothing about the file.
        let outcome = writer.queue(operation)?.await;
        if outcome.is_err() {
            self.write_failed.store(true, Ordering::Relaxed);
        }
        outcome
    }

    /// Runs an operation that only reads, on the committed state.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the operation failed.
    #[doc(hidden)]
    pub async fn query<T, F>(&self, operation: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnMut(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        let output = self.readers.queue(operation)?.await?;
        self.file.check()?;
        Ok(output)
    }

    /// Like [`Sqlite::query`], on the thread that follows the log.
    async fn follow<T, F>(&self, operation: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnMut(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        let output = self.follower.queue(operation)?.await?;
        self.file.check()?;
        Ok(output)
    }

    /// Checks that the store can be read and, if a write has failed, that it can be written again.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if it cannot.
    pub async fn check(&self) -> Result<(), Error> {
        const READ: &str = "SELECT log_id FROM revocation_log_state";
        // An update must change something, or SQLite writes nothing.
        const WRITE: &str = "UPDATE revocation_log_state SET probes = probes + 1";
        self.query(|connection| connection.query_row(READ, [], |_| Ok(()))).await?;
        if self.write_failed.load(Ordering::Relaxed) {
            self.transact(|connection| connection.execute(WRITE, [])).await?;
            self.write_failed.store(false, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Moves the write-ahead log into the file, so that the file alone holds the whole store. Call it before the
    /// process ends. It waits for running reads.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if it failed, or if another process still reads after five seconds: nothing is lost, and the write-ahead
    /// log remains part of the store.
    #[doc(hidden)]
    pub async fn checkpoint(&self) -> Result<(), Error> {
        self.file.check_writable()?;
        let path = Arc::clone(&self.path);
        // By a reading thread, since operations of the writer run in a transaction.
        self.query(move |connection| {
            WriteAheadLog::check_all(&path, connection).map_err(|error| rows::invalid(format!("{error:?}")))?;
            match connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get("busy"))? {
                false => Ok(()),
                true => Err(rows::invalid("another process reads the write-ahead log")),
            }
        })
        .await
    }

    /// Migrates the tables that an application keeps in this file. The `steps` of a `component` that have not run yet
    /// run in one transaction, after a copy of the file if some have.
    ///
    /// # Errors
    /// [`Error::IncompatibleStore`] if a newer version of the component has migrated the tables.
    /// [`Error::Unavailable`] if a step failed.
    #[doc(hidden)]
    pub async fn migrate(&self, component: &'static str, steps: &'static [&'static str]) -> Result<(), Error> {
        // Usually there is nothing to migrate, which needs no write.
        let version = self.version_of(component, steps).await?;
        if version == steps.len() {
            return Ok(());
        }
        if version > 0 {
            let path = Arc::clone(&self.path);
            let copied = tokio::task::spawn_blocking(move || backup::before_migration(&path)).await;
            copied.map_err(Error::unavailable)??;
        }
        let newer = self.transact(move |connection| schema::migrate_component(connection, component, steps)).await?;
        newer.map_or(Ok(()), |version| Err(self.newer(component, version)))
    }

    /// Returns whether all `steps` of a component have run. Changes nothing.
    ///
    /// # Errors
    /// [`Error::IncompatibleStore`] if a newer version of the component has migrated the tables.
    #[doc(hidden)]
    pub async fn is_migrated(&self, component: &'static str, steps: &[&str]) -> Result<bool, Error> {
        Ok(self.version_of(component, steps).await? == steps.len())
    }

    async fn version_of(&self, component: &'static str, steps: &[&str]) -> Result<usize, Error> {
        let version = self.query(move |connection| schema::component_version(connection, component)).await?;
        if version > steps.len() { Err(self.newer(component, version)) } else { Ok(version) }
    }

    fn newer(&self, component: &str, version: usize) -> Error {
        let file = self.path.display();
        Error::IncompatibleStore(format!(
            "{file} was written by a newer version of adieu ({component} schema {version})"
        ))
    }
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    connection.busy_handler(Some(wait_for_another_process))?;
    use_write_ahead_log(&connection)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    // The writer moves the log into the file itself, after checking it.
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    // Otherwise SQLite inspects the value bound to a `LIMIT`, and compiles the statement again for each new value.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

/// Switches a new file to a write-ahead log. This changes its header, for which SQLite does not always wait while
/// another process makes the same change.
fn use_write_ahead_log(connection: &Connection) -> rusqlite::Result<()> {
    let mut tries = 0;
    loop {
        match connection.pragma_update(None, "journal_mode", "WAL") {
            Err(error)
                if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy)
                    && wait_for_another_process(tries) =>
            {
                tries += 1;
            }
            outcome => return outcome,
        }
    }
}

/// Opens a connection that never writes until the file has been found undamaged, not even as the last connection to
/// close: see [`Mode::Read`].
fn connect_to_read(path: &Path) -> rusqlite::Result<Connection> {
    let connection = connect(path)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    Ok(connection)
}

/// Waits for another process to finish writing. SQLite's own busy handler sleeps up to 100 ms between checks, and
/// would rarely find the gap between two commits of a busy process.
fn wait_for_another_process(tries: i32) -> bool {
    thread_local! {
        /// When this thread began to wait. Pauses take longer than requested, so their number is no measure.
        static SINCE: Cell<Option<Instant>> = const { Cell::new(None) };
    }
    let now = Instant::now();
    let since = SINCE.get().filter(|_| tries > 0).unwrap_or(now);
    SINCE.set(Some(since));
    let goes_on = now.duration_since(since) < BUSY_TIMEOUT || tries < BUSY_TRIES;
    if goes_on {
        thread::sleep(BUSY_PAUSE);
    }
    goes_on
}

/// Creates the file before SQLite does, which would use the permissions of the umask. Its `-wal` and `-shm` files get
/// the same mode.
fn make_private(path: &Path) -> Result<(), Error> {
    match create_private(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(Error::unavailable(error)),
        _ => Ok(()),
    }
}

/// Creates a file that only its owner can read.
fn create_private(path: &Path) -> io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop)
}

/// Converts a time. SQLite has no unsigned integers; a [`Timestamp`] never needs the last bit.
fn from_time(timestamp: Timestamp) -> i64 {
    i64::try_from(timestamp.as_unix()).unwrap_or(i64::MAX)
}

fn to_time(seconds: i64) -> Timestamp {
    Timestamp::from_unix(u64::try_from(seconds).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// However many pauses that takes.
    #[test]
    fn another_process_is_waited_for_as_long_as_is_said() {
        for _ in 0..2 {
            let started = Instant::now();
            let tries = (0..).find(|tries| !wait_for_another_process(*tries)).unwrap_or_default();
            assert!(started.elapsed() >= BUSY_TIMEOUT && tries >= BUSY_TRIES);
            let most = BUSY_TIMEOUT.as_micros() / BUSY_PAUSE.as_micros();
            assert!(u128::from(tries.unsigned_abs()) < most, "a pause takes longer than it is meant to");
        }
    }
}
