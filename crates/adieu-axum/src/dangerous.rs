//! What weakens a protection, for whoever knows why it may.
//!
//! Not here, on purpose: a route that accepts revoked tokens. A token that was logged out is refused everywhere.

use crate::Cookies;

/// Cookies that a browser also sends over plain HTTP, where anyone on the way can read them. For development without TLS,
/// under names without a prefix, as those of [`Cookies::of_flask`].
pub fn without_tls(cookies: Cookies) -> Cookies {
    Cookies { secure: false, ..cookies }
}

/// Cookies with nothing but `SameSite` against requests that other sites make a browser send. Enough only when no browser
/// without it matters, and every host of the same site is trusted.
pub fn without_csrf_protection(cookies: Cookies) -> Cookies {
    Cookies { csrf: false, ..cookies }
}
