//! Extractors for verified tokens.

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

/// The request's access token, verified: a handler that takes one is protected.
///
/// `Option<AccessToken>` is `None` without a token and still rejects an invalid one; but an invalid cookie counts as none,
/// since a browser keeps sending it.
///
/// The token is verified when it is extracted, before the body of the request is read. A handler that also takes a body takes
/// both with [`AfterBody`](crate::AfterBody), or is below a [`Protect`](crate::Protect) layer. A handler whose work continues
/// after it has returned, such as a WebSocket, also takes a [`TokenEnd`].
///
/// `C` is a type of the application that the token's custom claims are deserialized into; a token without these claims is
/// rejected with 400. Without `C` the claims are in [`Claims::custom`], unchanged.
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
    /// The token's claims.
    pub claims: Arc<Claims>,
    /// The application's claims, deserialized.
    pub typed: C,
    /// The place where the token was found.
    pub place: Place,
}

/// An [`AccessToken`] from a recent login with credentials, for operations that a token from a refresh must not allow.
///
/// A revoked token is rejected as revoked, fresh or not.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct FreshAccessToken<C = Untyped> {
    /// The token's claims.
    pub claims: Arc<Claims>,
    /// The application's claims, deserialized.
    pub typed: C,
    /// The place where the token was found.
    pub place: Place,
}

/// A valid refresh token; access tokens are rejected. Extracting it does not rotate it:
/// [`Auth::refresh`](crate::Auth::refresh) does.
///
/// Only the store knows which refresh tokens are valid, so the extractor queries it. A token that was used before ends its
/// session.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RefreshToken {
    /// The token, to refresh with.
    pub token: session::RefreshToken,
    /// The place where the token was found.
    pub place: Place,
}

/// A valid token of either type: an access token or a refresh token, as [`Claims::token_type`] says.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct AnyToken {
    /// The token's claims.
    pub claims: Arc<Claims>,
    /// The place where the token was found.
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
            /// Returns the token's subject.
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

/// Verification of a token that was found.
pub(crate) trait Judged<S>: Sized {
    /// The type of token that it accepts.
    const WANTED: Wanted;

    /// # Errors
    /// If the token is not valid.
    fn judge(
        guard: &Guard,
        parts: &Parts,
        state: &S,
        found: Found<'_>,
    ) -> impl Future<Output = Result<Self, RejectionReason>> + Send;
}

/// Why there is no valid token.
pub(crate) struct Failure {
    pub(crate) reason: RejectionReason,
    /// The place of the token, if there was one.
    place: Option<Place>,
}

impl Failure {
    /// Returns whether an optional extractor treats the failure as the absence of a token. A browser keeps sending an invalid
    /// cookie and cannot avoid it; a client that writes a header can.
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

/// Returns the verified token of a request; `None` if there is none. Of several cookies it returns the first valid one.
///
/// # Errors
/// If no token is valid: the reason for the first one.
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
        // Rare, so it is kept out of the future of every request.
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

/// Implements both forms of an extractor: `Option` accepts the absence of a token and an invalid cookie.
macro_rules! extractor {
    ($token:ident $(<$typed:ident>)?, $state:ident) => {
        impl<S: $state $(, $typed: DeserializeOwned + Send)?> FromRequestParts<S> for $token $(<$typed>)? {
            type Rejection = AuthRejection;

            async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, AuthRejection> {
                let guard = state.guard();
                match judged(&guard, parts, state).await {
                    Ok(Some(token)) => Ok(token),
                    Ok(None) => Err(guard.reject(TokenError::Missing)),
                    Err(failure) => Err(guard.reject(failure.reason)),
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
                    Err(failure) => Err(guard.reject(failure.reason)),
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

/// The claims of a valid access token, and its place.
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
            // First, because presenting a used token ends its session, and another site must not cause that.
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
