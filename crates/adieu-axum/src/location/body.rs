//! Bodies that are read before the handler reads them, for a token or a CSRF value.

mod members;
mod multipart;

use std::{sync::Arc, time::Duration};

use axum::{
    BoxError,
    body::{Body, Bytes, to_bytes},
    extract::Request,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::Value;
use tokio::time::timeout;

use self::members::Members;
use crate::{
    Cookies,
    layer::{Around, Wrapped},
};

/// The default maximum size of a body that is read for a token, in bytes.
pub const DEFAULT_MAX_BODY_BYTES: usize = 64 * 1024;

/// The default time that a layer waits for more of a body.
pub const DEFAULT_BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// A layer that looks for tokens and CSRF values in bodies; see [`Guard::read_bodies`](crate::Guard::read_bodies).
///
/// 1. It reads only bodies whose content type is JSON or a form; all others pass unchanged.
/// 2. The handler gets the body as it was sent.
/// 3. A body above the limit is rejected with 413, since its content is unknown. A form with files (`multipart/form-data`)
///    may be longer. It is read up to the field with the CSRF value, and never past the limit, so that field must come before
///    the files.
/// 4. A body that does not arrive in time is rejected with 408; see [`ReadBodies::with_body_timeout`].
#[derive(Debug, Clone)]
#[must_use]
pub struct ReadBodies {
    reading: Reading,
}

/// How bodies are read.
#[derive(Debug, Clone)]
pub(crate) struct Reading {
    pub(crate) max_bytes: usize,
    pub(crate) timeout: Duration,
    /// The form fields to look for in `multipart/form-data`.
    fields: Vec<String>,
}

impl Reading {
    pub(crate) fn of(cookies: &Cookies) -> Self {
        let fields = match cookies.csrf_in_forms {
            true => vec![cookies.access.csrf_field.clone(), cookies.refresh.csrf_field.clone()],
            false => Vec::new(),
        };
        Self { max_bytes: DEFAULT_MAX_BODY_BYTES, timeout: DEFAULT_BODY_TIMEOUT, fields }
    }
}

impl ReadBodies {
    pub(crate) fn new(cookies: &Cookies) -> Self {
        Self { reading: Reading::of(cookies) }
    }

    /// Sets the maximum size of a body that is read, in bytes.
    pub fn with_max_bytes(mut self, max_bytes: usize) -> Self {
        self.reading.max_bytes = max_bytes;
        self
    }

    /// Sets the time within which a body must arrive completely; the default is 30 seconds.
    pub fn with_body_timeout(mut self, timeout: Duration) -> Self {
        self.reading.timeout = timeout;
        self
    }
}

impl<S> tower::Layer<S> for ReadBodies {
    type Service = Wrapped<Self, S>;

    fn layer(&self, inner: S) -> Self::Service {
        Wrapped::new(self.clone(), inner)
    }
}

impl Around for ReadBodies {
    async fn around<F, N, E>(self, request: Request, next: N) -> Result<Response, E>
    where
        N: FnOnce(Request) -> F + Send,
        F: Future<Output = Result<Response, E>> + Send,
        E: Send,
    {
        match read_body(request, &self.reading).await {
            Ok(request) => next(request).await,
            Err(response) => Ok(response),
        }
    }
}

/// The content of a body.
#[derive(Debug, Clone)]
pub(crate) enum ReadBody {
    Json(Arc<Members>),
    Form(Bytes),
    /// The first matching field, and its value.
    Multipart(Option<(String, String)>),
    Other,
}

impl ReadBody {
    /// Returns the values of all members with this name.
    pub(super) fn members(&self, name: &str) -> impl Iterator<Item = &Value> {
        let members = match self {
            Self::Json(members) => Some(&**members),
            Self::Form(_) | Self::Multipart(_) | Self::Other => None,
        };
        members.into_iter().flat_map(move |members| members.named(name))
    }

    /// Returns the value of a form field that is present exactly once.
    pub(crate) fn field(&self, name: &str) -> Option<String> {
        match self {
            Self::Form(form) => {
                let mut values = form_urlencoded::parse(form).filter(|(named, _)| named == name);
                let (_, value) = values.next()?;
                values.next().is_none().then(|| value.into_owned())
            }
            Self::Multipart(Some((named, value))) => (named == name).then(|| value.clone()),
            Self::Json(_) | Self::Multipart(None) | Self::Other => None,
        }
    }
}

/// Reads the body, unless another layer has already read it.
///
/// # Errors
/// The response, if the body is too long or incomplete.
pub(crate) async fn read_body(request: Request, reading: &Reading) -> Result<Request, Response> {
    if request.extensions().get::<ReadBody>().is_some() {
        return Ok(request);
    }
    let (mut parts, body) = request.into_parts();
    let content_type = parts.headers.get(header::CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
    let essence = content_type.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    let is_json = essence.eq_ignore_ascii_case(b"application/json");
    let (read, body) = if is_json || essence.eq_ignore_ascii_case(b"application/x-www-form-urlencoded") {
        let bytes =
            in_time(reading, to_bytes(body, reading.max_bytes)).await?.map_err(|error| unreadable(error.into()))?;
        let read = if is_json {
            // If it is not JSON, the handler reports that.
            serde_json::from_slice(&bytes).map_or(ReadBody::Other, |members| ReadBody::Json(Arc::new(members)))
        } else {
            ReadBody::Form(bytes.clone())
        };
        (read, Body::from(bytes))
    } else if !reading.fields.is_empty() && essence.eq_ignore_ascii_case(b"multipart/form-data") {
        match str::from_utf8(content_type).ok().and_then(|text| multer::parse_boundary(text).ok()) {
            Some(boundary) => {
                let (field, body) =
                    in_time(reading, multipart::find(body, boundary, &reading.fields, reading.max_bytes)).await?;
                (ReadBody::Multipart(field), body)
            }
            None => (ReadBody::Other, body),
        }
    } else {
        (ReadBody::Other, body)
    };
    parts.extensions.insert(read);
    Ok(Request::from_parts(parts, body))
}

async fn in_time<T>(reading: &Reading, read: impl Future<Output = T>) -> Result<T, Response> {
    timeout(reading.timeout, read).await.map_err(|_| too_slow())
}

fn unreadable(error: BoxError) -> Response {
    let is_too_long = std::iter::successors(Some(&*error as &dyn std::error::Error), |error| error.source())
        .any(|error| error.is::<http_body_util::LengthLimitError>());
    tracing::debug!(target: crate::REJECTION_LOG_TARGET, error = &*error as &dyn std::error::Error, "the body could not be read for a token");
    if is_too_long { StatusCode::PAYLOAD_TOO_LARGE } else { StatusCode::BAD_REQUEST }.into_response()
}

/// Returns the response to a request whose body does not arrive in time.
pub(crate) fn too_slow() -> Response {
    tracing::debug!(target: crate::REJECTION_LOG_TARGET, "the body did not come in time");
    StatusCode::REQUEST_TIMEOUT.into_response()
}
