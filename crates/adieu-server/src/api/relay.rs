//! The API of a relay: the part that needs no accounts.

use std::{ops::Deref, sync::Arc};

use adieu::{revocation::MAX_LEEWAY, token::Jwks};
use adieu_axum::{AfterBody, Guard};
use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, FromRef, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    middleware::from_fn_with_state,
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::Value;

use super::{
    ApiService,
    events::JsonBytes,
    feed::{self, CURSOR, Wait},
    health::{self, Readiness, has_accounts, leaving},
    middleware::limit_body,
    service::{Can, Revoke},
    verify::{Sources, Verdicts},
};
use crate::{
    clients::Clients,
    config::Settings,
    error::{ApiError, FOR_ADMINISTRATORS},
    feed::Feed,
    relay::Relay,
};

/// The state that handlers share.
#[derive(Clone)]
struct RelayApi(Arc<Shared>);

struct Shared {
    relay: Arc<Relay>,
    guard: Guard,
}

impl Deref for RelayApi {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl FromRef<RelayApi> for Guard {
    fn from_ref(api: &RelayApi) -> Self {
        api.guard.clone()
    }
}

impl FromRef<RelayApi> for Clients {
    fn from_ref(api: &RelayApi) -> Self {
        api.relay.clients.clone()
    }
}

impl FromRef<RelayApi> for Feed {
    fn from_ref(api: &RelayApi) -> Self {
        api.relay.feed.clone()
    }
}

/// Returns the API of a relay.
///
/// # Errors
/// Fails if the settings of cookies are invalid.
pub fn relay_router(relay: Arc<Relay>, settings: &Settings) -> Result<ApiService, adieu::Error> {
    let (guard, metrics) = (Guard::from_verifier(Arc::clone(&relay.verifier)), Arc::clone(&relay.metrics));
    let (sources, traces) = (Sources::new(settings), relay.traces.clone());
    let verdicts =
        Verdicts::new(sources.guarded(guard.clone())?, sources, relay.issuer.clone(), Arc::clone(&relay.clock));
    let max_body_bytes = settings.max_body_bytes.get();
    let router = Router::new()
        .route("/revocations", get(feed::follow).post(revoke))
        .layer(from_fn_with_state(max_body_bytes, limit_body))
        .layer(DefaultBodyLimit::max(max_body_bytes))
        .route("/livez", get(health::livez))
        .route("/readyz", get(readyz))
        .route("/.well-known/jwks.json", get(keys))
        .with_state(RelayApi(Arc::new(Shared { relay, guard })));
    Ok(ApiService::new(router, verdicts, settings, metrics, traces))
}

/// Revokes at the node that the relay follows. That node validates the body.
async fn revoke(
    State(api): State<RelayApi>,
    headers: HeaderMap,
    AfterBody((_, wait), JsonBytes(body)): AfterBody<(Can<Revoke>, Wait), JsonBytes>,
) -> Result<Response, ApiError> {
    let (query, mut time) = wait.forwarded(&api.relay.feed);
    let preferred = feed::preferred_wait(&headers);
    if is_cut_off(&body) {
        let reach = preferred.unwrap_or(MAX_LEEWAY).min(MAX_LEEWAY);
        wait.grant_cut_off(reach);
        time += reach;
    }
    let answer = api.relay.forward(query, preferred, body.into(), time).await?;
    let status = answer.status();
    if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) && !is_for_administrators(answer.body()) {
        // The caller's credentials are valid here; the relay's are not valid there.
        return Err(ApiError::Unavailable("the node does not let this relay revoke".into()));
    }
    if !(status == StatusCode::OK || status.is_client_error() || status.is_server_error()) {
        // No node says that: something between has answered.
        return Err(ApiError::Unavailable("the answer is not that of a node".into()));
    }
    let cursor = answer.headers().get(&CURSOR);
    if status == StatusCode::OK {
        api.relay.catch_up(cursor.and_then(|cursor| cursor.to_str().ok()?.parse().ok())).await?;
    }
    let mut response = (status, answer.body().clone()).into_response();
    let passed_on: [HeaderName; 3] = [header::CONTENT_TYPE, header::RETRY_AFTER, CURSOR];
    for name in passed_on {
        match answer.headers().get(&name) {
            Some(value) => response.headers_mut().insert(name, value.clone()),
            None => response.headers_mut().remove(name),
        };
    }
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// Returns whether the revocation may make the node wait until a cut-off has passed. It only searches the body for
/// names: for a body that hides them in escapes, the relay times out earlier.
fn is_cut_off(body: &[u8]) -> bool {
    let names = [&b"\"subject\""[..], b"\"everything\"", b"\"claim\""];
    names.iter().any(|name| body.windows(name.len()).any(|part| part == *name))
}

/// Returns whether the body is that of [`ApiError::ForAdministrators`], which is about what the caller would revoke.
fn is_for_administrators(body: &[u8]) -> bool {
    let error = |body: Value| body.get("error").is_some_and(|error| error == FOR_ADMINISTRATORS);
    serde_json::from_slice(body).is_ok_and(error)
}

async fn readyz(State(api): State<RelayApi>) -> Readiness {
    let problem = leaving(&api.relay.is_leaving).or_else(|| api.relay.not_ready());
    Readiness::new(&api.relay.verifier, problem, has_accounts(api.relay.stores()).await)
}

/// The remaining cache lifetime of the node's keys, so that the lifetime does not restart at every relay.
async fn keys(State(api): State<RelayApi>) -> Result<([(HeaderName, String); 1], Json<Jwks>), ApiError> {
    let keys = api.relay.keys();
    if keys.iter().next().is_none() {
        return Err(ApiError::NotReady("The keys of the node are not known yet."));
    }
    let max_age = api.relay.keys_good_for().as_secs();
    Ok(([(header::CACHE_CONTROL, format!("public, max-age={max_age}"))], Json(keys.jwks())))
}

#[cfg(test)]
mod tests {
    use super::is_cut_off;

    #[test]
    fn each_kind_of_cut_off_is_found() {
        let cut_offs = [r#"{"subject":"ana"}"#, r#"{"everything":true}"#, r#"{"claim":{"name":"tenant","value":"7"}}"#];
        assert!(cut_offs.iter().all(|body| is_cut_off(body.as_bytes())));
        let others = [r#"{"token_id":"a"}"#, r#"{"session":"a"}"#, r#"{"key":"a"}"#];
        assert!(!others.iter().any(|body| is_cut_off(body.as_bytes())));
    }
}
