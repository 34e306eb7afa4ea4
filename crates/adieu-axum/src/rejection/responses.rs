//! The responses to rejected requests.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

use super::{RejectionKind, RejectionReason};

/// Answers rejected requests. A closure implements it, and may delegate to [`FlaskJwtExtendedResponses`] or
/// [`Rfc6750Responses`].
///
/// An implementation must not reveal more to the client than the [`RejectionKind`]: the [`RejectionReason`] is for the log,
/// which already has it.
///
/// ```
/// # use adieu_axum::{FlaskJwtExtendedResponses, Guard, RejectionReason, RejectionResponses, RejectionKind};
/// # use axum::{http::StatusCode, response::IntoResponse};
/// # fn guard(guard: Guard) -> Guard {
/// guard.with_rejection_responses(|reason: &RejectionReason| match reason.kind() {
///     RejectionKind::Missing => (StatusCode::UNAUTHORIZED, "log in first").into_response(),
///     _ => FlaskJwtExtendedResponses.answer(reason),
/// })
/// # }
/// ```
pub trait RejectionResponses: Send + Sync + 'static {
    /// Returns the response to this rejection.
    fn answer(&self, reason: &RejectionReason) -> Response;
}

impl<F> RejectionResponses for F
where
    F: Fn(&RejectionReason) -> Response + Send + Sync + 'static,
{
    fn answer(&self, reason: &RejectionReason) -> Response {
        self(reason)
    }
}

/// The responses of the course "REST APIs with Flask and Python", word for word where it has one, with a challenge as in RFC
/// 6750 §3.
#[derive(Debug, Clone, Copy, Default)]
pub struct FlaskJwtExtendedResponses;

/// The responses of RFC 6750 §3.1: `error` and `error_description`, in the challenge and as JSON.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rfc6750Responses;

impl RejectionResponses for FlaskJwtExtendedResponses {
    fn answer(&self, reason: &RejectionReason) -> Response {
        let words = Words::of(reason.kind());
        respond(&words, words.course)
    }
}

impl RejectionResponses for Rfc6750Responses {
    fn answer(&self, reason: &RejectionReason) -> Response {
        let words = Words::of(reason.kind());
        respond(&words, words.rfc6750)
    }
}

/// Returns the status of this kind of rejection.
pub(super) const fn status(kind: RejectionKind) -> StatusCode {
    Words::of(kind).status
}

/// A response, word for word.
struct Words {
    status: StatusCode,
    challenge: Option<&'static str>,
    course: &'static str,
    rfc6750: &'static str,
}

/// The error `invalid_token` of RFC 6750, with the same description in the challenge and in the body.
macro_rules! invalid_token {
    ($says:literal, $course:literal) => {
        Words {
            status: StatusCode::UNAUTHORIZED,
            challenge: Some(concat!("Bearer error=\"invalid_token\", error_description=\"", $says, "\"")),
            course: $course,
            rfc6750: concat!("{\"error\":\"invalid_token\",\"error_description\":\"", $says, "\"}"),
        }
    };
}

/// The error `invalid_request` of RFC 6750.
macro_rules! invalid_request {
    ($says:literal) => {
        Words {
            status: StatusCode::BAD_REQUEST,
            challenge: Some(concat!("Bearer error=\"invalid_request\", error_description=\"", $says, "\"")),
            course: concat!("{\"code\":400,\"message\":\"", $says, "\",\"status\":\"Bad Request\"}"),
            rfc6750: concat!("{\"error\":\"invalid_request\",\"error_description\":\"", $says, "\"}"),
        }
    };
}

impl Words {
    const fn of(kind: RejectionKind) -> Self {
        match kind {
            RejectionKind::Missing => Self {
                status: StatusCode::UNAUTHORIZED,
                // No error code if there was no token (§3.1).
                challenge: Some("Bearer"),
                course: r#"{"description":"Request does not contain an access token.","error":"authorization_required"}"#,
                rfc6750: "{}",
            },
            RejectionKind::Expired => invalid_token!(
                "The token has expired.",
                r#"{"message":"The token has expired.","error":"token_expired"}"#
            ),
            RejectionKind::NotYetValid => invalid_token!(
                "The token is not valid yet.",
                r#"{"message":"The token is not valid yet.","error":"token_not_yet_valid"}"#
            ),
            RejectionKind::Revoked => invalid_token!(
                "The token has been revoked.",
                r#"{"description":"The token has been revoked.","error":"token_revoked"}"#
            ),
            // RFC 9470 §3: the client gets a fresh token by another login.
            RejectionKind::NotFresh => Self {
                status: StatusCode::UNAUTHORIZED,
                challenge: Some(
                    r#"Bearer error="insufficient_user_authentication", error_description="The token is not fresh.""#,
                ),
                course: r#"{"description":"The token is not fresh.","error":"fresh_token_required"}"#,
                rfc6750: r#"{"error":"insufficient_user_authentication","error_description":"The token is not fresh."}"#,
            },
            RejectionKind::Invalid => invalid_token!(
                "Signature verification failed.",
                r#"{"message":"Signature verification failed.","error":"invalid_token"}"#
            ),
            RejectionKind::TwoHeaders => invalid_request!("Send one Authorization header only."),
            RejectionKind::TwoTokens => invalid_request!("Send one token only."),
            RejectionKind::UnknownSessions => invalid_request!("The other sessions of this user are not known here."),
            RejectionKind::InvalidId => invalid_request!("A name is empty, too long, or not one that is possible."),
            RejectionKind::Csrf => Self {
                status: StatusCode::UNAUTHORIZED,
                // Not the challenge of a missing token: proxies that drop the body tell the two apart by it.
                challenge: Some(r#"Bearer error_description="The CSRF value is missing or wrong.""#),
                course: r#"{"description":"The CSRF value is missing or wrong.","error":"csrf_failed"}"#,
                rfc6750: r#"{"error":"csrf_failed","error_description":"The CSRF value is missing or wrong."}"#,
            },
            RejectionKind::ClaimsRejected => Self {
                status: StatusCode::BAD_REQUEST,
                challenge: None,
                course: r#"{"description":"The token's claims are not accepted.","error":"claims_rejected"}"#,
                rfc6750: r#"{"error":"claims_rejected","error_description":"The token's claims are not accepted."}"#,
            },
            RejectionKind::UnknownUser => {
                invalid_token!(
                    "There is no such user.",
                    r#"{"description":"There is no such user.","error":"user_not_found"}"#
                )
            }
            RejectionKind::WrongCredentials => Self {
                status: StatusCode::UNAUTHORIZED,
                challenge: Some("Bearer"),
                course: r#"{"code":401,"message":"Invalid credentials.","status":"Unauthorized"}"#,
                rfc6750: r#"{"error":"invalid_grant","error_description":"Invalid credentials."}"#,
            },
            RejectionKind::Stale => Self {
                status: StatusCode::SERVICE_UNAVAILABLE,
                challenge: None,
                course: r#"{"code":503,"message":"Whether the token has been revoked is not known just now. Try again.","status":"Service Unavailable"}"#,
                rfc6750: r#"{"error":"temporarily_unavailable","error_description":"Whether the token has been revoked is not known just now. Try again."}"#,
            },
            RejectionKind::Unavailable => Self {
                status: StatusCode::SERVICE_UNAVAILABLE,
                challenge: None,
                course: r#"{"code":503,"message":"Temporarily unavailable. Try again.","status":"Service Unavailable"}"#,
                rfc6750: r#"{"error":"temporarily_unavailable","error_description":"Temporarily unavailable. Try again."}"#,
            },
            RejectionKind::Internal => Self {
                status: StatusCode::INTERNAL_SERVER_ERROR,
                challenge: None,
                course: r#"{"code":500,"status":"Internal Server Error"}"#,
                rfc6750: r#"{"error":"server_error"}"#,
            },
        }
    }
}

fn respond(words: &Words, body: &'static str) -> Response {
    let fixed = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    let mut response = (words.status, fixed, body).into_response();
    let headers = response.headers_mut();
    if let Some(challenge) = words.challenge {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    }
    if words.status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}
