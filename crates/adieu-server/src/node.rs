//! A node, assembled from the settings: the store, the follower of its log, and the parts that answer requests.

use std::sync::Arc;

use adieu::{
    Error, Housekeeping, Issuer, Subject,
    session::{SessionSettings, Sessions},
    time::{Clock, SystemClock},
};
use anyhow::Context as _;
use arc_swap::ArcSwap;
use tokio::sync::watch;

use crate::{
    accounts::{AccountStore, Accounts},
    aliases::Aliases,
    clients::Clients,
    config::Settings,
    deliveries::Source,
    events::Events,
    feed::{Feed, Joining},
    high_water,
    issuers::Trusted,
    limit::{ClientQuotas, LoginLimits, MAX_ENTRIES},
    metrics::Metrics,
    password::Hasher,
    shares::Shares,
    store::{Stores, address},
    traces::Traces,
};

/// How many streams of session events a user may have at the same time.
const MAX_STREAMS: usize = 16;

/// The running parts that a server or a command needs. Background tasks end when it is dropped.
#[derive(Debug)]
pub struct Node {
    /// Sessions and revocations, with the verifier that every path uses.
    pub sessions: Arc<Sessions>,
    /// The accounts that can log in.
    pub accounts: Accounts,
    /// The services that may call the API, and their permissions.
    pub clients: Clients,
    /// The feed that followers of this node read, and the registry of those followers.
    pub feed: Feed,
    /// The index, its follower, and the keys.
    pub core: adieu::Node,
    /// Limits of failed logins.
    pub limits: LoginLimits,
    /// The revocation quotas of clients.
    pub quotas: ClientQuotas,
    /// The quotas of clients for tokens that reset passwords.
    pub reset_quotas: ClientQuotas,
    /// The events of other issuers.
    pub events: Events,
    /// The other issuers whose tokens are accepted.
    pub(crate) trusted: ArcSwap<Trusted>,
    /// The settings in effect.
    pub(crate) settings: Arc<ArcSwap<Settings>>,
    /// The streams of session events that users hold.
    pub(crate) streams: Arc<Shares<Subject>>,
    /// The aliases of the users of other issuers.
    pub aliases: Aliases,
    /// The metrics of this server.
    pub metrics: Arc<Metrics>,
    /// The traces of this server.
    pub(crate) traces: Traces,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Whether the node is shutting down and should get no more requests.
    pub is_leaving: watch::Sender<bool>,
    stores: Stores,
}

/// Returns the settings of the sessions.
///
/// # Errors
/// If the settings contradict each other.
pub(crate) fn session_settings(settings: &Settings) -> Result<SessionSettings, adieu::Error> {
    let mut sessions = SessionSettings::new(Issuer::new(&settings.issuer)?)
        .with_access_lifetime(settings.access_lifetime)
        .with_refresh_lifetime(settings.refresh_lifetime)
        .with_session_lifetime(settings.session_lifetime)
        .with_rotation_grace(settings.rotation_grace)
        .with_sessions_per_subject(settings.max_sessions_per_user);
    sessions.audience = settings.audience.iter().cloned().collect();
    sessions.validate()?;
    Ok(sessions)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Serve,
    Command,
}

impl Node {
    /// Opens the store of the settings, creating it if it does not exist, and reads the revocations.
    ///
    /// # Errors
    /// Fails if the store can't be used or a setting is invalid.
    pub async fn open(settings: &Settings) -> anyhow::Result<Self> {
        Self::open_as(Purpose::Serve, settings).await
    }

    /// Like [`Node::open`], for a command, which accepts no tokens and for which no other node waits.
    ///
    /// # Errors
    /// As [`Node::open`].
    pub async fn open_for_command(settings: &Settings) -> anyhow::Result<Self> {
        Self::open_as(Purpose::Command, settings).await
    }

    async fn open_as(purpose: Purpose, settings: &Settings) -> anyhow::Result<Self> {
        let stores = Stores::open_while_checking(settings).await?;
        let node = Self::start(purpose, settings, stores.clone()).await;
        // Damage explains any other error.
        stores.checked(&address(settings)).await?;
        node
    }

    async fn start(purpose: Purpose, settings: &Settings, stores: Stores) -> anyhow::Result<Self> {
        stores.migrate().await?;
        let session_settings = session_settings(settings)?;
        match purpose {
            Purpose::Serve => record_issuer(&*stores.accounts(), &session_settings.issuer).await?,
            Purpose::Command => require_issuer(&session_settings.issuer, stores.accounts().issuer().await?)?,
        }
        let mut builder = adieu::Node::builder(session_settings.issuer.clone());
        let trusted = Trusted::new(settings, &Trusted::default())?;
        for decoder in trusted.decoders() {
            builder = builder.with_issuer(decoder);
        }
        // Before the log is read, so that later revocations wait for this node too.
        let joining = match stores.membership().filter(|_| purpose == Purpose::Serve) {
            Some(nodes) => {
                let clock: Arc<dyn Clock> = Arc::new(SystemClock);
                Some(Joining::begin(nodes, clock, settings.max_staleness, settings.stale_policy).await?)
            }
            None => None,
        };
        if let Some(joining) = &joining {
            builder = builder.with_freshness_limit(joining.limit());
        }
        if let Some(file) = high_water::of(settings, purpose == Purpose::Serve)? {
            builder = builder.with_high_water(file);
        }
        let starting = builder
            .with_token_cache(Some(settings.token_cache()))
            .with_session_settings(session_settings)
            .with_leeway(settings.leeway)
            .with_max_staleness(settings.max_staleness)
            .with_stale_policy(settings.stale_policy)
            .start(stores.core());
        // With a damaged file, a node may never become ready.
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
        let accounts = Accounts::new(stores.accounts(), Arc::clone(&sessions), hasher.clone(), Arc::clone(&clock));
        let clients = Clients::new(stores.clients(), Arc::clone(&clock));
        let limits = LoginLimits::new(Arc::clone(&clock));
        if purpose == Purpose::Serve {
            limits.remember(accounts.store().known_addresses(clock.now(), MAX_ENTRIES).await?);
        }
        let [quotas, reset_quotas] = [(); 2].map(|()| ClientQuotas::new(Arc::clone(&clock)));
        let events = Events::new(&trusted, settings.event_quota, Arc::clone(&clock));
        let recorded = if purpose == Purpose::Serve { trusted.alias_claims() } else { Vec::new() };
        let aliases = Aliases::start(stores.aliases(), Arc::clone(&clock), recorded);
        let (log, issuer) = (Arc::clone(core.log()), Issuer::new(&settings.issuer)?);
        let joining = joining.map(|joining| (joining, core.applied()));
        let feed = Feed::start_among(log, Arc::clone(&clock), issuer, settings.max_staleness, joining);
        let metrics =
            Metrics::new(Arc::clone(core.verifier()), Some(Arc::clone(&sessions)), core.high_water().cloned());
        let settings = Arc::new(ArcSwap::from_pointee(settings.clone()));
        let metrics = metrics.with_clients(clients.clone(), Arc::clone(&settings));
        let metrics = metrics.with_followers(feed.clone(), core.applied()).with_hasher(hasher);
        let metrics = metrics.with_aliases(aliases.counters());
        let traces = if purpose == Purpose::Serve { Traces::start(&settings.load())? } else { Traces::default() };
        let metrics = metrics.with_traces(&traces);
        let metrics = Arc::new(metrics.with_stores(stores.clone()));
        let is_leaving = watch::Sender::new(false);
        Ok(Self {
            core,
            sessions,
            limits,
            quotas,
            reset_quotas,
            events,
            aliases,
            trusted: ArcSwap::from_pointee(trusted),
            settings,
            streams: Shares::at_most(MAX_STREAMS),
            metrics,
            traces,
            accounts,
            clients,
            feed,
            clock,
            is_leaving,
            stores,
        })
    }

    /// Returns the engines.
    pub(crate) fn stores(&self) -> &Stores {
        &self.stores
    }

    /// Returns what deliveries need of this node.
    #[must_use]
    pub fn source_of_deliveries(&self) -> Source {
        Source {
            log: Arc::clone(self.core.log()),
            applied: self.core.applied(),
            store: self.stores.deliveries(),
            is_shared: self.stores.membership().is_some(),
            clock: Arc::clone(&self.clock),
            attempts: self.metrics.deliveries.clone(),
            traces: self.traces.clone(),
            clients: self.clients.clone(),
            sessions: Arc::clone(&self.sessions),
        }
    }

    /// Writes data that is only in memory, and leaves the store as one complete file. Failures are logged; no guarantee depends on it.
    pub async fn close(&self) {
        tokio::join!(self.feed.leave(), self.traces.end());
        let written = self.sessions.flush_last_seen().await.and(self.accounts.flush_last_logins().await);
        let written = written.and(self.aliases.flush().await);
        if let Err(error) = written.and(self.stores.close().await) {
            tracing::warn!(error = &error as &dyn std::error::Error, "the store could not be closed cleanly");
        }
    }

    /// Starts the maintenance of the store in the background; it runs until the returned value is dropped.
    #[must_use]
    pub fn start_housekeeping(&self) -> Housekeeping {
        self.core.start_housekeeping()
    }
}

/// Records the issuer of the tokens that this server will issue, for commands.
async fn record_issuer(store: &dyn AccountStore, issuer: &Issuer) -> Result<(), Error> {
    let before = store.issuer().await?;
    if before.as_ref() == Some(issuer) {
        return Ok(());
    }
    if let Some(before) = before {
        tracing::warn!(%issuer, %before, "the issuer is another one than before: no token from before is accepted");
    }
    store.record_issuer(issuer).await
}

/// Checks that a command has the issuer of the servers of its store. Under another name, what it revokes would match none of
/// their tokens.
pub(crate) fn require_issuer(issuer: &Issuer, recorded: Option<Issuer>) -> anyhow::Result<()> {
    match recorded {
        Some(recorded) if recorded != *issuer => anyhow::bail!(
            "the servers of this store issue tokens as `{recorded}`, and the settings of this command say `{issuer}`: \
             nothing was changed. Give it the settings of the servers, with --config or ADIEU_ISSUER"
        ),
        _ => Ok(()),
    }
}
