//! Logging in, refreshing and logging out, with answers ready to be sent.

use std::net::SocketAddr;

use adieu::{
    Subject,
    session::{Origin, Scope, Selection, SessionError, Sessions, TokenOptions, TokenPair},
    time::{Clock as _, SystemClock, Timestamp},
    token::TokenError,
};
use axum::{
    Json,
    extract::{ConnectInfo, FromRequestParts},
    http::{header, request::Parts},
    response::{IntoResponse, Response},
};
use serde_json::json;

use crate::{
    AuthRejection, Guard, PresentedToken, RefreshToken, RejectionReason, SessionState, SetCookies,
    csrf::{ACCESS_CSRF_CLAIM, CsrfValues},
};

/// The longest `User-Agent` that is kept with a session, in characters.
const MAX_USER_AGENT: usize = 256;

/// Logs in, refreshes and logs out, for the request that it was extracted from.
///
/// An application with a table of users of its own hands in a [`Subject`], once it has checked who asks. What is kept of the
/// request with a new session is its `User-Agent`, and its address if the server was started with
/// [`ConnectInfo`]; behind a proxy that is the proxy's, so say it with [`Auth::from_address`].
///
/// Tokens are answered as JSON, or as cookies where the [`Guard`] looks for them there.
#[derive(Debug, Clone)]
pub struct Auth {
    guard: Guard,
    sessions: std::sync::Arc<Sessions>,
    origin: Origin,
    /// What removes the cookies that the request has several of.
    unset_repeated: SetCookies,
}

impl Auth {
    /// The sessions, for everything else: listing them, ending single ones.
    #[must_use]
    pub fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// The guard.
    pub fn guard(&self) -> &Guard {
        &self.guard
    }

    /// The client's address, where the connection is not the client's own.
    #[must_use]
    pub fn from_address(mut self, address: std::net::IpAddr) -> Self {
        self.origin.address = Some(address.to_canonical());
        self
    }

    /// Starts a session for a subject whose credentials the caller has checked.
    ///
    /// # Errors
    /// When the store could not be written, or the tokens are longer than browsers keep in cookies: nobody is logged in.
    pub async fn log_in(&self, subject: Subject) -> Result<Tokens, AuthRejection> {
        self.log_in_with(subject, TokenOptions::default()).await
    }

    /// The same, with claims, headers or lifetimes of their own for the tokens.
    ///
    /// # Errors
    /// As [`Auth::log_in`]; when the options have no meaning.
    pub async fn log_in_with(&self, subject: Subject, options: TokenOptions) -> Result<Tokens, AuthRejection> {
        let log_in = async {
            let options = self.guard.complete(&subject, options, CsrfValues::random()).await?;
            Ok(self.sessions.log_in_with(subject, self.origin.clone(), &options).await?)
        };
        let pair = log_in.await.map_err(|reason: RejectionReason| self.guard.refuse(reason))?;
        let claims = pair.claims.clone();
        let tokens = self.tokens(pair);
        if let (Err(_), Some(session)) = (&tokens, claims.session) {
            // Nobody will ever have its tokens.
            let session = Selection::Owned(session, claims.subject);
            self.sessions.end_sessions(session).await.map_err(|error| self.guard.refuse(error))?;
        }
        tokens
    }

    /// Uses a refresh token up and gives its successor, with an access token that is not fresh.
    ///
    /// # Errors
    /// When the session has ended, or ends now because the token had been used up before.
    pub async fn refresh(&self, token: &RefreshToken) -> Result<Tokens, AuthRejection> {
        self.refresh_with(token, TokenOptions::default()).await
    }

    /// The same, with claims, headers or lifetimes of their own for the tokens.
    ///
    /// # Errors
    /// As [`Auth::refresh`]; when the options have no meaning.
    pub async fn refresh_with(&self, token: &RefreshToken, options: TokenOptions) -> Result<Tokens, AuthRejection> {
        let refresh = async {
            let csrf = CsrfValues::of(token.token.claims(), ACCESS_CSRF_CLAIM);
            let options = self.guard.complete(token.token.subject(), options, csrf).await?;
            Ok(self.sessions.refresh_with(&token.token, &options).await?)
        };
        self.tokens(refresh.await.map_err(|reason: RejectionReason| self.guard.refuse(reason))?)
    }

    /// Logs out, with either token, also an expired one: this session, the others or all. When this returns, the end is
    /// durable, and this node refuses every token of it.
    ///
    /// # Errors
    /// When the token is none of ours, or its session has ended already: the answer removes the cookies all the same, which
    /// are of no use. When the store could not be written, and nobody may be told that the session has ended.
    pub async fn log_out(&self, token: &PresentedToken, scope: Scope) -> Result<LoggedOut, AuthRejection> {
        let verifier = self.guard.verifier();
        let ended = self.sessions.log_out(token.as_str(), scope).await.map_err(|error| match error {
            // Others may know that key.
            SessionError::Refused(TokenError::UnknownKey) if !verifier.is_fresh() => TokenError::Stale.into(),
            error => error,
        });
        let is_useless = match &ended {
            Ok(_) => scope != Scope::Others,
            Err(SessionError::Refused(TokenError::Stale) | SessionError::Failed(_)) => false,
            Err(SessionError::Refused(refusal)) => scope != Scope::Others || matches!(refusal, TokenError::Revoked(_)),
            Err(_) => false,
        };
        if is_useless {
            self.log_out_others(token).await?;
        }
        let unset = match is_useless && self.guard.uses_cookies() {
            true => self.guard.unset_cookies(self.unset_repeated.clone()),
            false => SetCookies::default(),
        };
        match ended {
            Ok(sessions_ended) => Ok(LoggedOut { sessions_ended, unset }),
            Err(error) => Err(self.guard.refuse(error).unsetting(unset)),
        }
    }

    /// Ends the sessions of all other tokens in the cookies of a browser, or it would be logged in with one of them.
    async fn log_out_others(&self, token: &PresentedToken) -> Result<(), AuthRejection> {
        for other in token.others() {
            match self.sessions.log_out(other, Scope::This).await {
                Ok(_) | Err(SessionError::Refused(_)) => {}
                Err(error) => return Err(self.guard.refuse(error)),
            }
        }
        Ok(())
    }

    /// The refusal of a login whose credentials are wrong. The same for an unknown user and for a wrong password.
    #[must_use]
    pub fn wrong_credentials(&self) -> AuthRejection {
        self.guard.refuse(RejectionReason::WrongCredentials)
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
        let user_agent = parts.headers.get(header::USER_AGENT).map(|value| {
            String::from_utf8_lossy(value.as_bytes())
                .chars()
                .filter(|letter| !letter.is_control())
                .take(MAX_USER_AGENT)
                .collect()
        });
        let origin = Origin { address: peer.map(|ConnectInfo(peer)| peer.ip().to_canonical()), user_agent };
        let guard = state.guard();
        let unset_repeated = match guard.uses_cookies() {
            true => guard.cookies_used().unset_repeated(parts),
            false => SetCookies::default(),
        };
        Ok(Self { guard, sessions: state.sessions(), origin, unset_repeated })
    }
}

/// What a login or a refresh gives, to be sent as it is: `{"access_token": …, "refresh_token": …, "expires_in": …,
/// "refresh_expires_in": …}`, with seconds, or cookies where the [`Guard`] looks for tokens there, and then no token in the
/// body. `Debug` shows no token.
#[derive(Debug, Clone)]
#[must_use]
pub struct Tokens {
    pair: TokenPair,
    cookies: Option<SetCookies>,
    /// When they were made.
    now: Timestamp,
}

impl Tokens {
    /// The tokens themselves.
    #[must_use]
    pub fn pair(&self) -> &TokenPair {
        &self.pair
    }

    /// As JSON, wherever the guard looks for tokens: for clients that are no browsers.
    pub fn as_json(self) -> Self {
        Self { cookies: None, ..self }
    }

    /// The cookies alone, for an answer of the application's own; nothing where the guard does not look for cookies.
    pub fn into_cookies(self) -> SetCookies {
        self.cookies.unwrap_or_default()
    }
}

/// Always as JSON. Answered by [`Auth`] they may be cookies.
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

/// That it was done; removes the cookies that are of no use any more.
#[derive(Debug, Clone)]
#[must_use]
pub struct LoggedOut {
    /// How many sessions ended.
    pub sessions_ended: usize,
    unset: SetCookies,
}

impl LoggedOut {
    /// What removes the cookies, for an answer of the application's own.
    pub fn into_cookies(self) -> SetCookies {
        self.unset
    }
}

impl IntoResponse for LoggedOut {
    fn into_response(self) -> Response {
        (self.unset, Json(json!({"message": "Successfully logged out"}))).into_response()
    }
}
