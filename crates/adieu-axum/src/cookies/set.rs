//! Cookies as a part of a response.

use axum::{
    http::{HeaderMap, HeaderName, HeaderValue, header},
    response::{IntoResponse, IntoResponseParts, Response, ResponseParts},
};
use cookie::Cookie;

/// Headers that shared caches obey in place of `Cache-Control`, beside the targeted ones of RFC 9213, which end with its name:
/// those of Fastly and Varnish, of Akamai, and of nginx.
const OVERRIDES_CACHE_CONTROL: [&str; 3] = ["surrogate-control", "edge-control", "x-accel-expires"];

/// Cookies to be set by a response; part of one, as in `(cookies, Json(…))`.
///
/// A response that sets any is not for a cache, whatever its headers said before: `Cache-Control` becomes `no-store`.
#[derive(Clone, Default)]
#[must_use]
pub struct SetCookies(Vec<HeaderValue>);

impl SetCookies {
    /// These as well.
    pub fn and(mut self, others: Self) -> Self {
        self.0.extend(others.0);
        self
    }

    pub(super) fn push(&mut self, cookie: &Cookie<'_>) {
        // A token is base64url and dots, and all else was looked at when the guard was made.
        if let Ok(value) = HeaderValue::try_from(cookie.to_string()) {
            self.0.push(value);
        }
    }

    /// Adds them to headers, and keeps the response out of caches if there are any.
    pub fn append_to(self, headers: &mut HeaderMap) {
        if self.0.is_empty() {
            return;
        }
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        let overrides = |name: &&HeaderName| {
            name.as_str().ends_with("-cache-control") || OVERRIDES_CACHE_CONTROL.contains(&name.as_str())
        };
        let overriding: Vec<_> = headers.keys().filter(overrides).cloned().collect();
        for name in overriding {
            headers.remove(name);
        }
        for value in self.0 {
            headers.append(header::SET_COOKIE, value);
        }
    }
}

impl std::fmt::Debug for SetCookies {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("SetCookies(…)")
    }
}

impl IntoResponseParts for SetCookies {
    type Error = std::convert::Infallible;

    fn into_response_parts(self, mut parts: ResponseParts) -> Result<ResponseParts, Self::Error> {
        self.append_to(parts.headers_mut());
        Ok(parts)
    }
}

impl IntoResponse for SetCookies {
    fn into_response(self) -> Response {
        (self, ()).into_response()
    }
}
