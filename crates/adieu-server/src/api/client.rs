//! Extractors for the sender of a request and the id in its path.

use std::{net::IpAddr, ops::Deref};

use adieu::{Issuer, session::Origin, token::TokenError};
use axum::{
    extract::{ConnectInfo, FromRef, FromRequestParts, Path},
    http::{HeaderValue, header, request::Parts},
};
use serde_json::Value;

use super::Api;
use crate::{accounts::ADMIN_CLAIM, address::Peer, error::ApiError};

/// The sender of a request.
pub(super) struct Client {
    pub(super) address: IpAddr,
    /// The part of it that is stored with a session.
    pub(super) origin: Origin,
}

impl<S: Send + Sync> FromRequestParts<S> for Client
where
    Api: FromRef<S>,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let ConnectInfo(peer) =
            ConnectInfo::<Peer>::from_request_parts(parts, state).await.map_err(ApiError::internal)?;
        let api = Api::from_ref(state);
        let address = api.proxies.client_address(peer, &parts.headers);
        let user_agent = parts.headers.get(header::USER_AGENT).map(HeaderValue::as_bytes);
        Ok(Self { address, origin: Origin::of_request(Some(address), user_agent) })
    }
}

/// An access token of this server. The subjects of other issuers mean nothing here: the same `sub` is another
/// account, if any. Only the endpoints that verify tokens accept those of other issuers, with
/// [`adieu_axum::AccessToken`].
pub(super) struct AccessToken(adieu_axum::AccessToken);

impl Deref for AccessToken {
    type Target = adieu_axum::AccessToken;

    fn deref(&self) -> &adieu_axum::AccessToken {
        &self.0
    }
}

impl FromRequestParts<Api> for AccessToken {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, ApiError> {
        let token = <adieu_axum::AccessToken as FromRequestParts<Api>>::from_request_parts(parts, api).await?;
        if token.issuer == *api.node.sessions.issuer() { Ok(Self(token)) } else { Err(TokenError::WrongIssuer.into()) }
    }
}

/// An administrator's access token.
pub(super) struct Admin(pub(super) AccessToken);

/// Returns whether this is an administrator's token. Only this server's own tokens can be: the claims of other
/// issuers mean nothing here.
pub(super) fn is_admin(token: &adieu_axum::AccessToken, own: &Issuer) -> bool {
    token.issuer == *own && token.custom.get(ADMIN_CLAIM) == Some(&Value::Bool(true))
}

impl FromRequestParts<Api> for Admin {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, ApiError> {
        let token = <AccessToken as FromRequestParts<Api>>::from_request_parts(parts, api).await?;
        if is_admin(&token, api.node.sessions.issuer()) { Ok(Self(token)) } else { Err(ApiError::AdminOnly) }
    }
}

/// The id in the path. An invalid id is not found.
pub(super) struct Id<T>(pub(super) T);

impl<T: TryFrom<String>> FromRequestParts<Api> for Id<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, ApiError> {
        let path = <Path<String> as FromRequestParts<Api>>::from_request_parts(parts, api).await;
        let Path(text) = path.map_err(|_| ApiError::NotFound)?;
        T::try_from(text).map(Self).map_err(|_| ApiError::NotFound)
    }
}
