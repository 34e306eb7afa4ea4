//! What the layers have in common.

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

/// Something that is done around a request.
pub trait Around: Clone + Send + Sync + 'static {
    /// Does it, and lets the request through to `next`, or not.
    fn around<F, N, E>(self, request: Request, next: N) -> impl Future<Output = Result<Response, E>> + Send
    where
        N: FnOnce(Request) -> F + Send,
        F: Future<Output = Result<Response, E>> + Send,
        E: Send;
}

/// A service with one of this crate's layers around it.
///
/// Whatever the bodies of requests and responses are, and whatever the error: it can be anywhere in a
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
        // The one that is ready is used up; its clone takes its place.
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
