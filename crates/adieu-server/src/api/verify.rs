//! Verifies a token for a proxy that asks on behalf of a service, with further conditions.

use std::{borrow::Cow, sync::Arc};

use adieu::{
    Issuer,
    time::Clock,
    token::{Claims, TokenError},
};
use adieu_axum::{AccessToken, Guard};
use axum::{
    extract::FromRequestParts as _,
    http::{HeaderName, HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use serde_json::Value;
use utoipa::ToSchema;

use super::{client::is_admin, docs};
use crate::error::{ApiError, FieldErrors};

/// The subject of the token.
const SUBJECT: HeaderName = HeaderName::from_static("x-adieu-subject");
/// The session of the token; empty if it has none.
const SESSION: HeaderName = HeaderName::from_static("x-adieu-session");
/// The issuer of the token.
const ISSUER: HeaderName = HeaderName::from_static("x-adieu-issuer");
/// Whether the token is an administrator's: `true` or `false`.
const ADMIN: HeaderName = HeaderName::from_static("x-adieu-admin");

/// The header with the conditions for [`ext_authz`], in the form of the query of `/verify`.
const WANTED: HeaderName = HeaderName::from_static("x-adieu-wanted");

/// The routes that say whether a token is good. They decide in memory, from the head of the request, so they need no routing, and
/// neither a time limit nor the body.
pub(super) struct Verdicts {
    guard: Guard,
    /// The issuer whose tokens may be administrators'.
    issuer: Issuer,
    clock: Arc<dyn Clock>,
}

/// A route of [`Verdicts`]. Accepts any method, also those that OpenAPI cannot describe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route {
    Verify,
    /// With its template.
    ExtAuthz(&'static str),
}

impl Route {
    pub(super) fn find(path: &str) -> Option<Self> {
        match path.strip_prefix("/ext_authz") {
            None => (path == "/verify").then_some(Self::Verify),
            Some("") => Some(Self::ExtAuthz("/ext_authz")),
            Some("/") => Some(Self::ExtAuthz("/ext_authz/")),
            Some(rest) => rest.starts_with('/').then_some(Self::ExtAuthz("/ext_authz/{*path}")),
        }
    }

    pub(super) fn template(self) -> &'static str {
        match self {
            Self::Verify => "/verify",
            Self::ExtAuthz(template) => template,
        }
    }
}

impl Verdicts {
    pub(super) fn new(guard: Guard, issuer: Issuer, clock: Arc<dyn Clock>) -> Self {
        Self { guard, issuer, clock }
    }

    pub(super) async fn answer(&self, route: Route, mut parts: Parts) -> Response {
        let answered = match route {
            Route::Verify => verify(self, &mut parts).await,
            Route::ExtAuthz(_) => ext_authz(self, &mut parts).await,
        };
        answered.unwrap_or_else(IntoResponse::into_response)
    }

    async fn token(&self, parts: &mut Parts) -> Result<AccessToken, ApiError> {
        Ok(AccessToken::from_request_parts(parts, &self.guard).await?)
    }
}

/// At least as many as the headers of a response, those of the middleware and `Date` among them: the map does not grow.
const IDENTITY_HEADERS: usize = 12;

/// Characters that are percent-encoded in a header: all that are not visible ASCII, because servers remove or change
/// them, and `%` itself, so that the encodings of two ids differ.
const NOT_IN_HEADERS: &AsciiSet = &CONTROLS.add(b' ').add(b'%');

/// A claim and its value.
#[derive(ToSchema)]
#[schema(pattern = r"^[^:]+:[\s\S]*$", example = "role:editor")]
#[expect(dead_code, reason = "only describes the schema")]
pub(super) struct ClaimWanted(String);

/// Says whether an access token is good, to a proxy that asks on behalf of a service.
///
/// Accepts any method, also those of WebDAV, because some proxies pass on the method of the request that they ask about. The decision
/// is made in memory.
///
/// The claims of the token are in response headers. Every header is always present, so that a proxy that copies them overwrites what
/// the client sent. `%` and everything but visible ASCII is percent-encoded.
#[utoipa::path(get, path = "/verify", tag = "Session", security(("access" = [])), params(
    ("admin" = inline(Option<Flag>), Query, description = "`true`: the token must be an administrator's."),
    ("fresh" = inline(Option<Flag>), Query, description = "`true`: it must come from a login with credentials, not from a refresh."),
    ("audience" = Option<String>, Query, min_length = 1, description = "It must be meant for this audience."),
    ("issuer" = Option<String>, Query, min_length = 1,
        description = "It must be from this issuer. Without it: from this server, or any that it trusts."),
    ("claim" = inline(Option<Vec<ClaimWanted>>), Query, description = "`name:value`, also several times: it must have this claim, with this \
        value or with a list that has it. A colon in the name is written `%3A`, and the one between is not. Of a trusted issuer only those count that its \
        settings list."),
), responses(
    (status = 204, description = "The token is good.", headers(
        ("X-Adieu-Subject" = String, description = "Who it speaks for: its `sub`."),
        ("X-Adieu-Session" = String, description = "Of which session it is: its `sid`; empty when it is of none."),
        ("X-Adieu-Issuer" = String, description = "Who issued it: its `iss`."),
        ("X-Adieu-Admin" = String, description = "Whether it is an administrator's: `true` or `false`."),
    )),
    docs::TwoTokens, docs::FreshRefusals, docs::NotWhatIsWanted, docs::InvalidQuery, docs::Unavailable,
))]
pub(super) async fn verify(verdicts: &Verdicts, parts: &mut Parts) -> Result<Response, ApiError> {
    let token = verdicts.token(parts).await?;
    let wanted = Wanted::parse(parts.uri.query().unwrap_or_default())?;
    wanted.of(&token, verdicts)?;
    identity(StatusCode::NO_CONTENT, &token, verdicts)
}

/// Like `/verify`, for Envoy's `ext_authz` over HTTP. Envoy lets a request pass on 200 only, and appends the path and
/// the query of that request to its own path: so neither means anything here, and the conditions are in a header.
async fn ext_authz(verdicts: &Verdicts, parts: &mut Parts) -> Result<Response, ApiError> {
    let token = verdicts.token(parts).await?;
    let mut all = parts.headers.get_all(WANTED).iter();
    let wanted = match (all.next().map(HeaderValue::to_str), all.next()) {
        (None, _) => Wanted::default(),
        (Some(Ok(text)), None) => Wanted::parse(text)?,
        // The proxy's header, and one that the client added to replace it.
        _ => return Err(ApiError::BadRequest("Send X-Adieu-Wanted once.".into())),
    };
    wanted.of(&token, verdicts)?;
    let mut response = identity(StatusCode::OK, &token, verdicts)?;
    // hyper adds it, except to the response to HEAD.
    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
    Ok(response)
}

/// A check that is asked for: one that is not is left out.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "only describes the schema")]
pub(super) enum Flag {
    True,
}

/// The conditions on a token, besides being valid.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    admin: bool,
    fresh: bool,
    audience: Option<String>,
    issuer: Option<String>,
    claims: Vec<(String, String)>,
}

impl Wanted {
    /// Parses a query. Anything unknown is rejected: a check that is not made must not look like one that was.
    fn parse(query: &str) -> Result<Self, ApiError> {
        let (mut wanted, mut errors) = (Self::default(), FieldErrors::default());
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, text) = (decoded(name), decoded(value));
            match name.as_str() {
                "admin" | "fresh" if text != "true" => errors.add(name, "Must be true."),
                "admin" => wanted.admin = true,
                "fresh" => wanted.fresh = true,
                "audience" | "issuer" => {
                    let wanted = if name == "audience" { &mut wanted.audience } else { &mut wanted.issuer };
                    if text.is_empty() {
                        errors.add(name, "Shorter than minimum length 1.");
                    } else if wanted.is_some() {
                        errors.add(name, "Duplicate field.");
                    } else {
                        *wanted = Some(text);
                    }
                }
                // Split before decoding, so that a name may contain colons.
                "claim" => match value.split_once(':').map(|(claim, value)| (decoded(claim), decoded(value))) {
                    Some((claim, value)) if !claim.is_empty() => wanted.claims.push((claim, value)),
                    // Many clients encode every colon: then the first one is the separator.
                    None => match text.split_once(':') {
                        Some((claim, value)) if !claim.is_empty() => {
                            wanted.claims.push((claim.to_owned(), value.to_owned()));
                        }
                        _ => errors.add(name, "Must be a name and a value with a colon between."),
                    },
                    _ => errors.add(name, "Must be a name and a value with a colon between."),
                },
                _ => errors.add(name, "Unknown field."),
            }
        }
        if errors.is_empty() { Ok(wanted) } else { Err(ApiError::InvalidQuery(errors)) }
    }

    /// Checks that the token meets all conditions.
    fn of(&self, token: &AccessToken, verdicts: &Verdicts) -> Result<(), ApiError> {
        if self.audience.as_ref().is_some_and(|audience| !token.audience.contains(audience)) {
            return Err(TokenError::WrongAudience.into());
        }
        if self.issuer.as_ref().is_some_and(|issuer| token.issuer.as_str() != issuer) {
            return Err(TokenError::WrongIssuer.into());
        }
        if self.admin && !is_admin(token, &verdicts.issuer) {
            return Err(ApiError::AdminOnly);
        }
        if !self.claims.iter().all(|(name, value)| has(token, name, value)) {
            return Err(ApiError::ClaimRequired);
        }
        if self.fresh {
            token.require_fresh(verdicts.clock.now())?;
        }
        Ok(())
    }
}

fn decoded(text: &str) -> String {
    percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned()
}

/// Returns whether a claim has this value, or is a list with this value. Numbers and booleans are compared in their
/// JSON form.
fn has(claims: &Claims, name: &str, wanted: &str) -> bool {
    let is = |value: &Value| match value {
        Value::String(text) => text == wanted,
        Value::Bool(flag) => flag.to_string() == wanted,
        Value::Number(number) => number.to_string() == wanted,
        _ => false,
    };
    match claims.custom.get(name) {
        Some(Value::Array(values)) => values.iter().any(is),
        Some(value) => is(value),
        None => false,
    }
}

/// Returns a response with the headers about a token: always all of them.
fn identity(status: StatusCode, token: &AccessToken, verdicts: &Verdicts) -> Result<Response, ApiError> {
    let session = token.session.as_ref().map_or("", |session| session.as_str());
    let admin = if is_admin(token, &verdicts.issuer) { "true" } else { "false" };
    let mut response = status.into_response();
    let headers = response.headers_mut();
    headers.reserve(IDENTITY_HEADERS);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(SUBJECT, value(token.subject().as_str())?);
    headers.insert(SESSION, value(session)?);
    headers.insert(ISSUER, value(token.issuer.as_str())?);
    headers.insert(ADMIN, HeaderValue::from_static(admin));
    Ok(response)
}

/// Returns an id as the value of a header.
fn value(id: &str) -> Result<HeaderValue, ApiError> {
    match utf8_percent_encode(id, NOT_IN_HEADERS).into() {
        Cow::Borrowed(text) => HeaderValue::from_str(text),
        Cow::Owned(text) => HeaderValue::try_from(text),
    }
    .map_err(ApiError::internal)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wanted_is_read_from_a_query() {
        let wanted = Wanted::parse(
            "admin=true&claim=role:editor&audience=the+shop&issuer=adieu&claim=https%3A//example.com/a%20b:c:d&fresh=true",
        );
        let claim = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            wanted.unwrap(),
            Wanted {
                admin: true,
                fresh: true,
                audience: Some("the shop".into()),
                issuer: Some("adieu".into()),
                claims: vec![claim("role", "editor"), claim("https://example.com/a b", "c:d")],
            }
        );
        assert_eq!(Wanted::parse("").unwrap(), Wanted::default());
        // As libraries write what they are given as the value of a parameter.
        let encoded = Wanted::parse("claim=role%3Aeditor&claim=a%3Ab%3Ac").unwrap();
        assert_eq!(encoded.claims, [claim("role", "editor"), claim("a", "b:c")]);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for query in [
            "admin",
            "admin=",
            "admin=false",
            "admin=1",
            "Admin=true",
            "fresh=yes",
            "audience=",
            "audience=a&audience=b",
            "issuer=",
            "issuer=a&issuer=b",
            "claim=role",
            "claim=:editor",
            "claim=%3Aeditor",
            "claim=",
            "claims=a:b",
            "x",
            "admin=true/orders/7",
        ] {
            assert!(matches!(Wanted::parse(query), Err(ApiError::InvalidQuery(_))), "{query}");
        }
    }

    #[test]
    fn no_two_ids_are_written_alike_in_a_header() {
        let written = |id: &str| utf8_percent_encode(id, NOT_IN_HEADERS).to_string();
        for (id, text) in [
            ("auth0|7", "auth0|7"),
            ("a b", "a%20b"),
            ("a%20b", "a%2520b"),
            ("josé", "jos%C3%A9"),
            ("a\r\nb", "a%0D%0Ab"),
        ] {
            assert_eq!(written(id), text);
            assert!(HeaderValue::from_str(&written(id)).is_ok());
        }
    }
}
