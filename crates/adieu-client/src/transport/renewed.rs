//! A connection pool with certificates from files, which is replaced when they change.

use std::{
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use adieu::{Chain, Error, retry::Outage};
use reqwest::Client;
use tokio::{task::spawn_blocking, time::Instant};
use zeroize::Zeroizing;

use super::certified_pool;

/// How often the files are read again.
const RENEWAL: Duration = Duration::from_secs(10);

/// The maximum size of a file, in bytes.
const MAX_BYTES: u64 = 1024 * 1024;

#[derive(Debug)]
pub(super) struct Renewed {
    files: Files,
    in_use: Mutex<InUse>,
    /// Begins when the files cannot be used.
    outage: Outage,
}

#[derive(Debug, Clone)]
struct Files {
    roots: Option<PathBuf>,
    identity: Vec<PathBuf>,
}

struct InUse {
    client: Client,
    contents: Contents,
    read_at: Instant,
}

impl std::fmt::Debug for InUse {
    /// Omits the contents, with the key.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("InUse").field("read_at", &self.read_at).finish_non_exhaustive()
    }
}

#[derive(PartialEq, Eq)]
struct Contents {
    roots: Option<Vec<u8>>,
    identity: Option<Zeroizing<Vec<u8>>>,
}

impl Files {
    fn read(&self) -> Result<Contents, Error> {
        let read = |setting, file: &PathBuf| {
            let unreadable = |error| Error::setting(setting, format!("{}: {error}", file.display()));
            // A pipe would be waited for.
            let metadata = std::fs::metadata(file).map_err(unreadable)?;
            if !metadata.is_file() || metadata.len() > MAX_BYTES {
                return Err(unreadable(std::io::Error::other("not a regular file of at most 1 MiB")));
            }
            std::fs::read(file).map_err(unreadable)
        };
        let roots = self.roots.as_ref().map(|file| read("roots", file)).transpose()?;
        let mut identity = Zeroizing::new(Vec::new());
        for file in &self.identity {
            identity.extend_from_slice(&Zeroizing::new(read("identity", file)?));
            // A file may end without a line end.
            identity.push(b'\n');
        }
        Ok(Contents { roots, identity: (!self.identity.is_empty()).then_some(identity) })
    }
}

impl Contents {
    fn pool(&self) -> Result<Client, Error> {
        certified_pool(self.roots.as_deref(), self.identity.as_ref().map(|identity| identity.as_slice()))
    }
}

impl Renewed {
    pub(super) fn read(roots: Option<PathBuf>, identity: Vec<PathBuf>) -> Result<Self, Error> {
        let files = Files { roots, identity };
        let contents = files.read()?;
        let in_use = InUse { client: contents.pool()?, contents, read_at: Instant::now() };
        Ok(Self { files, in_use: Mutex::new(in_use), outage: Outage::default() })
    }

    /// Returns the pool for a request, after reading the files if that was long ago.
    pub(super) async fn client(&self) -> Client {
        let due = {
            let mut in_use = self.in_use();
            let due = in_use.read_at.elapsed() >= RENEWAL;
            if due {
                // No other request reads them meanwhile.
                in_use.read_at = Instant::now();
            }
            due
        };
        if due {
            let files = self.files.clone();
            let read = spawn_blocking(move || files.read()).await;
            match read.map_err(Error::unavailable).flatten().and_then(|contents| self.renew(contents)) {
                Ok(()) => drop(self.outage.ends()),
                Err(error) if self.outage.begins() => tracing::error!(
                    "the certificate of this client could not be renewed, and the old one stays in use: {}",
                    Chain(&error)
                ),
                Err(_) => {}
            }
        }
        self.in_use().client.clone()
    }

    fn renew(&self, contents: Contents) -> Result<(), Error> {
        if contents == self.in_use().contents {
            return Ok(());
        }
        let client = contents.pool()?;
        *self.in_use() = InUse { client, contents, read_at: Instant::now() };
        tracing::info!("using the certificate of this client that was renewed");
        Ok(())
    }

    fn in_use(&self) -> MutexGuard<'_, InUse> {
        self.in_use.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
