//! Layers for every request and response.

use std::{any::Any, net::Ipv6Addr, sync::Arc, time::Instant};

use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderValue, Method, Version, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use hyper::body::Body as _;

use crate::{error::ApiError, metrics::Metrics};

/// The target of the line that each request gets in the log.
const REQUEST_LOG_TARGET: &str = "adieu::request";

/// Routes that machines call so often that a line for each request would hide the others: these are logged at debug
/// level.
const ASKED_BY_MACHINES: [&str; 7] =
    ["/verify", "/ext_authz", "/ext_authz/", "/ext_authz/{*path}", "/introspect", "/livez", "/readyz"];
/// Likewise, for GET only.
const READ_BY_MACHINES: &str = "/revocations";

/// The policy of the documentation page, which loads everything from this server.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
    img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";
/// The policy of all other responses: JSON is not rendered.
const API_POLICY: &str = "default-src 'none'; frame-ancestors 'none'";

/// Counts the request, and logs its method, its route (the path may have ids), its status and its duration.
pub(super) async fn log(State(metrics): State<Arc<Metrics>>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let response = next.run(request).await;
    let route = route.as_ref().map_or("", MatchedPath::as_str);
    let refused = response.extensions().get().copied();
    metrics.answered(&method, route, response.status().as_u16(), refused);
    let (status, duration_us) = (response.status().as_u16(), started.elapsed().as_micros());
    if ASKED_BY_MACHINES.contains(&route) || (route == READ_BY_MACHINES && method == Method::GET) {
        tracing::debug!(target: REQUEST_LOG_TARGET, %method, route, status, duration_us, "answered");
    } else {
        tracing::info!(target: REQUEST_LOG_TARGET, %method, route, status, duration_us, "answered");
    }
    response
}

/// Rejects a request whose host is missing or ambiguous (RFC 9112 §3.2), and sets headers that restrict what browsers
/// and caches do with the response.
pub(super) async fn secure(request: Request, next: Next) -> Response {
    let is_page = request.uri().path().starts_with("/docs");
    let mut response = match has_host(&request) {
        true => next.run(request).await,
        false => ApiError::BadRequest("Send one valid Host header.".into()).into_response(),
    };
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    let policy = if is_page { PAGE_POLICY } else { API_POLICY };
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    if !is_page {
        headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    }
    response
}

/// Returns whether there is exactly one valid `Host` header. Before HTTP/1.1 it is optional.
fn has_host(request: &Request) -> bool {
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

/// Builds the response after a panic. The panic itself has been reported by then.
pub(super) fn after_panic(_: Box<dyn Any + Send>) -> Response {
    ApiError::internal("a handler panicked").into_response()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use axum::{
        Router,
        body::{Body, to_bytes},
        routing::get,
    };
    use tower::ServiceExt as _;
    use tower_http::catch_panic::CatchPanicLayer;

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

    async fn panics() -> &'static str {
        panic!("the secret is 42")
    }

    #[tokio::test]
    async fn a_panic_is_answered_and_tells_nothing() {
        let router = Router::new().route("/", get(panics)).layer(CatchPanicLayer::custom(after_panic));
        let response = router.oneshot(Request::new(Body::empty())).await.unwrap();
        assert_eq!(response.status().as_u16(), 500);
        let body = to_bytes(response.into_body(), 1024).await.unwrap();
        assert_eq!(body, r#"{"code":500,"status":"Internal Server Error"}"#);
    }
}
