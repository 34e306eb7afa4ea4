//! What machines ask this server about itself.

use adieu::token::Jwks;
use axum::{
    Json,
    extract::State,
    http::{HeaderName, header},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{Api, docs};
use crate::error::ApiError;

/// How it is.
#[derive(Serialize, ToSchema)]
pub(super) struct Health {
    #[schema(example = "ok")]
    status: &'static str,
}

impl Health {
    pub(super) const READY: Self = Self { status: "ready" };
}

/// Says that the process answers. Always 200; for whoever restarts what does not answer.
#[utoipa::path(get, path = "/livez", tag = "Operation", responses(
    (status = 200, description = "It answers.", body = Health),
))]
pub(super) async fn livez() -> Json<Health> {
    Json(Health { status: "ok" })
}

/// Says whether this node can do everything: it knows of every logout, and its store can be read and written.
#[utoipa::path(get, path = "/readyz", tag = "Operation", responses(
    (status = 200, description = "It can.", body = Health),
    docs::NotReady,
))]
pub(super) async fn readyz(State(api): State<Api>) -> Result<Json<Health>, ApiError> {
    if !api.node.sessions.verifier().is_fresh() {
        return Err(ApiError::NotReady("The revocations known here are not up to date."));
    }
    match api.node.check_store().await {
        Ok(()) => Ok(Json(Health::READY)),
        Err(error) => {
            tracing::warn!(target: crate::error::LOG_TARGET, cause = &error as &dyn std::error::Error, "not ready");
            Err(ApiError::NotReady("The store can't be read and written."))
        }
    }
}

/// Gives the public keys that tokens are signed with (RFC 7517), for services that verify by themselves.
#[utoipa::path(get, path = "/.well-known/jwks.json", tag = "Operation", responses(
    (status = 200, description = "The keys. May be cached for five minutes.", body = Object, example = json!({"keys": [{
        "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo", "alg": "EdDSA", "use": "sig",
        "kid": "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
    }]})),
))]
pub(super) async fn keys(State(api): State<Api>) -> ([(HeaderName, &'static str); 1], Json<Jwks>) {
    ([(header::CACHE_CONTROL, "public, max-age=300")], Json(api.keys.clone()))
}
