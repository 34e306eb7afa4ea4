//! Double submit: a value that is signed into a token and comes a second time, from where only our own pages can write.

use adieu::token::Claims;
use axum::http::request::Parts;
use subtle::ConstantTimeEq;

use crate::{Cookies, Place, Reason, cookies::may_change_something, location::ReadBody};

/// The claim with the value.
pub(crate) const CSRF_CLAIM: &str = "csrf";

/// The value in a token.
pub(crate) fn value_of(claims: &Claims) -> Option<&str> {
    claims.custom.get(CSRF_CLAIM).and_then(serde_json::Value::as_str).filter(|value| !value.is_empty())
}

/// Whether a request with a token from a cookie must prove that it comes from our own pages.
pub(crate) fn is_needed(parts: &Parts, place: Place, cookies: &Cookies) -> bool {
    place.is_cookie() && cookies.csrf && may_change_something(&parts.method)
}

/// Holds the value that a request repeats against the one in its token.
///
/// # Errors
/// [`Reason::Csrf`] when the token has none, the request has none or two, or another.
pub(crate) fn check(parts: &Parts, place: Place, cookies: &Cookies, claims: &Claims) -> Result<(), Reason> {
    if !is_needed(parts, place, cookies) {
        return Ok(());
    }
    let expected = value_of(claims).ok_or(Reason::Csrf("the token in the cookie has no claim `csrf`"))?;
    let cookie = if place == Place::RefreshCookie { &cookies.refresh } else { &cookies.access };

    let mut headers = parts.headers.get_all(&cookie.csrf_header).iter();
    let in_form = || {
        let body = parts.extensions.get::<ReadBody>().filter(|_| cookies.csrf_in_forms)?;
        Some(body.field(&cookie.csrf_field)?.into_bytes())
    };
    let given = match (headers.next(), headers.next()) {
        (Some(value), None) => Some(value.as_bytes().to_vec()),
        (Some(_), Some(_)) => return Err(Reason::Csrf("there is more than one CSRF header")),
        (None, _) => in_form(),
    };
    let given = given.ok_or(Reason::Csrf("the request does not repeat the CSRF value"))?;
    if bool::from(given.ct_eq(expected.as_bytes())) {
        Ok(())
    } else {
        Err(Reason::Csrf("the request repeats another CSRF value than that of the token"))
    }
}
