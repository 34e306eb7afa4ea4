//! Access tokens in cookies, renewed before they expire.

use std::{sync::Arc, time::Duration};

use adieu::session::{Sessions, TokenOptions};
use axum::{extract::Request, http::Method, response::Response};

use crate::{
    Guard, RejectionReason, SetCookies,
    csrf::{CSRF_CLAIM, CsrfValues},
    layer::{Around, Wrapped},
    location::{Wanted, in_cookies, sets_cookie},
};

/// A layer that gives a browser another access token when that in its cookie is about to expire, so that who is at work
/// is not interrupted.
///
/// 1. It can't undo a logout. The new token is of the same session, and the store gives it only while the session is
///    there, in one step with refreshes and logouts. After a logout there is none; and a logout that comes later ends
///    the new token as well, whatever cookie the browser ends up with.
/// 2. A response that sets or removes the cookie itself is left as it is.
/// 3. The new token is not fresh, and the session lasts no longer for it: who does not log in again is out in the end.
/// 4. The CSRF value stays as it is: what a page has of it is good with the new token too.
/// 5. A response with a new cookie is not for a cache: `Cache-Control` becomes `no-store`.
/// 6. What goes wrong is logged, and the response goes out without a new cookie.
#[derive(Debug, Clone)]
#[must_use]
pub struct RenewCookies {
    guard: Guard,
    sessions: Arc<Sessions>,
    within: Duration,
}

impl RenewCookies {
    pub(crate) fn new(guard: Guard, sessions: Arc<Sessions>, within: Duration) -> Self {
        Self { guard, sessions, within }
    }

    /// Other cookies for who came with this token, if it is about to expire.
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
        let found = in_cookies(&parts.headers, cookies, Wanted::Access);
        let token = found.and_then(|found| self.guard.newest_first(found).next()).map(|found| found.token.into_owned());
        let mut response = next(Request::from_parts(parts, body)).await?;
        let Some(token) = token.filter(|_| !sets_cookie(response.headers(), &cookies.access.name)) else {
            return Ok(response);
        };
        // After the handler: what it has ended is not renewed.
        match self.renew(&token).await {
            Ok(Some(set)) => set.append_to(response.headers_mut()),
            Ok(None) => {}
            Err(reason) => tracing::debug!(target: crate::REJECTION_LOG_TARGET, cause = %reason, "not renewed"),
        }
        Ok(response)
    }
}
