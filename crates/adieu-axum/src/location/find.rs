//! Looking for a token, without believing anything of it.

use std::borrow::Cow;

use adieu::token::Refusal;
use axum::http::{HeaderMap, HeaderName, header, request::Parts};
use cookie::Cookie;

use super::{Location, Locations, Place, ReadBody};
use crate::{Cookies, Reason};

/// Which token is looked for, where there is a place for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    Access,
    Refresh,
    /// The access token, or else the refresh token.
    Either,
}

/// A token that was found.
pub(crate) struct Found<'r> {
    pub(crate) token: Cow<'r, str>,
    pub(crate) place: Place,
}

/// The first token in these places, or in those that the route has instead.
///
/// # Errors
/// When there are two in one place, or something that can't be one.
pub(crate) fn find<'r>(
    parts: &'r Parts,
    usual: &[Location],
    cookies: &Cookies,
    wanted: Wanted,
) -> Result<Option<Found<'r>>, Reason> {
    let locations = parts.extensions.get::<Locations>().map_or(usual, |locations| &locations.0);
    for location in locations {
        let found = match location {
            Location::Header { name, scheme } => in_header(&parts.headers, name, scheme)?
                .map(|token| Found { token: token.into(), place: Place::Header }),
            Location::Cookies => in_cookies(&parts.headers, cookies, wanted)?,
            Location::Query { name, prefix } => in_query(parts.uri.query().unwrap_or_default(), name, prefix)?,
            Location::JsonBody { access, refresh } => match parts.extensions.get::<ReadBody>() {
                Some(body) => in_body(body, access, refresh, wanted)?,
                None => {
                    tracing::debug!(target: crate::REFUSAL_LOG_TARGET, "no layer has read the body for a token");
                    None
                }
            },
        };
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// The token in this header, if there is one.
pub(super) fn in_header<'r>(
    headers: &'r HeaderMap,
    name: &HeaderName,
    scheme: &str,
) -> Result<Option<&'r str>, Reason> {
    let mut all = headers.get_all(name).iter();
    let Some(value) = all.next() else { return Ok(None) };
    if all.next().is_some() {
        return Err(Reason::Ambiguous(Place::Header));
    }
    let bytes = value.as_bytes().trim_ascii();
    let token = if scheme.is_empty() {
        bytes
    } else {
        let end = bytes.iter().position(|byte| *byte == b' ').unwrap_or(bytes.len());
        let (named, token) = bytes.split_at(end);
        if !named.eq_ignore_ascii_case(scheme.as_bytes()) {
            return Ok(None);
        }
        token.trim_ascii_start()
    };
    match str::from_utf8(token) {
        Ok("") => Ok(None),
        Ok(token) => Ok(Some(token)),
        Err(_) => Err(Refusal::Malformed("it is not text").into()),
    }
}

pub(crate) fn in_cookies<'r>(
    headers: &'r HeaderMap,
    cookies: &Cookies,
    wanted: Wanted,
) -> Result<Option<Found<'r>>, Reason> {
    let (access, refresh) = (cookies.access.name.as_str(), cookies.refresh.name.as_str());
    let places: &[(&str, Place)] = match wanted {
        Wanted::Access => &[(access, Place::AccessCookie)],
        Wanted::Refresh => &[(refresh, Place::RefreshCookie)],
        Wanted::Either => &[(access, Place::AccessCookie), (refresh, Place::RefreshCookie)],
    };
    for (name, place) in places {
        // The specification allows one `Cookie` header; HTTP/2 may split it (RFC 9113 §8.2.3).
        let values = headers.get_all(header::COOKIE).iter().filter_map(|value| str::from_utf8(value.as_bytes()).ok());
        let mut tokens = values
            .flat_map(Cookie::split_parse)
            .filter_map(Result::ok)
            .filter(|cookie| cookie.name() == *name)
            .filter_map(|cookie| cookie.value_raw())
            .filter(|token| !token.is_empty());
        if let Some(token) = tokens.next() {
            // A second one may come from a neighbouring domain that has set it over ours.
            if tokens.next().is_some() {
                return Err(Reason::Ambiguous(*place));
            }
            return Ok(Some(Found { token: token.into(), place: *place }));
        }
    }
    Ok(None)
}

fn in_query<'r>(query: &'r str, name: &str, prefix: &str) -> Result<Option<Found<'r>>, Reason> {
    let mut values =
        form_urlencoded::parse(query.as_bytes()).filter(|(named, _)| named == name).map(|(_, value)| value);
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Reason::Ambiguous(Place::Query));
    }
    let token = match value {
        Cow::Borrowed(value) => value.strip_prefix(prefix).map(Cow::Borrowed),
        Cow::Owned(value) => value.strip_prefix(prefix).map(|token| Cow::Owned(token.to_owned())),
    };
    let token = token.filter(|token| !token.is_empty());
    Ok(token.map(|token| Found { token, place: Place::Query }))
}

fn in_body<'r>(body: &'r ReadBody, access: &str, refresh: &str, wanted: Wanted) -> Result<Option<Found<'r>>, Reason> {
    let names: &[&str] = match wanted {
        Wanted::Access => &[access],
        Wanted::Refresh => &[refresh],
        Wanted::Either => &[access, refresh],
    };
    let Some(members) = body.json() else { return Ok(None) };
    for name in names {
        match members.get(*name) {
            None | Some(serde_json::Value::Null) => {}
            Some(serde_json::Value::String(token)) if token.is_empty() => {}
            Some(serde_json::Value::String(token)) => {
                return Ok(Some(Found { token: token.as_str().into(), place: Place::JsonBody }));
            }
            Some(_) => return Err(Refusal::Malformed("it is not text").into()),
        }
    }
    Ok(None)
}

/// Whether a response sets or removes this cookie.
pub(crate) fn sets_cookie(headers: &HeaderMap, name: &str) -> bool {
    let set = headers.get_all(header::SET_COOKIE).iter().filter_map(|value| str::from_utf8(value.as_bytes()).ok());
    set.filter_map(|value| value.split_once('=')).any(|(named, _)| named.trim() == name)
}
