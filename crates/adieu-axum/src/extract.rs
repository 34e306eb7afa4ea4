//! Tokens that have been verified, as arguments of handlers.

use std::{ops::Deref, sync::Arc};

use adieu::{
    session::Sessions,
    token::{Claims, Refusal, Verifier},
};
use axum::{
    extract::{FromRef, FromRequestParts, OptionalFromRequestParts},
    http::request::Parts,
};

use crate::{Refused, bearer};

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

impl<S> FromRequestParts<S> for AccessToken
where
    Arc<Sessions>: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        verified(bearer::require(&parts.headers)?, state, Verifier::verify).map(Self)
    }
}

impl<S> OptionalFromRequestParts<S> for AccessToken
where
    Arc<Sessions>: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Option<Self>, Refused> {
        match bearer::find(&parts.headers)? {
            Some(token) => verified(token, state, Verifier::verify).map(|claims| Some(Self(claims))),
            None => Ok(None),
        }
    }
}

impl<S> FromRequestParts<S> for FreshAccessToken
where
    Arc<Sessions>: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        verified(bearer::require(&parts.headers)?, state, Verifier::verify_fresh).map(Self)
    }
}

fn verified<S>(
    token: &str,
    state: &S,
    verify: impl FnOnce(&Verifier, &str) -> Result<Claims, Refusal>,
) -> Result<Claims, Refused>
where
    Arc<Sessions>: FromRef<S>,
{
    let sessions = Arc::<Sessions>::from_ref(state);
    let claims = verify(sessions.verifier(), token)?;
    sessions.note_use(&claims);
    Ok(claims)
}
