//! Renewal of access tokens in cookies before they expire.

use std::{sync::Arc, time::Duration};

use adieu::session::{Sessions, TokenOptions};
use axum::{extract::Request, http::Method, response::Response};

use crate::{
    Guard, RejectionReason, SetCookies,
    csrf::{CSRF_CLAIM, CsrfValues},
    layer::{Around, Wrapped},
    location::{Wanted, in_cookies, sets_cookie},
};

/// A layer that renews the access token in a browser's cookie shortly before it expires, so that an active user is not
/// interrupted.
///
/// 1. A renewal cannot undo a logout. The new token belongs to the same session, and the store issues it only while the
///    session exists, atomically with refreshes and logouts. After a logout there is no renewal; and a later logout revokes
///    the new token as well, whichever cookie the browser ends up with.
/// 2. A response that sets or removes the cookie itself is left unchanged.
/// 3. The new token is not fresh, and the renewal does not extend the session: a user who does not log in again is logged out
///    in the end. It has the claims of the old one, unless [`Guard::with_custom_claims`] sets them, and the lifetime and header
///    of the settings, not those of the login's [`TokenOptions`].
/// 4. The CSRF value does not change: the value that a page already has works with the new token too.
/// 5. A response with a new cookie must not be cached: `Cache-Control` becomes `no-store`.
/// 6. An error is logged, and the response is sent without a new cookie.
#[derive(Debug, Clone)]
#[must_use]
pub struct RenewCookies {
    guard: Guard,
    sessions: Arc<Sessions>,
    within: Duration,
}

impl Guard {
    /// Returns a layer that renews access tokens in cookies before they expire; see [`RenewCookies`].
    pub fn renew_cookies(&self, sessions: &Arc<Sessions>, within: Duration) -> RenewCookies {
        RenewCookies { guard: self.clone(), sessions: Arc::clone(sessions), within }
    }
}

impl RenewCookies {
    /// Returns new cookies if this token is about to expire.
    async fn renew(&self, token: &str) -> Result<Option<SetCookies>, RejectionReason> {
        let claims = self.guard.verifier().verify(token)?;
        if claims.session.is_none() || claims.expires_at.since(self.guard.verifier().now()) > self.within {
            return Ok(None);
        }
        self.guard.check(&claims).await?;
        let mut options = TokenOptions::default();
        if !self.guard.asks_for_claims() {
            options.access_claims = claims.custom.clone();
        }
        let csrf = CsrfValues::of(&claims, CSRF_CLAIM);
        let options = self.guard.complete(&claims.subject, options, csrf).await?;
        let (token, _) = self.sessions.renew(token, &options).await?;
        // Its claims may be new ones, and revoked. Then the old token is better.
        self.guard.verifier().verify(&token)?;
        Ok(Some(self.guard.set_access_cookie(&token).map_err(|refused| refused.reason().clone())?))
    }
}

impl<S> tower::Layer<S> for RenewCookies {
    type Service = Wrapped<Self, S>;

    fn layer(&self, inner: S) -> Self::Service {
        Wrapped::new(self.clone(), inner)
    }
}

impl Around for RenewCookies {
    async fn around<F, N, E>(self, request: Request, next: N) -> Result<Response, E>
    where
        N: FnOnce(Request) -> F + Send,
        F: Future<Output = Result<Response, E>> + Send,
        E: Send,
    {
        if request.method() == Method::OPTIONS {
            return next(request).await;
        }
        let (parts, body) = request.into_parts();
        let cookies = self.guard.cookies_used();
        let found = in_cookies(&parts.headers, cookies, Wanted::Access).into_iter();
        let tokens: Vec<_> =
            found.flat_map(|found| self.guard.newest_first(found)).map(|found| found.token.into_owned()).collect();
        let mut response = next(Request::from_parts(parts, body)).await?;
        if sets_cookie(response.headers(), &cookies.access.name) {
            return Ok(response);
        }
        // Runs after the handler, so that a session that the handler has ended is not renewed. The first token that is valid
        // is the one that was used.
        let is_valid = |token: &&String| self.guard.verifier().verify(token).is_ok();
        let Some(token) = tokens.iter().find(is_valid).or(tokens.first()) else { return Ok(response) };
        match self.renew(token).await {
            Ok(Some(set)) => set.append_to(response.headers_mut()),
            Ok(None) => {}
            Err(reason) => tracing::debug!(target: crate::REJECTION_LOG_TARGET, %reason, "not renewed"),
        }
        Ok(response)
    }
}
