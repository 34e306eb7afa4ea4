//! A node: the store, what follows it, and everything that answers requests, put together from the settings.

use std::{path::PathBuf, sync::Arc};

use adieu::{
    Issuer,
    revocation::{Follower, Index, RevocationLog},
    session::{SessionSettings, Sessions},
    store::{Housekeeping, Sqlite},
    time::{Clock, SystemClock},
    token::{Algorithm, Decoder, KeySet, Rules, SigningKey, Verifier, WhenStale, load_or_make_keys},
};
use anyhow::Context as _;

use crate::{
    accounts::{self, Accounts},
    config::{self, Settings},
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
    /// The keys, oldest first; the last one signs.
    pub keys: Vec<SigningKey>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    store: Sqlite,
    #[expect(dead_code, reason = "follows for as long as the node is there")]
    follower: Follower,
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
        accounts::migrate(&store).await?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let keys = load_or_make_keys(&store, Algorithm::EdDSA, clock.now()).await?;
        let signing_key = keys.last().context("the store has no signing key")?.clone();

        let index = Arc::new(Index::new(clock.now()));
        let log: Arc<dyn RevocationLog> = Arc::new(store.clone());
        let follower = Follower::start(log, Arc::clone(&index), Arc::clone(&clock), settings.max_staleness);
        let issuer = Issuer::new(&settings.issuer)?;
        let mut rules = Rules::new(issuer.clone()).with_leeway(settings.leeway)?;
        if let Some(audience) = &settings.audience {
            rules = rules.with_audience(audience);
        }
        let verifier = Verifier::new(
            Decoder::new(rules, KeySet::new(keys.iter().map(|key| key.verifying_key().clone()))?),
            index,
            follower.freshness(),
            Arc::clone(&clock),
            settings.max_staleness,
            match settings.when_stale {
                config::WhenStale::Refuse => WhenStale::Refuse,
                config::WhenStale::Accept => WhenStale::Accept,
            },
        );
        let session_settings = SessionSettings {
            issuer,
            audience: settings.audience.iter().cloned().collect(),
            access_lifetime: settings.access_lifetime,
            refresh_lifetime: settings.refresh_lifetime,
            session_lifetime: settings.session_lifetime,
            rotation_grace: settings.rotation_grace,
            sessions_per_subject: settings.sessions_per_user,
        };
        let sessions = Arc::new(Sessions::new(
            Arc::new(store.clone()),
            Arc::new(verifier),
            signing_key,
            session_settings,
            Arc::clone(&clock),
        )?);
        let threads = settings.hashing_threads.unwrap_or_else(Hasher::default_threads);
        let hasher = Hasher::start(threads, settings.hashing_queue).context("no threads for hashing passwords")?;
        let accounts = Accounts::new(Arc::new(store.clone()), Arc::clone(&sessions), hasher, Arc::clone(&clock));
        // Of a damaged file a follower is never ready.
        store.checked().await?;
        follower.ready().await.context("the log of revocations cannot be read")?;
        Ok(Self { sessions, accounts, keys, clock, store, follower })
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
        let log: Arc<dyn RevocationLog> = Arc::new(self.store.clone());
        Housekeeping::start(log, Arc::clone(&self.sessions), Arc::clone(&self.clock))
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
    accounts::migrate(&store).await?;
    Ok(store)
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
