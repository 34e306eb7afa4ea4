//! Error responses: `{"code":404,"status":"Not Found"}`, with `message` or `errors` for details. [`AuthRejection`] is the response to a
//! rejected token.

use std::collections::BTreeMap;

use adieu_axum::AuthRejection;
use axum::{
    Json,
    extract::rejection::{JsonRejection, PathRejection},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::{Value, json};

pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

/// The errors of each field of a body.
pub(crate) type FieldErrors = BTreeMap<String, Vec<&'static str>>;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("not found")]
    NotFound,
    #[error("the method is not allowed")]
    MethodNotAllowed,
    #[error(transparent)]
    Refused(#[from] AuthRejection),
    /// A status and a message for the client.
    #[error("{1}")]
    Because(StatusCode, &'static str),
    #[error("the body is not what it should be")]
    Invalid(FieldErrors),
    #[error(transparent)]
    Body(#[from] JsonRejection),
    #[error("the database failed")]
    Database(#[source] sqlx::Error),
    #[error("{0}")]
    Internal(&'static str),
}

impl Error {
    pub(crate) const ADMIN_REQUIRED: Self = Self::Because(StatusCode::UNAUTHORIZED, "Admin privilege required.");

    /// Returns an error about one field.
    pub(crate) fn field(name: &str, message: &'static str) -> Self {
        Self::Invalid(FieldErrors::from([(name.to_owned(), vec![message])]))
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::Refused(refused) => refused.status(),
            Self::Because(status, _) => *status,
            Self::Invalid(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Body(rejection) => rejection.status(),
            Self::Database(_) | Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

#[derive(Serialize)]
struct Envelope {
    code: u16,
    status: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    errors: Option<Value>,
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let status = self.status();
        if matches!(self, Self::Database(_) | Self::Internal(_)) {
            tracing::error!(error = &self as &dyn std::error::Error, "a request failed");
        }
        let (message, errors) = match self {
            Self::Refused(refused) => return refused.into_response(),
            Self::Because(_, message) => (Some(message), None),
            Self::Invalid(errors) => (None, Some(json!({ "json": errors }))),
            Self::Body(_) if status == StatusCode::BAD_REQUEST => {
                (None, Some(json!({ "json": ["Invalid JSON body."] })))
            }
            _ => (None, None),
        };
        (status, Json(Envelope { code: status.as_u16(), status: status.canonical_reason(), message, errors }))
            .into_response()
    }
}

/// Maps violations of a table's constraints to errors for the client.
pub(crate) trait OrConstraint<T> {
    /// Returns `instead` if a unique or foreign key constraint was violated.
    fn or_constraint(self, instead: Error) -> Result<T>;
}

impl<T> OrConstraint<T> for sqlx::Result<T> {
    fn or_constraint(self, instead: Error) -> Result<T> {
        self.map_err(|error| match &error {
            sqlx::Error::Database(cause) if cause.is_unique_violation() || cause.is_foreign_key_violation() => instead,
            _ => error.into(),
        })
    }
}

/// Maps a missing row to [`Error::NotFound`].
impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::RowNotFound => Self::NotFound,
            other => Self::Database(other),
        }
    }
}

/// Maps an id that is not a number to [`Error::NotFound`].
impl From<PathRejection> for Error {
    fn from(_: PathRejection) -> Self {
        Self::NotFound
    }
}

/// Adieu has its own response to a failure of its store.
impl From<adieu::Error> for Error {
    fn from(error: adieu::Error) -> Self {
        Self::Refused(error.into())
    }
}
