//! Cookies as a part of a response.

use axum::{
    http::{HeaderMap, HeaderName, HeaderValue, header},
    response::{IntoResponse, IntoResponseParts, Response, ResponseParts},
};
use cookie::Cookie;

/// Headers that override `Cache-Control` in shared caches: those of Fastly and Varnish, of Akamai, and of nginx. The targeted
/// headers of RFC 9213 end with `-cache-control` and are matched by that.
const OVERRIDES_CACHE_CONTROL: [&str; 3] = ["surrogate-control", "edge-control", "x-accel-expires"];

/// Cookies for a response to set; a part of one, as in `(cookies, Json(…))`.
///
/// A response that sets cookies must not be cached, whatever its headers said before: `Cache-Control` becomes `no-store`.
#[derive(Clone, Default)]
#[must_use]
pub struct SetCookies(Vec<HeaderValue>);

impl SetCookies {
    /// Adds these cookies.
    pub fn and(mut self, others: Self) -> Self {
        self.0.extend(others.0);
        self
    }

    pub(super) fn push(&mut self, cookie: &Cookie<'_>) {
        // A token is base64url and dots; the guard has validated everything else.
        if let Ok(value) = HeaderValue::try_from(cookie.to_string()) {
            self.0.push(value);
        }
    }

    /// Appends the cookies to headers. If there are any, it also keeps the response out of caches.
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
