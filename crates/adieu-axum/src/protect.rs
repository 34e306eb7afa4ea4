//! A layer that protects all routes below it.

use std::time::Duration;

use adieu::token::TokenError;
use axum::{
    body::{Body, HttpBody as _},
    extract::{MatchedPath, Request},
    http::{Method, header},
    response::{IntoResponse, Response},
};

use crate::{
    Guard, TokenEnd,
    extract::{Access, judged},
    layer::{Around, Wrapped},
    location::{Reading, read_body},
    watched::watch,
};

/// A layer that rejects requests without a valid access token.
///
/// 1. Every route below it needs a token, including the fallback, unless [`Protect::except`] names the route.
/// 2. A preflight passes: a browser sends it to learn whether it may send the request, without a token (Fetch §4.8). It is an
///    OPTIONS request with `Origin` and `Access-Control-Request-Method` that announces no body, and it is passed on without
///    one; any other OPTIONS request needs a token. A handler for every method ([`any`](axum::routing::any)) receives
///    preflights as well, unless a CORS layer answers them.
/// 3. If the guard looks for tokens in bodies, the layer reads the body first; see [`ReadBodies`](crate::ReadBodies).
/// 4. A token that is no longer valid when the body arrives is rejected, however long the client has held the body back: the
///    token is verified again with every part of the body. [`Protect::with_body_timeout`] limits the time between parts.
/// 5. Handlers extract the token as they do without the layer.
///
/// ```
/// # use std::sync::Arc;
/// # use adieu::session::Sessions;
/// # use adieu_axum::Guard;
/// # use axum::{Router, routing::{get, post}};
/// # async fn log_in() {}
/// # async fn items() {}
/// fn router(sessions: Arc<Sessions>) -> Router {
///     let guard = Guard::from_sessions(&sessions);
///     Router::new()
///         .route("/items", get(items))
///         .route("/login", post(log_in))
///         .layer(guard.protect().except("/login"))
///         .with_state(sessions)
/// }
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct Protect {
    guard: Guard,
    open: Vec<(Option<Method>, String)>,
    reading: Reading,
}

impl Guard {
    /// Returns a layer that rejects requests without a valid access token; see [`Protect`].
    pub fn protect(&self) -> Protect {
        Protect { guard: self.clone(), open: Vec::new(), reading: Reading::of(self.cookies_used()) }
    }
}

impl Protect {
    /// Exempts this route for every method. The route is the whole path as the router has it, with `{…}` and with the paths
    /// that it is nested below. A path that is not a route exempts nothing.
    pub fn except(mut self, route: impl Into<String>) -> Self {
        self.open.push((None, route.into()));
        self
    }

    /// Like [`except`](Self::except), but only for one method.
    pub fn except_method(mut self, method: Method, route: impl Into<String>) -> Self {
        self.open.push((Some(method), route.into()));
        self
    }

    /// Sets the maximum size of a body that is read for a token, in bytes.
    pub fn with_max_body_bytes(mut self, max_body_bytes: usize) -> Self {
        self.reading.max_bytes = max_body_bytes;
        self
    }

    /// Sets how long the layer waits for more of a body before the response is 408; the default is 30 seconds. A body that is
    /// read for a token must arrive completely within that time.
    pub fn with_body_timeout(mut self, timeout: Duration) -> Self {
        self.reading.timeout = timeout;
        self
    }

    fn lets_through(&self, request: &Request) -> bool {
        // Compares the router's path, not the client's: there are many ways to write a path.
        let Some(matched) = request.extensions().get::<MatchedPath>() else { return false };
        self.open.iter().any(|(method, route)| {
            route == matched.as_str() && method.as_ref().is_none_or(|method| method == request.method())
        })
    }
}

/// Fetch §4.8.
fn is_preflight(request: &Request) -> bool {
    let has = |name| request.headers().contains_key(name);
    let announces_body = has(header::TRANSFER_ENCODING)
        || request.headers().get(header::CONTENT_LENGTH).is_some_and(|length| length != "0");
    request.method() == Method::OPTIONS
        && has(header::ORIGIN)
        && has(header::ACCESS_CONTROL_REQUEST_METHOD)
        && !announces_body
}

impl<S> tower::Layer<S> for Protect {
    type Service = Wrapped<Self, S>;

    fn layer(&self, inner: S) -> Self::Service {
        Wrapped::new(self.clone(), inner)
    }
}

impl Around for Protect {
    async fn around<F, N, E>(self, mut request: Request, next: N) -> Result<Response, E>
    where
        N: FnOnce(Request) -> F + Send,
        F: Future<Output = Result<Response, E>> + Send,
        E: Send,
    {
        if is_preflight(&request) {
            // Over HTTP/2 a body may arrive that the head has not announced.
            return next(request.map(|_| Body::empty())).await;
        }
        if self.lets_through(&request) {
            return next(request).await;
        }
        if self.guard.reads_bodies() {
            request = match read_body(request, &self.reading).await {
                Ok(request) => request,
                Err(response) => return Ok(response),
            };
        }
        let (parts, body) = request.into_parts();
        let judgement = if body.is_end_stream() {
            judged::<_, Access>(&self.guard, &parts, &()).await.map(|access| access.map(|_| None))
        } else {
            judged::<_, TokenEnd>(&self.guard, &parts, &()).await.map(|token| token.map(Some))
        };
        let request = Request::from_parts(parts, body);
        match judgement {
            Ok(Some(None)) => next(request).await,
            Ok(Some(Some(token))) => watch(request, token, self.reading.timeout, next).await,
            Ok(None) => Ok(self.guard.reject(TokenError::Missing).into_response()),
            Err(failure) => Ok(self.guard.reject(failure.reason).into_response()),
        }
    }
}
