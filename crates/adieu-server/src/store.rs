//! The engines of a server, as configured in the settings.
//!
//! Accounts, clients and aliases are in the *store*; sessions, signing keys and revocations are in the same store or in an engine of their own.
//! Either way, ending a session is one operation of one engine, because the three are always together.

mod appends;
pub mod backup;
pub mod check;
pub mod copy;
mod measured;

use std::{
    fs::{File, OpenOptions},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use adieu::{
    Error,
    store::{Membership, Store},
};
use adieu_postgres::{Postgres, PostgresBuilder};
use adieu_redis::Redis;
use adieu_sqlite::Sqlite;
use anyhow::Context as _;

use self::appends::{AppendMetrics, MeasuredStore};
use crate::{
    accounts::{self, AccountStore},
    aliases::{self, AliasStore},
    clients::{self, ClientStore},
    config::{RedisAddress, Settings, StoreAddress},
    deliveries::{self, DeliveryStore},
};

/// The file name in the data folder.
pub(crate) const FILE: &str = "adieu.sqlite";

/// The open engines of one server. Clones share them.
#[derive(Debug, Clone)]
pub struct Stores {
    main: Main,
    /// The engine for sessions, keys and revocations, if it is a separate one.
    revocations: Option<Redis>,
    appends: AppendMetrics,
}

/// The engine for accounts and clients.
#[derive(Debug, Clone)]
enum Main {
    Sqlite(Sqlite),
    Postgres(Postgres),
}

impl Stores {
    /// Opens the engines of the settings, creating missing ones.
    ///
    /// # Errors
    /// Fails if an engine can't be used.
    pub async fn open(settings: &Settings) -> anyhow::Result<Self> {
        let stores = Self::open_while_checking(settings).await?;
        stores.checked(&address(settings)).await?;
        stores.migrate().await?;
        Ok(stores)
    }

    /// Like [`Stores::open`], but returns while a file is still being checked for damage. The caller must then call [`Stores::checked`] and
    /// [`Stores::migrate`].
    ///
    /// # Errors
    /// Fails if an engine can't be used.
    pub async fn open_while_checking(settings: &Settings) -> anyhow::Result<Self> {
        Self::open_at(&address(settings), settings.revocations.as_ref(), settings.allow_weaker_durability).await
    }

    /// Opens the engines as they are: creates and migrates nothing. Returns `None` if the next start of a server would do that
    /// first. A file has been checked for damage.
    ///
    /// # Errors
    /// Fails if an engine can't be used.
    pub async fn open_unchanged(settings: &Settings) -> anyhow::Result<Option<Self>> {
        let Some(stores) = Self::open_unmigrated(settings).await? else { return Ok(None) };
        let is_migrated = match &stores.main {
            Main::Sqlite(store) => {
                accounts::is_migrated(store).await?
                    && clients::is_migrated(store).await?
                    && deliveries::is_migrated(store).await?
                    && aliases::is_migrated(store).await?
            }
            Main::Postgres(store) => {
                accounts::is_migrated_postgres(store).await?
                    && clients::is_migrated_postgres(store).await?
                    && deliveries::is_migrated_postgres(store).await?
                    && aliases::is_migrated_postgres(store).await?
            }
        };
        Ok(is_migrated.then_some(stores))
    }

    /// Like [`Stores::open_unchanged`], but the tables that the server adds may be of an older version.
    ///
    /// # Errors
    /// Fails if an engine can't be used.
    pub async fn open_unmigrated(settings: &Settings) -> anyhow::Result<Option<Self>> {
        let address = address(settings);
        if is_current(&address, settings.allow_weaker_durability).await? != Some(true) {
            return Ok(None);
        }
        let stores = Self::open_while_checking(settings).await?;
        stores.checked(&address).await?;
        Ok(Some(stores))
    }

    fn postgres(allow_weaker_durability: bool) -> PostgresBuilder {
        match allow_weaker_durability {
            true => Postgres::builder().allow_weaker_durability(),
            false => Postgres::builder(),
        }
    }

    async fn open_at(
        address: &StoreAddress,
        revocations: Option<&RedisAddress>,
        allow_weaker_durability: bool,
    ) -> anyhow::Result<Self> {
        let cannot_open = || cannot_open(address);
        let main = match address {
            StoreAddress::Sqlite(file) => {
                prepare_folder(file)?;
                Main::Sqlite(Sqlite::open_while_checking(file).await.with_context(cannot_open)?)
            }
            StoreAddress::Postgres(url) => {
                let builder = Self::postgres(allow_weaker_durability);
                Main::Postgres(builder.connect(url.expose()).await.with_context(cannot_open)?)
            }
        };
        let revocations = match revocations {
            Some(address) => Some(connect(address, allow_weaker_durability).await?),
            None => None,
        };
        Ok(Self { main, revocations, appends: AppendMetrics::default() })
    }

    /// Returns when the check for damage has passed.
    ///
    /// # Errors
    /// Fails if the store is damaged.
    pub async fn checked(&self, address: &StoreAddress) -> anyhow::Result<()> {
        match &self.main {
            Main::Sqlite(store) => store.checked().await.with_context(|| cannot_open(address)),
            Main::Postgres(_) => Ok(()),
        }
    }

    /// Migrates the tables that the server adds.
    ///
    /// # Errors
    /// Fails if the migration fails, or if a newer version has written to the store.
    pub async fn migrate(&self) -> Result<(), Error> {
        match &self.main {
            Main::Sqlite(store) => {
                accounts::migrate(store).await?;
                clients::migrate(store).await?;
                deliveries::migrate(store).await?;
                aliases::migrate(store).await
            }
            Main::Postgres(store) => {
                accounts::migrate_postgres(store).await?;
                clients::migrate_postgres(store).await?;
                deliveries::migrate_postgres(store).await?;
                aliases::migrate_postgres(store).await
            }
        }
    }

    /// Returns the store of sessions, keys and revocations.
    #[must_use]
    pub fn core(&self) -> Arc<dyn Store> {
        match (&self.revocations, &self.main) {
            (Some(store), _) => self.measured(store),
            (None, Main::Sqlite(store)) => self.measured(store),
            (None, Main::Postgres(store)) => self.measured(store),
        }
    }

    fn measured<S: Store + Clone>(&self, store: &S) -> Arc<dyn Store> {
        Arc::new(MeasuredStore { store: store.clone(), appends: self.appends.clone() })
    }

    /// Returns the registry in which the nodes of this store report their positions; `None` if the store is for one node.
    #[must_use]
    pub fn membership(&self) -> Option<Arc<dyn Membership>> {
        match (&self.revocations, &self.main) {
            (Some(store), _) => Some(Arc::new(store.clone())),
            (None, Main::Sqlite(_)) => None,
            (None, Main::Postgres(store)) => Some(Arc::new(store.clone())),
        }
    }

    /// Returns the store of accounts.
    #[must_use]
    pub fn accounts(&self) -> Arc<dyn AccountStore> {
        match &self.main {
            Main::Sqlite(store) => Arc::new(store.clone()),
            Main::Postgres(store) => Arc::new(store.clone()),
        }
    }

    /// Returns the store of clients.
    #[must_use]
    pub fn clients(&self) -> Arc<dyn ClientStore> {
        match &self.main {
            Main::Sqlite(store) => Arc::new(store.clone()),
            Main::Postgres(store) => Arc::new(store.clone()),
        }
    }

    /// Returns the store of the progress of deliveries.
    #[must_use]
    pub fn deliveries(&self) -> Arc<dyn DeliveryStore> {
        match &self.main {
            Main::Sqlite(store) => Arc::new(store.clone()),
            Main::Postgres(store) => Arc::new(store.clone()),
        }
    }

    /// Returns the store of aliases.
    #[must_use]
    pub fn aliases(&self) -> Arc<dyn AliasStore> {
        match &self.main {
            Main::Sqlite(store) => Arc::new(store.clone()),
            Main::Postgres(store) => Arc::new(store.clone()),
        }
    }

    /// Checks that sessions, keys and revocations can be read, and written if the last write failed.
    ///
    /// # Errors
    /// Fails if they can't.
    pub async fn check(&self) -> Result<(), Error> {
        match &self.revocations {
            Some(store) => store.check().await,
            None => self.check_accounts().await,
        }
    }

    /// Like [`Stores::check`], for accounts and clients.
    ///
    /// # Errors
    /// Fails if they can't be read or written.
    pub async fn check_accounts(&self) -> Result<(), Error> {
        match &self.main {
            Main::Sqlite(store) => store.check().await,
            Main::Postgres(store) => store.check().await,
        }
    }

    /// Closes the store, leaving a file that is complete by itself.
    ///
    /// # Errors
    /// Fails if that was not possible; no data is lost.
    pub async fn close(&self) -> Result<(), Error> {
        match &self.main {
            Main::Sqlite(store) => store.checkpoint().await,
            Main::Postgres(_) => Ok(()),
        }
    }
}

/// Checks that the engine for revocations can be used, if it is a separate one.
///
/// # Errors
/// Fails if it can't.
pub(crate) async fn reach_revocations(settings: &Settings) -> anyhow::Result<()> {
    match &settings.revocations {
        Some(address) => connect(address, settings.allow_weaker_durability).await.map(drop),
        None => Ok(()),
    }
}

async fn connect(RedisAddress(url): &RedisAddress, allow_weaker_durability: bool) -> anyhow::Result<Redis> {
    let builder = match allow_weaker_durability {
        true => Redis::builder(url.expose()).allow_weaker_durability(),
        false => Redis::builder(url.expose()),
    };
    builder.connect().await.with_context(|| format!("cannot open {url}"))
}

/// Returns the address of the store.
#[must_use]
pub fn address(settings: &Settings) -> StoreAddress {
    settings.store.clone().unwrap_or_else(|| StoreAddress::Sqlite(settings.data.join(FILE)))
}

/// Returns whether the tables of the engine in a store are those of this version; `None` if there is no store.
pub(crate) async fn is_current(address: &StoreAddress, allow_weaker_durability: bool) -> anyhow::Result<Option<bool>> {
    let is_current = match address {
        StoreAddress::Sqlite(file) => Sqlite::is_current(file).await,
        StoreAddress::Postgres(url) => Stores::postgres(allow_weaker_durability).is_current(url.expose()).await,
    };
    is_current.with_context(|| cannot_open(address))
}

/// Returns the file of the store, if the store is a file.
pub(crate) fn store_file(settings: &Settings) -> Option<PathBuf> {
    match address(settings) {
        StoreAddress::Sqlite(file) => Some(file),
        StoreAddress::Postgres(_) => None,
    }
}

fn cannot_open(address: &StoreAddress) -> String {
    match address {
        // As written in the settings, where there is no scheme.
        StoreAddress::Sqlite(file) => format!("cannot open {}", file.display()),
        StoreAddress::Postgres(address) => format!("cannot open {address}"),
    }
}

/// Creates the folder of a file, accessible only to its owner, and returns when its name is on stable storage.
pub(crate) fn prepare_folder(file: &Path) -> anyhow::Result<()> {
    let Some(folder) = file.parent().filter(|folder| !folder.as_os_str().is_empty()) else { return Ok(()) };
    let existing = folder.ancestors().find(|folder| folder.as_os_str().is_empty() || folder.exists());
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
        .create(folder)
        .and_then(|()| sync_names(folder, existing))
        .with_context(|| format!("cannot make the data folder {}", folder.display()))
}

/// Syncs the names of new folders, from this one up to the one that existed before.
fn sync_names(folder: &Path, existing: Option<&Path>) -> io::Result<()> {
    folder.ancestors().take_while(|folder| existing != Some(folder)).try_for_each(sync_name)
}

/// Syncs the name of a file or folder, which is in the folder that contains it.
pub(crate) fn sync_name(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(parent)?.sync_all()?;
    }
    #[cfg(not(unix))]
    let _ = path;
    Ok(())
}

/// Creates a file that only its owner can read. Fails if it exists.
pub(crate) fn create_private(file: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(file)
}
