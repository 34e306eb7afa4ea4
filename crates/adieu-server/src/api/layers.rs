//! What happens to every request and answer.

use std::{any::Any, sync::Arc, time::Instant};

use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderValue, Method, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use crate::{error::ApiError, metrics::Metrics};

/// The target of the line that each request gets in the log.
const REQUEST_LOG_TARGET: &str = "adieu::request";

/// Routes that are asked so often, by machines, that a line each would hide the rest: theirs are for debugging.
const ASKED_BY_MACHINES: [&str; 7] =
    ["/verify", "/ext_authz", "/ext_authz/", "/ext_authz/{*path}", "/introspect", "/livez", "/readyz"];
/// The same, when it is asked with GET.
const READ_BY_MACHINES: &str = "/revocations";

/// Only what is needed to show the page of the documentation, which asks nobody but this server.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
    img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";
/// Nothing: JSON is not to be rendered.
const API_POLICY: &str = "default-src 'none'; frame-ancestors 'none'";

/// Counts the request, and logs the method, the route (not the path, which has ids in it), the status and how long it took.
pub(super) async fn log(State(metrics): State<Arc<Metrics>>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let response = next.run(request).await;
    let route = route.as_ref().map_or("", MatchedPath::as_str);
    let refused = response.extensions().get().copied();
    metrics.answered(&method, route, response.status().as_u16(), refused);
    let (status, micros) = (response.status().as_u16(), started.elapsed().as_micros());
    if ASKED_BY_MACHINES.contains(&route) || (route == READ_BY_MACHINES && method == Method::GET) {
        tracing::debug!(target: REQUEST_LOG_TARGET, %method, route, status, micros, "answered");
    } else {
        tracing::info!(target: REQUEST_LOG_TARGET, %method, route, status, micros, "answered");
    }
    response
}

/// Tells browsers and caches to do no more with an answer than it is meant for.
pub(super) async fn secure(request: Request, next: Next) -> Response {
    let is_page = request.uri().path().starts_with("/docs");
    let mut response = next.run(request).await;
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

/// What a client is told after a panic. The panic itself has been reported by then.
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
