//! Double submit: a CSRF value is signed into the token, and the request repeats it from where only our own pages can write.
//! A request that cannot repeat it is checked by its `Origin`.

use adieu::{TokenId, token::Claims};
use axum::http::{HeaderMap, HeaderName, Method, header, request::Parts};
use subtle::ConstantTimeEq;

use crate::{Cookies, Place, RejectionReason, cookies::may_change_something, location::ReadBody};

/// The claim with the CSRF value.
pub(crate) const CSRF_CLAIM: &str = "csrf";

/// The claim of a refresh token with the CSRF value of the session's access tokens.
pub(crate) const ACCESS_CSRF_CLAIM: &str = "access_csrf";

/// The CSRF values of a session. They stay the same for the life of the session: a form in a page that was opened earlier
/// must work with later tokens.
pub(crate) struct CsrfValues {
    pub(crate) access: String,
    pub(crate) refresh: String,
}

impl CsrfValues {
    /// Returns the values of a new session, each as hard to guess as a token id.
    pub(crate) fn random() -> Self {
        let random = || TokenId::random().as_str().to_owned();
        Self { access: random(), refresh: random() }
    }

    /// Returns the values of the session of this access or refresh token, as far as the token has them.
    pub(crate) fn of(claims: &Claims, access_claim: &str) -> Self {
        let mut values = Self::random();
        if let Some(access) = text_of(claims, access_claim) {
            access.clone_into(&mut values.access);
        }
        if let Some(refresh) = value_of(claims) {
            refresh.clone_into(&mut values.refresh);
        }
        values
    }
}

/// Returns the CSRF value in a token.
pub(crate) fn value_of(claims: &Claims) -> Option<&str> {
    text_of(claims, CSRF_CLAIM)
}

fn text_of<'c>(claims: &'c Claims, claim: &str) -> Option<&'c str> {
    claims.custom.get(claim).and_then(serde_json::Value::as_str).filter(|value| !value.is_empty())
}

/// Returns whether a request with a token from a cookie must prove that it comes from our own pages.
pub(crate) fn is_needed(parts: &Parts, place: Place, cookies: &Cookies) -> bool {
    place.is_cookie() && cookies.csrf && (may_change_something(&parts.method) || is_upgrade(&parts.headers))
}

/// Compares the CSRF value in the request with the one in its token.
///
/// # Errors
/// [`RejectionReason::Csrf`] if the token has no value, if the request has none, two, or a different one, and if another site
/// requests an upgrade.
pub(crate) fn check(parts: &Parts, place: Place, cookies: &Cookies, claims: &Claims) -> Result<(), RejectionReason> {
    if !is_needed(parts, place, cookies) {
        return Ok(());
    }
    // HTTP/2 opens a WebSocket this way (RFC 8441 §4). No page can add a header to that request or to an upgrade.
    let is_connect = parts.method == Method::CONNECT;
    if is_connect || is_upgrade(&parts.headers) {
        check_origin(parts, cookies)?;
        if is_connect || !may_change_something(&parts.method) {
            return Ok(());
        }
    }
    let expected = value_of(claims).ok_or(RejectionReason::Csrf("the token in the cookie has no claim `csrf`"))?;
    let cookie = if place == Place::RefreshCookie { &cookies.refresh } else { &cookies.access };

    let mut headers = parts.headers.get_all(&cookie.csrf_header).iter();
    let in_form = || {
        let body = parts.extensions.get::<ReadBody>().filter(|_| cookies.csrf_in_forms)?;
        Some(body.field(&cookie.csrf_field)?.into_bytes())
    };
    let given = match (headers.next(), headers.next()) {
        (Some(value), None) => Some(value.as_bytes().to_vec()),
        (Some(_), Some(_)) => return Err(RejectionReason::Csrf("there is more than one CSRF header")),
        (None, _) => in_form(),
    };
    let given = given.ok_or(RejectionReason::Csrf("the request does not repeat the CSRF value"))?;
    if bool::from(given.ct_eq(expected.as_bytes())) {
        Ok(())
    } else {
        Err(RejectionReason::Csrf("the request repeats another CSRF value than that of the token"))
    }
}

/// RFC 9110 §7.8. Upgrading to another version of HTTP changes nothing, and clients that are not browsers offer it with every
/// request.
fn is_upgrade(headers: &HeaderMap) -> bool {
    headers.get_all(header::UPGRADE).iter().any(|protocol| !protocol.as_bytes().eq_ignore_ascii_case(b"h2c"))
}

/// Compares the origin of the page that requests an upgrade with the request's host and with the allowed origins (RFC 6455
/// §10.2).
fn check_origin(parts: &Parts, cookies: &Cookies) -> Result<(), RejectionReason> {
    let origin =
        one(&parts.headers, &header::ORIGIN).ok_or(RejectionReason::Csrf("the upgrade does not say its origin"))?;
    let is_allowed = cookies.origins.iter().any(|allowed| allowed.eq_ignore_ascii_case(origin));
    let host = one(&parts.headers, &header::HOST).or_else(|| parts.uri.authority().map(|authority| authority.as_str()));
    let is_own = host.is_some_and(|host| {
        let (scheme, of_page) = origin.split_once("://").unwrap_or_default();
        // A page that came without TLS can be changed in transit, unless it came from this machine.
        let is_safe = scheme == "https" || (scheme == "http" && (!cookies.secure || is_this_machine(of_page)));
        is_safe && of_page.eq_ignore_ascii_case(host)
    });
    if is_allowed || is_own { Ok(()) } else { Err(RejectionReason::Csrf("the upgrade comes from another origin")) }
}

/// Returns the value of a header that is present exactly once.
fn one<'r>(headers: &'r HeaderMap, name: &HeaderName) -> Option<&'r str> {
    let mut all = headers.get_all(name).iter();
    let value = all.next().filter(|_| all.next().is_none())?;
    value.to_str().ok()
}

/// A page from this machine is as trustworthy as one over TLS (Secure Contexts §3.1).
fn is_this_machine(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    name == "localhost" || name.ends_with(".localhost") || name == "127.0.0.1" || name == "[::1]"
}
