//! The application's user, loaded for the subject of a token.

use adieu::token::{Claims, TokenError};
use axum::{
    extract::{FromRequestParts, OptionalFromRequestParts},
    http::request::Parts,
    response::{IntoResponse, Response},
};

use super::{Access, Failure, judged};
use crate::{AuthRejection, Guard, GuardedState, RejectionReason};

/// A user of the application that can be loaded for the token of a request.
///
/// ```
/// # use std::{collections::HashMap, convert::Infallible, sync::Arc};
/// # use adieu::token::Claims;
/// # use adieu_axum::{CurrentUser, Guard, LoadUser};
/// #[derive(Clone)]
/// struct User {
///     name: String,
/// }
///
/// # #[derive(Clone, axum::extract::FromRef)]
/// # struct App { guard: Guard, users: Arc<HashMap<String, User>> }
/// impl LoadUser<App> for User {
///     type Error = Infallible;
///
///     async fn load_user(claims: &Claims, app: &App) -> Result<Option<User>, Infallible> {
///         Ok(app.users.get(claims.subject.as_str()).cloned())
///     }
/// }
///
/// async fn greet(CurrentUser(user): CurrentUser<User>) -> String {
///     format!("hello, {}", user.name)
/// }
/// ```
pub trait LoadUser<S>: Sized {
    /// The error of a failed user lookup, as a response.
    type Error: IntoResponse;

    /// Whether the application has users of other issuers. If not, their tokens are rejected: the same subject of another
    /// issuer is a different user. If so, the lookup must also use [`Claims::issuer`].
    const OF_OTHER_ISSUERS: bool = false;

    /// Loads the user of a verified access token. `None` is answered with 401: the user no longer exists, or must not have
    /// access.
    ///
    /// # Errors
    /// If the user lookup fails.
    fn load_user(claims: &Claims, state: &S) -> impl Future<Output = Result<Option<Self>, Self::Error>> + Send;
}

/// The user of the request's access token: a handler that takes one is protected.
///
/// `Option<CurrentUser>` is `None` without a token. It still rejects an invalid token and a token without a user, but a
/// cookie with such a token counts as none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CurrentUser<U>(pub U);

/// Why there is no [`CurrentUser`].
#[derive(Debug)]
pub enum UserRejection<E> {
    /// The token was rejected, or there is no user for it.
    Refused(AuthRejection),
    /// The user lookup failed.
    Failed(E),
}

impl<E: IntoResponse> IntoResponse for UserRejection<E> {
    fn into_response(self) -> Response {
        match self {
            Self::Refused(refused) => refused.into_response(),
            Self::Failed(error) => error.into_response(),
        }
    }
}

impl<S: GuardedState, U: LoadUser<S>> FromRequestParts<S> for CurrentUser<U> {
    type Rejection = UserRejection<U::Error>;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        let guard = state.guard();
        match load(&guard, parts, state).await? {
            Some(Ok(user)) => Ok(Self(user)),
            Some(Err(failure)) => Err(UserRejection::Refused(guard.reject(failure.reason))),
            None => Err(UserRejection::Refused(guard.reject(TokenError::Missing))),
        }
    }
}

impl<S: GuardedState, U: LoadUser<S>> OptionalFromRequestParts<S> for CurrentUser<U> {
    type Rejection = UserRejection<U::Error>;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Option<Self>, Self::Rejection> {
        let guard = state.guard();
        match load(&guard, parts, state).await? {
            Some(Ok(user)) => Ok(Some(Self(user))),
            Some(Err(failure)) if !failure.is_a_useless_cookie() => {
                Err(UserRejection::Refused(guard.reject(failure.reason)))
            }
            Some(Err(_)) | None => Ok(None),
        }
    }
}

/// Loads the user if there is a token.
async fn load<S: GuardedState, U: LoadUser<S>>(
    guard: &Guard,
    parts: &Parts,
    state: &S,
) -> Result<Option<Result<U, Failure>>, UserRejection<U::Error>> {
    let access: Access = match judged(guard, parts, state).await {
        Ok(Some(access)) => access,
        Ok(None) => return Ok(None),
        Err(failure) => return Ok(Some(Err(failure))),
    };
    if !U::OF_OTHER_ISSUERS && !guard.is_own(&access.claims) {
        return Ok(Some(Err(Failure { reason: TokenError::WrongIssuer.into(), place: Some(access.place) })));
    }
    match U::load_user(&access.claims, state).await {
        Ok(Some(user)) => Ok(Some(Ok(user))),
        Ok(None) => Ok(Some(Err(Failure { reason: RejectionReason::UnknownUser, place: Some(access.place) }))),
        Err(error) => Err(UserRejection::Failed(error)),
    }
}
