//! A layer that protects all routes below it.

use adieu::token::{Refusal, Verifier};
use axum::{
    extract::{MatchedPath, Request},
    http::Method,
    response::{IntoResponse, Response},
};

use crate::{
    Guard,
    extract::access,
    layer::{Around, Wrapped},
    location::{DEFAULT_MAX_BODY_BYTES, read_body},
};

/// A layer that lets nobody in without a good access token.
///
/// 1. Every route below it needs one, also a fallback, unless it is named with [`Protect::except`].
/// 2. OPTIONS passes: a browser asks that way whether it may ask, and has no token to show (Fetch §3.3.3).
/// 3. It reads the body for a token first, where the guard looks for one there; see [`ReadBodies`](crate::ReadBodies).
/// 4. Handlers take the token as they do without it.
///
/// ```
/// # use std::sync::Arc;
/// # use adieu::session::Sessions;
/// # use adieu_axum::Guard;
/// # use axum::{Router, routing::{get, post}};
/// # async fn log_in() {}
/// # async fn items() {}
/// fn router(sessions: Arc<Sessions>) -> Router {
///     let guard = Guard::of(&sessions);
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
    max_body_bytes: usize,
}

impl Protect {
    pub(crate) fn new(guard: Guard) -> Self {
        Self { guard, open: Vec::new(), max_body_bytes: DEFAULT_MAX_BODY_BYTES }
    }

    /// Leaves this route open, whatever the method: its whole path as the router has it, with `{…}` and with the paths that
    /// it is nested below. A path that is no route opens nothing.
    pub fn except(mut self, route: impl Into<String>) -> Self {
        self.open.push((None, route.into()));
        self
    }

    /// The same for one method.
    pub fn except_method(mut self, method: Method, route: impl Into<String>) -> Self {
        self.open.push((Some(method), route.into()));
        self
    }

    /// The longest body that is read for a token, in bytes.
    pub fn max_body_bytes(self, max_body_bytes: usize) -> Self {
        Self { max_body_bytes, ..self }
    }

    fn lets_through(&self, request: &Request) -> bool {
        if request.method() == Method::OPTIONS {
            return true;
        }
        // What the router says, not what the client wrote: there are many ways to write a path.
        let Some(matched) = request.extensions().get::<MatchedPath>() else { return false };
        self.open.iter().any(|(method, route)| {
            route == matched.as_str() && method.as_ref().is_none_or(|method| method == request.method())
        })
    }
}

impl<S> tower::Layer<S> for Protect {
    type Service = Wrapped<Self, S>;

    fn layer(&self, inner: S) -> Self::Service {
        Wrapped::new(self.clone(), inner)
    }
}

impl Around for Protect {
    async fn around<F, N>(self, mut request: Request, next: N) -> Response
    where
        N: FnOnce(Request) -> F + Send,
        F: Future<Output = Response> + Send,
    {
        if self.lets_through(&request) {
            return next(request).await;
        }
        if self.guard.reads_bodies() {
            request = match read_body(request, self.max_body_bytes).await {
                Ok(request) => request,
                Err(response) => return response,
            };
        }
        let (parts, body) = request.into_parts();
        match access(&self.guard, &parts, Verifier::verify).await {
            Ok(Some(_)) => next(Request::from_parts(parts, body)).await,
            Ok(None) => self.guard.refuse(Refusal::Missing).into_response(),
            Err(reason) => self.guard.refuse(reason).into_response(),
        }
    }
}
