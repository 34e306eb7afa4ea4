//! Tokens that have been verified, as arguments of handlers.

mod typed;
mod user;

use std::{fmt, ops::Deref, sync::Arc};

use adieu::{
    Subject, session,
    token::{Claims, Refusal, Verifier},
};
use axum::{
    extract::{FromRequestParts, OptionalFromRequestParts},
    http::request::Parts,
};
use serde::de::DeserializeOwned;

use crate::{
    Guard, GuardedState, Place, Reason, Refused, SessionState, csrf,
    location::{Found, Wanted},
};

pub use typed::Untyped;
pub use user::{CurrentUser, LoadUser, UserRejection};

/// What the request's access token says: a handler that takes one is protected.
///
/// The `Option` of it is `None` without a token, and still refuses a bad one.
///
/// `C` is what the handler needs to know from the claims of the application, read into a type of its own; a token that
/// does not have them is refused with 400. Without it they are in [`Claims::custom`], as they are.
///
/// ```
/// # use adieu_axum::AccessToken;
/// #[derive(serde::Deserialize)]
/// struct Role {
///     is_admin: bool,
/// }
///
/// async fn delete_item(token: AccessToken<Role>) -> &'static str {
///     if token.typed.is_admin { "Item deleted." } else { "Admin privilege required." }
/// }
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct AccessToken<C = Untyped> {
    /// What it says.
    pub claims: Arc<Claims>,
    /// The claims of the application, as the type that was asked for.
    pub typed: C,
    /// Where it was found.
    pub place: Place,
}

/// An [`AccessToken`] from a recent login with credentials, for what must not be done with a token from a refresh.
///
/// A revoked token is refused as revoked, fresh or not.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct FreshAccessToken<C = Untyped> {
    /// What it says.
    pub claims: Arc<Claims>,
    /// The claims of the application, as the type that was asked for.
    pub typed: C,
    /// Where it was found.
    pub place: Place,
}

/// A refresh token that is good now, and no access token. Not used up by it: that is what [`Auth::refresh`](crate::Auth::refresh) does.
///
/// Which refresh tokens are good is known to the store alone, so it is asked. One that was used up before ends its session.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RefreshToken {
    /// The token, to refresh with.
    pub token: session::RefreshToken,
    /// Where it was found.
    pub place: Place,
}

/// A good token of either type: an [`AccessToken`] or a [`RefreshToken`], as [`Claims::token_type`] says.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct AnyToken {
    /// What it says.
    pub claims: Arc<Claims>,
    /// Where it was found.
    pub place: Place,
}

/// The token that a request carries, of either type and as it stands: for logging out, which an expired token will do for.
///
/// Nothing is known of it, except that one from a cookie is authentic and was sent by one of our own pages where that is
/// asked for.
#[derive(Clone)]
#[non_exhaustive]
pub struct PresentedToken {
    token: String,
    /// Where it was found.
    pub place: Place,
}

impl PresentedToken {
    /// The token as it was sent.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.token
    }
}

impl fmt::Debug for PresentedToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("PresentedToken").field("place", &self.place).finish_non_exhaustive()
    }
}

impl Deref for RefreshToken {
    type Target = Claims;

    fn deref(&self) -> &Claims {
        self.token.claims()
    }
}

macro_rules! claims_of {
    ($token:ident $(<$typed:ident>)?) => {
        impl $(<$typed>)? $token $(<$typed>)? {
            /// Who it speaks for.
            #[must_use]
            pub fn subject(&self) -> &Subject {
                &self.claims.subject
            }
        }

        impl $(<$typed>)? Deref for $token $(<$typed>)? {
            type Target = Claims;

            fn deref(&self) -> &Claims {
                &self.claims
            }
        }
    };
}

claims_of!(AccessToken<C>);
claims_of!(FreshAccessToken<C>);
claims_of!(AnyToken);

/// How a token is taken from a request; `None` when there is none.
trait Extract<S>: Sized {
    fn extract(guard: &Guard, parts: &Parts, state: &S) -> impl Future<Output = Result<Option<Self>, Reason>> + Send;
}

/// Both forms of an extractor: with `Option` a token that is absent is fine.
macro_rules! extractor {
    ($token:ident $(<$typed:ident>)?, $state:ident) => {
        impl<S: $state $(, $typed: DeserializeOwned + Send)?> FromRequestParts<S> for $token $(<$typed>)? {
            type Rejection = Refused;

            async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
                let guard = state.guard();
                match Self::extract(&guard, parts, state).await {
                    Ok(Some(token)) => Ok(token),
                    Ok(None) => Err(guard.refuse(Refusal::Missing)),
                    Err(reason) => Err(guard.refuse(reason)),
                }
            }
        }

        impl<S: $state $(, $typed: DeserializeOwned + Send)?> OptionalFromRequestParts<S> for $token $(<$typed>)? {
            type Rejection = Refused;

            async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Option<Self>, Refused> {
                let guard = state.guard();
                Self::extract(&guard, parts, state).await.map_err(|reason| guard.refuse(reason))
            }
        }
    };
}

extractor!(AccessToken<C>, GuardedState);
extractor!(FreshAccessToken<C>, GuardedState);
extractor!(RefreshToken, SessionState);
extractor!(AnyToken, SessionState);
extractor!(PresentedToken, GuardedState);

impl<S: GuardedState, C: DeserializeOwned + Send> Extract<S> for AccessToken<C> {
    async fn extract(guard: &Guard, parts: &Parts, _: &S) -> Result<Option<Self>, Reason> {
        let Some((claims, place)) = access(guard, parts, Verifier::verify).await? else { return Ok(None) };
        Ok(Some(Self { typed: typed::read(&claims)?, claims, place }))
    }
}

impl<S: GuardedState, C: DeserializeOwned + Send> Extract<S> for FreshAccessToken<C> {
    async fn extract(guard: &Guard, parts: &Parts, _: &S) -> Result<Option<Self>, Reason> {
        let Some((claims, place)) = access(guard, parts, Verifier::verify_fresh).await? else { return Ok(None) };
        Ok(Some(Self { typed: typed::read(&claims)?, claims, place }))
    }
}

impl<S: SessionState> Extract<S> for RefreshToken {
    async fn extract(guard: &Guard, parts: &Parts, state: &S) -> Result<Option<Self>, Reason> {
        let Some(Found { token, place }) = guard.find(parts, Wanted::Refresh)? else { return Ok(None) };
        let token = state.sessions().verify_refresh(&token).await?;
        guard.accept(parts, place, token.claims()).await?;
        Ok(Some(Self { token, place }))
    }
}

impl<S: SessionState> Extract<S> for AnyToken {
    async fn extract(guard: &Guard, parts: &Parts, state: &S) -> Result<Option<Self>, Reason> {
        let Some(Found { token, place }) = guard.find(parts, Wanted::Either)? else { return Ok(None) };
        let claims = match guard.verifier().verify(&token) {
            Err(Refusal::WrongTokenType { .. }) => state.sessions().verify_refresh(&token).await?.claims().clone(),
            verified => verified?,
        };
        guard.accept(parts, place, &claims).await?;
        Ok(Some(Self { claims, place }))
    }
}

impl<S: GuardedState> Extract<S> for PresentedToken {
    async fn extract(guard: &Guard, parts: &Parts, _: &S) -> Result<Option<Self>, Reason> {
        let Some(Found { token, place }) = guard.find(parts, Wanted::Either)? else { return Ok(None) };
        let cookies = guard.cookies_used();
        if csrf::is_needed(parts, place, cookies) {
            let (claims, _) = guard.verifier().read(&token)?;
            csrf::check(parts, place, cookies, &claims)?;
        }
        Ok(Some(Self { token: token.into_owned(), place }))
    }
}

/// The access token of a request, verified.
pub(crate) async fn access(
    guard: &Guard,
    parts: &Parts,
    verify: impl FnOnce(&Verifier, &str) -> Result<Arc<Claims>, Refusal>,
) -> Result<Option<(Arc<Claims>, Place)>, Reason> {
    let Some(found) = guard.find(parts, Wanted::Access)? else { return Ok(None) };
    let claims = verify(guard.verifier(), &found.token)?;
    guard.accept(parts, found.place, &claims).await?;
    Ok(Some((claims, found.place)))
}
