//! The responses to a login and a refresh: tokens in the body, or in cookies.

use adieu::{
    session::{RefreshToken, TokenOptions, TokenPair},
    token::Claims,
};
use adieu_axum::{AccessToken, AuthRejection, BearerToken, RejectionKind, SetCookies};
use axum::{
    Json,
    extract::FromRequestParts,
    http::{header, request::Parts},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::{Api, view::Tokens};
use crate::{audit, error::ApiError, input::Fields, text::TextError};

/// Where new tokens go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Delivery {
    Body,
    Cookies,
}

impl Delivery {
    /// Reads the query of a login. Without `token_cookies`, cookies are unknown to it.
    pub(super) fn of_login(mut query: Fields, api: &Api) -> Result<Self, ApiError> {
        if !api.guard.uses_cookies() {
            return query.finish(()).map(|()| Self::Body);
        }
        let cookies = query.optional("cookies", |text| match text.as_str() {
            "true" => Ok(Self::Cookies),
            _ => Err(TextError::new("Must be true.")),
        });
        let (cookies,) = query.finish((cookies,))?;
        Ok(cookies.unwrap_or(Self::Body))
    }
}

/// The refresh token of a request, and where the next one goes. If it comes from a cookie, so does the CSRF value that proves that
/// one of our own pages sent it.
pub(super) struct Refresh {
    pub(super) token: RefreshToken,
    pub(super) delivery: Delivery,
}

impl FromRequestParts<Api> for Refresh {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Response> {
        let refused = |refused: AuthRejection| ApiError::from(refused).into_response();
        if !api.guard.uses_cookies() {
            let bearer = <BearerToken as FromRequestParts<Api>>::from_request_parts(parts, api).await;
            let token = api.node.sessions.inspect(bearer.map_err(refused)?.as_str());
            let token = token.map_err(|error| refused(error.into()))?;
            return Ok(Self { token, delivery: Delivery::Body });
        }
        match <adieu_axum::RefreshToken as FromRequestParts<Api>>::from_request_parts(parts, api).await {
            Ok(found) => {
                let delivery = if found.place.is_cookie() { Delivery::Cookies } else { Delivery::Body };
                Ok(Self { token: found.token, delivery })
            }
            Err(error) => {
                // That it was used again the core has written down.
                audit::durable().await;
                let useless = useless_cookies(error.kind(), parts, api).await;
                Err((useless, refused(error)).into_response())
            }
        }
    }
}

/// Returns the headers that remove the cookies of a session that has ended, for the rejection of this kind of a refresh. Otherwise the
/// browser would go on sending them, and no script can remove them.
async fn useless_cookies(kind: RejectionKind, parts: &mut Parts, api: &Api) -> SetCookies {
    let has_ended = matches!(kind, RejectionKind::Revoked | RejectionKind::Expired);
    if !has_ended || parts.headers.contains_key(header::AUTHORIZATION) {
        return SetCookies::default();
    }
    let refresh = api.guard.unset_refresh_cookie();
    // The cookie with the access token may be that of another session.
    match <Option<AccessToken> as FromRequestParts<Api>>::from_request_parts(parts, api).await {
        Ok(None) => refresh.and(api.guard.unset_access_cookie()),
        _ => refresh,
    }
}

/// What a login or a refresh gives a page whose tokens are in cookies.
#[derive(Serialize, ToSchema)]
pub(super) struct CookieTokens {
    /// To be sent as `X-CSRF-TOKEN` with each request that may change something, except to `/refresh`.
    csrf_access_token: String,
    /// To be sent as `X-CSRF-TOKEN` to `/refresh`.
    csrf_refresh_token: String,
    /// In how many seconds the access token expires.
    #[schema(example = 900)]
    expires_in: u64,
    /// In how many seconds the refresh token expires, unless it is used before.
    #[schema(example = 2_592_000)]
    refresh_expires_in: u64,
    #[serde(skip)]
    cookies: SetCookies,
}

/// What a login or a refresh gives.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(super) enum Issued {
    Tokens(Tokens),
    Cookies(CookieTokens),
}

impl IntoResponse for Issued {
    fn into_response(self) -> Response {
        match self {
            Self::Tokens(tokens) => tokens.into_response(),
            Self::Cookies(mut tokens) => {
                let cookies = std::mem::take(&mut tokens.cookies);
                // RFC 6749 §5.1.
                (cookies, [(header::CACHE_CONTROL, "no-store"), (header::PRAGMA, "no-cache")], Json(tokens))
                    .into_response()
            }
        }
    }
}

impl Api {
    /// Returns the options for new tokens: with the CSRF values of the session of `refreshed`, or new ones, where tokens may be in
    /// cookies.
    pub(super) fn token_options(&self, refreshed: Option<&Claims>) -> TokenOptions {
        let mut options = TokenOptions::new();
        self.guard.add_csrf_values(&mut options, refreshed);
        options
    }

    /// Returns the response with new tokens.
    pub(super) fn issued(&self, pair: TokenPair, delivery: Delivery) -> Result<Issued, ApiError> {
        let now = self.node.clock.now();
        if delivery == Delivery::Body {
            return Ok(Issued::Tokens(Tokens::new(pair, now)));
        }
        let csrf = |claims: &Claims| claims.custom.get("csrf").and_then(Value::as_str).unwrap_or_default().to_owned();
        let (refresh_claims, _) = self.guard.verifier().read_claims(&pair.refresh)?;
        let (access, refresh) =
            (self.guard.set_access_cookie(&pair.access)?, self.guard.set_refresh_cookie(&pair.refresh)?);
        Ok(Issued::Cookies(CookieTokens {
            csrf_access_token: csrf(&pair.claims),
            csrf_refresh_token: csrf(&refresh_claims),
            expires_in: pair.claims.expires_at.since(now).as_secs(),
            refresh_expires_in: pair.refresh_expires_at.since(now).as_secs(),
            cookies: access.and(refresh),
        }))
    }
}
