//! The time limit of requests, and the status of those that exceed it.

use std::{
    convert::Infallible,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::{Body, Bytes},
    extract::{FromRequestParts, Request},
    http::request::Parts,
    response::{IntoResponse, Response},
};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::timeout;

use crate::error::ApiError;

/// Additional time for a request that is meant to take long. Its handler grants it.
#[derive(Debug, Clone, Default)]
pub(super) struct MoreTime {
    millis: Arc<AtomicU64>,
    expects_wait: Arc<AtomicBool>,
}

impl MoreTime {
    /// Grants more time, in addition to earlier grants.
    pub(super) fn grant(&self, more: Duration) {
        let millis = u64::try_from(more.as_millis()).unwrap_or(u64::MAX);
        self.millis.fetch_add(millis, Ordering::Relaxed);
    }

    /// Notes that the handler is to wait until a revocation holds everywhere.
    pub(super) fn expect_wait(&self) {
        self.expects_wait.store(true, Ordering::Relaxed);
    }

    /// Returns whether the handler has got as far as [`expect_wait`](Self::expect_wait).
    pub(super) fn expects_wait(&self) -> bool {
        self.expects_wait.load(Ordering::Relaxed)
    }

    /// Returns the time granted since the last call.
    fn take(&self) -> Option<Duration> {
        Some(self.millis.swap(0, Ordering::Relaxed)).filter(|millis| *millis > 0).map(Duration::from_millis)
    }
}

impl<S: Sync> FromRequestParts<S> for MoreTime {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get().cloned().unwrap_or_default())
    }
}

/// Calls `handler`, and rejects a request that takes longer than `limit` plus the granted time: with 408 if the handler
/// waits for the rest of the client's body, otherwise with 503.
pub(super) async fn end<F: Future<Output = Result<Response, Infallible>>>(
    limit: Duration,
    mut request: Request,
    handler: impl FnOnce(Request) -> F,
) -> Response {
    let awaits_client = Arc::new(AtomicBool::new(false));
    if !request.body().is_end_stream() {
        request = request.map(|body| Body::new(Watched { body, awaits_client: Arc::clone(&awaits_client) }));
    }
    let more = MoreTime::default();
    request.extensions_mut().insert(more.clone());
    let mut answering = pin!(handler(request));
    let mut answered = timeout(limit, answering.as_mut()).await;
    while answered.is_err()
        && let Some(more) = more.take()
    {
        answered = timeout(more, answering.as_mut()).await;
    }
    match answered {
        Ok(Ok(answered)) => answered,
        Err(_) if awaits_client.load(Ordering::Relaxed) => ApiError::RequestTimeout.into_response(),
        Err(_) => ApiError::Unavailable("the request took longer than request_timeout".into()).into_response(),
    }
}

/// A body that reports whether its reader waits for more of it.
struct Watched {
    body: Body,
    awaits_client: Arc<AtomicBool>,
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        self.awaits_client.store(frame.is_pending(), Ordering::Relaxed);
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
