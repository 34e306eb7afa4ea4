//! Errors of the API, in one shape: `{"code":404,"status":"Not Found"}`, with `message` or `errors` where these add
//! something.
//!
//! 1. [`ApiError::status`] is the only place that maps errors to statuses.
//! 2. Internal errors are logged here, once, under the target [`LOG_TARGET`], and never sent to the client.
//! 3. A response that asks the client to retry later says when (`Retry-After`, in whole seconds).

use std::{borrow::Cow, collections::BTreeMap, error::Error as StdError, time::Duration};

use adieu::{Chain, session::SessionError, token::TokenError};
use adieu_axum::AuthRejection;
use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{clients::Capability, feed::TooManyFollowers, password::HasherError};

/// The target of log lines about requests that failed for internal reasons.
pub const LOG_TARGET: &str = "adieu::failure";

/// The `error` of [`ApiError::ForAdministrators`].
pub(crate) const FOR_ADMINISTRATORS: &str = "administrators_only";

/// Retry delay after a failure that is usually temporary.
const SOON: Duration = Duration::from_secs(1);

type Cause = Box<dyn StdError + Send + Sync>;

/// The reason why a request failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ApiError {
    /// The body is not JSON; with the parser's reason.
    #[error("the body is not valid json: {0}")]
    InvalidJson(String),
    /// The request is invalid; with a sentence for the client.
    #[error("{0}")]
    BadRequest(Cow<'static, str>),
    /// The user is unknown or the password wrong; the response does not tell which.
    #[error("invalid credentials")]
    InvalidCredentials,
    /// The password is right, but must be changed before the login.
    #[error("the password must be changed first")]
    PasswordChangeRequired,
    /// The caller is authenticated but lacks permission; with a sentence for the client.
    #[error("{0}")]
    Forbidden(Cow<'static, str>),
    /// The client may revoke, but only administrators may revoke this; with a sentence for the client.
    #[error("{0}")]
    ForAdministrators(&'static str),
    /// The caller is authenticated but not an administrator.
    #[error("the caller is not an administrator")]
    AdminOnly,
    /// There is no such client with this secret, or there are no credentials; the response does not tell which.
    #[error("invalid client credentials")]
    InvalidClient,
    /// The client was asked for a certificate and has presented none.
    #[error("the client has no certificate")]
    CertificateRequired,
    /// The client is authenticated but lacks this capability.
    #[error("the client may not {0}")]
    ClientMayNot(Capability),
    /// The token is valid but lacks a required claim.
    #[error("the token lacks a claim that is required")]
    ClaimRequired,
    /// The token is valid but lacks one of these scopes, which are separated by spaces.
    #[error("the token lacks a scope that is required: {0}")]
    ScopeRequired(String),
    /// The token was rejected; the response is that of [`AuthRejection`].
    #[error(transparent)]
    Refused(#[from] AuthRejection),
    /// The resource does not exist.
    #[error("not found")]
    NotFound,
    /// The resource exists, but does not support this method.
    #[error("the method is not allowed")]
    MethodNotAllowed,
    /// The request did not arrive in time.
    #[error("the request took too long")]
    RequestTimeout,
    /// The resource exists already; with a sentence for the client.
    #[error("{0}")]
    Conflict(Cow<'static, str>),
    /// The body is longer than the limit.
    #[error("the body is too large")]
    BodyTooLarge,
    /// The body has another media type than the required one.
    #[error("the body is not labelled as {0}")]
    UnsupportedMediaType(&'static str),
    /// Fields are missing, unknown or wrong.
    #[error("invalid fields in the body")]
    Invalid(FieldErrors),
    /// A parameter of a form occurs twice.
    #[error("duplicate parameter {0}")]
    RepeatedParameter(&'static str),
    /// Fields of the query are unknown or wrong.
    #[error("invalid fields in the query")]
    InvalidQuery(FieldErrors),
    /// Too many failed logins, or too many registrations.
    #[error("too many attempts")]
    TooManyAttempts {
        /// When the next attempt is allowed.
        retry_after: Duration,
    },
    /// A client has used up its quota of tokens that reset passwords.
    #[error("the client has used up its quota of reset tokens")]
    ResetQuotaUsedUp {
        /// The time until the next one is allowed.
        retry_after: Duration,
    },
    /// A client has used up its quota of revocations.
    #[error("the client has used up its quota of revocations")]
    QuotaUsedUp {
        /// When it may append this many revocations again.
        retry_after: Duration,
    },
    /// An address or an issuer has sent too many events.
    #[error("too many events")]
    TooManyEvents {
        /// When the next event is accepted.
        retry_after: Duration,
    },
    /// A client has too many followers or waiting requests.
    #[error("the client has too many followers")]
    TooManyFollowers,
    /// A user has too many streams of events.
    #[error("the user has too many streams of events")]
    TooManyStreams,
    /// Temporarily impossible, and nothing was done.
    #[error("temporarily unavailable")]
    Unavailable(#[source] Cause),
    /// This node should receive no requests now; with a sentence that says why.
    #[error("not ready: {0}")]
    NotReady(&'static str),
    /// An internal error.
    #[error("internal error")]
    Internal(#[source] Cause),
}

/// What the metrics count about an error; a response carries it as an extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counted {
    /// A limit was hit, of this kind.
    Limit(&'static str),
    /// The store could not be read or written.
    Store,
}

/// The errors of each field of a body.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(transparent)]
pub struct FieldErrors(BTreeMap<Cow<'static, str>, Vec<String>>);

impl FieldErrors {
    /// Returns the error of one field.
    #[must_use]
    pub fn one(field: &'static str, message: impl ToString) -> Self {
        let mut errors = Self::default();
        errors.add(field, message);
        errors
    }

    /// Adds the error of a field.
    pub fn add(&mut self, field: impl Into<Cow<'static, str>>, message: impl ToString) {
        self.0.entry(field.into()).or_default().push(message.to_string());
    }

    /// Adds the errors of a nested value, below `place`.
    pub fn extend_below(&mut self, place: &str, errors: Self) {
        for (field, messages) in errors.0 {
            self.0.entry(format!("{place}.{field}").into()).or_default().extend(messages);
        }
    }

    /// Returns whether there are no errors.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The body of an answer that is not what was asked for.
#[derive(Debug, Serialize, ToSchema)]
pub struct ErrorBody {
    /// The HTTP status once more.
    #[schema(example = 404)]
    code: u16,
    /// What a program can tell apart, where the status does not say it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "password_change_required")]
    error: Option<&'static str>,
    /// Which fields of the body (`json`) or the query (`query`) were wrong, and how:
    /// `{"json":{"username":["Missing data for required field."]}}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    errors: Option<serde_json::Value>,
    /// What there is to say beyond the status.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<Cow<'static, str>>,
    /// The HTTP status in words.
    #[schema(example = "Not Found")]
    status: &'static str,
}

impl ApiError {
    /// Returns an internal error, whose cause the client does not learn.
    pub fn internal(cause: impl Into<Cause>) -> Self {
        Self::Internal(cause.into())
    }

    /// Returns the status of the response.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::InvalidJson(_) | Self::BadRequest(_) | Self::RepeatedParameter(_) => StatusCode::BAD_REQUEST,
            Self::InvalidCredentials | Self::InvalidClient => StatusCode::UNAUTHORIZED,
            Self::Refused(refused) => refused.status(),
            Self::PasswordChangeRequired
            | Self::Forbidden(_)
            | Self::ForAdministrators(_)
            | Self::AdminOnly
            | Self::ClaimRequired
            | Self::ScopeRequired(_)
            | Self::CertificateRequired
            | Self::ClientMayNot(_) => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::Conflict(_) => StatusCode::CONFLICT,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Invalid(_) | Self::InvalidQuery(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::TooManyAttempts { .. }
            | Self::QuotaUsedUp { .. }
            | Self::ResetQuotaUsedUp { .. }
            | Self::TooManyEvents { .. }
            | Self::TooManyFollowers
            | Self::TooManyStreams => StatusCode::TOO_MANY_REQUESTS,
            Self::Unavailable(_) | Self::NotReady(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn message(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::InvalidJson(detail) => Some(detail.clone().into()),
            Self::BadRequest(message) | Self::Forbidden(message) | Self::Conflict(message) => Some(message.clone()),
            Self::InvalidCredentials => Some("Invalid credentials.".into()),
            Self::PasswordChangeRequired => Some("Change the password with POST /password/change, then log in.".into()),
            Self::InvalidClient => Some("Invalid client credentials.".into()),
            Self::CertificateRequired => Some("A client certificate is required.".into()),
            Self::ClientMayNot(capability) => Some(format!("This client may not {capability}.").into()),
            Self::UnsupportedMediaType(label) => Some(format!("Send the body as {label}.").into()),
            Self::ClaimRequired => Some("The token lacks a claim that is required here.".into()),
            Self::ScopeRequired(_) => Some("The token lacks a scope that is required here.".into()),
            Self::AdminOnly => Some("Admin privilege required.".into()),
            Self::TooManyAttempts { .. } => Some("Too many attempts. Try again later.".into()),
            Self::ResetQuotaUsedUp { .. } => {
                Some("This client has used up its quota of reset tokens. Try again later.".into())
            }
            Self::QuotaUsedUp { .. } => {
                Some("This client has used up its quota of revocations. Try again later.".into())
            }
            Self::TooManyEvents { .. } => Some("Too many events. Try again later.".into()),
            Self::TooManyFollowers => Some("This client has too many followers. Try again later.".into()),
            Self::TooManyStreams => Some("This user has too many streams of events. Try again later.".into()),
            Self::NotReady(reason) | Self::ForAdministrators(reason) => Some((*reason).into()),
            Self::Unavailable(_) => Some("Temporarily unavailable. Try again.".into()),
            Self::Refused(_)
            | Self::NotFound
            | Self::MethodNotAllowed
            | Self::RequestTimeout
            | Self::BodyTooLarge
            | Self::Invalid(_)
            | Self::RepeatedParameter(_)
            | Self::InvalidQuery(_)
            | Self::Internal(_) => None,
        }
    }

    const fn error(&self) -> Option<&'static str> {
        match self {
            Self::PasswordChangeRequired => Some("password_change_required"),
            Self::ForAdministrators(_) => Some(FOR_ADMINISTRATORS),
            _ => None,
        }
    }

    fn errors(&self) -> Option<serde_json::Value> {
        match self {
            Self::Invalid(errors) => Some(serde_json::json!({ "json": errors })),
            Self::InvalidQuery(errors) => Some(serde_json::json!({ "query": errors })),
            Self::InvalidJson(_) => Some(serde_json::json!({ "json": ["Invalid JSON body."] })),
            _ => None,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::TooManyAttempts { retry_after }
            | Self::QuotaUsedUp { retry_after }
            | Self::ResetQuotaUsedUp { retry_after }
            | Self::TooManyEvents { retry_after } => Some(*retry_after),
            Self::Unavailable(_) | Self::NotReady(_) | Self::TooManyFollowers | Self::TooManyStreams => Some(SOON),
            _ => None,
        }
    }

    /// Returns what the metrics count about this error.
    fn counted(&self) -> Option<Counted> {
        match self {
            Self::TooManyAttempts { .. } => Some(Counted::Limit("attempts")),
            Self::QuotaUsedUp { .. } => Some(Counted::Limit("revocation_quota")),
            Self::ResetQuotaUsedUp { .. } => Some(Counted::Limit("reset_quota")),
            Self::TooManyEvents { .. } => Some(Counted::Limit("events")),
            Self::TooManyFollowers => Some(Counted::Limit("followers")),
            Self::TooManyStreams => Some(Counted::Limit("event_streams")),
            Self::BodyTooLarge => Some(Counted::Limit("body")),
            Self::RequestTimeout => Some(Counted::Limit("request_time")),
            Self::Unavailable(cause) if cause.is::<HasherError>() => Some(Counted::Limit("hashing_queue")),
            Self::Unavailable(cause) | Self::Internal(cause) if cause.is::<adieu::Error>() => Some(Counted::Store),
            _ => None,
        }
    }

    /// Returns how to authenticate (RFC 9110 §15.5.2), or which permission is missing (RFC 6750 §3.1).
    fn challenge(&self) -> Option<HeaderValue> {
        let fixed = HeaderValue::from_static;
        match self {
            // The credentials were in the body, so the challenge has no error code.
            Self::InvalidCredentials => Some(fixed("Bearer")),
            Self::InvalidClient => Some(fixed(r#"Basic realm="adieu""#)),
            Self::AdminOnly => {
                Some(fixed(r#"Bearer error="insufficient_scope", error_description="Admin privilege required.""#))
            }
            Self::ClaimRequired => Some(fixed(
                r#"Bearer error="insufficient_scope", error_description="The token lacks a claim that is required here.""#,
            )),
            Self::ScopeRequired(scopes) => HeaderValue::try_from(format!(
                r#"Bearer error="insufficient_scope", scope="{scopes}", error_description="The token lacks a scope that is required here.""#
            ))
            .ok(),
            _ => None,
        }
    }

    fn log(&self) {
        let chain = |cause: &Cause| Chain(&**cause).to_string();
        match self {
            Self::Unavailable(cause) => tracing::warn!(target: LOG_TARGET, error = chain(cause), "unavailable"),
            Self::Internal(cause) => tracing::error!(target: LOG_TARGET, error = chain(cause), "internal error"),
            _ => {}
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        if let Self::Refused(refused) = self {
            return refused.into_response();
        }
        self.log();
        let status = self.status();
        let body = ErrorBody {
            code: status.as_u16(),
            error: self.error(),
            errors: self.errors(),
            message: self.message(),
            status: status.canonical_reason().unwrap_or("Error"),
        };
        let (counted, challenge) = (self.counted(), self.challenge());
        let mut response = (status, [(header::CACHE_CONTROL, "no-store")], Json(body)).into_response();
        if let Some(wait) = self.retry_after() {
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        if let Some(counted) = counted {
            response.extensions_mut().insert(counted);
        }
        if let Some(challenge) = challenge {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

impl From<adieu::Error> for ApiError {
    fn from(error: adieu::Error) -> Self {
        match error {
            adieu::Error::Unavailable(_) | adieu::Error::RolledBack(_) => Self::Unavailable(error.into()),
            other => Self::Internal(other.into()),
        }
    }
}

impl From<TokenError> for ApiError {
    fn from(refusal: TokenError) -> Self {
        Self::Refused(refusal.into())
    }
}

impl From<SessionError> for ApiError {
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::InvalidToken(refusal) => refusal.into(),
            SessionError::Failed(error) => error.into(),
            SessionError::UnknownSessions => Self::InvalidQuery(FieldErrors::one(
                "scope",
                "Must be this or all with a token of another issuer, which alone knows its sessions.",
            )),
            other => Self::internal(other),
        }
    }
}

impl From<HasherError> for ApiError {
    fn from(error: HasherError) -> Self {
        match error {
            HasherError::Busy => Self::Unavailable(error.into()),
            HasherError::FullShare => Self::TooManyAttempts { retry_after: SOON },
            HasherError::Failed => Self::Internal(error.into()),
        }
    }
}

impl From<TooManyFollowers> for ApiError {
    fn from(_: TooManyFollowers) -> Self {
        Self::TooManyFollowers
    }
}

impl From<FieldErrors> for ApiError {
    fn from(errors: FieldErrors) -> Self {
        Self::Invalid(errors)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use axum::body::to_bytes;

    use super::*;

    async fn rendered(error: ApiError) -> (u16, String, Response) {
        let response = error.into_response();
        let (parts, body) = response.into_parts();
        let text = String::from_utf8(to_bytes(body, 65536).await.unwrap().to_vec()).unwrap();
        (parts.status.as_u16(), text, Response::from_parts(parts, axum::body::Body::empty()))
    }

    #[tokio::test]
    async fn the_envelope_is_the_one_that_flask_smorest_has() {
        for (error, body) in [
            (ApiError::NotFound, r#"{"code":404,"status":"Not Found"}"#),
            (
                ApiError::Conflict("A user with that username already exists.".into()),
                r#"{"code":409,"message":"A user with that username already exists.","status":"Conflict"}"#,
            ),
            (
                ApiError::Invalid(FieldErrors::one("password", "Missing data for required field.")),
                r#"{"code":422,"errors":{"json":{"password":["Missing data for required field."]}},"status":"Unprocessable Entity"}"#,
            ),
            (ApiError::InvalidCredentials, r#"{"code":401,"message":"Invalid credentials.","status":"Unauthorized"}"#),
        ] {
            let status = error.status();
            assert_eq!(rendered(error).await.1, body, "{status}");
        }
    }

    #[tokio::test]
    async fn what_went_wrong_inside_is_not_told() {
        let secret = || std::io::Error::other("/var/lib/adieu: disk full");
        let went_back = adieu::Error::RolledBack(adieu::RollbackCause::Shorter);
        for error in [adieu::Error::unavailable(secret()), went_back] {
            let (status, body, response) = rendered(error.into()).await;
            assert_eq!(
                (status, body.as_str()),
                (503, r#"{"code":503,"message":"Temporarily unavailable. Try again.","status":"Service Unavailable"}"#)
            );
            assert_eq!(response.headers()[header::RETRY_AFTER], "1");
        }
        let (status, body, _) = rendered(ApiError::internal(secret())).await;
        assert_eq!((status, body.as_str()), (500, r#"{"code":500,"status":"Internal Server Error"}"#));
    }

    #[tokio::test]
    async fn when_to_come_back_is_rounded_up() {
        let wait = Duration::from_millis(1200);
        let (status, _, response) = rendered(ApiError::TooManyAttempts { retry_after: wait }).await;
        assert_eq!((status, response.headers()[header::RETRY_AFTER].to_str().unwrap()), (429, "2"));
    }
}
