//! A relay: a server without accounts that follows a node and serves followers of its own.
//!
//! 1. It reads the node's log once for all its followers, and passes on the node's positions and log id. Followers can therefore move
//!    between relays and the node.
//! 2. The position that it reports to the node as applied is the minimum of its own index and of those that its live followers report.
//!    `?wait=everywhere` at the node therefore covers any number of relays. After a start, the relay reports nothing for as long as
//!    followers from before the start may be live.
//! 3. It verifies tokens itself, and rejects them when its index is too stale, as every node does.
//! 4. A revocation sent to the relay is made at the node and is in the relay's own index before the response is sent.

use std::{sync::Arc, time::Duration};

use adieu::{
    Error, Issuer,
    revocation::{Cursor, Page, Position, Pruned, Revocation, RevocationLog},
    time::{Clock, SystemClock, Timestamp},
    token::{KeySet, Verifier},
};
use adieu_client::{
    Remote, Service, ServiceBuilder,
    transport::{Http, Transport},
};
use anyhow::{Context as _, bail};
use arc_swap::ArcSwap;
use async_trait::async_trait;
use axum::http::{HeaderMap, HeaderValue, Request, Response, header};
use secrecy::SecretString;
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{sleep, timeout},
};

use crate::{
    clients::Clients,
    config::{SECRET_VARIABLE, Settings},
    feed::{Feed, PREFER, PREFERS_CURSOR, Progress},
    files,
    issuers::Trusted,
    listen::chain_valid_until,
    metrics::Metrics,
    store::Stores,
    traces::Traces,
};

/// How often to check for expired leases.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// How often a call that waits for the index checks its freshness.
const CATCH_UP_INTERVAL: Duration = Duration::from_millis(10);

/// How long reports of followers are collected before one report is sent to the node.
const BATCH_WINDOW: Duration = Duration::from_millis(2);

/// Maximum duration of a forwarded call, in addition to the time that the call may wait at the node.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// A running relay. Background tasks end when it is dropped.
pub struct Relay {
    /// Verifies tokens.
    pub verifier: Arc<Verifier>,
    /// The feed that followers read, and the registry of those followers.
    pub feed: Feed,
    /// The services that may call the API, and their permissions.
    pub clients: Clients,
    /// The issuer of the node's own tokens.
    pub issuer: Issuer,
    /// The metrics of this server.
    pub metrics: Arc<Metrics>,
    /// The traces of this server.
    pub(crate) traces: Traces,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Whether the relay is shutting down and should get no more requests.
    pub is_leaving: watch::Sender<bool>,
    service: Service,
    stores: Stores,
    reporting: JoinHandle<()>,
    /// The other issuers whose tokens are accepted.
    pub(crate) trusted: ArcSwap<Trusted>,
}

impl std::fmt::Debug for Relay {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Relay").field("service", &self.service).finish_non_exhaustive()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.reporting.abort();
    }
}

impl Relay {
    /// Starts to follow the node at `url`. The node need not be reachable yet: until it is, the relay rejects every token.
    ///
    /// # Errors
    /// Fails if a setting is invalid, the secret can't be read, or the store of the relay's own clients can't be used.
    pub async fn open(settings: &Settings, url: &str) -> anyhow::Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let max_staleness = settings.max_staleness;
        let issuer = Issuer::new(&settings.issuer)?;
        let traces = Traces::start(settings)?;
        let to_node = Traced { transport: transport(settings)?, traces: traces.clone() };
        let mut service = service_of(settings, url, Arc::new(to_node))?.with_clock(Arc::clone(&clock));
        let trusted = Trusted::new(settings, &Trusted::default())?;
        for decoder in trusted.decoders() {
            service = service.with_issuer(decoder);
        }
        let remote = service.remote().context("follow")?;

        let stores = Stores::open(settings).await?;
        let clients = Clients::new(stores.clients(), Arc::clone(&clock));
        let log = Arc::clone(&remote) as Arc<dyn RevocationLog>;
        let feed = Feed::start(log, Arc::clone(&clock), issuer.clone(), max_staleness);

        let own = watch::Sender::new(None);
        let reporting = tokio::spawn(report_applied(Arc::clone(&remote), feed.hub.progress(), own.subscribe()));
        let through = Through { feed: feed.clone(), remote: Arc::clone(&remote), own };
        let service = service.start_reading(Arc::new(through), remote)?;
        let verifier = Arc::clone(service.verifier());
        let metrics = Metrics::new(Arc::clone(&verifier), None, None);
        let metrics = metrics.with_traces(&traces);
        let settings = settings.clone();
        let metrics = metrics.with_follow_certificate(move || certificate_valid_until(&settings).ok().flatten());
        let metrics = Arc::new(metrics.with_followers(feed.clone(), service.applied()));
        Ok(Self {
            verifier,
            metrics,
            traces,
            feed,
            clients,
            issuer,
            clock,
            is_leaving: watch::Sender::new(false),
            service,
            stores,
            reporting,
            trusted: ArcSwap::from_pointee(trusted),
        })
    }

    /// Returns the node's public keys, as last fetched.
    #[must_use]
    pub fn keys(&self) -> Arc<KeySet> {
        self.verifier.decoder().keys()
    }

    /// Returns how long these keys may be cached: the node's value, minus the time since they were fetched.
    #[must_use]
    pub fn keys_good_for(&self) -> Duration {
        self.service.keys().keys_valid_for()
    }

    /// Returns the reason why this relay is not ready, if it is not.
    pub fn not_ready(&self) -> Option<&'static str> {
        if !self.verifier.is_fresh() {
            return Some("The revocations known here are not up to date.");
        }
        if !self.service.keys().is_ready() {
            return Some("The keys of the node are not known yet.");
        }
        if self.service.log().issuer().is_some_and(|issuer| issuer != self.issuer) {
            return Some("The node issues tokens under another name than the setting issuer says.");
        }
        None
    }

    /// Returns the engines that hold its own clients.
    pub(crate) fn stores(&self) -> &Stores {
        &self.stores
    }

    /// Forwards a revocation call to the node, with the client credentials that this relay has there. `query` is empty or begins with `?`.
    /// `preferred` is how long the caller is ready to wait for a cut-off to pass; `wait` is added to the timeout of the call.
    ///
    /// # Errors
    /// Fails if the node does not answer, or does not allow this relay to revoke.
    pub async fn forward(
        &self,
        query: &str,
        preferred: Option<Duration>,
        body: Vec<u8>,
        wait: Duration,
    ) -> Result<Response<Vec<u8>>, Error> {
        let prefer = match preferred {
            Some(wait) => format!("{PREFERS_CURSOR}, wait={}", wait.as_secs()),
            None => PREFERS_CURSOR.to_owned(),
        };
        let prefer = HeaderValue::try_from(prefer).map_err(Error::unavailable)?;
        let json = HeaderValue::from_static("application/json");
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, json), (PREFER, prefer)]);
        self.service.log().forward(query, headers, body, REQUEST_TIMEOUT + wait).await
    }

    /// Returns once this relay's index contains everything that the node acknowledged before the call: once it has applied `cursor`, which
    /// the node sent with its response, or is complete as of now.
    ///
    /// # Errors
    /// Fails if neither happens within the bound.
    pub async fn catch_up(&self, cursor: Option<Cursor>) -> Result<(), Error> {
        let answered_at = self.clock.moment();
        let (freshness, mut applied) = (self.service.freshness(), self.service.applied());
        loop {
            let is_known = match (&cursor, &*applied.borrow_and_update()) {
                (Some(cursor), Some(applied)) => applied.log == cursor.log && applied.position >= cursor.position,
                _ => false,
            };
            if is_known || freshness.last_complete() >= Some(answered_at) {
                return Ok(());
            }
            if self.clock.moment().since(answered_at) > self.feed.leases.bound() {
                return Err(Error::unavailable("the node has revoked it, and can't be followed"));
            }
            // Checks again at intervals, in case the follower has ended or nothing arrives.
            let _ = timeout(CATCH_UP_INTERVAL, applied.changed()).await;
        }
    }
}

/// Returns the URL of the node to follow, if this server is a relay.
///
/// # Errors
/// Fails if settings that only a relay uses are set without a node to follow.
pub fn followed(settings: &Settings) -> anyhow::Result<Option<&str>> {
    let alone = [
        ("follow_client", settings.follow_client.is_some()),
        ("follow_secret_file", settings.follow_secret_file.is_some()),
        ("follow_ca", settings.follow_ca.is_some()),
        ("follow_certificate", settings.follow_certificate.is_some()),
        ("follow_key", settings.follow_key.is_some()),
    ];
    match (&settings.follow, alone.into_iter().find(|(_, is_set)| *is_set)) {
        (None, Some((key, _))) => anyhow::bail!("{key} is set, and follow is not"),
        (url, _) => Ok(url.as_deref()),
    }
}

/// Returns what follows the node at `url` by this transport, before anything is sent.
///
/// # Errors
/// Fails if a setting is invalid, or the secret can't be read.
pub(crate) fn service_of(
    settings: &Settings,
    url: &str,
    transport: Arc<dyn Transport>,
) -> anyhow::Result<ServiceBuilder> {
    let name = settings.follow_client.clone().context("follow needs follow_client")?;
    let secret = read_secret(settings)?;
    let base = format!("{}/", url.trim_end_matches('/'));
    let service = Service::builder(Issuer::new(&settings.issuer)?, base, name, secret)
        .with_transport(transport)
        .with_leeway(settings.leeway)
        .with_token_cache(Some(settings.token_cache()))
        .with_max_staleness(settings.max_staleness)
        .with_stale_policy(settings.stale_policy);
    Ok(settings.audience.iter().fold(service, ServiceBuilder::with_audience))
}

/// Returns until when the certificate of this relay as a client of the node is valid, as its file says now; `None` if it has none.
///
/// # Errors
/// Fails if the file cannot be read or used.
pub(crate) fn certificate_valid_until(settings: &Settings) -> anyhow::Result<Option<Timestamp>> {
    let Some(file) = &settings.follow_certificate else { return Ok(None) };
    let pem = files::read(file).with_context(|| format!("cannot read {} (follow_certificate)", file.display()))?;
    chain_valid_until("follow_certificate", &pem).map(Some)
}

/// Returns what sends the requests to the node.
///
/// # Errors
/// Fails if the files of certificates cannot be used.
pub(crate) fn transport(settings: &Settings) -> anyhow::Result<Http> {
    let identity = match (&settings.follow_certificate, &settings.follow_key) {
        (None, None) => Vec::new(),
        (Some(certificate), Some(key)) => vec![certificate.clone(), key.clone()],
        (Some(_), None) => bail!("follow_certificate is set, so follow_key is needed too"),
        (None, Some(_)) => bail!("follow_key is set, so follow_certificate is needed too"),
    };
    if identity.is_empty() && settings.follow_ca.is_none() {
        return Ok(Http::new()?);
    }
    Http::with_certificate_files(settings.follow_ca.clone(), identity)
        .context("follow_ca, follow_certificate and follow_key cannot be used")
}

fn read_secret(settings: &Settings) -> anyhow::Result<SecretString> {
    let text = match &settings.follow_secret_file {
        Some(file) => {
            files::read_text(file).with_context(|| format!("follow_secret_file: {} can't be read", file.display()))?
        }
        None => std::env::var(SECRET_VARIABLE)
            .with_context(|| format!("follow needs follow_secret_file or {SECRET_VARIABLE}"))?,
    };
    // Editors add a byte order mark at the beginning and a newline at the end.
    Ok(SecretString::from(text.trim_start_matches('\u{feff}').trim().to_owned()))
}

/// Reports to the node the position that this relay and all its followers have applied.
async fn report_applied(remote: Arc<Remote>, mut progress: Progress, mut own: watch::Receiver<Option<Cursor>>) {
    loop {
        let applied = own.borrow_and_update().clone();
        let mut count = 0;
        if let Some(own) = applied {
            let (applied, followers) = progress.applied_with(own);
            remote.acknowledge(&applied);
            count = followers;
        }
        // A lease expires without an event, so check at intervals.
        tokio::select! {
            changed = own.changed() => if changed.is_err() { return },
            () = progress.changed() => {}
            () = sleep(POLL_INTERVAL) => {}
        }
        sleep(BATCH_WINDOW + Duration::from_micros(10) * count).await;
    }
}

/// Sends requests to the node as spans, whose context they carry.
#[derive(Debug)]
struct Traced {
    transport: Http,
    traces: Traces,
}

#[async_trait]
impl Transport for Traced {
    async fn send(&self, mut request: Request<Vec<u8>>, max_body: usize) -> Result<Response<Vec<u8>>, Error> {
        let Some(span) = self.traces.to_another() else { return self.transport.send(request, max_body).await };
        span.context().put(request.headers_mut());
        let (method, host) = (request.method().clone(), request.uri().host().unwrap_or_default().to_owned());
        let sent = self.transport.send(request, max_body).await;
        span.of_answer(&method, &host, sent.as_ref().ok().map(|answer| answer.status().as_u16()));
        sent
    }
}

/// The node's log, read through the hub that reads it for all followers.
struct Through {
    feed: Feed,
    remote: Arc<Remote>,
    own: watch::Sender<Option<Cursor>>,
}

#[async_trait]
impl RevocationLog for Through {
    async fn append(&self, revocations: Vec<Revocation>) -> Result<Position, Error> {
        self.remote.append(revocations).await
    }

    async fn read(&self, after: Option<&Cursor>, wait: Duration) -> Result<Page, Error> {
        let arrived = self.feed.clock.moment();
        Ok(self.feed.hub.read(after, wait, arrived, || ()).await?.page())
    }

    async fn prune(&self, now: Timestamp) -> Result<Pruned, Error> {
        self.remote.prune(now).await
    }

    fn acknowledge(&self, cursor: &Cursor) {
        self.own.send_replace(Some(cursor.clone()));
    }
}
