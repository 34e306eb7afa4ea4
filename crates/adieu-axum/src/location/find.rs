//! The search for a token in a request, without verifying it.

use std::borrow::Cow;

use adieu::token::TokenError;
use axum::http::{HeaderMap, HeaderName, header, request::Parts};

use super::{Location, Locations, ReadBody};
use crate::{
    Cookies, Place, RejectionReason,
    cookies::{cookies_of, name_and_value},
};

/// The type of token to look for, where each type has its own place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    Access,
    Refresh,
    /// The access token, or else the refresh token.
    Either,
}

/// A token that was found.
#[derive(Clone)]
pub(crate) struct Found<'r> {
    pub(crate) token: Cow<'r, str>,
    pub(crate) place: Place,
}

/// The tokens that were found in one place: one, or several where a browser can have several.
pub(crate) struct Candidates<'r> {
    pub(crate) first: Found<'r>,
    pub(crate) others: Vec<Found<'r>>,
}

impl<'r> Candidates<'r> {
    fn one(token: impl Into<Cow<'r, str>>, place: Place) -> Self {
        Self { first: Found { token: token.into(), place }, others: Vec::new() }
    }
}

/// How many places may have a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Places {
    /// Several: the first one decides.
    Several,
    One,
}

/// Returns the token in the first of these places that has one, or in the route's own places.
///
/// # Errors
/// If there are two tokens in a place that allows only one, tokens in two places if only one may have them, or a value that
/// cannot be a token.
pub(crate) fn find<'r>(
    parts: &'r Parts,
    usual: &[Location],
    allowed: Places,
    cookies: &Cookies,
    wanted: Wanted,
) -> Result<Option<Candidates<'r>>, RejectionReason> {
    let locations = parts.extensions.get::<Locations>().map_or(usual, |locations| &locations.0);
    let mut first: Option<Candidates<'r>> = None;
    for location in locations {
        match (find_in(location, parts, cookies, wanted)?, &first) {
            (None, _) => {}
            (Some(found), None) if allowed == Places::Several => return Ok(Some(found)),
            (Some(found), None) => first = Some(found),
            (Some(found), Some(other)) => {
                return Err(RejectionReason::TwoPlaces(other.first.place, found.first.place));
            }
        }
    }
    Ok(first)
}

fn find_in<'r>(
    location: &Location,
    parts: &'r Parts,
    cookies: &Cookies,
    wanted: Wanted,
) -> Result<Option<Candidates<'r>>, RejectionReason> {
    Ok(match location {
        Location::Header { name, scheme } => {
            in_header(&parts.headers, name, scheme)?.map(|token| Candidates::one(token, Place::Header))
        }
        Location::Cookies => in_cookies(&parts.headers, cookies, wanted),
        Location::Query { name, prefix } => in_query(parts.uri.query().unwrap_or_default(), name, prefix)?,
        Location::JsonBody { access, refresh } => match parts.extensions.get::<ReadBody>() {
            Some(body) => in_body(body, access, refresh, wanted)?,
            None => {
                tracing::debug!(target: crate::REJECTION_LOG_TARGET, "no layer has read the body for a token");
                None
            }
        },
    })
}

/// Returns the token in this header, if there is one.
pub(super) fn in_header<'r>(
    headers: &'r HeaderMap,
    name: &HeaderName,
    scheme: &str,
) -> Result<Option<&'r str>, RejectionReason> {
    let mut all = headers.get_all(name).iter();
    let Some(value) = all.next() else { return Ok(None) };
    if all.next().is_some() {
        return Err(RejectionReason::Ambiguous(Place::Header));
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
        Err(_) => Err(TokenError::Malformed("it is not text").into()),
    }
}

/// Returns the tokens in the cookies of one type. A browser has several of one name after the guard's domain or path has
/// changed, or when a neighbouring domain has set one.
pub(crate) fn in_cookies<'r>(headers: &'r HeaderMap, cookies: &Cookies, wanted: Wanted) -> Option<Candidates<'r>> {
    let in_access = || tokens(headers, &cookies.access.name, Place::AccessCookie);
    let in_refresh = || tokens(headers, &cookies.refresh.name, Place::RefreshCookie);
    match wanted {
        Wanted::Access => in_access(),
        Wanted::Refresh => in_refresh(),
        Wanted::Either => in_access().or_else(in_refresh),
    }
}

fn tokens<'r>(headers: &'r HeaderMap, name: &str, place: Place) -> Option<Candidates<'r>> {
    let tokens = cookies_of(headers).filter(|(named, token)| *named == name.as_bytes() && !token.is_empty());
    // A value that is not text is not a token, and is rejected as invalid.
    let mut found = tokens.map(|(_, token)| Found { token: String::from_utf8_lossy(token), place });
    Some(Candidates { first: found.next()?, others: found.collect() })
}

fn in_query<'r>(query: &'r str, name: &str, prefix: &str) -> Result<Option<Candidates<'r>>, RejectionReason> {
    let mut values =
        form_urlencoded::parse(query.as_bytes()).filter(|(named, _)| named == name).map(|(_, value)| value);
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(RejectionReason::Ambiguous(Place::Query));
    }
    let token = match value {
        Cow::Borrowed(value) => value.strip_prefix(prefix).map(Cow::Borrowed),
        Cow::Owned(value) => value.strip_prefix(prefix).map(|token| Cow::Owned(token.to_owned())),
    };
    let token = token.filter(|token| !token.is_empty());
    Ok(token.map(|token| Candidates::one(token, Place::Query)))
}

fn in_body<'r>(
    body: &'r ReadBody,
    access: &str,
    refresh: &str,
    wanted: Wanted,
) -> Result<Option<Candidates<'r>>, RejectionReason> {
    let names: &[&str] = match wanted {
        Wanted::Access => &[access],
        Wanted::Refresh => &[refresh],
        Wanted::Either => &[access, refresh],
    };
    for name in names {
        let mut values = body.members(name);
        let Some(value) = values.next() else { continue };
        // Two parsers could choose different ones.
        if values.next().is_some() {
            return Err(RejectionReason::Ambiguous(Place::JsonBody));
        }
        match value {
            serde_json::Value::Null => {}
            serde_json::Value::String(token) if token.is_empty() => {}
            serde_json::Value::String(token) => return Ok(Some(Candidates::one(token.as_str(), Place::JsonBody))),
            _ => return Err(TokenError::Malformed("it is not text").into()),
        }
    }
    Ok(None)
}

/// Returns whether a response sets or removes this cookie.
pub(crate) fn sets_cookie(headers: &HeaderMap, name: &str) -> bool {
    let set = headers.get_all(header::SET_COOKIE).iter();
    set.filter_map(|value| name_and_value(value.as_bytes())).any(|(named, _)| named == name.as_bytes())
}
