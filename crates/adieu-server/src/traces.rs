//! Traces: spans of requests, sent to a collector by OTLP over HTTP, if there is an `otlp_endpoint`.
//!
//! 1. A request continues the trace of its caller (W3C Trace Context), or begins a new one. A caller that samples is followed; of the new
//!    traces, `otlp_sample_ratio` are sampled. Routes that machines call all the time begin none.
//! 2. Besides `tracestate`, no span has a header, a body, a query, or a path, which may contain ids: see [`Span::of_request`].
//! 3. A span never waits: it is dropped and counted if the queue is full, as while the collector is down.
//! 4. Without an endpoint there are no spans, and nothing is allocated.

mod context;
mod exporter;
mod message;

use std::{
    borrow::Cow,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum::http::{HeaderMap, Method};
use prometheus_client::metrics::counter::Counter;
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::timeout,
};

pub(crate) use context::Context;
use message::{Kind, Value};

use crate::config::Settings;

/// How many spans wait for the collector at most.
const MAX_QUEUE: usize = 2048;

/// How long the end of the server waits until the spans are sent.
const END_TIMEOUT: Duration = Duration::from_secs(2);

tokio::task_local! {
    /// The span of the request that the task answers.
    static CURRENT: Span;
}

/// Makes spans, if the settings have a collector. Clones share everything.
#[derive(Debug, Clone, Default)]
pub(crate) struct Traces(Option<Arc<Shared>>);

#[derive(Debug)]
struct Shared {
    queue: mpsc::Sender<message::Span>,
    /// Of 2⁶³.
    sampled_below: u64,
    counters: Counters,
    stop: watch::Sender<bool>,
    exporter: Mutex<Option<JoinHandle<()>>>,
}

/// The spans since the start. Clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Counters {
    /// Accepted by the collector.
    pub(crate) exported: Counter,
    /// Lost: the queue was full, or the collector refused them.
    pub(crate) dropped: Counter,
}

impl Traces {
    /// Starts to send spans, if the settings say where. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// Fails if HTTP cannot be used on this system.
    pub(crate) fn start(settings: &Settings) -> anyhow::Result<Self> {
        let Some(endpoint) = &settings.otlp_endpoint else { return Ok(Self::default()) };
        let (queue, spans) = mpsc::channel(MAX_QUEUE);
        let (stop, stopped) = watch::channel(false);
        let counters = Counters::default();
        let exporter = exporter::Exporter::new(endpoint, counters.clone())?;
        let exporter = Mutex::new(Some(tokio::spawn(exporter.run(spans, stopped))));
        let sampled_below = settings.otlp_sample_ratio.of(1 << 63);
        Ok(Self(Some(Arc::new(Shared { queue, sampled_below, counters, stop, exporter }))))
    }

    /// Returns the counts, if there is a collector.
    pub(crate) fn counters(&self) -> Option<Counters> {
        self.0.as_ref().map(|shared| shared.counters.clone())
    }

    /// Sends what waits, for at most [`END_TIMEOUT`].
    pub(crate) async fn end(&self) {
        let Some(shared) = &self.0 else { return };
        shared.stop.send_replace(true);
        let exporter = shared.exporter.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut exporter) = exporter
            && timeout(END_TIMEOUT, &mut exporter).await.is_err()
        {
            exporter.abort();
            tracing::warn!("the collector of traces did not take all spans in time");
        }
    }

    /// Returns the span of a request with these headers; `None` without a collector. If `begins`, it begins a trace unless the caller has
    /// one.
    pub(crate) fn of_request(&self, headers: &HeaderMap, begins: bool) -> Option<Span> {
        let shared = self.0.as_ref()?;
        match Context::of(headers) {
            Some(caller) => Span::below(shared, &caller, Kind::Server),
            None if begins => Span::root(shared, Kind::Server),
            None => None,
        }
    }

    /// Returns the span of a request that this server sends: below that of the current request, or of a new trace.
    pub(crate) fn to_another(&self) -> Option<Span> {
        let shared = self.0.as_ref()?;
        CURRENT
            .try_with(|current| Span::below(shared, &current.context, Kind::Client))
            .unwrap_or_else(|_| Span::root(shared, Kind::Client))
    }
}

/// A span that has begun.
#[derive(Debug, Clone)]
pub(crate) struct Span {
    shared: Arc<Shared>,
    context: Context,
    parent: Option<[u8; 8]>,
    kind: Kind,
    started: SystemTime,
}

impl Span {
    fn root(shared: &Arc<Shared>, kind: Kind) -> Option<Self> {
        let context = Context::root(shared.sampled_below)?;
        Some(Self { shared: Arc::clone(shared), context, parent: None, kind, started: SystemTime::now() })
    }

    fn below(shared: &Arc<Shared>, parent: &Context, kind: Kind) -> Option<Self> {
        let (context, parent) = (parent.child()?, Some(parent.span));
        Some(Self { shared: Arc::clone(shared), context, parent, kind, started: SystemTime::now() })
    }

    /// Returns the context, whose trace has an id that a log line can name.
    pub(crate) fn context(&self) -> &Context {
        &self.context
    }

    /// Ends the span of a request that was answered. `route` is the template of the router; empty if no route matched.
    pub(crate) fn of_request(self, method: &Method, route: &str, scheme: &'static str, status: u16) {
        let method = known(method);
        let name = if route.is_empty() { method.to_owned() } else { format!("{method} {route}") };
        let mut attributes = vec![
            ("http.request.method", Value::Text(method.into())),
            ("http.response.status_code", Value::Number(status.into())),
            ("url.scheme", Value::Text(scheme.into())),
        ];
        if !route.is_empty() {
            attributes.push(("http.route", Value::Text(route.to_owned())));
        }
        let error = (status >= 500).then(|| status.to_string());
        self.end(name.into(), attributes, error);
    }

    /// Ends the span of a request to another server, which was answered with this status, or not at all.
    pub(crate) fn of_answer(self, method: &Method, host: &str, status: Option<u16>) {
        let method = known(method);
        let mut attributes =
            vec![("http.request.method", Value::Text(method.into())), ("server.address", Value::Text(host.to_owned()))];
        let error = match status {
            Some(status) => {
                attributes.push(("http.response.status_code", Value::Number(status.into())));
                (status >= 400).then(|| status.to_string())
            }
            None => Some("unavailable".to_owned()),
        };
        self.end(method.into(), attributes, error);
    }

    fn end(self, name: Cow<'static, str>, mut attributes: Vec<(&'static str, Value)>, error: Option<String>) {
        let Self { shared, context, parent, kind, started } = self;
        if !context.is_sampled {
            return;
        }
        let is_error = error.is_some();
        attributes.extend(error.map(|error| ("error.type", Value::Text(error))));
        let times = (nanoseconds(started), nanoseconds(SystemTime::now()));
        let span = message::Span::new(&context, parent, name.into_owned(), kind, times, attributes, is_error);
        if shared.queue.try_send(span).is_err() {
            shared.counters.dropped.inc();
        }
    }
}

/// Waits for `answering`, with the span as the current one.
pub(crate) async fn within<T>(span: Option<&Span>, answering: impl Future<Output = T>) -> T {
    match span {
        Some(span) => CURRENT.scope(span.clone(), answering).await,
        None => answering.await,
    }
}

/// Waits for a commit of the store. It is a span of its own if the task answers a request that is traced.
pub(crate) async fn of_commit<T, E>(committing: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    let span = CURRENT.try_with(|current| Span::below(&current.shared, &current.context, Kind::Internal));
    let outcome = committing.await;
    if let Ok(Some(span)) = span {
        span.end("store commit".into(), Vec::new(), outcome.is_err().then(|| "store".to_owned()));
    }
    outcome
}

/// The methods of RFC 9110 and RFC 5789; any other is a text of a stranger.
fn known(method: &Method) -> &'static str {
    const KNOWN: [Method; 9] = [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::DELETE,
        Method::CONNECT,
        Method::OPTIONS,
        Method::TRACE,
        Method::PATCH,
    ];
    const NAMES: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];
    KNOWN.iter().zip(NAMES).find(|(known, _)| *known == method).map_or("_OTHER", |(_, name)| name)
}

fn nanoseconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}
