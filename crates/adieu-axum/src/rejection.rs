//! Rejections: why a request is rejected, and how that is answered.

mod responses;

use std::{fmt, sync::Arc};

use adieu::{Error, IdError, session::SessionError, token::TokenError};
use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};

use crate::{Place, SetCookies};

pub use responses::{FlaskJwtExtendedResponses, RejectionResponses, Rfc6750Responses};

/// The target of the log line for each rejection, with its true cause and without the token.
pub const REJECTION_LOG_TARGET: &str = "adieu::rejection";

/// Why a request is rejected: the true cause, for the log and for [`RejectionResponses`].
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum RejectionReason {
    /// The token was rejected.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// There is more than one token in a place that allows only one.
    #[error("there is more than one token in a {0}")]
    Ambiguous(Place),
    /// There are tokens in two places, and the guard allows one.
    #[error("there is a token in a {0} and one in a {1}")]
    TwoPlaces(Place, Place),
    /// A cookie came without proof that one of our own pages sent it.
    #[error("{0}")]
    Csrf(&'static str),
    /// The token is valid, but the application does not accept its claims.
    #[error("the application does not accept the token's claims: {0}")]
    ClaimsRejected(String),
    /// The token is valid, but the application has no user for its subject.
    #[error("there is no user for the token's subject")]
    UnknownUser,
    /// The credentials of a login are wrong.
    #[error("invalid credentials")]
    WrongCredentials,
    /// A name from the request, such as that of a user who logs in, cannot be an id.
    #[error(transparent)]
    InvalidId(#[from] IdError),
    /// The token is valid, but this node does not know the other sessions that it should end.
    #[error("the other sessions of the token's subject are not known here")]
    UnknownSessions,
    /// The request could not be checked, because of a failure that has nothing to do with the token.
    #[error(transparent)]
    Failed(#[from] Error),
}

/// The category of a rejection, which alone decides the response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RejectionKind {
    /// There is no token.
    Missing,
    /// The token has expired.
    Expired,
    /// The token is not valid yet.
    NotYetValid,
    /// The token has been revoked.
    Revoked,
    /// The token does not come from a recent login.
    NotFresh,
    /// The token is invalid in another way. Only the log has the details, since they would help an attacker.
    Invalid,
    /// There is more than one header with a token.
    TwoHeaders,
    /// There is more than one token in another place, or in two places.
    TwoTokens,
    /// The CSRF value is missing or wrong.
    Csrf,
    /// The application does not accept the token's claims.
    ClaimsRejected,
    /// The user no longer exists.
    UnknownUser,
    /// This node does not know the user's other sessions.
    UnknownSessions,
    /// The user name or password is wrong.
    WrongCredentials,
    /// A name from the request cannot be an id.
    InvalidId,
    /// This node cannot currently tell whether the token has been revoked.
    Stale,
    /// The store is not available.
    Unavailable,
    /// An internal error.
    Internal,
}

impl RejectionReason {
    /// Returns the category, which decides the response.
    #[must_use]
    pub const fn kind(&self) -> RejectionKind {
        match self {
            Self::Ambiguous(Place::Header) => RejectionKind::TwoHeaders,
            Self::Ambiguous(_) | Self::TwoPlaces(..) => RejectionKind::TwoTokens,
            Self::Csrf(_) => RejectionKind::Csrf,
            Self::ClaimsRejected(_) => RejectionKind::ClaimsRejected,
            Self::UnknownUser => RejectionKind::UnknownUser,
            Self::UnknownSessions => RejectionKind::UnknownSessions,
            Self::WrongCredentials => RejectionKind::WrongCredentials,
            Self::InvalidId(_) => RejectionKind::InvalidId,
            Self::Failed(Error::Unavailable(_) | Error::RolledBack(_)) => RejectionKind::Unavailable,
            Self::Failed(_) => RejectionKind::Internal,
            Self::Token(refusal) => match refusal {
                TokenError::Missing => RejectionKind::Missing,
                TokenError::Expired => RejectionKind::Expired,
                TokenError::NotYetValid => RejectionKind::NotYetValid,
                TokenError::Revoked(_) => RejectionKind::Revoked,
                TokenError::NotFresh => RejectionKind::NotFresh,
                TokenError::Stale => RejectionKind::Stale,
                _ => RejectionKind::Invalid,
            },
        }
    }
}

impl From<SessionError> for RejectionReason {
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::InvalidToken(refusal) => refusal.into(),
            SessionError::Failed(error) => error.into(),
            SessionError::UnknownSessions => Self::UnknownSessions,
            other => Error::unavailable(other).into(),
        }
    }
}

/// The rejection of a request: the reason, and how it is answered.
///
/// The response depends only on the [`RejectionKind`], so that it does not help an attacker. Converting the rejection into a
/// response logs one line at [`REJECTION_LOG_TARGET`], with the true cause. The response carries its [`RejectionKind`] as an
/// extension.
#[derive(Clone)]
pub struct AuthRejection {
    reason: RejectionReason,
    answers: Option<Arc<dyn RejectionResponses>>,
    unset: SetCookies,
}

impl AuthRejection {
    pub(crate) fn new(reason: RejectionReason, answers: Arc<dyn RejectionResponses>) -> Self {
        Self { reason, answers: Some(answers), unset: SetCookies::default() }
    }

    /// Removes these cookies, which have become useless.
    pub(crate) fn unsetting(self, unset: SetCookies) -> Self {
        Self { unset, ..self }
    }

    /// Returns the reason.
    #[must_use]
    pub fn reason(&self) -> &RejectionReason {
        &self.reason
    }

    /// Returns the category, which decides the response.
    #[must_use]
    pub fn kind(&self) -> RejectionKind {
        self.reason.kind()
    }

    /// Returns the headers that remove useless cookies, for a response of the application's own: the cookies of a session
    /// that could not be logged out because it had already ended. Empty for any other rejection.
    pub fn into_cookies(self) -> SetCookies {
        self.unset
    }

    /// Returns the status that [`FlaskJwtExtendedResponses`] uses.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        responses::status(self.kind())
    }
}

/// Answered by [`FlaskJwtExtendedResponses`]; the rejections of a [`Guard`](crate::Guard) are answered as the guard is
/// configured.
impl<R: Into<RejectionReason>> From<R> for AuthRejection {
    fn from(reason: R) -> Self {
        Self { reason: reason.into(), answers: None, unset: SetCookies::default() }
    }
}

impl fmt::Debug for AuthRejection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("AuthRejection").field(&self.reason).finish()
    }
}

impl fmt::Display for AuthRejection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reason.fmt(formatter)
    }
}

impl std::error::Error for AuthRejection {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.reason.source()
    }
}

impl IntoResponse for AuthRejection {
    fn into_response(self) -> Response {
        let mut response = match &self.answers {
            Some(answers) => answers.answer(&self.reason),
            None => FlaskJwtExtendedResponses.answer(&self.reason),
        };
        // For layers that count rejections.
        response.extensions_mut().insert(self.kind());
        self.unset.append_to(response.headers_mut());
        let status = response.status().as_u16();
        match &self.reason {
            RejectionReason::Failed(error) => {
                let error = error as &dyn std::error::Error;
                tracing::warn!(target: REJECTION_LOG_TARGET, status, error, "rejected");
            }
            reason => tracing::info!(target: REJECTION_LOG_TARGET, status, %reason, "rejected"),
        }
        response
    }
}
