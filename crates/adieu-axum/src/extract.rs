//! Tokens that have been verified, as arguments of handlers.

mod end;
mod presented;
mod typed;
mod user;

use std::{ops::Deref, sync::Arc};

use adieu::{
    Subject, session,
    token::{Claims, TokenError, Verifier},
};
use axum::{
    extract::{FromRequestParts, OptionalFromRequestParts},
    http::request::Parts,
};
use serde::de::DeserializeOwned;

use crate::{
    AuthRejection, Guard, GuardedState, Place, RejectionKind, RejectionReason, SessionState, csrf,
    location::{Candidates, Found, Wanted},
};

pub use end::TokenEnd;
pub use presented::PresentedToken;
pub use typed::Untyped;
pub use user::{CurrentUser, LoadUser, UserRejection};

/// What the request's access token says: a handler that takes one is protected.
///
/// The `Option` of it is `None` without a token, and still refuses a bad one; but a cookie that is no good is as none, since
/// a browser goes on sending it.
///
/// It is judged when it is taken, before the body of the request is read. A handler that takes a body as well takes both with
/// [`AfterBody`](crate::AfterBody), or is below a [`Protect`](crate::Protect) layer. What goes on after the handler has
/// returned, as a WebSocket does, takes a [`TokenEnd`] too.
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

/// How a token that was found is judged.
pub(crate) trait Judged<S>: Sized {
    /// Which tokens it can be.
    const WANTED: Wanted;

    /// # Errors
    /// When it is not good.
    fn judge(
        guard: &Guard,
        parts: &Parts,
        state: &S,
        found: Found<'_>,
    ) -> impl Future<Output = Result<Self, RejectionReason>> + Send;
}

/// Why there is no good token.
pub(crate) struct Failure {
    pub(crate) reason: RejectionReason,
    /// Where the token was, if there was one.
    place: Option<Place>,
}

impl Failure {
    /// Whether it is as if there were no token, to a handler that does without. A browser goes on sending a cookie that is
    /// no good, and can do nothing about it; whoever writes a header can.
    pub(crate) fn is_a_useless_cookie(&self) -> bool {
        let is_useless = matches!(
            self.reason.kind(),
            RejectionKind::Expired
                | RejectionKind::NotYetValid
                | RejectionKind::Revoked
                | RejectionKind::Invalid
                | RejectionKind::ClaimsRejected
                | RejectionKind::UnknownUser
        );
        is_useless && self.place.is_some_and(Place::is_cookie)
    }
}

/// The token of a request, judged; `None` when there is none. Of several cookies it is the first good one.
///
/// # Errors
/// When none is good: why the first is not.
pub(crate) async fn judged<S: Sync, J: Judged<S>>(
    guard: &Guard,
    parts: &Parts,
    state: &S,
) -> Result<Option<J>, Failure> {
    let found = guard.find(parts, J::WANTED).map_err(|reason| Failure { reason, place: None })?;
    let Some(candidates) = found else { return Ok(None) };
    let place = Some(candidates.first.place);
    let judged = if candidates.others.is_empty() {
        J::judge(guard, parts, state, candidates.first).await
    } else {
        // Rare, and kept out of the future that every request has.
        Box::pin(first_good(guard, parts, state, candidates)).await
    };
    judged.map(Some).map_err(|reason| Failure { reason, place })
}

async fn first_good<S: Sync, J: Judged<S>>(
    guard: &Guard,
    parts: &Parts,
    state: &S,
    candidates: Candidates<'_>,
) -> Result<J, RejectionReason> {
    let mut refused = None;
    for found in guard.newest_first(candidates) {
        match J::judge(guard, parts, state, found).await {
            Ok(good) => return Ok(good),
            Err(reason) => refused = refused.or(Some(reason)),
        }
    }
    Err(refused.unwrap_or(TokenError::Missing.into()))
}

/// Both forms of an extractor: with `Option` a token that is absent is fine, and so is a useless cookie.
macro_rules! extractor {
    ($token:ident $(<$typed:ident>)?, $state:ident) => {
        impl<S: $state $(, $typed: DeserializeOwned + Send)?> FromRequestParts<S> for $token $(<$typed>)? {
            type Rejection = AuthRejection;

            async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, AuthRejection> {
                let guard = state.guard();
                match judged(&guard, parts, state).await {
                    Ok(Some(token)) => Ok(token),
                    Ok(None) => Err(guard.refuse(TokenError::Missing)),
                    Err(failure) => Err(guard.refuse(failure.reason)),
                }
            }
        }

        impl<S: $state $(, $typed: DeserializeOwned + Send)?> OptionalFromRequestParts<S> for $token $(<$typed>)? {
            type Rejection = AuthRejection;

            async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Option<Self>, AuthRejection> {
                let guard = state.guard();
                match judged(&guard, parts, state).await {
                    Ok(token) => Ok(token),
                    Err(failure) if failure.is_a_useless_cookie() => Ok(None),
                    Err(failure) => Err(guard.refuse(failure.reason)),
                }
            }
        }
    };
}

extractor!(AccessToken<C>, GuardedState);
extractor!(FreshAccessToken<C>, GuardedState);
extractor!(RefreshToken, SessionState);
extractor!(AnyToken, SessionState);
extractor!(TokenEnd, GuardedState);

/// What a good access token says, and where it was.
pub(crate) struct Access {
    claims: Arc<Claims>,
    place: Place,
}

impl Access {
    async fn accept(
        guard: &Guard,
        parts: &Parts,
        Found { token, place }: &Found<'_>,
        verify: impl FnOnce(&Verifier, &str) -> Result<Arc<Claims>, TokenError>,
    ) -> Result<Self, RejectionReason> {
        let claims = verify(guard.verifier(), token)?;
        guard.accept(parts, *place, &claims).await?;
        Ok(Self { claims, place: *place })
    }
}

impl<S: Sync> Judged<S> for Access {
    const WANTED: Wanted = Wanted::Access;

    async fn judge(guard: &Guard, parts: &Parts, _: &S, found: Found<'_>) -> Result<Self, RejectionReason> {
        Self::accept(guard, parts, &found, Verifier::verify).await
    }
}

impl<S: GuardedState, C: DeserializeOwned + Send> Judged<S> for AccessToken<C> {
    const WANTED: Wanted = Wanted::Access;

    async fn judge(guard: &Guard, parts: &Parts, _: &S, found: Found<'_>) -> Result<Self, RejectionReason> {
        let Access { claims, place } = Access::accept(guard, parts, &found, Verifier::verify).await?;
        Ok(Self { typed: typed::read(&claims)?, claims, place })
    }
}

impl<S: GuardedState, C: DeserializeOwned + Send> Judged<S> for FreshAccessToken<C> {
    const WANTED: Wanted = Wanted::Access;

    async fn judge(guard: &Guard, parts: &Parts, _: &S, found: Found<'_>) -> Result<Self, RejectionReason> {
        let Access { claims, place } = Access::accept(guard, parts, &found, Verifier::verify_fresh).await?;
        Ok(Self { typed: typed::read(&claims)?, claims, place })
    }
}

impl<S: SessionState> Judged<S> for RefreshToken {
    const WANTED: Wanted = Wanted::Refresh;

    async fn judge(guard: &Guard, parts: &Parts, state: &S, found: Found<'_>) -> Result<Self, RejectionReason> {
        let Found { token, place } = found;
        let sessions = state.sessions();
        let cookies = guard.cookies_used();
        if csrf::is_needed(parts, place, cookies) {
            // First: to show one that was used up ends its session, which is not for other sites to do.
            csrf::check(parts, place, cookies, sessions.inspect(&token)?.claims())?;
        }
        let token = sessions.verify_refresh(&token).await?;
        guard.accept(parts, place, token.claims()).await?;
        Ok(Self { token, place })
    }
}

impl<S: SessionState> Judged<S> for AnyToken {
    const WANTED: Wanted = Wanted::Either;

    async fn judge(guard: &Guard, parts: &Parts, state: &S, found: Found<'_>) -> Result<Self, RejectionReason> {
        let place = found.place;
        let claims = match guard.verifier().verify(&found.token) {
            Err(TokenError::WrongTokenType { .. }) => {
                let RefreshToken { token, .. } = RefreshToken::judge(guard, parts, state, found).await?;
                return Ok(Self { claims: Arc::clone(token.claims()), place });
            }
            verified => verified?,
        };
        guard.accept(parts, place, &claims).await?;
        Ok(Self { claims, place })
    }
}
