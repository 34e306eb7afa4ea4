//! Code shared by the layers.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use axum::{
    BoxError,
    body::{Body, Bytes, HttpBody},
    extract::Request,
    http,
    response::{IntoResponse, Response},
};
use tower::Service;

/// A middleware that wraps the handling of a request.
pub trait Around: Clone + Send + Sync + 'static {
    /// Handles the request: passes it to `next` or answers it.
    fn around<F, N, E>(self, request: Request, next: N) -> impl Future<Output = Result<Response, E>> + Send
    where
        N: FnOnce(Request) -> F + Send,
        F: Future<Output = Result<Response, E>> + Send,
        E: Send;
}

/// A service wrapped in one of this crate's layers.
///
/// It accepts any request and response body and any error type, so it can be anywhere in a
/// [`ServiceBuilder`](tower::ServiceBuilder).
#[derive(Debug, Clone)]
pub struct Wrapped<L, S> {
    layer: L,
    inner: S,
}

impl<L, S> Wrapped<L, S> {
    pub(crate) const fn new(layer: L, inner: S) -> Self {
        Self { layer, inner }
    }
}

impl<L, S, B> Service<http::Request<B>> for Wrapped<L, S>
where
    L: Around,
    S: Service<Request> + Clone + Send + 'static,
    S::Response: IntoResponse,
    S::Error: Send,
    S::Future: Send,
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let layer = self.layer.clone();
        // The service that is ready is consumed; its clone replaces it.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        let request = request.map(Body::new);
        Box::pin(async move {
            let next = |request| {
                let response = inner.call(request);
                async move { Ok(response.await?.into_response()) }
            };
            layer.around(request, next).await
        })
    }
}
