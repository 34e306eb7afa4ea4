//! What a request gets whose token is refused.

use std::fmt;

use adieu::token::Refusal;
use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

/// The target of the log line that each refusal gets, with its true cause and without the token.
pub const REFUSAL_LOG_TARGET: &str = "adieu::refusal";

/// Why a request is refused that came with a bad token, without the token it needs, or with two.
///
/// The answer is one of a few, whatever the cause, so that it helps nobody to forge: 401 with a body that says what a
/// client can do about it, and a challenge as RFC 6750 §3 has it, without an error code when there was no token. A node
/// that does not know enough to judge the token answers 503, and says when to come back.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refused {
    /// Because of the token.
    Token(Refusal),
    /// There is more than one `Authorization` header.
    Ambiguous,
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self::Token(refusal)
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token(refusal) => refusal.fmt(formatter),
            Self::Ambiguous => formatter.write_str("there is more than one `Authorization` header"),
        }
    }
}

impl std::error::Error for Refused {}

/// An answer, word for word.
struct Answer {
    status: StatusCode,
    body: &'static str,
    challenge: Option<&'static str>,
}

const MISSING: Answer = Answer {
    status: StatusCode::UNAUTHORIZED,
    body: r#"{"description":"Request does not contain an access token.","error":"authorization_required"}"#,
    challenge: Some("Bearer"),
};
const EXPIRED: Answer = Answer {
    status: StatusCode::UNAUTHORIZED,
    body: r#"{"message":"The token has expired.","error":"token_expired"}"#,
    challenge: Some(r#"Bearer error="invalid_token", error_description="The token has expired.""#),
};
const REVOKED: Answer = Answer {
    status: StatusCode::UNAUTHORIZED,
    body: r#"{"description":"The token has been revoked.","error":"token_revoked"}"#,
    challenge: Some(r#"Bearer error="invalid_token", error_description="The token has been revoked.""#),
};
const NOT_FRESH: Answer = Answer {
    status: StatusCode::UNAUTHORIZED,
    body: r#"{"description":"The token is not fresh.","error":"fresh_token_required"}"#,
    challenge: Some(r#"Bearer error="invalid_token", error_description="The token is not fresh.""#),
};
const INVALID: Answer = Answer {
    status: StatusCode::UNAUTHORIZED,
    body: r#"{"message":"Signature verification failed.","error":"invalid_token"}"#,
    challenge: Some(r#"Bearer error="invalid_token", error_description="Signature verification failed.""#),
};
const STALE: Answer = Answer {
    status: StatusCode::SERVICE_UNAVAILABLE,
    body: r#"{"code":503,"message":"Whether the token has been revoked is not known just now. Try again.","status":"Service Unavailable"}"#,
    challenge: None,
};
const AMBIGUOUS: Answer = Answer {
    status: StatusCode::BAD_REQUEST,
    body: r#"{"code":400,"message":"Send one Authorization header only.","status":"Bad Request"}"#,
    challenge: Some(r#"Bearer error="invalid_request", error_description="Send one Authorization header only.""#),
};

impl Refused {
    /// The status that it is answered with.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.answer().status
    }

    const fn answer(&self) -> Answer {
        match self {
            Self::Ambiguous => AMBIGUOUS,
            Self::Token(refusal) => match refusal {
                Refusal::Missing => MISSING,
                Refusal::Expired => EXPIRED,
                Refusal::Revoked(_) => REVOKED,
                Refusal::NotFresh => NOT_FRESH,
                Refusal::Stale => STALE,
                _ => INVALID,
            },
        }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let Answer { status, body, challenge } = self.answer();
        tracing::info!(target: REFUSAL_LOG_TARGET, status = status.as_u16(), cause = %self, "refused");

        let fixed = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
        let mut response = (status, fixed, body).into_response();
        let headers = response.headers_mut();
        if let Some(challenge) = challenge {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
