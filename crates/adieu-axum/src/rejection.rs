//! What a request gets whose token is refused.

mod responses;

use std::{fmt, sync::Arc};

use adieu::{Error, IdError, session::SessionError, token::TokenError};
use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};

use crate::{Place, SetCookies};

pub use responses::{FlaskJwtExtendedResponses, RejectionResponses, Rfc6750Answers};

/// The target of the log line that each refusal gets, with its true cause and without the token.
pub const REJECTION_LOG_TARGET: &str = "adieu::refusal";

/// Why a request is refused: the true cause, for the log and for whoever answers.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum RejectionReason {
    /// Because of the token.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// There is more than one token in a place where there must be one.
    #[error("there is more than one token in a {0}")]
    Ambiguous(Place),
    /// A cookie came without proof that our own pages made the browser send it.
    #[error("{0}")]
    Csrf(&'static str),
    /// The token is good, and the application does not accept what it claims.
    #[error("the application does not accept the token's claims: {0}")]
    ClaimsRejected(String),
    /// The token is good, and the application knows nobody by its subject.
    #[error("there is no user for the token's subject")]
    UnknownUser,
    /// The credentials of a login are wrong.
    #[error("the credentials are wrong")]
    WrongCredentials,
    /// The token is good, and the sessions that it should end beside its own are not known here.
    #[error("the other sessions of the token's subject are not known here")]
    UnknownSessions,
    /// Nothing is known, because something failed that is nobody's token's fault.
    #[error(transparent)]
    Failed(#[from] Error),
}

/// What a client is told, in coarse: the answer depends on nothing else.
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
    /// The token is bad in any other way. Which is for the log: it would only help to forge.
    Invalid,
    /// There is more than one header with a token.
    TwoHeaders,
    /// There is more than one token elsewhere.
    TwoTokens,
    /// The CSRF value is missing or wrong.
    Csrf,
    /// The application does not accept what the token claims.
    ClaimsRejected,
    /// There is no such user any more.
    UnknownUser,
    /// Which other sessions the user has is not known here.
    UnknownSessions,
    /// The user's name or password is wrong.
    WrongCredentials,
    /// Whether the token has been revoked is not known just now.
    Stale,
    /// The store is not available.
    Unavailable,
    /// Something is wrong with us.
    Internal,
}

impl RejectionReason {
    /// What the client is told.
    #[must_use]
    pub const fn kind(&self) -> RejectionKind {
        match self {
            Self::Ambiguous(Place::Header) => RejectionKind::TwoHeaders,
            Self::Ambiguous(_) => RejectionKind::TwoTokens,
            Self::Csrf(_) => RejectionKind::Csrf,
            Self::ClaimsRejected(_) => RejectionKind::ClaimsRejected,
            Self::UnknownUser => RejectionKind::UnknownUser,
            Self::UnknownSessions => RejectionKind::UnknownSessions,
            Self::WrongCredentials => RejectionKind::WrongCredentials,
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

impl From<IdError> for RejectionReason {
    fn from(error: IdError) -> Self {
        Error::from(error).into()
    }
}

impl From<SessionError> for RejectionReason {
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::Refused(refusal) => refusal.into(),
            SessionError::Failed(error) => error.into(),
            SessionError::UnknownSessions => Self::UnknownSessions,
            other => Error::unavailable(other).into(),
        }
    }
}

/// A refused request: why, and how that is answered.
///
/// The answer is one of a few, whatever the cause, so that it helps nobody to forge. When it is made into a response, one
/// line is logged at [`REJECTION_LOG_TARGET`], with the true cause. The response has its [`RejectionKind`] as an extension.
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

    /// Removes these cookies, which are of no use any more.
    pub(crate) fn unsetting(self, unset: SetCookies) -> Self {
        Self { unset, ..self }
    }

    /// Why.
    #[must_use]
    pub fn reason(&self) -> &RejectionReason {
        &self.reason
    }

    /// What the client is told.
    #[must_use]
    pub fn kind(&self) -> RejectionKind {
        self.reason.kind()
    }

    /// What removes the cookies that are of no use any more, for an answer of the application's own: those of a session that
    /// could not be logged out because it had ended already. Nothing with any other refusal.
    pub fn into_cookies(self) -> SetCookies {
        self.unset
    }

    /// The status that [`FlaskJwtExtendedResponses`] gives it.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        responses::status(self.kind())
    }
}

/// Answered by [`FlaskJwtExtendedResponses`]; what a [`Guard`](crate::Guard) refuses is answered as the guard has it.
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
        // For a layer that counts.
        response.extensions_mut().insert(self.kind());
        self.unset.append_to(response.headers_mut());
        let status = response.status().as_u16();
        match &self.reason {
            RejectionReason::Failed(error) => {
                let error = error as &dyn std::error::Error;
                tracing::warn!(target: REJECTION_LOG_TARGET, status, error, "refused");
            }
            reason => tracing::info!(target: REJECTION_LOG_TARGET, status, cause = %reason, "refused"),
        }
        response
    }
}
