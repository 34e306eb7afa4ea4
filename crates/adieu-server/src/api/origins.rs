//! Pages of other origins: which of them a browser lets use the API (Fetch Standard, "CORS protocol").

use axum::{
    http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header},
    response::{IntoResponse, Response},
};

use crate::{
    config::{AllowedOrigin, Settings},
    error::ApiError,
};

/// A browser asks whether a page of the internet may send requests into a private network.
const PRIVATE_NETWORK: HeaderName = HeaderName::from_static("access-control-request-private-network");

/// The methods of the API.
const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, DELETE");
/// The headers that handlers read and that a page may not send without asking.
const HEADERS: HeaderValue =
    HeaderValue::from_static("authorization, content-type, if-none-match, last-event-id, x-csrf-token");
/// The headers of responses that pages may read, besides those that they always may.
const EXPOSED: HeaderValue = HeaderValue::from_static("www-authenticate, retry-after");
/// For how long a browser remembers the answer to a preflight, in seconds.
const MAX_AGE: HeaderValue = HeaderValue::from_static("600");

/// The origins whose pages may use the API.
///
/// 1. A page of another origin can read nothing, and can send nothing that needs a preflight: no JSON, no token, no CSRF value.
/// 2. The keys, the metadata and the OpenAPI document are for pages of every origin, without credentials.
/// 3. Credentials (cookies) are allowed for exact origins only, and only if the server accepts cookies.
/// 4. A preflight for a private network is always rejected.
#[derive(Debug, Clone, Default)]
pub(super) struct Origins {
    exact: Vec<HeaderValue>,
    every: bool,
    with_credentials: bool,
}

/// What the response to a request says about pages of other origins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Access {
    origin: Option<HeaderValue>,
    with_credentials: bool,
    varies: bool,
}

impl Origins {
    pub(super) fn new(settings: &Settings) -> Self {
        let exact = settings.allowed_origins.iter().filter_map(|origin| match origin {
            AllowedOrigin::Exact(origin) => HeaderValue::from_str(origin).ok(),
            AllowedOrigin::Every => None,
        });
        Self {
            exact: exact.collect(),
            every: settings.allowed_origins.contains(&AllowedOrigin::Every),
            with_credentials: settings.token_cookies.is_some(),
        }
    }

    /// Returns what the response to a request must say.
    pub(super) fn access<B>(&self, request: &Request<B>) -> Access {
        const EVERY: HeaderValue = HeaderValue::from_static("*");
        if is_a_page(request.uri().path()) {
            return Access { origin: None, with_credentials: false, varies: false };
        }
        if self.every || is_for_everyone(request.uri().path()) {
            return Access { origin: Some(EVERY), with_credentials: false, varies: false };
        }
        let origin = one(request.headers(), &header::ORIGIN).filter(|origin| self.exact.contains(origin)).cloned();
        Access { origin, with_credentials: self.with_credentials, varies: !self.exact.is_empty() }
    }
}

impl Access {
    /// Returns the response to a request that is a preflight.
    pub(super) fn preflight<B>(&self, request: &Request<B>) -> Option<Response> {
        let headers = request.headers();
        let is_preflight = *request.method() == Method::OPTIONS
            && headers.contains_key(header::ORIGIN)
            && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        if !is_preflight || (self.origin.is_none() && !self.varies) {
            return None;
        }
        if self.origin.is_none() {
            return Some(ApiError::Forbidden("Pages of this origin may not use this server.".into()).into_response());
        }
        if headers.contains_key(&PRIVATE_NETWORK) {
            return Some(
                ApiError::Forbidden("Pages may not use this server in a private network.".into()).into_response(),
            );
        }
        let allowed = [
            (header::ACCESS_CONTROL_ALLOW_METHODS, METHODS),
            (header::ACCESS_CONTROL_ALLOW_HEADERS, HEADERS),
            (header::ACCESS_CONTROL_MAX_AGE, MAX_AGE),
        ];
        Some((StatusCode::NO_CONTENT, allowed).into_response())
    }

    /// Sets the headers of a response.
    pub(super) fn tell(self, headers: &mut HeaderMap) {
        if self.varies {
            headers.append(header::VARY, HeaderValue::from_static("origin"));
        }
        let Some(origin) = self.origin else { return };
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
        if self.with_credentials {
            headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
    }
}

/// Returns whether a path is that of the keys, the metadata, or a document about the API.
fn is_for_everyone(path: &str) -> bool {
    path.starts_with("/.well-known/") || path == "/openapi.json" || path == "/docs" || path.starts_with("/docs/")
}

/// Returns whether a path is that of the account page or of the console, which pages of other origins must not read: they would see
/// what the user sees.
fn is_a_page(path: &str) -> bool {
    ["/account", "/console"]
        .iter()
        .any(|page| path.strip_prefix(page).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
}

/// Returns the value of a header that is present exactly once.
fn one<'r>(headers: &'r HeaderMap, name: &HeaderName) -> Option<&'r HeaderValue> {
    let mut all = headers.get_all(name).iter();
    all.next().filter(|_| all.next().is_none())
}
