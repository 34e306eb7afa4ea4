//! Bodies that are read before the handler reads them, because there may be a token in them.

use std::sync::Arc;

use axum::{
    body::{Body, Bytes, to_bytes},
    extract::Request,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Map, Value};

use crate::layer::{Around, Wrapped};

/// The longest body that is read for a token, unless something else is set.
pub const DEFAULT_MAX_BODY_BYTES: usize = 64 * 1024;

/// A layer that looks for tokens and CSRF values in bodies; see [`Guard::read_bodies`](crate::Guard::read_bodies).
///
/// 1. Only a body that says that it is JSON or a form is read; all others pass untouched.
/// 2. The handler gets the body as it was sent.
/// 3. A body that is longer than the bound is refused with 413, since nobody knows what is in it.
#[derive(Debug, Clone)]
#[must_use]
pub struct ReadBodies {
    max_bytes: usize,
}

impl ReadBodies {
    pub(crate) fn new() -> Self {
        Self { max_bytes: DEFAULT_MAX_BODY_BYTES }
    }

    /// The longest body that is read, in bytes.
    pub fn max_bytes(self, max_bytes: usize) -> Self {
        Self { max_bytes }
    }
}

impl<S> tower::Layer<S> for ReadBodies {
    type Service = Wrapped<Self, S>;

    fn layer(&self, inner: S) -> Self::Service {
        Wrapped::new(self.clone(), inner)
    }
}

impl Around for ReadBodies {
    async fn around<F, N>(self, request: Request, next: N) -> Response
    where
        N: FnOnce(Request) -> F + Send,
        F: Future<Output = Response> + Send,
    {
        match read_body(request, self.max_bytes).await {
            Ok(request) => next(request).await,
            Err(response) => response,
        }
    }
}

/// What was in a body.
#[derive(Debug, Clone)]
pub(crate) enum ReadBody {
    Json(Arc<Map<String, Value>>),
    Form(Bytes),
    Other,
}

impl ReadBody {
    pub(super) fn json(&self) -> Option<&Map<String, Value>> {
        match self {
            Self::Json(members) => Some(members),
            Self::Form(_) | Self::Other => None,
        }
    }

    /// The value of a field of a form that is there once.
    pub(crate) fn field(&self, name: &str) -> Option<String> {
        let Self::Form(form) = self else { return None };
        let mut values = form_urlencoded::parse(form).filter(|(named, _)| named == name);
        let (_, value) = values.next()?;
        values.next().is_none().then(|| value.into_owned())
    }
}

/// Reads the body once, unless that was done before.
///
/// # Errors
/// The answer when it is too long, or does not come to its end.
pub(crate) async fn read_body(request: Request, max_bytes: usize) -> Result<Request, Response> {
    if request.extensions().get::<ReadBody>().is_some() {
        return Ok(request);
    }
    let (mut parts, body) = request.into_parts();
    let content_type = parts.headers.get(header::CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
    let essence = content_type.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    let is_json = essence.eq_ignore_ascii_case(b"application/json");
    let is_form = essence.eq_ignore_ascii_case(b"application/x-www-form-urlencoded");
    let (read, body) = if is_json || is_form {
        let Ok(bytes) = to_bytes(body, max_bytes).await else {
            tracing::debug!(target: crate::REFUSAL_LOG_TARGET, max_bytes, "the body could not be read for a token");
            return Err(StatusCode::PAYLOAD_TOO_LARGE.into_response());
        };
        let read = match serde_json::from_slice(&bytes) {
            Ok(members) if is_json => ReadBody::Json(Arc::new(members)),
            _ if is_form => ReadBody::Form(bytes.clone()),
            // For the handler to complain about.
            _ => ReadBody::Other,
        };
        (read, Body::from(bytes))
    } else {
        (ReadBody::Other, body)
    };
    parts.extensions.insert(read);
    Ok(Request::from_parts(parts, body))
}
