//! The answer to a security event token that was not accepted.

use std::borrow::Cow;

use adieu::token::TokenError;
use adieu_events::EventError;
use axum::{
    Json,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::error::ApiError;

/// The answer to a security event token that was not accepted (RFC 8935 §2.3).
#[derive(Debug)]
pub(super) enum PushError {
    /// With one of the codes of §2.4, and a description.
    Invalid(&'static str, Cow<'static, str>),
    Other(ApiError),
}

/// Why a security event token was not accepted (RFC 8935 §2.3).
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PushErrorBody {
    /// What a program can tell apart.
    #[schema(
        example = "invalid_key",
        pattern = "^(invalid_request|invalid_key|invalid_issuer|invalid_audience|authentication_failed)$"
    )]
    err: &'static str,
    #[schema(example = "the token's key is not known")]
    description: Cow<'static, str>,
}

impl From<EventError> for PushError {
    fn from(error: EventError) -> Self {
        let code = match &error {
            EventError::Message(TokenError::WrongIssuer) => "invalid_issuer",
            EventError::Message(
                TokenError::WrongAudience | TokenError::MissingClaim("aud") | TokenError::InvalidClaim("aud"),
            ) => "invalid_audience",
            EventError::Message(TokenError::UnknownKey | TokenError::AlgorithmMismatch) => "invalid_key",
            EventError::Message(TokenError::BadSignature) => "authentication_failed",
            _ => "invalid_request",
        };
        Self::Invalid(code, error.to_string().into())
    }
}

impl IntoResponse for PushError {
    fn into_response(self) -> Response {
        match self {
            Self::Invalid(err, description) => {
                let headers = [(header::CACHE_CONTROL, "no-store"), (header::CONTENT_LANGUAGE, "en")];
                (StatusCode::BAD_REQUEST, headers, Json(PushErrorBody { err, description })).into_response()
            }
            Self::Other(error) => error.into_response(),
        }
    }
}
