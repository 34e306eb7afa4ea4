//! A node: the store, what follows it, and everything that answers requests, put together from the settings.

use std::{num::NonZeroUsize, path::PathBuf, sync::Arc};

use adieu::{
    Issuer,
    session::{SessionSettings, Sessions},
    store::{Housekeeping, Sqlite},
    time::Clock,
    token::{CacheLimits, KeyFollower, WhenStale},
};
use anyhow::Context as _;

use crate::{
    accounts::{self, Accounts},
    clients::{self, Clients},
    config::{self, Settings},
    feed::Feed,
    issuers,
    metrics::Metrics,
    password::Hasher,
};

/// The file in the data folder.
const FILE: &str = "adieu.sqlite";

/// Everything that a server or a command needs, running. What runs in the background ends when it is dropped.
#[derive(Debug)]
pub struct Node {
    /// Sessions and revocations, and the verifier that every path asks.
    pub sessions: Arc<Sessions>,
    /// Who can log in.
    pub accounts: Accounts,
    /// Which services may call, and what each may do.
    pub clients: Clients,
    /// What followers of this node read, and who they are.
    pub feed: Feed,
    /// The index, what keeps it up to date, and the keys.
    pub core: adieu::Node,
    /// What it counts.
    pub metrics: Arc<Metrics>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    store: Sqlite,
    #[expect(dead_code, reason = "follow the keys of other issuers for as long as the node is there")]
    key_followers: Vec<KeyFollower>,
}

impl Node {
    /// Opens the store in the data folder, which is made if it is not there, and reads what has been revoked.
    ///
    /// # Errors
    /// When the store can't be used, or a setting has no meaning.
    pub async fn open(settings: &Settings) -> anyhow::Result<Self> {
        let file = prepare_file(settings)?;
        let cannot_open = || format!("cannot open {}", file.display());
        let store = Sqlite::open_while_checking(&file).await.with_context(cannot_open)?;
        let node = Self::start(settings, store.clone()).await;
        // Damage explains whatever else went wrong.
        store.checked().await.with_context(cannot_open)?;
        node
    }

    async fn start(settings: &Settings, store: Sqlite) -> anyhow::Result<Self> {
        migrate(&store).await?;
        let session_settings = SessionSettings {
            issuer: Issuer::new(&settings.issuer)?,
            audience: settings.audience.iter().cloned().collect(),
            access_lifetime: settings.access_lifetime,
            refresh_lifetime: settings.refresh_lifetime,
            session_lifetime: settings.session_lifetime,
            rotation_grace: settings.rotation_grace,
            sessions_per_subject: settings.sessions_per_user,
        };
        let token_cache = CacheLimits {
            entries: settings.token_cache,
            bytes: settings.token_cache.saturating_mul(const { NonZeroUsize::new(1024).unwrap() }),
        };
        let mut builder = adieu::Node::builder(session_settings.issuer.clone());
        let mut key_followers = Vec::new();
        for issuer in &settings.trusted_issuer {
            let (decoder, follower) = issuers::trust(issuer, settings.leeway)?;
            builder = builder.issuer(decoder);
            key_followers.extend(follower);
        }
        let starting = builder
            .token_cache(Some(token_cache))
            .sessions(session_settings)
            .leeway(settings.leeway)
            .max_staleness(settings.max_staleness)
            .when_stale(token_when_stale(settings))
            .start(store.clone());
        // Of a damaged file a node may never be ready.
        let checked = async {
            store.checked().await?;
            std::future::pending().await
        };
        let core = tokio::select! {
            started = starting => started?,
            damage = checked => return damage,
        };
        let threads = settings.hashing_threads.unwrap_or_else(Hasher::default_threads);
        let hasher = Hasher::start(threads, settings.hashing_queue).context("no threads for hashing passwords")?;
        let (sessions, clock) = (Arc::clone(core.sessions()), Arc::clone(core.clock()));
        let accounts = Accounts::new(Arc::new(store.clone()), Arc::clone(&sessions), hasher, Arc::clone(&clock));
        let clients = Clients::new(Arc::new(store.clone()), Arc::clone(&clock));
        let (log, issuer) = (Arc::clone(core.log()), Issuer::new(&settings.issuer)?);
        let feed = Feed::start(log, Arc::clone(&clock), issuer, settings.max_staleness);
        let metrics = Arc::new(Metrics::new(Arc::clone(core.verifier()), Some(Arc::clone(&sessions))));
        Ok(Self { core, sessions, metrics, accounts, clients, feed, clock, store, key_followers })
    }

    /// Makes sure that the store can be read, and written when it could not be the last time.
    ///
    /// # Errors
    /// When it can't.
    pub async fn check_store(&self) -> Result<(), adieu::Error> {
        self.store.check().await
    }

    /// Writes down what is only in memory, and leaves the store as one whole file. What can't be is logged: nothing that was
    /// promised depends on it.
    pub async fn close(&self) {
        let written = self.sessions.write_last_seen().await;
        if let Err(error) = written.and(self.store.checkpoint().await) {
            tracing::warn!(error = &error as &dyn std::error::Error, "the store could not be closed cleanly");
        }
    }

    /// Starts to tidy up the store in the background, for as long as the answer is kept.
    #[must_use]
    pub fn start_housekeeping(&self) -> Housekeeping {
        self.core.start_housekeeping()
    }
}

/// The setting, in the words of the core.
#[must_use]
pub fn token_when_stale(settings: &Settings) -> WhenStale {
    match settings.when_stale {
        config::WhenStale::Refuse => WhenStale::Refuse,
        config::WhenStale::Accept => WhenStale::Accept,
    }
}

/// The store's file, which may not be there.
#[must_use]
pub fn store_file(settings: &Settings) -> PathBuf {
    settings.data.join(FILE)
}

/// Opens the store alone, to look at what it holds; makes it, in a folder that only its owner can look into.
///
/// # Errors
/// When the store can't be used.
pub async fn open_store(settings: &Settings) -> anyhow::Result<Sqlite> {
    let file = prepare_file(settings)?;
    let store = Sqlite::open(&file).await.with_context(|| format!("cannot open {}", file.display()))?;
    migrate(&store).await?;
    Ok(store)
}

/// Brings the tables that the server adds up to date.
async fn migrate(store: &Sqlite) -> Result<(), adieu::Error> {
    accounts::migrate(store).await?;
    clients::migrate(store).await
}

/// Where the store's file is to be, in a folder that is there.
fn prepare_file(settings: &Settings) -> anyhow::Result<PathBuf> {
    let folder = &settings.data;
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder).with_context(|| format!("cannot make the data folder {}", folder.display()))?;
    Ok(store_file(settings))
}
