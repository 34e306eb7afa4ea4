//! Events of other issuers.

use std::net::IpAddr;

use adieu_axum::{AuthRejection, BearerToken};
use adieu_events::{EventError, Receiver};
use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Request, State},
    http::{HeaderMap, StatusCode, header, request::Parts},
    response::{IntoResponse as _, Response},
};
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::{
    Api,
    client::{Client, Id},
    docs,
    push_error::PushError,
    service::OAuthError,
};
use crate::{
    error::{ApiError, FieldErrors},
    events::{Rejection, take_effect},
    input::{Form, MediaType},
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
    let verified = node
        .events
        .verify(
            "backchannel-logout",
            |receiver| receiver.named_issuer(&token),
            |receiver, now| receiver.backchannel_logout(&token, now),
        )
        .await;
    let received = verified.map_err(|rejection| match rejection {
        Rejection::Message(error) => reject(OAuthError::Request(error.to_string().into())),
        Rejection::Other(error) => OAuthError::Other(error),
    })?;
    take_effect(received, &node.aliases, &node.sessions, &node.metrics, node.events.journal(), address)
        .await
        .map_err(OAuthError::Other)?;
    Ok((StatusCode::OK, [(header::CACHE_CONTROL, "no-store")]).into_response())
}

/// A security event token, as the body of a request (RFC 8935 §2.1).
pub(super) struct SecurityEventToken(String);

impl<S: Send + Sync> FromRequest<S> for SecurityEventToken {
    type Rejection = PushError;

    async fn from_request(request: Request, state: &S) -> Result<Self, PushError> {
        let invalid = |description: &'static str| PushError::Invalid("invalid_request", description.into());
        MediaType::SecurityEvent
            .check(request.headers())
            .map_err(|_| invalid("send the body as application/secevent+jwt"))?;
        let body = MediaType::SecurityEvent.read(request, state).await.map_err(PushError::Other)?;
        String::from_utf8(body.into()).map(Self).map_err(|_| invalid("the token is malformed: it is not text"))
    }
}

/// Ends what security events of another issuer are about (RFC 8935 push; OpenID CAEP 1.0 and RISC 1.0).
///
/// For a `trusted_issuer` that may send these `events`. Unknown events, and those that the issuer may not send, are acknowledged and change
/// nothing. The answer does not depend on whether there is such a session or subject. After 429 and 503 the transmitter may send the
/// token again.
#[utoipa::path(post, path = "/events", tag = "Events",
    request_body(content = String, content_type = "application/secevent+jwt", description = "A security event token (RFC 8417)."), responses(
    (status = 202, description = "Accepted: what it revokes is on stable storage."),
    docs::WrongEvent, docs::TooLarge, docs::TooManyEvents, docs::Unavailable,
))]
pub(super) async fn security_event(
    State(api): State<Api>,
    Source(address): Source,
    token: Result<SecurityEventToken, PushError>,
) -> Result<StatusCode, PushError> {
    let node = &api.node;
    let reject = |error| {
        node.metrics.event_rejected("security-event");
        error
    };
    let SecurityEventToken(token) = token.map_err(reject)?;
    let verified = node
        .events
        .verify(
            "security-event",
            |receiver| receiver.named_issuer(&token),
            |receiver, now| receiver.security_event(&token, now),
        )
        .await;
    let received = verified.map_err(|rejection| match rejection {
        Rejection::Message(error) => reject(error.into()),
        Rejection::Other(error) => PushError::Other(error),
    })?;
    take_effect(received, &node.aliases, &node.sessions, &node.metrics, node.events.journal(), address)
        .await
        .map_err(PushError::Other)?;
    Ok(StatusCode::ACCEPTED)
}

/// Whose tokens to revoke: one of the two.
#[derive(Deserialize, ToSchema)]
#[expect(dead_code, reason = "only describes the schema")]
#[schema(example = json!({"sub_id": {"format": "iss_sub", "iss": "https://login.example", "sub": "00uhnd7ulvYXQSbg60h7"}}))]
pub(super) struct GlobalRevocation {
    /// A subject identifier (RFC 9493).
    #[schema(value_type = Object, nullable = false)]
    sub_id: Option<Value>,
    /// The same, as in drafts up to -02.
    #[schema(value_type = Object, nullable = false)]
    subject: Option<Value>,
}

/// The JSON body of a request, unread.
pub(super) struct JsonBytes(pub(super) Bytes);

impl<S: Send + Sync> FromRequest<S> for JsonBytes {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        Ok(Self(MediaType::Json.read(request, state).await?))
    }
}

/// Revokes all tokens of a user of another issuer (Global Token Revocation; Universal Logout of Okta).
///
/// For a `trusted_issuer` with `events = ["global-token-revocation"]`. The token is a JWT of the issuer for the URL of this endpoint. All tokens
/// of the user issued until its `iat` are revoked. The answer does not depend on whether there is such a user: 404 says that the tokens of
/// the issuer have no subjects of this form, or that the alias is not known.
#[utoipa::path(post, path = "/global-token-revocation", tag = "Events", security(("issuer" = [])), request_body = GlobalRevocation, responses(
    (status = 204, description = "Revoked, on stable storage."),
    docs::WrongSubject, docs::Refusals, docs::MayNotRevokeGlobally, docs::UnknownSubject, docs::TooLarge, docs::NotJson,
    docs::NotAUser, docs::TooManyEvents, docs::Unavailable,
))]
pub(super) async fn global_token_revocation(
    State(api): State<Api>,
    Source(address): Source,
    token: Result<BearerToken, AuthRejection>,
    body: Result<JsonBytes, ApiError>,
) -> Result<StatusCode, ApiError> {
    let node = &api.node;
    let reject = |error| {
        node.metrics.event_rejected("global-token-revocation");
        error
    };
    let token = token.map_err(|rejection| reject(rejection.into()))?;
    let JsonBytes(body) = body.map_err(reject)?;
    let token = token.as_str();
    let verified = node
        .events
        .verify(
            "global-token-revocation",
            |receiver| receiver.named_issuer(token),
            |receiver, now| receiver.global_token_revocation(token, &body, now),
        )
        .await;
    let received = verified.map_err(|rejection| match rejection {
        Rejection::Message(error) => reject(refusal(error)),
        Rejection::Other(error) => error,
    })?;
    match take_effect(received, &node.aliases, &node.sessions, &node.metrics, node.events.journal(), address).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(ApiError::NotFound),
    }
}

/// A message of a provider: any JSON object.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only describes the schema")]
#[schema(value_type = Object, example = json!({"type": "session.ended", "timestamp": 1_800_000_000_000_u64, "data": {"id": "sess_1", "user_id": "user_1"}}))]
pub(super) struct WebhookMessage(Value);

/// Ends what an event in a webhook of another issuer is about (Standard Webhooks; Clerk, WorkOS and Hanko).
///
/// For the `trusted_issuer` with a `webhook` of this name. The headers are `webhook-id`, `webhook-timestamp` and `webhook-signature`, or the
/// same with `svix-`; those of WorkOS have `WorkOS-Signature`, and those of Hanko a token in the body. Unknown events are acknowledged and
/// change nothing. The answer does not depend on whether there is such a session or subject. After 429 and 503 the provider may send the
/// message again.
#[utoipa::path(post, path = "/webhooks/{name}", tag = "Events", request_body = WebhookMessage,
    params(("name" = String, Path, description = "The name of the webhook in the settings.")), responses(
    (status = 204, description = "Accepted: what it revokes is on stable storage."),
    docs::WrongWebhook, docs::UnknownWebhook, docs::TooLarge, docs::NotJson, docs::TooManyEvents, docs::Unavailable,
))]
pub(super) async fn webhook(
    State(api): State<Api>,
    Source(address): Source,
    Id(name): Id<String>,
    headers: HeaderMap,
    body: Result<JsonBytes, ApiError>,
) -> Result<StatusCode, ApiError> {
    let node = &api.node;
    let reject = |error| {
        node.metrics.event_rejected("webhook");
        error
    };
    let JsonBytes(body) = body.map_err(reject)?;
    let header = |name: &'static str| {
        let mut values = headers.get_all(name).iter();
        values.next().filter(|_| values.next().is_none())?.to_str().ok()
    };
    let verify = |receiver: &Receiver, now| receiver.webhook(&name, header, &body, now);
    let verified = node.events.verify("webhook", |receiver| receiver.webhook_issuer(&name), verify).await;
    let received = verified.map_err(|rejection| match rejection {
        Rejection::Message(EventError::UnknownWebhook) => reject(ApiError::NotFound),
        Rejection::Message(error) => reject(ApiError::BadRequest(format!("{error}.").into())),
        Rejection::Other(error) => error,
    })?;
    take_effect(received, &node.aliases, &node.sessions, &node.metrics, node.events.journal(), address).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn refusal(error: EventError) -> ApiError {
    match error {
        EventError::Message(refusal) => refusal.into(),
        EventError::NotAccepted => ApiError::Forbidden("This issuer may not revoke the tokens of its users.".into()),
        EventError::UnknownSubject => ApiError::NotFound,
        EventError::NotAUser => FieldErrors::one("sub_id", "Not a user.").into(),
        EventError::Body(reason) => ApiError::BadRequest(format!("{reason}.").into()),
        other => ApiError::internal(other),
    }
}
