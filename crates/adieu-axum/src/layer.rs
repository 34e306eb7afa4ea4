//! What the layers have in common.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use axum::{extract::Request, response::Response};
use tower::Service;

/// Something that is done around a request.
pub trait Around: Clone + Send + Sync + 'static {
    /// Does it, and lets the request through to `next`, or not.
    fn around<F, N>(self, request: Request, next: N) -> impl Future<Output = Response> + Send
    where
        N: FnOnce(Request) -> F + Send,
        F: Future<Output = Response> + Send;
}

/// A service with one of this crate's layers around it.
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

impl<L, S> Service<Request> for Wrapped<L, S>
where
    L: Around,
    S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let layer = self.layer.clone();
        // The one that is ready is used up; its clone takes its place.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        Box::pin(async move {
            let next = |request| {
                let answer = inner.call(request);
                async move {
                    match answer.await {
                        Ok(response) => response,
                        Err(never) => match never {},
                    }
                }
            };
            Ok(layer.around(request, next).await)
        })
    }
}
