//! Tokens that have been verified, as arguments of handlers.

use std::ops::Deref;

use adieu::token::{Claims, Refusal, Verifier};
use axum::{
    extract::{FromRequestParts, OptionalFromRequestParts},
    http::request::Parts,
};

use crate::{GuardedState, Refused, bearer};

/// What the request's access token says: a handler that takes one is protected.
///
/// The `Option` of it is `None` without a token, and still refuses a bad one.
#[derive(Debug, Clone, PartialEq)]
pub struct AccessToken(pub Claims);

/// An [`AccessToken`] from a recent login with credentials, for what must not be done with a token from a refresh.
///
/// A revoked token is refused as revoked, fresh or not.
#[derive(Debug, Clone, PartialEq)]
pub struct FreshAccessToken(pub Claims);

macro_rules! claims_of {
    ($token:ident) => {
        impl $token {
            /// Who it speaks for.
            #[must_use]
            pub fn subject(&self) -> &adieu::Subject {
                &self.0.subject
            }
        }

        impl Deref for $token {
            type Target = Claims;

            fn deref(&self) -> &Claims {
                &self.0
            }
        }
    };
}

claims_of!(AccessToken);
claims_of!(FreshAccessToken);

impl<S: GuardedState> FromRequestParts<S> for AccessToken {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        verified(bearer::require(&parts.headers)?, state, Verifier::verify).map(Self)
    }
}

impl<S: GuardedState> OptionalFromRequestParts<S> for AccessToken {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Option<Self>, Refused> {
        match bearer::find(&parts.headers)? {
            Some(token) => verified(token, state, Verifier::verify).map(|claims| Some(Self(claims))),
            None => Ok(None),
        }
    }
}

impl<S: GuardedState> FromRequestParts<S> for FreshAccessToken {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        verified(bearer::require(&parts.headers)?, state, Verifier::verify_fresh).map(Self)
    }
}

fn verified<S: GuardedState>(
    token: &str,
    state: &S,
    verify: impl FnOnce(&Verifier, &str) -> Result<Claims, Refusal>,
) -> Result<Claims, Refused> {
    let guard = state.guard();
    let claims = verify(guard.verifier(), token).map_err(|refusal| guard.refuse(refusal))?;
    guard.note_use(&claims);
    Ok(claims)
}
