//! Forms with files (`multipart/form-data`, RFC 7578), read only up to the field that is looked for.

use std::{
    convert::Infallible,
    mem,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    vec,
};

use axum::body::{Body, BodyDataStream, Bytes};
use futures_core::Stream;
use multer::{Constraints, Multipart, SizeLimit};

/// The maximum length of a value, in bytes.
const MAX_VALUE_BYTES: u64 = 1024;

/// Returns the first of these fields with its value, and the body unchanged.
///
/// In a form that cannot be parsed, nothing is found; the handler reports the error.
pub(super) async fn find(
    body: Body,
    boundary: String,
    fields: &[String],
    max_bytes: usize,
) -> (Option<(String, String)>, Body) {
    let copied = Copied::new(body, max_bytes);
    let limits = fields.iter().fold(SizeLimit::new(), |limits, field| limits.for_field(field, MAX_VALUE_BYTES));
    let constraints = Constraints::new().size_limit(limits);
    let mut form = Multipart::with_constraints(copied.clone(), boundary, constraints);
    let mut found = None;
    while let Ok(Some(field)) = form.next_field().await {
        let name = field.name().filter(|_| field.file_name().is_none()).map(str::to_owned);
        let Some(name) = name.filter(|name| fields.contains(name)) else { continue };
        found = field.text().await.ok().map(|value| (name, value));
        break;
    }
    drop(form);
    (found, copied.into_body())
}

/// A body that copies the bytes that are read from it, and ends at a limit. Clones share the copy.
#[derive(Clone)]
struct Copied(Arc<Mutex<State>>);

struct State {
    rest: BodyDataStream,
    read: Vec<Result<Bytes, axum::Error>>,
    left: usize,
}

impl Copied {
    fn new(body: Body, max_bytes: usize) -> Self {
        Self(Arc::new(Mutex::new(State { rest: body.into_data_stream(), read: Vec::new(), left: max_bytes })))
    }

    /// Returns the whole body, as if nothing had been read.
    fn into_body(self) -> Body {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let rest = mem::replace(&mut state.rest, Body::empty().into_data_stream());
        Body::from_stream(Whole { read: mem::take(&mut state.read).into_iter(), rest })
    }
}

impl Stream for Copied {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.left == 0 {
            return Poll::Ready(None);
        }
        let next = ready!(Pin::new(&mut state.rest).poll_next(context));
        let mut seen = next.as_ref().and_then(|next| next.as_ref().ok()).cloned();
        if let Some(bytes) = &mut seen {
            bytes.truncate(state.left);
        }
        state.left = state.left.saturating_sub(seen.as_ref().map_or(usize::MAX, Bytes::len));
        state.read.extend(next);
        Poll::Ready(seen.map(Ok))
    }
}

/// The part of a body that has been read, and the rest.
struct Whole {
    read: vec::IntoIter<Result<Bytes, axum::Error>>,
    rest: BodyDataStream,
}

impl Stream for Whole {
    type Item = Result<Bytes, axum::Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match self.read.next() {
            Some(read) => Poll::Ready(Some(read)),
            None => Pin::new(&mut self.rest).poll_next(context),
        }
    }
}
