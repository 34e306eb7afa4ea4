//! The application's own user, loaded for the subject of a token.

use adieu::token::{Claims, Refusal, Verifier};
use axum::{
    extract::{FromRequestParts, OptionalFromRequestParts},
    http::request::Parts,
    response::{IntoResponse, Response},
};

use super::access;
use crate::{Guard, GuardedState, Reason, Refused};

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

    /// Loads the user that a verified access token speaks for; `None`, and with it 401, when there is none any more, or the
    /// user may not be here. Where tokens of several issuers are accepted, the subject means something only together with
    /// [`Claims::issuer`].
    ///
    /// # Errors
    /// When the users can't be asked.
    fn load_user(claims: &Claims, state: &S) -> impl Future<Output = Result<Option<Self>, Self::Error>> + Send;
}

/// The user that the request's access token speaks for: a handler that takes one is protected.
///
/// The `Option` of it is `None` without a token, and still refuses a bad one, and one without a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CurrentUser<U>(pub U);

/// Why there is no [`CurrentUser`].
#[derive(Debug)]
pub enum UserRejection<E> {
    /// Because of the token, or because there is no user for it.
    Refused(Refused),
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
            Some(user) => Ok(Self(user)),
            None => Err(UserRejection::Refused(guard.refuse(Refusal::Missing))),
        }
    }
}

impl<S: GuardedState, U: LoadUser<S>> OptionalFromRequestParts<S> for CurrentUser<U> {
    type Rejection = UserRejection<U::Error>;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Option<Self>, Self::Rejection> {
        Ok(load(&state.guard(), parts, state).await?.map(Self))
    }
}

/// The user, if there is a token.
async fn load<S, U: LoadUser<S>>(
    guard: &Guard,
    parts: &Parts,
    state: &S,
) -> Result<Option<U>, UserRejection<U::Error>> {
    let refuse = |reason: Reason| UserRejection::Refused(guard.refuse(reason));
    let Some((claims, _)) = access(guard, parts, Verifier::verify).await.map_err(refuse)? else { return Ok(None) };
    match U::load_user(&claims, state).await {
        Ok(Some(user)) => Ok(Some(user)),
        Ok(None) => Err(refuse(Reason::UnknownUser)),
        Err(error) => Err(UserRejection::Failed(error)),
    }
}
