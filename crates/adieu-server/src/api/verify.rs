//! Verifies a token for a proxy that asks on behalf of a service, with further conditions.

mod sources;
mod wanted;

use std::{borrow::Cow, sync::Arc};

use adieu::{Issuer, time::Clock};
use adieu_axum::{AccessToken, Guard};
use axum::{
    extract::FromRequestParts as _,
    http::{HeaderName, HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use utoipa::ToSchema;

pub(super) use self::sources::Sources;
use self::wanted::Wanted;
use super::{client::is_admin, docs};
use crate::{error::ApiError, node::Node};

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
    sources: Sources,
    /// The issuer whose tokens may be administrators'.
    issuer: Issuer,
    clock: Arc<dyn Clock>,
    /// The node that records the aliases in tokens; a relay records none.
    node: Option<Arc<Node>>,
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
    pub(super) fn new(guard: Guard, sources: Sources, issuer: Issuer, clock: Arc<dyn Clock>) -> Self {
        Self { guard, sources, issuer, clock, node: None }
    }

    /// Records the aliases in tokens at this node.
    pub(super) fn recording(self, node: Arc<Node>) -> Self {
        Self { node: Some(node), ..self }
    }

    pub(super) async fn answer(&self, route: Route, mut parts: Parts) -> Response {
        if let Err(error) = self.sources.adopt(route, &mut parts).await {
            return error.into_response();
        }
        let answered = match route {
            Route::Verify => verify(self, &mut parts).await,
            Route::ExtAuthz(_) => ext_authz(self, &mut parts).await,
        };
        answered.unwrap_or_else(IntoResponse::into_response)
    }

    async fn token(&self, parts: &mut Parts) -> Result<AccessToken, ApiError> {
        let token = AccessToken::from_request_parts(parts, &self.guard).await?;
        if let Some(node) = &self.node {
            node.aliases.note(&token);
        }
        Ok(token)
    }
}

/// At least as many as the headers of a response, those of the middleware and `Date` among them: the map does not grow.
const IDENTITY_HEADERS: usize = 12;

/// Characters that are percent-encoded in a header: all that are not visible ASCII, because servers remove or change
/// them, and `%` itself, so that the encodings of two ids differ.
const NOT_IN_HEADERS: &AsciiSet = &CONTROLS.add(b' ').add(b'%');

/// A claim and its value.
#[derive(ToSchema)]
#[schema(pattern = r"^([^.:\\]|\\[.:\\])+(\.([^.:\\]|\\[.:\\])+)*:[\s\S]*$", example = "role:editor")]
#[expect(dead_code, reason = "only describes the schema")]
pub(super) struct ClaimWanted(String);

/// Scopes with a space between.
#[derive(ToSchema)]
#[schema(pattern = r"^[!#-\[\]-~]+( [!#-\[\]-~]+)*$", example = "read")]
#[expect(dead_code, reason = "only describes the schema")]
pub(super) struct ScopesWanted(String);

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
        value or with a list that has it. `name.member:value` is for a member of an object. In a name, `\\` comes before each `.`, `:` and `\\`. \
        Of a trusted issuer only those claims count that its settings list."),
    ("any_claim" = inline(Option<Vec<ClaimWanted>>), Query, description = "Like `claim`: it must have at least one of them."),
    ("scope" = inline(Option<Vec<ScopesWanted>>), Query, description = "Scopes with a space between, also several times: it must have all of them \
        (RFC 6749 §3.3), in its claim `scope` or, without that, `scp`."),
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
        (Some(Err(_)), None) => {
            return Err(ApiError::BadRequest("Percent-encode what is not ASCII in X-Adieu-Wanted.".into()));
        }
        // The proxy's header, and one that the client added to replace it.
        (Some(_), Some(_)) => return Err(ApiError::BadRequest("Send X-Adieu-Wanted once.".into())),
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
