//! Where a server keeps things, as the settings have it.
//!
//! Accounts and clients are in the *store*; sessions, signing keys and revocations beside them, or in an engine of their own.
//! What ends a session is one step of one engine either way, since the three are never apart.

pub mod copy;
mod measured;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use adieu::{
    Error,
    store::{Membership, Store},
};
use adieu_postgres::Postgres;
use adieu_redis::Redis;
use adieu_sqlite::Sqlite;
use anyhow::Context as _;

use crate::{
    accounts::{self, AccountStore},
    clients::{self, ClientStore},
    config::{RedisAddress, Settings, StoreAddress},
};

/// The file in the data folder.
pub(crate) const FILE: &str = "adieu.sqlite";

/// The engines of one server, open. Clones share them.
#[derive(Debug, Clone)]
pub struct Stores {
    main: Main,
    /// Where sessions, keys and revocations are, if not there.
    revocations: Option<Redis>,
}

/// Where accounts and clients are.
#[derive(Debug, Clone)]
enum Main {
    Sqlite(Sqlite),
    Postgres(Postgres),
}

impl Stores {
    /// Opens what the settings name, and makes what is not there.
    ///
    /// # Errors
    /// When it can't be used.
    pub async fn open(settings: &Settings) -> anyhow::Result<Self> {
        let stores = Self::open_while_checking(settings).await?;
        stores.checked(&address(settings)).await?;
        stores.migrate().await?;
        Ok(stores)
    }

    /// The same, but returns while a file is still being looked through for damage; to be followed by [`Stores::checked`] and
    /// [`Stores::migrate`].
    ///
    /// # Errors
    /// When it can't be used.
    pub async fn open_while_checking(settings: &Settings) -> anyhow::Result<Self> {
        Self::open_at(&address(settings), settings.revocations.as_ref(), settings.allow_weaker_durability).await
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
                let builder = match allow_weaker_durability {
                    true => Postgres::builder().allow_weaker_durability(),
                    false => Postgres::builder(),
                };
                Main::Postgres(builder.connect(url.expose()).await.with_context(cannot_open)?)
            }
        };
        let revocations = match revocations {
            Some(RedisAddress(url)) => {
                let builder = Redis::builder(url.expose()).allow_weaker_durability(allow_weaker_durability);
                Some(builder.connect().await.with_context(|| format!("cannot open {url}"))?)
            }
            None => None,
        };
        Ok(Self { main, revocations })
    }

    /// Returns when what was opened is known to be sound.
    ///
    /// # Errors
    /// When it is damaged.
    pub async fn checked(&self, address: &StoreAddress) -> anyhow::Result<()> {
        match &self.main {
            Main::Sqlite(store) => store.checked().await.with_context(|| cannot_open(address)),
            Main::Postgres(_) => Ok(()),
        }
    }

    /// Brings the tables that the server adds up to date.
    ///
    /// # Errors
    /// When that fails, or a newer version has written there.
    pub async fn migrate(&self) -> Result<(), Error> {
        match &self.main {
            Main::Sqlite(store) => {
                accounts::migrate(store).await?;
                clients::migrate(store).await
            }
            Main::Postgres(store) => {
                accounts::migrate_postgres(store).await?;
                clients::migrate_postgres(store).await
            }
        }
    }

    /// Sessions, keys and revocations.
    #[must_use]
    pub fn core(&self) -> Arc<dyn Store> {
        match (&self.revocations, &self.main) {
            (Some(store), _) => Arc::new(store.clone()),
            (None, Main::Sqlite(store)) => Arc::new(store.clone()),
            (None, Main::Postgres(store)) => Arc::new(store.clone()),
        }
    }

    /// Where the nodes of this store let each other know how far they are; none when it is for one node.
    #[must_use]
    pub fn membership(&self) -> Option<Arc<dyn Membership>> {
        match (&self.revocations, &self.main) {
            (Some(store), _) => Some(Arc::new(store.clone())),
            (None, Main::Sqlite(_)) => None,
            (None, Main::Postgres(store)) => Some(Arc::new(store.clone())),
        }
    }

    /// Who can log in.
    #[must_use]
    pub fn accounts(&self) -> Arc<dyn AccountStore> {
        match &self.main {
            Main::Sqlite(store) => Arc::new(store.clone()),
            Main::Postgres(store) => Arc::new(store.clone()),
        }
    }

    /// Which services may call.
    #[must_use]
    pub fn clients(&self) -> Arc<dyn ClientStore> {
        match &self.main {
            Main::Sqlite(store) => Arc::new(store.clone()),
            Main::Postgres(store) => Arc::new(store.clone()),
        }
    }

    /// Makes sure that sessions, keys and revocations can be read, and written when they could not be the last time.
    ///
    /// # Errors
    /// When they can't.
    pub async fn check(&self) -> Result<(), Error> {
        match &self.revocations {
            Some(store) => store.check().await,
            None => self.check_accounts().await,
        }
    }

    /// The same for accounts and clients.
    ///
    /// # Errors
    /// When they can't.
    pub async fn check_accounts(&self) -> Result<(), Error> {
        match &self.main {
            Main::Sqlite(store) => store.check().await,
            Main::Postgres(store) => store.check().await,
        }
    }

    /// Leaves a file that is whole by itself.
    ///
    /// # Errors
    /// When that failed: nothing is lost.
    pub async fn close(&self) -> Result<(), Error> {
        match &self.main {
            Main::Sqlite(store) => store.checkpoint().await,
            Main::Postgres(_) => Ok(()),
        }
    }
}

/// Where the store is.
#[must_use]
pub fn address(settings: &Settings) -> StoreAddress {
    settings.store.clone().unwrap_or_else(|| StoreAddress::Sqlite(settings.data.join(FILE)))
}

/// The file that the store is, if it is one.
pub(crate) fn store_file(settings: &Settings) -> Option<PathBuf> {
    match address(settings) {
        StoreAddress::Sqlite(file) => Some(file),
        StoreAddress::Postgres(_) => None,
    }
}

fn cannot_open(address: &StoreAddress) -> String {
    match address {
        // As it is written in the settings, where there is no scheme.
        StoreAddress::Sqlite(file) => format!("cannot open {}", file.display()),
        StoreAddress::Postgres(address) => format!("cannot open {address}"),
    }
}

/// Makes the folder of a file, such that only its owner can look into it.
pub(crate) fn prepare_folder(file: &Path) -> anyhow::Result<()> {
    let Some(folder) = file.parent().filter(|folder| !folder.as_os_str().is_empty()) else { return Ok(()) };
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder).with_context(|| format!("cannot make the data folder {}", folder.display()))
}
