//! The application's own user, loaded for the subject of a token.

use adieu::token::{Claims, TokenError};
use axum::{
    extract::{FromRequestParts, OptionalFromRequestParts},
    http::request::Parts,
    response::{IntoResponse, Response},
};

use super::{Access, Failure, judged};
use crate::{AuthRejection, Guard, GuardedState, RejectionReason};

/// A user of the application, who can be loaded for the token of a request.
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
    /// What goes wrong when the users can't be asked, and how that is answered.
    type Error: IntoResponse;

    /// Whether there are users of other issuers too. Unless there are, their tokens are refused: the same subject of another
    /// issuer is somebody else, and whoever looks one up looks at [`Claims::issuer`] as well.
    const OF_OTHER_ISSUERS: bool = false;

    /// Loads the user that a verified access token speaks for; `None`, and with it 401, when there is none any more, or the
    /// user may not be here.
    ///
    /// # Errors
    /// When the users can't be asked.
    fn load_user(claims: &Claims, state: &S) -> impl Future<Output = Result<Option<Self>, Self::Error>> + Send;
}

/// The user that the request's access token speaks for: a handler that takes one is protected.
///
/// The `Option` of it is `None` without a token, and still refuses a bad one, and one without a user; but a cookie with such
/// a token is as none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CurrentUser<U>(pub U);

/// Why there is no [`CurrentUser`].
#[derive(Debug)]
pub enum UserRejection<E> {
    /// Because of the token, or because there is no user for it.
    Refused(AuthRejection),
    /// The users could not be asked.
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
            Some(Err(failure)) => Err(UserRejection::Refused(guard.refuse(failure.reason))),
            None => Err(UserRejection::Refused(guard.refuse(TokenError::Missing))),
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
                Err(UserRejection::Refused(guard.refuse(failure.reason)))
            }
            Some(Err(_)) | None => Ok(None),
        }
    }
}

/// The user, if there is a token, or why there is none.
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
