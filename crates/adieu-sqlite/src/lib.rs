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
//! 1. **Durable.** `journal_mode=WAL`, `synchronous=FULL`: what was answered survives kill -9 and power loss.
//! 2. **Group commit.** One thread writes. It takes whatever is queued, runs it in one transaction, commits once and
//!    answers everybody: sixty-four callers cost one `fdatasync`, not sixty-four.
//! 3. **One caller's failure is its own.** An operation that fails is taken out, and the rest runs again without it.
//! 4. **Bounded.** The queue is; when it is full the answer is [`Error::Unavailable`] at once.
//! 5. **Careful.** A file that is not ours, or is damaged, is refused before anything is written to it. One that is removed, replaced or
//!    truncated while it is open is noticed: from then on every call is [`Error::Unavailable`].
//!
//! Readers have their own threads and never wait for the writer.
//!
//! Parameters are written `$1`, `$2`, as PostgreSQL has them. To SQLite these are names, numbered by where they appear
//! first: in every statement they must come in order.

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

use adieu::{Error, engine::Searches, restore::Witness, time::Timestamp};
use file::File;
use schema::State;
use worker::{Mode, Running, Worker};
use write_ahead_log::WriteAheadLog;

/// How often, and for how long, a statement looks whether another process has done with writing; for longer on a machine that is so
/// busy that it has not looked as often by then.
const BUSY_PAUSE: Duration = Duration::from_micros(500);
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
const BUSY_TRIES: i32 = 5_000;
/// Kibibytes of the file that each connection keeps in memory.
const CACHE: i64 = 16 * 1024;
/// How many pages the write-ahead log has when a commit moves them into the file: 16 MiB. SQLite would do so at a quarter of
/// that, and move a page of sessions four times that has been changed by four logouts.
const CHECKPOINT: i64 = 4_000;
/// Threads for reading, beside the one that nothing but following the log is done by: whatever takes long, an index stays fresh.
const READERS: usize = 2;

/// An SQLite file. Clones share its threads, which end with the last of them.
#[derive(Debug, Clone)]
pub struct Sqlite {
    path: Arc<PathBuf>,
    /// Not there before the file has been checked for damage.
    writer: Arc<OnceLock<Worker>>,
    checked: watch::Receiver<Option<Result<(), Error>>>,
    readers: Worker,
    follower: Worker,
    searches: Arc<Searches>,
    file: Arc<File>,
    witness: Witness,
    /// Goes up with every append of this process, so that readers here need not poll for it.
    appended: watch::Sender<u64>,
    /// Whether a write has failed since the store was last known to be writable.
    write_failed: Arc<AtomicBool>,
    /// Where the next step of pruning starts to look, and where the next step of forgetting sessions does.
    pruned_up_to: Arc<AtomicI64>,
    forgotten_up_to: Arc<Mutex<(String, String)>>,
}

impl Sqlite {
    /// Opens the file, or makes it (readable by its owner only), and brings its tables up to date. It must be a path: SQLite's other
    /// names (`:memory:`, `file:…`) are refused. For a store in memory there is [`Memory`](adieu::store::Memory).
    ///
    /// # Errors
    /// [`Error::InvalidSetting`] when that is no path.
    /// [`Error::IncompatibleStore`] when it is damaged, another program's, or of a newer version: it is then left as it is.
    /// [`Error::Unavailable`] when it can't be opened.
    pub async fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        let store = Self::open_while_checking(path).await?;
        store.checked().await?;
        Ok(store)
    }

    /// Opens the file like [`Sqlite::open`], but returns while its pages are still being checked for damage, so that the
    /// log can be read meanwhile. Until that is done nothing is written, and a read of the log does not come to its
    /// end: no [`Follower`](adieu::revocation::Follower) is ready. To be followed by [`Sqlite::checked`] before anything
    /// that was read is acted upon.
    ///
    /// # Errors
    /// As [`Sqlite::open`], but for damage that only the check finds.
    #[doc(hidden)]
    pub async fn open_while_checking(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref().to_owned();
        tokio::task::spawn_blocking(move || Self::open_blocking(path)).await.map_err(Error::unavailable)?
    }

    fn open_blocking(path: PathBuf) -> Result<Self, Error> {
        let shown = path.to_string_lossy();
        if shown.is_empty() || shown.starts_with(':') || shown.starts_with("file:") || shown.starts_with("sqlite:") {
            return Err(Error::setting(
                "path",
                format!("`{shown}` is not the path of a file; for a store in memory use `store::Memory`"),
            ));
        }
        let state = schema::identify(&path)?;
        if state == State::Older {
            schema::check_pages(&path)?;
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
                "the file is on a file system of a network ({network}), where SQLite promises nothing: keep it on a disk of this \
                 machine, or everything in PostgreSQL"
            );
        }
        let (writer, witness) = (Arc::new(OnceLock::new()), Witness::default());
        let (announce, checked) = watch::channel(None);
        let check = {
            let (path, file) = (path.clone(), Arc::clone(&file));
            let (writer, witness) = (Arc::clone(&writer), witness.clone());
            let running = Running::begin();
            move || {
                let _running = running;
                let outcome = match state {
                    State::Current => schema::check_pages(&path),
                    State::New | State::Older => Ok(()),
                };
                let outcome = outcome.and_then(|()| {
                    let connection = connect(&path).map_err(Error::unavailable)?;
                    sound.store(true, Ordering::Release);
                    // This thread alone sets it, once.
                    let _ =
                        writer.set(Worker::start("adieu-writer", &file, vec![connection], Mode::GroupCommit(witness))?);
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
            write_failed: Arc::default(),
            pruned_up_to: Arc::default(),
            forgotten_up_to: Arc::default(),
            path: Arc::new(path),
        })
    }

    /// Returns when the file has been checked for damage.
    ///
    /// # Errors
    /// [`Error::IncompatibleStore`] when it is damaged: it is left as it is. [`Error::Unavailable`] when it could not be opened for
    /// writing.
    #[doc(hidden)]
    pub async fn checked(&self) -> Result<(), Error> {
        match self.checked.clone().wait_for(Option::is_some).await.as_deref() {
            Ok(Some(outcome)) => outcome.clone(),
            _ => Err(Error::unavailable("the check of the file has ended without a result")),
        }
    }

    /// Where the file is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Runs an operation that writes, together with whatever else is queued, and returns when all of it is durable.
    /// It may be run more than once, in a transaction that was rolled back before, and must do nothing else.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when it failed or could not be made durable. It may then have been written or not.
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
        // That the queue is full says nothing of the file.
        let outcome = writer.queue(operation)?.await;
        if outcome.is_err() {
            self.write_failed.store(true, Ordering::Relaxed);
        }
        outcome
    }

    /// Runs an operation that only reads, on what has been committed.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when it failed.
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

    /// As [`Sqlite::query`], for following the log.
    async fn follow<T, F>(&self, operation: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnMut(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        let output = self.follower.queue(operation)?.await?;
        self.file.check()?;
        Ok(output)
    }

    /// Makes sure that the store can be read, and, if a write has failed, that it can be written again.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when it can't.
    pub async fn check(&self) -> Result<(), Error> {
        const READ: &str = "SELECT log_id FROM revocation_log_state";
        // Something must change, or SQLite writes nothing.
        const WRITE: &str = "UPDATE revocation_log_state SET probes = probes + 1";
        self.query(|connection| connection.query_row(READ, [], |_| Ok(()))).await?;
        if self.write_failed.load(Ordering::Relaxed) {
            self.transact(|connection| connection.execute(WRITE, [])).await?;
            self.write_failed.store(false, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Moves what is in the write-ahead log into the file, so that the file alone is the whole store; to be called before
    /// the end. Waits for readers that are under way.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when that failed: nothing is lost, the write-ahead log is then part of the store.
    #[doc(hidden)]
    pub async fn checkpoint(&self) -> Result<(), Error> {
        self.file.check_writable()?;
        let path = Arc::clone(&self.path);
        // By a reader, since the writer's operations are in a transaction.
        self.query(move |connection| {
            WriteAheadLog::check_all(&path, connection).map_err(|error| rows::invalid(format!("{error:?}")))?;
            connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)")
        })
        .await
    }

    /// Brings an application's own tables in this file up to date: runs those `steps` that have not been run under
    /// this `component` name, all in one transaction.
    ///
    /// # Errors
    /// [`Error::IncompatibleStore`] when a newer version of the component has written here, [`Error::Unavailable`] when a step
    /// failed.
    #[doc(hidden)]
    pub async fn migrate(&self, component: &'static str, steps: &'static [&'static str]) -> Result<(), Error> {
        // Mostly there is nothing to do, which needs no write.
        if self.query(move |connection| schema::component_version(connection, component)).await? == steps.len() {
            return Ok(());
        }
        let newer = self.transact(move |connection| schema::migrate_component(connection, component, steps)).await?;
        match newer {
            None => Ok(()),
            Some(version) => Err(Error::IncompatibleStore(format!(
                "{} was written by a newer version of adieu ({component} schema {version})",
                self.path.display()
            ))),
        }
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
    connection.pragma_update(None, "cache_size", -CACHE)?;
    // The writer moves the log into the file itself, once it has looked at it.
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    // Otherwise SQLite looks at what is bound to a LIMIT, and compiles the statement again whenever it is bound anew.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

/// A new file gets its write-ahead log by a change of its header, for which SQLite does not always wait when another process
/// is making the same change.
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

/// Does not write, not even what SQLite would when a file is closed by the last who has it open, as long as the file has
/// not been found sound: see [`Mode::Read`].
fn connect_to_read(path: &Path) -> rusqlite::Result<Connection> {
    let connection = connect(path)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    Ok(connection)
}

/// SQLite's own way sleeps up to a tenth of a second between looks, and would hardly ever find the gap between two
/// commits of a busy process.
fn wait_for_another_process(tries: i32) -> bool {
    thread_local! {
        /// Since when this thread waits. A pause takes longer than it is meant to, so their number says little.
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

/// Makes the file before SQLite does, since that would make it readable by whoever the umask lets; its -wal and -shm
/// get the same mode.
fn make_private(path: &Path) -> Result<(), Error> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(Error::unavailable(error)),
    }
}

/// SQLite has no unsigned integers; a [`Timestamp`] never needs the last bit.
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
