//! How long a request may take, and whose fault it is when it takes longer.

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
    extract::{FromRequestParts, Request, State},
    http::request::Parts,
    middleware::Next,
    response::{IntoResponse, Response},
};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::timeout;

use crate::error::ApiError;

/// More time than all requests get, for one that is meant to take long: its handler grants it.
#[derive(Debug, Clone, Default)]
pub(super) struct MoreTime(Arc<AtomicU64>);

impl MoreTime {
    /// Grants so much more than was granted before.
    pub(super) fn grant(&self, more: Duration) {
        let millis = u64::try_from(more.as_millis()).unwrap_or(u64::MAX);
        self.0.fetch_add(millis, Ordering::Relaxed);
    }

    /// What has been granted since the last time.
    fn take(&self) -> Option<Duration> {
        Some(self.0.swap(0, Ordering::Relaxed)).filter(|millis| *millis > 0).map(Duration::from_millis)
    }
}

impl<S: Sync> FromRequestParts<S> for MoreTime {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get().cloned().unwrap_or_default())
    }
}

/// Answers a request that takes longer than `limit`, and what it was granted beside: 408 when its client has still to send some of the body that is
/// being read, and otherwise 503, because it waits for us.
pub(super) async fn end(State(limit): State<Duration>, request: Request, next: Next) -> Response {
    let awaits_client = Arc::new(AtomicBool::new(false));
    let mut request = request.map(|body| Body::new(Watched { body, awaits_client: Arc::clone(&awaits_client) }));
    let more = MoreTime::default();
    request.extensions_mut().insert(more.clone());
    let mut answering = pin!(next.run(request));
    let mut answered = timeout(limit, answering.as_mut()).await;
    while answered.is_err()
        && let Some(more) = more.take()
    {
        answered = timeout(more, answering.as_mut()).await;
    }
    match answered {
        Ok(answered) => answered,
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
