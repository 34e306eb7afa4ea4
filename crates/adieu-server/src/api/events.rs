//! Events of other issuers.

use std::net::IpAddr;

use axum::{
    extract::{FromRequestParts, State},
    http::{StatusCode, header, request::Parts},
    response::{IntoResponse as _, Response},
};
use serde::Deserialize;
use utoipa::ToSchema;

use super::{Api, client::Client, docs, service::OAuthError};
use crate::{
    error::ApiError,
    events::{Rejection, take_effect},
    input::Form,
};

/// The address that sends an event, within its quota.
pub(super) struct Source(IpAddr);

impl FromRequestParts<Api> for Source {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, ApiError> {
        let Client { address, .. } = Client::from_request_parts(parts, api).await?;
        api.node.events.sent_from(address)?;
        Ok(Self(address))
    }
}

/// A logout token. Other parameters are ignored.
#[derive(Deserialize, ToSchema)]
#[expect(dead_code, reason = "only describes the schema")]
pub(super) struct LogoutRequest {
    /// The logout token of the provider.
    logout_token: String,
}

/// Ends what a user has logged out of at another issuer (OpenID Connect Back-Channel Logout 1.0).
///
/// For a `trusted_issuer` with `events = ["backchannel-logout"]`. The session of the token ends, or if the token names none, all tokens of
/// its subject issued until its `iat`. The answer does not depend on whether there is such a session or subject. A repetition changes
/// nothing. After 429 and 503 the provider may send the token again.
#[utoipa::path(post, path = "/backchannel-logout", tag = "Events",
    request_body(content = LogoutRequest, content_type = "application/x-www-form-urlencoded"), responses(
    (status = 200, description = "Revoked, on stable storage."),
    docs::WrongLogout, docs::TooLarge, docs::TooManyEvents, docs::Unavailable,
))]
pub(super) async fn backchannel_logout(
    State(api): State<Api>,
    Source(address): Source,
    form: Result<Form, ApiError>,
) -> Result<Response, OAuthError> {
    let reject = |error| {
        api.node.metrics.event_rejected("backchannel-logout");
        error
    };
    let token = match form.map(|Form(mut form)| form.take("logout_token")) {
        Ok(Ok(Some(token))) => token,
        Ok(Ok(None)) => return Err(reject(OAuthError::Request("The parameter logout_token is missing.".into()))),
        Ok(Err(error)) | Err(error) => return Err(reject(error.into())),
    };
    let node = &api.node;
    let verified = node.events.verify(&token, |receiver, now| receiver.backchannel_logout(&token, now)).await;
    let received = verified.map_err(|rejection| match rejection {
        Rejection::Message(error) => reject(OAuthError::Request(error.to_string().into())),
        Rejection::Other(error) => OAuthError::Other(error),
    })?;
    take_effect(&received, &node.sessions, &node.metrics, address).await.map_err(OAuthError::Other)?;
    Ok((StatusCode::OK, [(header::CACHE_CONTROL, "no-store")]).into_response())
}
