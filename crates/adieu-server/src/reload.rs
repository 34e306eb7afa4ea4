//! SIGHUP: reads the settings again, and applies those that can change while the server runs.
//!
//! 1. The sources are read and checked as at the start. If something in them cannot be used, nothing changes, and one line of the log says
//!    why.
//! 2. A request is answered with the old settings or with the new ones: [`ApiService`] replaces all its routes at once. A token is verified
//!    with the old trusted issuers or with the new ones, and an issuer that was removed is rejected at once. Limits of connections hold
//!    for those that are opened afterwards.
//! 3. Changed settings that need a restart are named in the log, after every reload until the restart.
//! 4. Files of keys and secrets, and the certificate, are read again even if no setting has changed. Only regular files are read, so that
//!    a reload never waits for another process.
//! 5. A reload that moves the audit trail is the last event in the old file and the first in the new one.

use std::sync::Arc;

use adieu::token::Verifier;
use arc_swap::ArcSwap;
use tokio::{signal::unix::Signal, task::block_in_place};

use crate::{
    api::{self, ApiService},
    audit::{Entry, Event, Trail, Via},
    config::{Flags, Reloaded, Settings},
    deliveries,
    exposure::exposures,
    high_water,
    issuers::Trusted,
    listen::{Access, Bounds, Certificate, LiveBounds, Tls},
    logging::Logging,
    node::{Node, session_settings},
    notify::Notifier,
    relay::{self, Relay},
};

/// The settings in effect.
pub(crate) type LiveSettings = Arc<ArcSwap<Settings>>;

/// All parts of a server that hold settings which can change.
pub(crate) struct Reload {
    pub(crate) flags: Flags,
    pub(crate) settings: LiveSettings,
    pub(crate) server: Server,
    pub(crate) api: ApiService,
    pub(crate) bounds: LiveBounds,
    /// Those of the listeners beside, with a number of connections of their own.
    pub(crate) beside: Vec<LiveBounds>,
    /// How many files may be open for connections.
    pub(crate) descriptors: Option<u64>,
    pub(crate) tls: Option<Tls>,
    pub(crate) logging: Arc<Logging>,
    pub(crate) notifier: Arc<Notifier>,
}

/// What serves.
pub(crate) enum Server {
    Node(Arc<Node>, deliveries::Receivers),
    Relay(Arc<Relay>),
}

impl Server {
    fn verifier(&self) -> &Verifier {
        match self {
            Self::Node(node, _) => node.core.verifier(),
            Self::Relay(relay) => &relay.verifier,
        }
    }

    fn trusted(&self) -> &ArcSwap<Trusted> {
        match self {
            Self::Node(node, _) => &node.trusted,
            Self::Relay(relay) => &relay.trusted,
        }
    }

    fn api(&self, settings: &Settings) -> Result<ApiService, adieu::Error> {
        match self {
            Self::Node(node, _) => api::router(Arc::clone(node), settings.clone()),
            Self::Relay(relay) => api::relay_router(Arc::clone(relay), settings),
        }
    }
}

impl Reload {
    /// Reloads at each of these signals.
    pub(crate) async fn at(self, mut signals: Signal) {
        while signals.recv().await.is_some() {
            self.notifier.reloading();
            match block_in_place(|| self.reload()) {
                Ok(Reloaded { settings, applied, needs_restart }) => {
                    report(&applied, &needs_restart).await;
                    if applied.contains(&"audit_log") {
                        self.logging.move_trail_to(settings.audit_log);
                        record(&applied).await;
                    }
                }
                Err(error) => {
                    tracing::error!("the settings were not reloaded, and the old ones stay in effect: {error:#}");
                }
            }
            self.notifier.reloaded();
        }
    }

    fn reload(&self) -> anyhow::Result<Reloaded> {
        let found = Settings::load(&self.flags, std::env::vars_os())?;
        // Read as at the start, also what needs a restart, which would fail otherwise.
        let receivers = deliveries::Receiver::of(&found)?;
        let _access = Access::new(&found)?;
        high_water::check(&found)?;
        if let Some(url) = relay::followed(&found)? {
            let _service = relay::service_of(&found, url, Arc::new(relay::transport(&found)?))?;
        }
        let (certificate, asks) = (Certificate::read(&found)?, found.tls_client_ca.is_some());
        let before = self.settings.load_full();
        let warned = exposures(&before);
        for exposure in exposures(&found).into_iter().filter(|exposure| !warned.contains(exposure)) {
            tracing::warn!("{exposure}");
        }
        let reloaded = before.reloaded(found);
        let settings = &reloaded.settings;
        // Otherwise that needs a restart, and the certificate stays.
        let certificate = certificate.filter(|_| settings.tls_client_ca.is_some() == asks);
        let trusted = Trusted::new(settings, &self.server.trusted().load())?;
        let api = self.server.api(settings)?;
        let sessions = session_settings(settings)?;
        if settings.audit_log != before.audit_log {
            Trail::new(settings.audit_log.clone(), Via::Server).check().map_err(anyhow::Error::msg)?;
        }

        // Nothing has changed before this line, and nothing fails after it.
        self.server.verifier().replace_issuers(trusted.decoders())?;
        if let Server::Node(node, deliveries) = &self.server {
            node.sessions.replace_settings(sessions)?;
            deliveries.replace(receivers);
            node.events.replace(&trusted, settings.event_quota);
            node.aliases.replace(trusted.alias_claims());
        }
        self.server.trusted().store(Arc::new(trusted));
        self.api.replace(&api);
        self.bounds.store(Arc::new(Bounds::from(settings).within(self.descriptors)));
        for beside in &self.beside {
            let max_connections = beside.load().max_connections;
            beside.store(Arc::new(Bounds { max_connections, ..Bounds::from(settings) }));
        }
        if let (Some(tls), Some(certificate)) = (&self.tls, certificate) {
            tls.replace(certificate);
        }
        self.logging.set_level(settings.log_level);
        self.settings.store(Arc::new(settings.clone()));
        Ok(reloaded)
    }
}

async fn report(applied: &[&str], needs_restart: &[&str]) {
    if !applied.is_empty() {
        tracing::info!("the settings were reloaded; changed: {}", applied.join(", "));
        record(applied).await;
    }
    if !needs_restart.is_empty() {
        tracing::warn!("needs a restart: {}", needs_restart.join(", "));
    }
    if applied.is_empty() && needs_restart.is_empty() {
        tracing::info!(
            "the settings were reloaded; none has changed, and files of keys and certificates were read again"
        );
    }
}

async fn record(applied: &[&str]) {
    Entry { settings: Some(applied.join(", ")), ..Entry::default() }.record(Event::SettingsReloaded, None).await;
}
