//! Options that weaken a protection, for applications that know why they may.
//!
//! A route that accepts revoked tokens is absent on purpose: a revoked token is rejected everywhere.

use crate::Cookies;

/// Returns cookies that a browser also sends over plain HTTP, where they can be read in transit. For development without TLS,
/// with names that have no prefix, such as those of [`Cookies::flask_jwt_extended`].
pub fn without_tls(cookies: Cookies) -> Cookies {
    Cookies { secure: false, ..cookies }
}

/// Returns cookies whose only protection against cross-site requests is `SameSite`. This is enough only if every browser that
/// matters supports it and every host of the same site is trusted.
pub fn without_csrf_protection(cookies: Cookies) -> Cookies {
    Cookies { csrf: false, ..cookies }
}
