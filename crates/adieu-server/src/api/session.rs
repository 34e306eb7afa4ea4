//! Sessions: logging in, refreshing, logging out.

use adieu::{
    SessionId, Subject,
    revocation::MAX_LEEWAY,
    session::{Scope, Selection, Session, SessionError},
    token::Claims,
};
use adieu_axum::{Auth, AuthRejection, PresentedToken, RejectionReason, SetCookies};
use axum::{Json, extract::State};
use utoipa::ToSchema;

use super::{
    Api,
    account::Credentials,
    client::{AccessToken, Client, Id, is_admin},
    docs,
    feed::{Wait, WaitParameters},
    issued::{Delivery, Issued, Refresh},
    time_limit::MoreTime,
    verify::Flag,
    view::{Message, Part, PartFields, SessionCursor, SessionDetails, SessionList},
};
use crate::{
    audit::{self, Event, scope_name},
    error::{ApiError, FieldErrors},
    input::{Fields, Query},
    text::{Password, TextError, Username},
};

/// How much a logout ends.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "only describes the schema")]
pub(super) enum ScopeName {
    This,
    Others,
    All,
}

/// Logs in: starts a session and gives its tokens.
///
/// The access token is fresh, and carries `is_admin` for an administrator. That a user is unknown, disabled, or has
/// another password is one and the same answer. Failed attempts are limited per account and per address. A user who must
/// change the password first gets no tokens: 403 `password_change_required`.
#[utoipa::path(post, path = "/login", tag = "Session", request_body = Credentials, params(
    ("cookies" = inline(Option<Flag>), Query, description = "`true`, with the setting `token_cookies` only: the tokens are in cookies, \
        and the body has their CSRF values."),
), responses(
    (status = 200, description = "Logged in. Not to be cached.", body = Issued),
    docs::BadRequest, docs::WrongCredentials, docs::PasswordChangeRequired, docs::TooLarge, docs::NotJson, docs::Invalid, docs::TooMany,
    docs::Unavailable,
))]
pub(super) async fn log_in(
    State(api): State<Api>,
    client: Client,
    Query(query): Query,
    mut fields: Fields,
) -> Result<Issued, ApiError> {
    let delivery = Delivery::of_login(query, &api)?;
    let username = fields.required("username", |text| Username::new(&text));
    let password = fields.required("password", |text| Password::typed(text.into()));
    let (username, password) = fields.finish((username, password))?;

    let account = api.authenticate(&username, &password, &client).await?;
    let pair = api.node.accounts.log_in(&account, client.origin.clone(), api.token_options(None)).await;
    api.record_login(&username, pair.as_ref().map(|pair| &pair.claims), &client).await;
    api.issued(pair?, delivery)
}

/// Exchanges a refresh token for new tokens.
///
/// The access token is not fresh. The refresh token is used up: until its successor is used, and within `rotation_grace` until the
/// successor of that is used too, it gives the current refresh token again (a response was lost, or there are two tabs); after that it
/// ends the session. If it comes in a cookie, so do the new ones.
#[utoipa::path(post, path = "/refresh", tag = "Session", security(("refresh" = [])), responses(
    (status = 200, description = "New tokens. Not to be cached.", body = Issued),
    docs::TwoTokens, docs::Refusals, docs::Unavailable,
))]
pub(super) async fn refresh(State(api): State<Api>, Refresh { token, delivery }: Refresh) -> Result<Issued, ApiError> {
    let refreshed = api.node.accounts.refresh(&token, api.token_options(Some(token.claims()))).await;
    if refreshed.is_err() {
        // That it was used again the core has written down.
        audit::durable().await;
    }
    let pair = refreshed?;
    api.node.metrics.refreshes.inc();
    api.issued(pair, delivery)
}

/// Logs out: ends the session of the token, all its access tokens and its refresh token.
///
/// Either token will do, also an expired one; `scope` takes one that has not expired or been used up. When the answer comes, the end is on stable storage, and this node
/// refuses the tokens from the very next request on.
#[utoipa::path(post, path = "/logout", tag = "Session", security(("access" = []), ("refresh" = [])),
    params(("scope" = inline(Option<ScopeName>), Query, description = "`this` session (the default), the user's `others`, or `all`."),
        WaitParameters),
    responses(
    (status = 200, description = "Logged out.", body = Message, example = json!({"message": "Successfully logged out"})),
    docs::TwoTokens, docs::Refusals, docs::InvalidQuery, docs::Unavailable,
))]
pub(super) async fn log_out(
    State(api): State<Api>,
    auth: Auth,
    token: PresentedToken,
    client: Client,
    time: MoreTime,
    Query(mut fields): Query,
) -> Result<(SetCookies, Json<Message>), ApiError> {
    let wait = Wait::take(&mut fields);
    let scope = fields.optional("scope", |text| match text.as_str() {
        "this" => Ok(Scope::This),
        "others" => Ok(Scope::Others),
        "all" => Ok(Scope::All),
        _ => Err(TextError::new("Must be one of: this, others, all.")),
    });
    let (scope, wait) = fields.finish((scope, wait))?;
    let scope = scope.unwrap_or_default();
    let wait = Wait::new(wait, time);
    if scope == Scope::All {
        // With a token of another issuer it waits until the cut-off is over.
        wait.grant_cut_off(MAX_LEEWAY);
    }
    let ended = auth.log_out(&token, scope).await.map_err(refused)?;
    api.record_logout(&ended.claims, scope, ended.sessions_ended, &client).await;
    let everywhere = wait.until_everywhere(&api.node.feed).await?;
    Ok((ended.into_cookies(), Message::revoked("Successfully logged out", everywhere)))
}

/// Returns the error of a logout that was rejected.
fn refused(rejection: AuthRejection) -> ApiError {
    match rejection.reason() {
        RejectionReason::UnknownSessions => SessionError::UnknownSessions.into(),
        RejectionReason::Failed(error) => error.clone().into(),
        _ => rejection.into(),
    }
}

/// Lists the caller's sessions, oldest first.
#[utoipa::path(get, path = "/sessions", tag = "Session", security(("access" = [])), params(docs::PartParameters),
    responses(
    (status = 200, description = "The sessions.", body = SessionList),
    docs::TwoTokens, docs::Refusals, docs::InvalidQuery, docs::Unavailable,
))]
pub(super) async fn list(
    State(api): State<Api>,
    token: AccessToken,
    Query(mut fields): Query,
) -> Result<Json<SessionList>, ApiError> {
    let part = PartFields::<SessionId>::take(&mut fields).finish(fields)?;
    api.sessions_of(token.subject(), &part, &token).await.map(Json)
}

/// Ends one of the caller's sessions; for an administrator, anyone's.
///
/// Whatever else is asked for is not found, whether it exists or not.
#[utoipa::path(delete, path = "/sessions/{sid}", tag = "Session", security(("access" = [])),
    params(("sid" = String, Path, description = "The session's id: `sid` in its tokens."), WaitParameters), responses(
    (status = 200, description = "Ended.", body = Message, example = json!({"message": "Session ended."})),
    docs::TwoTokens, docs::Refusals, docs::NotFound, docs::InvalidQuery, docs::Unavailable,
))]
pub(super) async fn end(
    State(api): State<Api>,
    token: AccessToken,
    client: Client,
    Id(session): Id<SessionId>,
    wait: Wait,
) -> Result<Json<Message>, ApiError> {
    let by = token.subject().clone();
    let selection = if is_admin(&token, api.node.sessions.issuer()) {
        Selection::One(session.clone())
    } else {
        Selection::Owned(session.clone(), by.clone())
    };
    api.end_session(selection, session, by, &client).await?;
    Ok(Message::revoked("Session ended.", wait.until_everywhere(&api.node.feed).await?))
}

impl Api {
    /// Counts and records a login of a user who was authenticated: that it started a session, or that it came to nothing.
    pub(super) async fn record_login(&self, username: &Username, started: Result<&Claims, &ApiError>, client: &Client) {
        match started {
            Ok(claims) => {
                self.node.metrics.logins.inc();
                audit::Entry { session: claims.session.clone(), ..audit::Entry::of(&claims.subject) }
                    .record(Event::Login, client.address)
                    .await;
            }
            Err(ApiError::InvalidCredentials) => self.note_failed_login(username, client).await,
            Err(_) => {}
        }
    }

    /// Counts and records a logout with the token that has these claims.
    pub(super) async fn record_logout(&self, claims: &Claims, scope: Scope, sessions_ended: usize, client: &Client) {
        self.node.metrics.logouts.inc();
        audit::Entry {
            scope: Some(scope_name(scope)),
            sessions_ended: Some(sessions_ended),
            ..audit::Entry::of_claims(claims, self.node.sessions.issuer())
        }
        .record(Event::Logout, client.address)
        .await;
    }

    /// Ends a session, which the selection describes, for the user who asks.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] if there is no such session.
    pub(super) async fn end_session(
        &self,
        selection: Selection,
        session: SessionId,
        by: Subject,
        client: &Client,
    ) -> Result<(), ApiError> {
        let subject = match &selection {
            Selection::Owned(_, subject) => Some(subject.clone()),
            _ => self.node.sessions.store().session(&session).await?.map(|session| session.subject),
        };
        let sessions_ended = self.node.sessions.end_sessions(selection).await?;
        if sessions_ended == 0 {
            return Err(ApiError::NotFound);
        }
        audit::Entry {
            subject,
            session: Some(session),
            actor: Some(by),
            sessions_ended: Some(sessions_ended),
            ..audit::Entry::default()
        }
        .record(Event::SessionsEnded, client.address)
        .await;
        Ok(())
    }

    /// Returns a part of the sessions of a subject.
    pub(super) async fn sessions_of(
        &self,
        subject: &Subject,
        part: &Part<SessionId>,
        token: &adieu_axum::AccessToken,
    ) -> Result<SessionList, ApiError> {
        let mut sessions = self.node.sessions.store().sessions_of(subject, part.after.as_ref(), part.fetch()).await?;
        let next = part.cut(&mut sessions, |session| session.id.to_string());
        Ok(self.session_list(&sessions, next, token))
    }

    /// Returns a part of all sessions, or of those of a subject.
    pub(super) async fn sessions(
        &self,
        subject: Option<&Subject>,
        part: &Part<SessionCursor>,
        token: &adieu_axum::AccessToken,
    ) -> Result<Json<SessionList>, ApiError> {
        let (store, after) = (self.node.sessions.store(), part.after.as_ref().map(|SessionCursor(key)| key));
        let mut sessions = match subject {
            Some(subject) if after.is_some_and(|key| key.subject != *subject) => {
                return Err(ApiError::InvalidQuery(FieldErrors::one("after", SessionCursor::NOT_ONE)));
            }
            Some(subject) => store.sessions_of(subject, after.map(|key| &key.id), part.fetch()).await?,
            None => store.sessions(after, part.fetch()).await?,
        };
        let next = part.cut(&mut sessions, |session| SessionCursor(session.key()).to_string());
        Ok(Json(self.session_list(&sessions, next, token)))
    }

    /// Lists the sessions that have not expired.
    fn session_list(&self, sessions: &[Session], next: Option<String>, token: &adieu_axum::AccessToken) -> SessionList {
        let now = self.node.clock.now();
        let details = |session| SessionDetails::new(session, token.session.as_ref());
        let sessions = sessions.iter().filter(|session| session.is_live(now)).map(details).collect();
        SessionList { sessions, next }
    }
}
