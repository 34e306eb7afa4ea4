//! The documents from which other software configures itself: the public keys (RFC 7517) and the metadata (RFC 8414).

use adieu::Issuer;
use aws_lc_rs::digest::{SHA256, digest};
use axum::{
    extract::State,
    http::{HeaderMap, StatusCode, Uri, header, uri::Scheme},
    response::{IntoResponse, Response},
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::Serialize;
use utoipa::ToSchema;

use super::{Api, docs};
use crate::error::ApiError;

/// Where the metadata is.
const BEFORE_PATH: &str = "/.well-known/oauth-authorization-server";

/// Gives the public keys that tokens are signed with (RFC 7517), for services that verify by themselves. Among them are
/// keys that are yet to sign, and those that do not sign any more, for as long as something that they have signed may
/// be good.
#[utoipa::path(get, path = "/.well-known/jwks.json", tag = "Operation", responses(
    (status = 200, description = "The keys. May be cached for five minutes.", body = Object, example = json!({"keys": [{
        "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo", "alg": "EdDSA", "use": "sig",
        "kid": "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
    }]})),
    (status = 304, description = "They are still those with the entity tag in `If-None-Match`."),
))]
pub(super) async fn keys(State(api): State<Api>, headers: HeaderMap) -> Result<Response, ApiError> {
    document(&headers, "public, max-age=300", &api.node.sessions.verifier().decoder().keys().jwks())
}

/// The metadata of this server.
#[derive(Serialize, ToSchema)]
pub(super) struct Metadata {
    /// The setting `issuer`, the `iss` of the tokens.
    #[schema(example = "https://login.example")]
    issuer: String,
    #[schema(example = "https://login.example/.well-known/jwks.json")]
    jwks_uri: String,
    /// RFC 7009.
    #[schema(example = "https://login.example/revoke")]
    revocation_endpoint: String,
    revocation_endpoint_auth_methods_supported: [&'static str; 3],
    /// RFC 7662.
    #[schema(example = "https://login.example/introspect")]
    introspection_endpoint: String,
    introspection_endpoint_auth_methods_supported: [&'static str; 2],
    /// None, because there is no authorization endpoint. The member is required.
    response_types_supported: [&'static str; 0],
    /// None. Without this member, RFC 8414 would assume two.
    grant_types_supported: [&'static str; 0],
    #[schema(example = "https://login.example/docs")]
    service_documentation: String,
}

/// Gives the metadata of this server (RFC 8414), from which libraries for OAuth 2.0 configure themselves.
///
/// Exists if the setting `issuer` is an `https` URL, or an `http` URL of a loopback address, and names its endpoints below that URL.
/// If that URL has a path, the path may follow this one, as RFC 8414 §3.1 wants it.
#[utoipa::path(get, path = "/.well-known/oauth-authorization-server", tag = "Operation", responses(
    (status = 200, description = "The metadata. May be cached for five minutes.", body = Metadata),
    (status = 304, description = "It is still the one with the entity tag in `If-None-Match`."),
    docs::NotFound,
))]
pub(super) async fn metadata(State(api): State<Api>, headers: HeaderMap) -> Result<Response, ApiError> {
    let base = base_url(api.node.sessions.issuer()).ok_or(ApiError::NotFound)?;
    let metadata = Metadata {
        issuer: api.node.sessions.issuer().as_str().to_owned(),
        jwks_uri: format!("{base}/.well-known/jwks.json"),
        revocation_endpoint: format!("{base}/revoke"),
        revocation_endpoint_auth_methods_supported: ["client_secret_basic", "client_secret_post", "none"],
        introspection_endpoint: format!("{base}/introspect"),
        introspection_endpoint_auth_methods_supported: ["client_secret_basic", "client_secret_post"],
        response_types_supported: [],
        grant_types_supported: [],
        service_documentation: format!("{base}/docs"),
    };
    document(&headers, "public, max-age=300", &metadata)
}

/// [`metadata`] of an issuer with a path, which follows [`BEFORE_PATH`].
pub(super) async fn metadata_below(api: State<Api>, uri: Uri, headers: HeaderMap) -> Result<Response, ApiError> {
    let issuer: Option<Uri> = api.node.sessions.issuer().as_str().parse().ok();
    let own = issuer.as_ref().map(|issuer| issuer.path().trim_end_matches('/'));
    let asked = uri.path().strip_prefix(BEFORE_PATH).map(|path| path.trim_end_matches('/'));
    if asked == own { metadata(api, headers).await } else { Err(ApiError::NotFound) }
}

/// Returns the URL below which the endpoints of this issuer are, without a slash at its end.
fn base_url(issuer: &Issuer) -> Option<&str> {
    let url: Uri = issuer.as_str().parse().ok()?;
    let is_loopback = ["localhost", "127.0.0.1", "[::1]"].contains(&url.host()?);
    let is_allowed = url.scheme() == Some(&Scheme::HTTPS) || (url.scheme() == Some(&Scheme::HTTP) && is_loopback);
    // RFC 8414 §2: no query and no fragment, which `Uri` drops.
    let is_bare = !issuer.as_str().contains(['?', '#', '@']);
    (is_allowed && is_bare).then(|| issuer.as_str().trim_end_matches('/'))
}

/// Answers with a document that anybody may read; with 304 if the client has it already.
fn document(request: &HeaderMap, caching: &'static str, document: &impl Serialize) -> Result<Response, ApiError> {
    let body = serde_json::to_vec(document).map_err(ApiError::internal)?;
    let tag = format!("\"{}\"", BASE64_URL_SAFE_NO_PAD.encode(digest(&SHA256, &body)));
    let headers =
        [(header::CACHE_CONTROL, caching), (header::ETAG, tag.as_str()), (header::CONTENT_TYPE, "application/json")];
    // RFC 9110 §13.1.2: the tags are compared without regard to `W/`.
    let known = request.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let is_known = known
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag);
    Ok(if is_known { (StatusCode::NOT_MODIFIED, headers).into_response() } else { (headers, body).into_response() })
}
