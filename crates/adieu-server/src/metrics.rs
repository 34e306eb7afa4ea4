//! The metrics of this server, for Prometheus, in the text format of OpenMetrics 1.0.
//!
//! 1. Each server has its own metrics: there is no process-wide registry.
//! 2. A client can't choose the value of a label: routes are the templates of the router, methods the standard ones.
//! 3. They are served at `GET /metrics` on a separate address (`metrics_listen`), and by default nowhere. Users who may log in have no
//!    access to the traffic figures; and when the connections for clients are exhausted, the operator can still read them.
//!
//! Counters of handlers are fields of [`Metrics`]. Values that are known elsewhere are read at each scrape, by one collector for each part
//! of the server. `docs/monitoring.md` has a table of all of them, which a test compares with a running server.

#[cfg(target_os = "linux")]
mod process;

use std::{
    borrow::Cow,
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

use adieu::{Issuer, restore::HighWater, revocation::Cursor, session::Sessions, time::Timestamp, token::Verifier};
use adieu_axum::RejectionKind;
use arc_swap::ArcSwap;
use axum::{
    Router,
    http::{Method, header},
    routing::get,
};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric, text},
    metrics::{
        MetricType,
        counter::{ConstCounter, Counter},
        family::Family,
        gauge::ConstGauge,
        histogram::Histogram,
        info::Info,
    },
    registry::{Registry, Unit},
};
use tokio::sync::watch;

use crate::{
    aliases, audit,
    clients::{Capability, ClientName, Clients},
    config::{Rate, Settings},
    deliveries::Attempts,
    error::{ApiError, Counted},
    feed::{Feed, Followed},
    listen::Tls,
    measurement::{ClientLabels, count, put},
    password::Hasher,
    store::Stores,
    traces::Traces,
};

/// The prefix of the metrics that only this server has.
const PREFIX: &str = "adieu";

/// The upper bounds of the duration histogram: a logout takes milliseconds on a fast disk, a login as long as hashing.
const DURATIONS: [f64; 11] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

/// The content type of the response.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The methods with a label of their own (RFC 9110 §9.3, RFC 5789).
static METHODS: [Method; 9] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
    Method::OPTIONS,
    Method::TRACE,
    Method::CONNECT,
];

/// The label of requests that no route matched.
const NO_ROUTE: &str = "none";

/// The label of messages that are not authentic.
const NO_ISSUER: &str = "none";

/// The counters of one server.
#[derive(Debug)]
pub struct Metrics {
    /// Successful logins.
    pub logins: Counter,
    /// Failed logins, and wrong passwords given to change a password.
    pub failed_logins: Counter,
    /// Exchanged refresh tokens.
    pub refreshes: Counter,
    /// Logouts.
    pub logouts: Counter,
    requests: Family<Request, Counter>,
    durations: Family<Timed, Histogram, fn() -> Histogram>,
    rejections: Family<Reason, Counter>,
    limits: Family<Limit, Counter>,
    store_errors: Counter,
    clients: ClientLabels,
    client_revocations: Family<ByClient, Counter>,
    events: Family<EventLabels, Counter>,
    /// Attempts to send a webhook.
    pub deliveries: Attempts,
    certificate: Arc<OnceLock<Tls>>,
    registry: Registry,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    method: Cow<'static, str>,
    route: Cow<'static, str>,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Timed {
    method: &'static str,
    route: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Limit {
    limit: &'static str,
}

/// The operator chooses the names of clients.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByClient {
    client: String,
    outcome: &'static str,
}

/// The issuer is one of the settings, or [`NO_ISSUER`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EventLabels {
    issuer: String,
    kind: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

impl Metrics {
    /// Creates all metrics, at zero, for a server that verifies with this verifier. A relay has no sessions.
    #[must_use]
    pub fn new(verifier: Arc<Verifier>, sessions: Option<Arc<Sessions>>, high_water: Option<Arc<HighWater>>) -> Self {
        let mut all = Registry::default();
        #[cfg(target_os = "linux")]
        all.register_collector(Box::new(process::Process));
        let registry = all.sub_registry_with_prefix(PREFIX);
        let mut metrics = Self {
            logins: Counter::default(),
            failed_logins: Counter::default(),
            refreshes: Counter::default(),
            logouts: Counter::default(),
            requests: Family::default(),
            durations: Family::new_with_constructor(|| Histogram::new(DURATIONS)),
            rejections: Family::default(),
            limits: Family::default(),
            store_errors: Counter::default(),
            clients: ClientLabels::default(),
            client_revocations: Family::default(),
            events: Family::default(),
            deliveries: Attempts::default(),
            certificate: Arc::default(),
            registry: Registry::default(),
        };
        registry.register("logins", "Logins", metrics.logins.clone());
        registry.register("failed_logins", "Logins with wrong credentials", metrics.failed_logins.clone());
        registry.register("refreshes", "Refresh tokens that were exchanged", metrics.refreshes.clone());
        registry.register("logouts", "Logouts", metrics.logouts.clone());
        registry.register("http_requests", "Answered requests", metrics.requests.clone());
        registry.register_with_unit(
            "http_request_duration",
            "Time to answer a request, except on routes that machines call",
            Unit::Seconds,
            metrics.durations.clone(),
        );
        registry.register("limits_hit", "Requests that were rejected for a limit", metrics.limits.clone());
        registry.register(
            "store_errors",
            "Requests that failed because the store could not be read or written",
            metrics.store_errors.clone(),
        );
        registry.register("build", "The running version", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
        registry.register("rejections", "Requests that were rejected for their token", metrics.rejections.clone());
        registry.register(
            "client_revocations",
            "Revocations by clients, and those beyond their quota",
            metrics.client_revocations.clone(),
        );
        registry.register("events", "Events of other issuers that were received", metrics.events.clone());
        registry.register("deliveries", "Attempts to send a webhook or a logout token", metrics.deliveries.0.clone());
        registry.register_collector(Box::new(Known { verifier, sessions, high_water }));
        let certificate = Arc::clone(&metrics.certificate);
        registry.register_collector(Box::new(Expiry {
            name: "tls_certificate_expiry_timestamp",
            help: "Time at which the certificate of the server expires",
            valid_until: Box::new(move || certificate.get().and_then(Tls::valid_until)),
        }));
        metrics.registry = all;
        metrics
    }

    /// Counts an answered request. `route` is the template of the router; empty if no route matched.
    pub(crate) fn answered(
        &self,
        method: &Method,
        route: Cow<'static, str>,
        status: u16,
        rejection: Option<RejectionKind>,
    ) {
        let method = name(method);
        let route = if route.is_empty() { NO_ROUTE.into() } else { route };
        let labels = Request { method: method.into(), route, status };
        self.requests.get_or_create(&labels).inc();
        if let Some(kind) = rejection {
            self.rejections.get_or_create(&Reason { reason: reason(kind) }).inc();
        }
    }

    /// Records how long the answer to a request took. `route` is the template of the router; empty if no route matched.
    pub(crate) fn took(&self, method: &Method, route: &str, duration: Duration) {
        let route = if route.is_empty() { NO_ROUTE } else { route };
        let labels = Timed { method: name(method), route: route.to_owned() };
        self.durations.get_or_create(&labels).observe(duration.as_secs_f64());
    }

    /// Counts a request that failed for a limit or for the store.
    pub(crate) fn failed(&self, counted: Counted) {
        match counted {
            Counted::Limit(limit) => drop(self.limits.get_or_create(&Limit { limit }).inc()),
            Counted::Store => drop(self.store_errors.inc()),
        }
    }

    /// Counts revocations requested by a client, within its quota or not.
    pub(crate) fn client_revoked(&self, client: &ClientName, count: usize, within_quota: bool) {
        let outcome = if within_quota { "accepted" } else { "over_quota" };
        let labels = ByClient { client: self.clients.of(client.as_str()).to_owned(), outcome };
        self.client_revocations.get_or_create(&labels).inc_by(u64::try_from(count).unwrap_or(u64::MAX));
    }

    /// Counts an event of a trusted issuer, by the name of its kind, and what followed from it.
    pub(crate) fn event_received(&self, issuer: &Issuer, kind: &'static str, outcome: &'static str) {
        self.events.get_or_create(&EventLabels { issuer: issuer.to_string(), kind, outcome }).inc();
    }

    /// Counts a rejected message, by the name of its protocol.
    pub(crate) fn event_rejected(&self, kind: &'static str) {
        self.events.get_or_create(&EventLabels { issuer: NO_ISSUER.into(), kind, outcome: "rejected" }).inc();
    }

    /// Adds until when the certificate of the server is valid.
    pub(crate) fn watch_certificate(&self, tls: Tls) {
        let _first = self.certificate.set(tls);
    }

    /// Adds until when the certificate of a relay as a client of its node is valid.
    pub(crate) fn with_follow_certificate(
        self,
        valid_until: impl Fn() -> Option<Timestamp> + Send + Sync + 'static,
    ) -> Self {
        self.with(Expiry {
            name: "follow_certificate_expiry_timestamp",
            help: "Time at which the certificate for the followed node expires",
            valid_until: Box::new(valid_until),
        })
    }

    /// Adds the quota of each client.
    pub(crate) fn with_clients(self, clients: Clients, settings: Arc<ArcSwap<Settings>>) -> Self {
        let labels = self.clients.clone();
        self.with(ClientLimits { clients, settings, labels })
    }

    /// Adds the followers of this node, which itself has `applied` the log up to this cursor.
    pub(crate) fn with_followers(self, feed: Feed, applied: watch::Receiver<Option<Cursor>>) -> Self {
        let clients = self.clients.clone();
        self.with(Followed { feed, applied, clients })
    }

    /// Adds the queue of passwords to hash.
    pub(crate) fn with_hasher(self, hasher: Hasher) -> Self {
        self.with(Hashing(hasher))
    }

    /// Adds the counts of the aliases in tokens.
    pub(crate) fn with_aliases(mut self, aliases: aliases::Counters) -> Self {
        let registry = self.registry.sub_registry_with_prefix(PREFIX);
        registry.register("aliases_recorded", "Aliases in tokens that were written to the store", aliases.recorded);
        registry.register("aliases_dropped", "Aliases in tokens for which the queue was full", aliases.dropped);
        self
    }

    /// Adds the counts of spans, if there are traces.
    pub(crate) fn with_traces(mut self, traces: &Traces) -> Self {
        if let Some(counters) = traces.counters() {
            let registry = self.registry.sub_registry_with_prefix(PREFIX);
            registry.register("trace_spans_exported", "Spans that the collector has accepted", counters.exported);
            registry.register("trace_spans_dropped", "Spans that were lost", counters.dropped);
        }
        self
    }

    /// Adds the measurements of the engines.
    pub(crate) fn with_stores(self, stores: Stores) -> Self {
        self.with(stores)
    }

    fn with(mut self, collector: impl Collector) -> Self {
        self.registry.sub_registry_with_prefix(PREFIX).register_collector(Box::new(collector));
        self
    }

    /// Returns the totals since the start.
    pub(crate) fn totals(&self) -> Totals {
        let rejected = |reason| self.rejections.get(&Reason { reason }).map_or(0, |counter| counter.get());
        Totals {
            logins: self.logins.get(),
            failed_logins: self.failed_logins.get(),
            logouts: self.logouts.get(),
            rejected: REASONS.iter().map(|reason| rejected(reason)).sum(),
            revoked: rejected(reason(RejectionKind::Revoked)),
        }
    }

    /// Renders the current values.
    ///
    /// # Errors
    /// Fails if a value can't be written, which is a bug.
    pub fn render(&self) -> Result<String, fmt::Error> {
        let mut written = String::new();
        text::encode(&mut written, &self.registry)?;
        Ok(written)
    }
}

/// Returns the router that `metrics_listen` serves.
pub fn router(metrics: Arc<Metrics>) -> Router {
    let render = async move || match metrics.render() {
        Ok(text) => Ok(([(header::CONTENT_TYPE, OPEN_METRICS), (header::CACHE_CONTROL, "no-store")], text)),
        Err(error) => Err(ApiError::internal(error)),
    };
    Router::new()
        .route("/metrics", get(render))
        .fallback(async || ApiError::NotFound)
        .method_not_allowed_fallback(async || ApiError::MethodNotAllowed)
}

fn name(method: &Method) -> &'static str {
    METHODS.iter().find(|known| *known == method).map_or("other", Method::as_str)
}

/// The totals of a server since its start.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Totals {
    pub(crate) logins: u64,
    pub(crate) failed_logins: u64,
    pub(crate) logouts: u64,
    /// Tokens that were rejected, for any reason.
    pub(crate) rejected: u64,
    /// Those of them that were revoked.
    pub(crate) revoked: u64,
}

/// All names of reasons.
const REASONS: [&str; 9] =
    ["missing", "expired", "not_yet_valid", "revoked", "not_fresh", "ambiguous", "stale", "unavailable", "invalid"];

const fn reason(kind: RejectionKind) -> &'static str {
    match kind {
        RejectionKind::Missing => "missing",
        RejectionKind::Expired => "expired",
        RejectionKind::NotYetValid => "not_yet_valid",
        RejectionKind::Revoked => "revoked",
        RejectionKind::NotFresh => "not_fresh",
        RejectionKind::TwoHeaders | RejectionKind::TwoTokens => "ambiguous",
        RejectionKind::Stale => "stale",
        RejectionKind::Unavailable => "unavailable",
        _ => "invalid",
    }
}

/// The quota of each client that may revoke.
#[derive(Debug)]
struct ClientLimits {
    clients: Clients,
    settings: Arc<ArcSwap<Settings>>,
    labels: ClientLabels,
}

impl Collector for ClientLimits {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let settings = self.settings.load();
        let mut clients = self.clients.known();
        // A quota of several clients together would have no meaning.
        clients.retain(|client| {
            client.can(Capability::Revoke) && self.labels.of(client.name.as_str()) == client.name.as_str()
        });
        let mut put = |name: &str, help: &str, unit, value: fn((Rate, Duration)) -> f64| {
            let mut family = encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?;
            for client in &clients {
                let labels = [("client", client.name.as_str())];
                let gauge = ConstGauge::new(value(client.limits.or_else(&settings)));
                gauge.encode(family.encode_family(&labels)?)?;
            }
            Ok(())
        };
        let seconds = Some(&Unit::Seconds);
        put("client_revocation_quota", "Revocations that the client may append at once.", None, |(quota, _)| {
            f64::from(quota.burst)
        })?;
        put(
            "client_revocation_quota_period",
            "Time in which the whole quota becomes available again.",
            seconds,
            |(quota, _)| quota.per.as_secs_f64(),
        )?;
        put(
            "client_revocation_horizon",
            "Maximum time for which revocations of the client are kept.",
            seconds,
            |(_, horizon)| horizon.as_secs_f64(),
        )
    }
}

/// The end of a certificate, if there is one.
struct Expiry {
    name: &'static str,
    help: &'static str,
    valid_until: Box<dyn Fn() -> Option<Timestamp> + Send + Sync>,
}

impl fmt::Debug for Expiry {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Expiry").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Collector for Expiry {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Some(end) = (self.valid_until)() else { return Ok(()) };
        put(&mut encoder, self.name, self.help, Some(&Unit::Seconds), &ConstGauge::new(count(end.as_unix())))
    }
}

/// The queue of passwords to hash.
#[derive(Debug)]
struct Hashing(Hasher);

impl Collector for Hashing {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Self(hasher) = self;
        put(
            &mut encoder,
            "hashing_pending",
            "Passwords that are being hashed, or wait to be",
            None,
            &ConstGauge::new(count(hasher.pending())),
        )?;
        put(
            &mut encoder,
            "hashing_places",
            "Maximum number of passwords that are being hashed or wait",
            None,
            &ConstGauge::new(count(hasher.places())),
        )
    }
}

/// Values that are known elsewhere and read at each scrape.
#[derive(Debug)]
struct Known {
    verifier: Arc<Verifier>,
    sessions: Option<Arc<Sessions>>,
    high_water: Option<Arc<HighWater>>,
}

impl Collector for Known {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let verifier = &self.verifier;
        let index = verifier.index().stats();
        let decisions = verifier.stale_decisions();
        // Before the index is complete for the first time, the staleness is infinite.
        let staleness = verifier.staleness().map_or(f64::INFINITY, |age| age.as_secs_f64());
        let longest = verifier.max_staleness().as_secs_f64();

        let seconds = Some(&Unit::Seconds);
        put(
            &mut encoder,
            "index_staleness",
            "Time since the index was known to be complete",
            seconds,
            &ConstGauge::new(staleness),
        )?;
        put(&mut encoder, "index_max_staleness", "Maximum staleness of the index", seconds, &ConstGauge::new(longest))?;
        put(&mut encoder, "index_entries", "Revocations in memory", None, &ConstGauge::new(count(index.entries)))?;
        put(&mut encoder, "index", "Memory of the index", Some(&Unit::Bytes), &ConstGauge::new(count(index.bytes)))?;
        put(
            &mut encoder,
            "index_pruned_through_timestamp",
            "Time up to which tokens had expired when the index was last pruned",
            seconds,
            &ConstGauge::new(count(verifier.index().pruned_through().as_unix())),
        )?;
        if let Some(since) = self.sessions.as_ref().and_then(|sessions| sessions.signing_key_active_since()) {
            put(
                &mut encoder,
                "signing_key_active_since_timestamp",
                "Time since which the current signing key has signed",
                seconds,
                &ConstGauge::new(count(since.as_unix())),
            )?;
        }
        put(
            &mut encoder,
            "audit_failures",
            "Writes and syncs of the audit file that failed",
            None,
            &ConstCounter::new(audit::failures()),
        )?;
        let appended = self.sessions.as_ref().map_or(0, |sessions| sessions.revocations_appended());
        put(
            &mut encoder,
            "revocations_appended",
            "Revocations that this server has made durable",
            None,
            &ConstCounter::new(appended),
        )?;
        let restored = self.high_water.as_ref().and_then(|mark| mark.restored_at());
        put(
            &mut encoder,
            "restore_detected",
            "Whether a restored backup was detected that the operator has not accepted",
            None,
            &ConstGauge::new(i64::from(restored.is_some())),
        )?;
        put(
            &mut encoder,
            "rejected_while_stale",
            "Tokens rejected because the index was too stale",
            None,
            &ConstCounter::new(decisions.rejected),
        )?;
        put(
            &mut encoder,
            "accepted_while_stale",
            "Tokens accepted although the index was too stale",
            None,
            &ConstCounter::new(decisions.accepted),
        )
    }
}
