//! A node: the store, what follows it, and everything that answers requests, put together from the settings.

use std::{
    num::NonZeroUsize,
    sync::{Arc, atomic::AtomicBool},
};

use adieu::{
    Housekeeping, Issuer,
    session::{SessionSettings, Sessions},
    time::{Clock, SystemClock},
    token::{CacheLimits, StalePolicy},
};
use adieu_client::KeyFollower;
use anyhow::Context as _;

use crate::{
    accounts::Accounts,
    clients::Clients,
    config::{self, Settings},
    feed::{Feed, Joining},
    high_water, issuers,
    limit::{ClientQuotas, LoginLimits, MAX_ENTRIES},
    metrics::Metrics,
    password::Hasher,
    store::{Stores, address},
};

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
    /// How often logins may fail.
    pub limits: LoginLimits,
    /// How much clients may revoke.
    pub quotas: ClientQuotas,
    /// What it counts.
    pub metrics: Arc<Metrics>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Whether it has been told to stop, and should get no more requests.
    pub is_leaving: AtomicBool,
    stores: Stores,
    #[expect(dead_code, reason = "follow the keys of other issuers for as long as the node is there")]
    key_followers: Vec<KeyFollower>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Serve,
    Command,
}

impl Node {
    /// Opens the store of the settings, which is made if it is not there, and reads what has been revoked.
    ///
    /// # Errors
    /// When the store can't be used, or a setting has no meaning.
    pub async fn open(settings: &Settings) -> anyhow::Result<Self> {
        Self::open_as(Purpose::Serve, settings).await
    }

    /// The same, for a command, which accepts no tokens and which nobody waits for.
    ///
    /// # Errors
    /// As [`Node::open`].
    pub async fn open_for_command(settings: &Settings) -> anyhow::Result<Self> {
        Self::open_as(Purpose::Command, settings).await
    }

    async fn open_as(purpose: Purpose, settings: &Settings) -> anyhow::Result<Self> {
        let stores = Stores::open_while_checking(settings).await?;
        let node = Self::start(purpose, settings, stores.clone()).await;
        // Damage explains whatever else went wrong.
        stores.checked(&address(settings)).await?;
        node
    }

    async fn start(purpose: Purpose, settings: &Settings, stores: Stores) -> anyhow::Result<Self> {
        stores.migrate().await?;
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
        // Before the log is read, so that nobody who revokes something later overlooks this node.
        let joining = match stores.membership().filter(|_| purpose == Purpose::Serve) {
            Some(nodes) => {
                let clock: Arc<dyn Clock> = Arc::new(SystemClock);
                let (max_staleness, when_stale) = (settings.max_staleness, token_when_stale(settings));
                Some(Joining::begin(nodes, clock, max_staleness, when_stale).await?)
            }
            None => None,
        };
        if let Some(joining) = &joining {
            builder = builder.complete_until(joining.limit());
        }
        if let Some(file) = high_water::of(settings, purpose == Purpose::Serve)? {
            builder = builder.high_water(file);
        }
        let starting = builder
            .token_cache(Some(token_cache))
            .sessions(session_settings)
            .leeway(settings.leeway)
            .max_staleness(settings.max_staleness)
            .when_stale(token_when_stale(settings))
            .start_on(stores.core());
        // Of a damaged file a node may never be ready.
        let checked = async {
            stores.checked(&address(settings)).await?;
            std::future::pending().await
        };
        let core = tokio::select! {
            started = starting => started?,
            damage = checked => return damage,
        };
        let threads = settings.hashing_threads.unwrap_or_else(Hasher::default_threads);
        let hasher = Hasher::start(threads, settings.hashing_queue).context("no threads for hashing passwords")?;
        let (sessions, clock) = (Arc::clone(core.sessions()), Arc::clone(core.clock()));
        let accounts = Accounts::new(stores.accounts(), Arc::clone(&sessions), hasher, Arc::clone(&clock));
        let clients = Clients::new(stores.clients(), Arc::clone(&clock));
        let (per_account, per_address) = (settings.login_attempts_per_account, settings.login_attempts_per_address);
        let limits = LoginLimits::new(per_account, per_address, Arc::clone(&clock));
        if purpose == Purpose::Serve {
            limits.remember(accounts.store().known_addresses(clock.now(), MAX_ENTRIES).await?);
        }
        let quotas = ClientQuotas::new(Arc::clone(&clock));
        let (log, issuer) = (Arc::clone(core.log()), Issuer::new(&settings.issuer)?);
        let joining = joining.map(|joining| (joining, core.settled()));
        let feed = Feed::start_among(log, Arc::clone(&clock), issuer, settings.max_staleness, joining);
        let metrics =
            Metrics::new(Arc::clone(core.verifier()), Some(Arc::clone(&sessions)), core.high_water().cloned());
        let metrics = metrics.with_clients(clients.clone(), settings.clone());
        let metrics = Arc::new(metrics.with_stores(stores.clone()));
        let is_leaving = AtomicBool::new(false);
        Ok(Self {
            core,
            sessions,
            limits,
            quotas,
            metrics,
            accounts,
            clients,
            feed,
            clock,
            is_leaving,
            stores,
            key_followers,
        })
    }

    /// Where everything is kept.
    pub(crate) fn stores(&self) -> &Stores {
        &self.stores
    }

    /// Writes down what is only in memory, and leaves the store as one whole file. What can't be is logged: nothing that was
    /// promised depends on it.
    pub async fn close(&self) {
        self.feed.leave().await;
        let written = self.sessions.write_last_seen().await;
        if let Err(error) = written.and(self.stores.close().await) {
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
pub fn token_when_stale(settings: &Settings) -> StalePolicy {
    match settings.when_stale {
        config::StalePolicy::Refuse => StalePolicy::Refuse,
        config::StalePolicy::Accept => StalePolicy::Accept,
    }
}
