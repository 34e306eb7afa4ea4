//! What happens around every request and response.

use std::{
    borrow::Cow,
    convert::Infallible,
    future::poll_fn,
    net::Ipv6Addr,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, HeaderValue, Method, Version, header},
    middleware::Next,
    response::{IntoResponse, Response},
    routing::Route,
};
use hyper::body::Body as _;
use tower::{Layer, Service};

use super::{origins::Origins, time_limit};
use crate::{
    error::ApiError,
    hang_up::to_its_end,
    metrics::Metrics,
    traces::{self, Traces},
};

/// The target of the line that each request gets in the log.
pub(crate) const REQUEST_LOG_TARGET: &str = "adieu::request";

/// Routes that machines call so often that a line for each request would hide the others: these are logged at debug
/// level.
const ASKED_BY_MACHINES: [&str; 3] = ["/introspect", "/livez", "/readyz"];
/// Likewise, for GET only.
const READ_BY_MACHINES: &str = "/revocations";

/// The policy of the documentation page, which loads everything from this server.
const PAGE_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
    img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
);
/// The policy of all other responses: JSON is not rendered.
const API_POLICY: HeaderValue = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");

/// The one layer around every handler, whether the [`Router`](axum::Router) found it or not.
///
/// 1. Every request gets one response, which is counted by method, route and status. It also gets a line in the log, with its duration.
///    The durations of requests of machines are in no metric: these are answered from memory, or wait on purpose.
///    No line has a header, a body, a query, or a path, which may contain ids. With a collector of traces, it is a span.
/// 2. A panic, in the call of the handler or in its future, becomes a 500 without details, which is counted and logged like any other
///    response.
/// 3. A request whose host is missing or ambiguous is rejected (RFC 9112 §3.2) and reaches no handler.
/// 4. Every response has the headers that restrict what browsers and caches do with it.
/// 5. As a [`Layer`], it answers preflights, and says in every response whether pages of other origins may read it; see [`Origins`]. The
///    routes that a proxy calls have neither.
/// 6. As a [`Layer`], it ends a request that takes longer than `request_timeout`; see [`time_limit`].
/// 7. As a [`Layer`], it lets a handler that may change something come to its end, in a task of its own if the client has hung up or the
///    time is over: what it has changed is then in the audit trail.
#[derive(Debug, Clone)]
pub(super) struct Middleware {
    metrics: Arc<Metrics>,
    request_timeout: Duration,
    origins: Arc<Origins>,
    traces: Traces,
    /// The scheme of URLs of TCP addresses.
    scheme: &'static str,
}

/// How often a route is called, which decides the level of its lines in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Caller {
    Machine,
    Any,
}

impl Middleware {
    pub(super) fn new(metrics: Arc<Metrics>, request_timeout: Duration) -> Self {
        Self { metrics, request_timeout, origins: Arc::default(), traces: Traces::default(), scheme: "http" }
    }

    /// Lets pages of these origins use the routes.
    pub(super) fn with_origins(self, origins: Origins) -> Self {
        Self { origins: Arc::new(origins), ..self }
    }

    /// Makes a span of each request.
    pub(super) fn with_traces(self, traces: Traces, scheme: &'static str) -> Self {
        Self { traces, scheme, ..self }
    }

    /// Answers a request of a machine with `handler`, without a time limit: `handler` must not wait for anything.
    pub(super) async fn answer_at_once<B, F: Future<Output = Response>>(
        &self,
        route: &'static str,
        request: Request<B>,
        handler: impl FnOnce(Request<B>) -> F,
    ) -> Response {
        self.answer(Cow::Borrowed(route), Caller::Machine, request, handler).await
    }

    async fn answer<B, F: Future<Output = Response>>(
        &self,
        route: Cow<'static, str>,
        caller: Caller,
        request: Request<B>,
        handler: impl FnOnce(Request<B>) -> F,
    ) -> Response {
        let started = Instant::now();
        let method = request.method().clone();
        let is_page = request.uri().path().starts_with("/docs");
        let span = self.traces.of_request(request.headers(), caller == Caller::Any);
        let mut response = match has_host(&request) {
            true => traces::within(span.as_ref(), caught(request, handler)).await,
            false => ApiError::BadRequest("Send one valid Host header.".into()).into_response(),
        };
        restrict(response.headers_mut(), is_page);
        let status = response.status().as_u16();
        let rejection = response.extensions().get().copied();
        let duration_us = || started.elapsed().as_micros();
        let trace_id = span.as_ref().map(|span| tracing::field::display(span.context().trace()));
        match caller {
            Caller::Machine => {
                tracing::debug!(target: REQUEST_LOG_TARGET, %method, route = &*route, status, duration_us = duration_us(), trace_id, "answered");
            }
            Caller::Any => {
                tracing::info!(target: REQUEST_LOG_TARGET, %method, route = &*route, status, duration_us = duration_us(), trace_id, "answered");
                self.metrics.took(&method, &route, started.elapsed());
            }
        }
        if let Some(span) = span {
            span.of_request(&method, &route, self.scheme, status);
        }
        self.metrics.answered(&method, route, status, rejection);
        response
    }
}

impl Layer<Route> for Middleware {
    type Service = Wrapped;

    fn layer(&self, route: Route) -> Wrapped {
        Wrapped { middleware: self.clone(), route }
    }
}

/// A route of the router within the [`Middleware`].
#[derive(Debug, Clone)]
pub(super) struct Wrapped {
    middleware: Middleware,
    route: Route,
}

impl Service<Request> for Wrapped {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // A route is always ready.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let Self { middleware, mut route } = self.clone();
        Box::pin(async move {
            let path = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str).to_owned();
            let is_asked_by_machines =
                ASKED_BY_MACHINES.contains(&&*path) || (path == READ_BY_MACHINES && *request.method() == Method::GET);
            let caller = if is_asked_by_machines { Caller::Machine } else { Caller::Any };
            let limit = middleware.request_timeout;
            let access = middleware.origins.access(&request);
            let preflight = access.preflight(&request);
            let may_change = !request.method().is_safe();
            let handler = async move |request| match (preflight, may_change) {
                (Some(response), _) => response,
                (_, true) => time_limit::end(limit, request, |request| to_its_end(route.call(request))).await,
                (_, false) => time_limit::end(limit, request, |request| route.call(request)).await,
            };
            let mut response = middleware.answer(path.into(), caller, request, handler).await;
            access.tell(response.headers_mut());
            if let Some(counted) = response.extensions().get() {
                middleware.metrics.failed(*counted);
            }
            Ok(response)
        })
    }
}

/// Calls `handler`; a panic becomes a response. The panic itself has been reported by then.
async fn caught<B, F: Future<Output = Response>>(
    request: Request<B>,
    handler: impl FnOnce(Request<B>) -> F,
) -> Response {
    let after_panic = || ApiError::internal("a handler panicked").into_response();
    // The state that a panic leaves behind is dropped.
    let Ok(answering) = catch_unwind(AssertUnwindSafe(|| handler(request))) else { return after_panic() };
    let mut answering = pin!(answering);
    poll_fn(|context| {
        let polled = catch_unwind(AssertUnwindSafe(|| answering.as_mut().poll(context)));
        polled.unwrap_or_else(|_| Poll::Ready(after_panic()))
    })
    .await
}

/// Sets headers that restrict what browsers and caches do with a response.
fn restrict(headers: &mut HeaderMap, is_page: bool) {
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // The pages of `pages` have a policy of their own.
    headers.entry(header::REFERRER_POLICY).or_insert(HeaderValue::from_static("no-referrer"));
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(if is_page { PAGE_POLICY } else { API_POLICY });
    if !is_page {
        headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    }
}

/// Returns whether there is exactly one valid `Host` header. Before HTTP/1.1 it is optional.
fn has_host<B>(request: &Request<B>) -> bool {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) => is_host(host.as_bytes()),
        (None, _) => request.version() < Version::HTTP_11,
        (Some(_), Some(_)) => false,
    }
}

/// Returns whether a value is `uri-host [ ":" port ]` (RFC 9110 §7.2, RFC 3986 §3.2.2). The host may be empty.
fn is_host(value: &[u8]) -> bool {
    let (is_valid, port) = match value.strip_prefix(b"[") {
        Some(rest) => {
            let end = rest.iter().position(|byte| *byte == b']').unwrap_or(rest.len());
            let (literal, rest) = rest.split_at(end);
            let is_address = str::from_utf8(literal).is_ok_and(|literal| literal.parse::<Ipv6Addr>().is_ok());
            (is_address && rest.starts_with(b"]"), rest.get(1..).unwrap_or_default())
        }
        None => {
            let end = value.iter().position(|byte| *byte == b':').unwrap_or(value.len());
            let (name, rest) = value.split_at(end);
            (name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=".contains(byte)), rest)
        }
    };
    is_valid && (port.is_empty() || (port.starts_with(b":") && port.iter().skip(1).all(u8::is_ascii_digit)))
}

/// Rejects a request whose announced body is longer than `max`, without `100 Continue` (RFC 9110 §10.1.1).
pub(super) async fn limit_body(State(max): State<usize>, request: Request, next: Next) -> Response {
    let announced = request.body().size_hint().lower();
    if announced > u64::try_from(max).unwrap_or(u64::MAX) {
        return ApiError::BodyTooLarge.into_response();
    }
    next.run(request).await
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use adieu::{Issuer, Node, store::Memory};
    use axum::{
        Router,
        body::{Body, to_bytes},
        routing::{any_service, get},
    };

    use super::*;

    #[test]
    fn a_host_is_a_name_or_an_address_and_perhaps_a_port() {
        for host in
            ["adieu", "a.example:8080", "127.0.0.1:", "[::1]", "[2001:db8::1]:443", "", "a%20b", "xn--caf-dma.example"]
        {
            assert!(is_host(host.as_bytes()), "{host}");
        }
        for host in ["a b", "a/b", "user@a", "a:b", "a:80:80", "::1", "[::1", "[::1]80", "[x]", "é", "a,b ", "http://a"]
        {
            assert!(!is_host(host.as_bytes()), "{host}");
        }
    }

    const TELLS_NOTHING: &str = r#"{"code":500,"status":"Internal Server Error"}"#;

    async fn middleware() -> (Middleware, Arc<Metrics>) {
        let node = Node::builder(Issuer::new("adieu").unwrap()).start(Memory::new()).await.unwrap();
        let metrics = Arc::new(Metrics::new(Arc::clone(node.verifier()), None, None));
        (Middleware::new(Arc::clone(&metrics), Duration::from_secs(3600)), metrics)
    }

    fn request() -> Request {
        Request::builder().uri("/secret").header(header::HOST, "adieu").body(Body::empty()).unwrap()
    }

    async fn is_an_internal_error(response: Response) {
        assert_eq!(response.status().as_u16(), 500);
        assert_eq!(response.headers()[header::CACHE_CONTROL], "no-store");
        assert_eq!(to_bytes(response.into_body(), 1024).await.unwrap(), TELLS_NOTHING);
    }

    fn counted(metrics: &Metrics, route: &str) -> bool {
        let counter = format!(r#"adieu_http_requests_total{{method="GET",route="{route}",status="500"}} 1"#);
        metrics.render().unwrap().contains(&counter)
    }

    async fn panics() -> &'static str {
        panic!("the secret is 42")
    }

    #[tokio::test]
    async fn a_panic_in_a_future_is_a_counted_500() {
        let (middleware, metrics) = middleware().await;
        let mut router = Router::new().route("/{id}", get(panics)).layer(middleware);
        is_an_internal_error(router.call(request()).await.unwrap()).await;
        assert!(counted(&metrics, "/{id}"));
    }

    #[tokio::test]
    async fn a_panic_in_a_call_is_a_counted_500() {
        let (middleware, metrics) = middleware().await;
        let panics = tower::service_fn(|_: Request| -> std::future::Ready<Result<Response, Infallible>> {
            panic!("the secret is 42")
        });
        let mut router = Router::new().route("/{id}", any_service(panics)).layer(middleware);
        is_an_internal_error(router.call(request()).await.unwrap()).await;
        assert!(counted(&metrics, "/{id}"));
    }

    #[tokio::test]
    async fn a_panic_without_routing_is_a_counted_500() {
        let (middleware, metrics) = middleware().await;
        let in_the_call = |_| -> std::future::Ready<Response> { panic!("the secret is 42") };
        is_an_internal_error(middleware.answer_at_once("/call", request(), in_the_call).await).await;
        let in_the_future = async |_| -> Response { panic!("the secret is 42") };
        is_an_internal_error(middleware.answer_at_once("/future", request(), in_the_future).await).await;
        assert!(counted(&metrics, "/call") && counted(&metrics, "/future"));
    }
}
