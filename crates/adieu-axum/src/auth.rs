//! Login, refresh and logout, with responses ready to send.

use std::{net::SocketAddr, sync::Arc};

use adieu::{
    Subject,
    session::{Origin, Scope, Selection, SessionError, Sessions, TokenOptions, TokenPair},
    time::{Clock as _, SystemClock, Timestamp},
    token::{Claims, TokenError},
};
use axum::{
    Json,
    extract::{ConnectInfo, FromRequestParts},
    http::{HeaderValue, header, request::Parts},
    response::{IntoResponse, Response},
};
use serde_json::json;

use crate::{
    AuthRejection, Guard, PresentedToken, RefreshToken, RejectionReason, SessionState, SetCookies,
    csrf::{ACCESS_CSRF_CLAIM, CsrfValues},
};

/// Logs in, refreshes and logs out for the request that it was extracted from.
///
/// The application checks the credentials against its own user table and passes a [`Subject`]. A new session records the
/// request's `User-Agent`, and its address if the server was started with [`ConnectInfo`]. Behind a proxy that is the proxy's
/// address: set the client's with [`Auth::with_address`].
///
/// Tokens are returned as JSON, or as cookies if the [`Guard`] looks for tokens in cookies.
#[derive(Debug, Clone)]
pub struct Auth {
    guard: Guard,
    sessions: Arc<Sessions>,
    origin: Origin,
    /// Removes the cookies that the request carries more than once.
    unset_repeated: SetCookies,
}

impl Auth {
    /// Returns the sessions, for all other operations: listing sessions, ending single ones.
    #[must_use]
    pub fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// Returns the guard.
    pub fn guard(&self) -> &Guard {
        &self.guard
    }

    /// Sets the client's address, for connections that come through a proxy.
    #[must_use]
    pub fn with_address(mut self, address: std::net::IpAddr) -> Self {
        self.origin.address = Some(address.to_canonical());
        self
    }

    /// Starts a session for a subject whose credentials the caller has checked.
    ///
    /// # Errors
    /// If the store cannot be written, or the tokens exceed what browsers keep in cookies; the subject is not logged in.
    pub async fn log_in(&self, subject: Subject) -> Result<Tokens, AuthRejection> {
        self.log_in_with(subject, TokenOptions::default()).await
    }

    /// Like [`Auth::log_in`], with claims, headers or lifetimes for the tokens.
    ///
    /// # Errors
    /// Those of [`Auth::log_in`], and invalid options.
    pub async fn log_in_with(&self, subject: Subject, options: TokenOptions) -> Result<Tokens, AuthRejection> {
        let log_in = async {
            let options = self.guard.complete(&subject, options, CsrfValues::random()).await?;
            Ok(self.sessions.log_in_with(subject, self.origin.clone(), &options).await?)
        };
        let pair = log_in.await.map_err(|reason: RejectionReason| self.guard.reject(reason))?;
        let claims = pair.claims.clone();
        let tokens = self.tokens(pair);
        if let (Err(_), Some(session)) = (&tokens, claims.session) {
            // No client will ever have its tokens.
            let session = Selection::Owned(session, claims.subject);
            self.sessions.end_sessions(session).await.map_err(|error| self.guard.reject(error))?;
        }
        tokens
    }

    /// Rotates a refresh token and returns its successor with an access token that is not fresh.
    ///
    /// # Errors
    /// If the session has ended, or ends now because the token was used before.
    pub async fn refresh(&self, token: &RefreshToken) -> Result<Tokens, AuthRejection> {
        self.refresh_with(token, TokenOptions::default()).await
    }

    /// Like [`Auth::refresh`], with claims, headers or lifetimes for the tokens.
    ///
    /// # Errors
    /// Those of [`Auth::refresh`], and invalid options.
    pub async fn refresh_with(&self, token: &RefreshToken, options: TokenOptions) -> Result<Tokens, AuthRejection> {
        let refresh = async {
            let csrf = CsrfValues::of(token.token.claims(), ACCESS_CSRF_CLAIM);
            let options = self.guard.complete(token.token.subject(), options, csrf).await?;
            Ok(self.sessions.refresh_with(&token.token, &options).await?)
        };
        self.tokens(refresh.await.map_err(|reason: RejectionReason| self.guard.reject(reason))?)
    }

    /// Logs out with a token of either type, even an expired one: this session, the others, or all. When this returns, the
    /// logout is durable and this node rejects every token of the ended sessions.
    ///
    /// # Errors
    /// If the token is not one of ours or its session has already ended: if it was in a cookie, the response still removes the useless cookies.
    /// If the store cannot be written: the client must not assume that the session has ended.
    pub async fn log_out(&self, token: &PresentedToken, scope: Scope) -> Result<LoggedOut, AuthRejection> {
        let ended = self.sessions.log_out(token.as_str(), scope).await;
        let is_useless = match &ended {
            Ok(_) => scope != Scope::Others,
            Err(SessionError::InvalidToken(TokenError::Stale) | SessionError::Failed(_)) => false,
            // Its session, which goes on, can still end the others.
            Err(SessionError::InvalidToken(TokenError::Expired | TokenError::NotYetValid)) => scope == Scope::This,
            Err(SessionError::InvalidToken(refusal)) => {
                scope != Scope::Others || matches!(refusal, TokenError::Revoked(_))
            }
            Err(_) => false,
        };
        // A token from elsewhere says nothing about the cookies.
        let removes_cookies = is_useless && token.place.is_cookie();
        if removes_cookies {
            self.log_out_others(token).await?;
        }
        let unset = match removes_cookies {
            true => self.guard.unset_cookies(self.unset_repeated.clone()),
            false => SetCookies::default(),
        };
        match ended {
            Ok(ended) => Ok(LoggedOut { sessions_ended: ended.sessions, claims: ended.claims, unset }),
            Err(error) => Err(self.guard.reject(error).unsetting(unset)),
        }
    }

    /// Ends the sessions of all other tokens in the browser's cookies; otherwise one of them would keep the browser logged
    /// in.
    async fn log_out_others(&self, token: &PresentedToken) -> Result<(), AuthRejection> {
        for other in token.others() {
            match self.sessions.log_out(other, Scope::This).await {
                Ok(_) => {}
                Err(SessionError::InvalidToken(refusal)) if refusal != TokenError::Stale => {}
                Err(error) => return Err(self.guard.reject(error)),
            }
        }
        Ok(())
    }

    /// Returns the rejection of a login with wrong credentials. It is the same for an unknown user and for a wrong password.
    #[must_use]
    pub fn invalid_credentials(&self) -> AuthRejection {
        self.guard.reject(RejectionReason::WrongCredentials)
    }

    fn tokens(&self, pair: TokenPair) -> Result<Tokens, AuthRejection> {
        let cookies = if self.guard.uses_cookies() {
            let access = self.guard.set_access_cookie(&pair.access)?;
            let refresh = self.guard.set_refresh_cookie(&pair.refresh)?;
            Some(self.unset_repeated.clone().and(access).and(refresh))
        } else {
            None
        };
        Ok(Tokens { pair, cookies, now: self.guard.verifier().now() })
    }
}

impl<S: SessionState> FromRequestParts<S> for Auth {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        let address = peer.map(|ConnectInfo(peer)| peer.ip().to_canonical());
        let origin = Origin::of_request(address, parts.headers.get(header::USER_AGENT).map(HeaderValue::as_bytes));
        let guard = state.guard();
        let unset_repeated = match guard.uses_cookies() {
            true => guard.cookies_used().unset_repeated(parts),
            false => SetCookies::default(),
        };
        Ok(Self { guard, sessions: state.sessions(), origin, unset_repeated })
    }
}

/// Tokens from a login or a refresh, as a response: `{"access_token": …, "refresh_token": …, "expires_in": …,
/// "refresh_expires_in": …}`, in seconds. If the [`Guard`] looks for tokens in cookies, the tokens are in cookies and not in
/// the body. `Debug` shows no token.
#[derive(Debug, Clone)]
#[must_use]
pub struct Tokens {
    pair: TokenPair,
    cookies: Option<SetCookies>,
    /// When the tokens were issued.
    now: Timestamp,
}

impl Tokens {
    /// Returns the tokens themselves.
    #[must_use]
    pub fn pair(&self) -> &TokenPair {
        &self.pair
    }

    /// Returns the tokens as JSON wherever the guard looks for tokens, for clients that are not browsers.
    pub fn as_json(self) -> Self {
        Self { cookies: None, ..self }
    }

    /// Returns only the cookies, for a response of the application's own; empty if the guard does not look for cookies.
    pub fn into_cookies(self) -> SetCookies {
        self.cookies.unwrap_or_default()
    }
}

/// Always JSON. From [`Auth`], the tokens may be cookies.
impl From<TokenPair> for Tokens {
    fn from(pair: TokenPair) -> Self {
        Self { pair, cookies: None, now: SystemClock.now() }
    }
}

impl IntoResponse for Tokens {
    fn into_response(self) -> Response {
        // RFC 6749 §5.1.
        let not_to_be_kept = [(header::CACHE_CONTROL, "no-store"), (header::PRAGMA, "no-cache")];
        let TokenPair { access, refresh, claims, refresh_expires_at, .. } = self.pair;
        match self.cookies {
            Some(cookies) => (not_to_be_kept, cookies, Json(json!({"message": "Logged in."}))).into_response(),
            None => {
                let left = |until: Timestamp| until.since(self.now).as_secs();
                let tokens = json!({
                    "access_token": access,
                    "refresh_token": refresh,
                    "expires_in": left(claims.expires_at),
                    "refresh_expires_in": left(refresh_expires_at),
                });
                (not_to_be_kept, Json(tokens)).into_response()
            }
        }
    }
}

/// The response to a logout; removes the cookies that have become useless.
#[derive(Debug, Clone)]
#[must_use]
pub struct LoggedOut {
    /// The number of sessions that ended.
    pub sessions_ended: usize,
    /// The claims of the token that was used.
    pub claims: Claims,
    unset: SetCookies,
}

impl LoggedOut {
    /// Returns the headers that remove the cookies, for a response of the application's own.
    pub fn into_cookies(self) -> SetCookies {
        self.unset
    }
}

impl IntoResponse for LoggedOut {
    fn into_response(self) -> Response {
        (self.unset, Json(json!({"message": "Successfully logged out"}))).into_response()
    }
}
