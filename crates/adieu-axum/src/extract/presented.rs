//! A token as it was sent, for a logout.

use std::fmt;

use adieu::token::TokenError;
use axum::{
    extract::{FromRequestParts, OptionalFromRequestParts},
    http::request::Parts,
};

use crate::{
    AuthRejection, Guard, GuardedState, Place, RejectionReason, csrf,
    location::{Wanted, in_cookies},
};

/// The request's token of either type, unverified, for a logout. An expired token is enough for that.
///
/// If a valid token comes from a cookie, one of our own pages sent it, unless CSRF protection is off.
#[derive(Clone)]
#[non_exhaustive]
pub struct PresentedToken {
    token: String,
    /// The other tokens in the request's cookies.
    others: Vec<String>,
    /// The place where the token was found.
    pub place: Place,
}

impl PresentedToken {
    /// Returns the token as it was sent.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.token
    }

    /// Returns the other tokens in the request's cookies, if this token is from a cookie.
    pub(crate) fn others(&self) -> &[String] {
        &self.others
    }

    fn find(guard: &Guard, parts: &Parts) -> Result<Option<Self>, RejectionReason> {
        let Some(candidates) = guard.find(parts, Wanted::Either)? else { return Ok(None) };
        let place = candidates.first.place;
        if !place.is_cookie() {
            return Ok(Some(Self { token: candidates.first.token.into_owned(), others: Vec::new(), place }));
        }
        let cookies = guard.cookies_used();
        let all = [Wanted::Access, Wanted::Refresh].into_iter();
        let all = all.filter_map(|wanted| in_cookies(&parts.headers, cookies, wanted));
        let mut all: Vec<_> = all.flat_map(|candidates| guard.newest_first(candidates)).collect();

        // A token with a CSRF proof is preferred. Without a proof, only useless cookies are passed on: removing them at a
        // logout does no harm.
        let (mut proven, mut unproven) = (None, None);
        for (index, found) in all.iter().enumerate() {
            let Ok((claims, _)) = guard.verifier().read_claims(&found.token) else { continue };
            match csrf::check(parts, found.place, cookies, &claims) {
                Ok(()) => proven = proven.or(Some(index)),
                Err(reason) if !is_revoked(guard, &found.token) => unproven = unproven.or(Some(reason)),
                Err(_) => {}
            }
        }
        let chosen = match (proven, unproven) {
            (Some(index), _) => all.remove(index),
            (None, Some(reason)) => return Err(reason),
            (None, None) => all.remove(0),
        };
        let others = all.into_iter().map(|found| found.token.into_owned()).collect();
        Ok(Some(Self { token: chosen.token.into_owned(), others, place: chosen.place }))
    }
}

fn is_revoked(guard: &Guard, token: &str) -> bool {
    matches!(guard.verifier().verify(token), Err(TokenError::Revoked(_)))
}

impl fmt::Debug for PresentedToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("PresentedToken").field("place", &self.place).finish_non_exhaustive()
    }
}

impl<S: GuardedState> FromRequestParts<S> for PresentedToken {
    type Rejection = AuthRejection;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, AuthRejection> {
        let guard = state.guard();
        let found = Self::find(&guard, parts).map_err(|reason| guard.reject(reason))?;
        found.ok_or_else(|| guard.reject(TokenError::Missing))
    }
}

impl<S: GuardedState> OptionalFromRequestParts<S> for PresentedToken {
    type Rejection = AuthRejection;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Option<Self>, AuthRejection> {
        let guard = state.guard();
        Self::find(&guard, parts).map_err(|reason| guard.reject(reason))
    }
}
