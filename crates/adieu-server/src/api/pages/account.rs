//! `/account`: users see where they are logged in, end sessions, and change the password.

mod events;

use adieu::{
    SessionId,
    session::{Scope, Selection, TokenOptions},
    time::Timestamp,
    token::Claims,
};
use adieu_axum::{AccessToken, Auth, AuthRejection, PresentedToken, RefreshToken, RejectionKind, SetCookies, TokenEnd};
use axum::{
    Json, Router,
    extract::{RawQuery, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Redirect, Response},
    routing::{get, post},
};
use secrecy::SecretString;
use serde_json::{Value, json};

use super::{
    super::{
        client::Client,
        session_events,
        view::{Part, SessionDetails},
    },
    Fields, Pages, Rendered, Visit, is_from_another_site, problem, render,
};
use crate::{
    accounts::Accounts,
    audit,
    config::Registration,
    error::ApiError,
    input,
    pages::{AccountPage, Area, Entry, EntryPage, Events, Form, Messages, Page, ResumePage, SessionRow},
    text::{Password, Username},
};

const REFRESH_COOKIE: &str = "__Host-refresh_token";
const REFRESH_CSRF_COOKIE: &str = "__Host-csrf_refresh_token";

pub(super) use events::SEARCHES;

/// Returns the routes.
pub(super) fn router() -> Router<Pages> {
    Router::new()
        .route("/account", get(show))
        .route("/account/login", post(log_in))
        .route("/account/register", post(register))
        .route("/account/new-password", post(replace_password))
        .route("/account/refresh", post(refresh))
        .route("/account/logout", post(log_out))
        .route("/account/sessions/end", post(end))
        .route("/account/password", post(change_password))
        .route("/account/events", get(events))
}

/// `GET /account`: the sessions of the user, or the forms to log in. In JSON: `{"username": …, "expires_in": …, "sessions": […]}`.
async fn show(
    State(pages): State<Pages>,
    visit: Visit,
    token: Result<AccessToken, AuthRejection>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let query = query.unwrap_or_default();
    let refused = match token {
        Ok(token) => return pages.account(&visit, &token, &query).await,
        Err(refused) => refused,
    };
    pages.entrance(&visit, refused, &query, &headers, Area::Account)
}

/// Returns the value of a cookie.
fn cookie<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let pairs = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = pairs.flat_map(|pairs| pairs.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(named, _)| *named == name).map(|(_, value)| value)
}

/// `POST /account/login` with `username` and `password`: sets the cookies.
async fn log_in(
    State(pages): State<Pages>,
    visit: Visit,
    client: Client,
    auth: Auth,
    input::Form(form): input::Form,
) -> Response {
    let (mut form, mut given) = (Fields(form), String::new());
    let area = form.area();
    let logged_in = async {
        let username = form.username()?;
        username.as_str().clone_into(&mut given);
        let password = form.password()?;
        pages.log_in(&username, &password, &client, auth).await
    };
    match logged_in.await {
        Ok((cookies, expires_in)) => {
            visit.done(cookies, &area.to("in"), json!({"message": "Logged in.", "expires_in": expires_in}))
        }
        Err(error) => {
            let must_change = matches!(error, ApiError::PasswordChangeRequired);
            let entry = if must_change { Entry::NewPassword } else { Entry::LogIn };
            visit.failed(error, |page, problem| {
                pages.entry(page, area, entry, given, Some(problem).filter(|_| !must_change))
            })
        }
    }
}

/// `POST /account/register` with `username` and `password`, and with `invite` if registration is by invitation.
async fn register(
    State(pages): State<Pages>,
    visit: Visit,
    client: Client,
    input::Form(form): input::Form,
) -> Response {
    let mut form = Fields(form);
    let minimum = pages.api.settings.min_password_length.get();
    let t = visit.language.messages();
    let (mut given, mut wrong) = (String::new(), None);
    let registered = async {
        pages.api.require_registration()?;
        let (name, password) = (form.text("username")?, form.text("password")?);
        let username = Username::chosen(&name).map_err(|_| {
            wrong = Some(t.bad_username.to_owned());
            ApiError::BadRequest("Not a valid username.".into())
        })?;
        username.as_str().clone_into(&mut given);
        let password = chosen_password(password.into(), minimum, t, &mut wrong)?;
        let invite = form.text("invite")?;
        pages.api.register(username, &password, Some(invite.into()), &client).await
    };
    match registered.await {
        Ok(()) => {
            visit.done(SetCookies::default(), "/account?registered", json!({"message": "User created successfully."}))
        }
        Err(error) => {
            let needs_invite = pages.api.settings.registration() == Registration::Invite;
            if needs_invite && matches!(error, ApiError::Forbidden(_)) {
                wrong = Some(t.wrong_invite.to_owned());
            }
            visit.failed(error, |page, problem| {
                pages.entry(page, Area::Account, Entry::Register, given, Some(wrong.unwrap_or(problem)))
            })
        }
    }
}

/// `POST /account/new-password` with `username`, `password` and `new_password`, for a user who must change it before the login.
async fn replace_password(
    State(pages): State<Pages>,
    visit: Visit,
    client: Client,
    auth: Auth,
    input::Form(form): input::Form,
) -> Response {
    let mut form = Fields(form);
    let minimum = pages.api.settings.min_password_length.get();
    let t = visit.language.messages();
    let (mut given, mut wrong) = (String::new(), None);
    let area = form.area();
    let changed = async {
        let username = form.username()?;
        username.as_str().clone_into(&mut given);
        let (current, chosen) = (form.password()?, form.text("new_password")?);
        let chosen = chosen_password(chosen.into(), minimum, t, &mut wrong)?;
        pages.api.replace_password(&username, &current, &chosen, &client).await?;
        pages.log_in(&username, &chosen, &client, auth).await
    };
    match changed.await {
        Ok((cookies, expires_in)) => {
            visit.done(cookies, &area.to("in"), json!({"message": "Logged in.", "expires_in": expires_in}))
        }
        Err(error) => visit.failed(error, |page, problem| {
            pages.entry(page, area, Entry::NewPassword, given, Some(wrong.unwrap_or(problem)))
        }),
    }
}

/// `POST /account/refresh`: new tokens, from the cookie with the refresh token.
async fn refresh(
    State(pages): State<Pages>,
    visit: Visit,
    auth: Auth,
    token: Result<RefreshToken, AuthRejection>,
    form: Result<input::Form, ApiError>,
) -> Response {
    let area = form.map_or(Area::Account, |input::Form(form)| Fields(form).area());
    let refreshed = async {
        let token = token?;
        let options = pages.api.node.accounts.refresh_options(&token.subject, TokenOptions::new()).await?;
        Ok::<_, ApiError>(auth.refresh_with(&token, options).await?)
    };
    match refreshed.await {
        Ok(tokens) => {
            pages.api.node.metrics.refreshes.inc();
            let expires_in = pages.expires_in(&tokens.pair().claims);
            let body = json!({"message": "Refreshed.", "expires_in": expires_in});
            visit.done(tokens.into_cookies(), &area.to("in"), body)
        }
        Err(error) => {
            // That an old refresh token was used again the core has written down.
            audit::durable().await;
            pages.refused(&visit, error, area)
        }
    }
}

/// `POST /account/logout`, with `scope` (`this`, `others` or `all`) and, for `all`, `password`.
async fn log_out(
    State(pages): State<Pages>,
    visit: Visit,
    client: Client,
    auth: Auth,
    presented: Result<PresentedToken, AuthRejection>,
    token: Result<AccessToken, AuthRejection>,
    input::Form(form): input::Form,
) -> Response {
    let mut form = Fields(form);
    let area = form.area();
    let scope = match form.text("scope").as_deref() {
        Ok("others") => Scope::Others,
        Ok("all") => Scope::All,
        Ok("" | "this") => Scope::This,
        Ok(_) => return visit.notice(ApiError::BadRequest("`scope` must be one of: this, others, all.".into())),
        Err(_) => return visit.notice(ApiError::RepeatedParameter("scope")),
    };
    if scope != Scope::This {
        let token = match token {
            Ok(token) => token,
            Err(refused) => return pages.refused(&visit, refused, Area::Account),
        };
        if scope == Scope::All {
            let confirmed = async { pages.api.confirm_password(&token, &form.password()?, &client).await };
            if let Err(error) = confirmed.await {
                return pages.account_with(&visit, &token, error, Form::LogOutAll, None).await;
            }
        }
    }
    let presented = match presented {
        Ok(presented) => presented,
        Err(refused) if refused.kind() == RejectionKind::Missing => {
            return visit.done(SetCookies::default(), &area.to("out"), json!({"message": "Successfully logged out"}));
        }
        Err(refused) => return visit.notice(refused.into()),
    };
    let (to, body) = match scope {
        Scope::Others => (area.to("others"), json!({"message": "Successfully logged out"})),
        Scope::All => (area.to("out-all"), json!({"message": "Successfully logged out"})),
        _ => (area.to("out"), json!({"message": "Successfully logged out"})),
    };
    match auth.log_out(&presented, scope).await {
        Ok(ended) => {
            pages.api.record_logout(&ended.claims, scope, ended.sessions_ended, &client).await;
            visit.done(ended.into_cookies(), &to, body)
        }
        Err(refused) if refused.status() == StatusCode::UNAUTHORIZED && scope == Scope::This && !visit.wants_json => {
            // It had ended before; the cookies are of no use.
            visit.done(refused.into_cookies(), &to, body)
        }
        // The others have not ended: the session has meanwhile, for example while the password was checked.
        Err(refused) if refused.status() == StatusCode::UNAUTHORIZED => pages.refused(&visit, refused, Area::Account),
        Err(refused) => visit.notice(refused.into()),
    }
}

/// `POST /account/sessions/end` with `session`: ends one of the user's sessions.
async fn end(
    State(pages): State<Pages>,
    visit: Visit,
    client: Client,
    token: Result<AccessToken, AuthRejection>,
    input::Form(form): input::Form,
) -> Response {
    let token = match token {
        Ok(token) => token,
        Err(refused) => return pages.refused(&visit, refused, Area::Account),
    };
    let mut form = Fields(form);
    let ended = async {
        let session = SessionId::new(form.text("session")?).map_err(|_| ApiError::NotFound)?;
        let (selection, by) = (Selection::Owned(session.clone(), token.subject().clone()), token.subject().clone());
        pages.api.end_session(selection, session, by, &client).await
    };
    match ended.await {
        Ok(()) => visit.done(SetCookies::default(), "/account?session", json!({"message": "Session ended."})),
        Err(error) => pages.account_with(&visit, &token, error, None, None).await,
    }
}

/// `POST /account/password` with `password` and `new_password`: changes it, and ends the user's other sessions.
async fn change_password(
    State(pages): State<Pages>,
    visit: Visit,
    client: Client,
    token: Result<AccessToken, AuthRejection>,
    input::Form(form): input::Form,
) -> Response {
    let token = match token {
        Ok(token) => token,
        Err(refused) => return pages.refused(&visit, refused, Area::Account),
    };
    let mut form = Fields(form);
    let minimum = pages.api.settings.min_password_length.get();
    let mut wrong = None;
    let changed = async {
        let (current, chosen) = (form.password()?, form.text("new_password")?);
        let chosen = chosen_password(chosen.into(), minimum, visit.language.messages(), &mut wrong)?;
        pages.api.change_password(&token, &current, &chosen, &client).await
    };
    match changed.await {
        Ok(()) => visit.done(SetCookies::default(), "/account?password", json!({"message": "Password changed."})),
        Err(error) => pages.account_with(&visit, &token, error, Form::Password, wrong).await,
    }
}

/// Checks a password to be stored. If it can't be one, `wrong` is what the page says of it.
fn chosen_password(
    typed: SecretString,
    minimum: usize,
    t: &Messages,
    wrong: &mut Option<String>,
) -> Result<Password, ApiError> {
    Password::chosen(typed.clone(), minimum).map_err(|error| {
        *wrong = Some(match Password::typed(typed) {
            Ok(_) => (t.password_length)(minimum),
            Err(_) => t.bad_password.to_owned(),
        });
        ApiError::BadRequest(error.to_string().into())
    })
}

/// `GET /account/events`: the stream of `/sessions/events`, for the `EventSource` of browsers.
async fn events(State(pages): State<Pages>, token: AccessToken, end: TokenEnd) -> Result<Response, ApiError> {
    session_events::open(&pages.api, token.subject(), end)
}

impl Pages {
    /// Answers a browser that is not logged in: with the forms to log in, or with one to go on with its refresh token.
    pub(super) fn entrance(
        &self,
        visit: &Visit,
        refused: AuthRejection,
        query: &str,
        headers: &HeaderMap,
        area: Area,
    ) -> Response {
        if visit.wants_json || refused.status() == StatusCode::SERVICE_UNAVAILABLE {
            return visit.notice(refused.into());
        }
        let page = match visit.page() {
            Ok(page) => page,
            Err(error) => return error.into_response(),
        };
        let t = page.messages();
        let is_over = !matches!(refused.kind(), RejectionKind::Missing | RejectionKind::Expired)
            // Where the script of a page goes when a refresh failed. A link of another site must not end a session.
            || (query == "ended" && !is_from_another_site(headers));
        let csrf = cookie(headers, REFRESH_CSRF_COOKIE).filter(|_| cookie(headers, REFRESH_COOKIE).is_some());
        if let Some(csrf) = csrf.filter(|_| !is_over) {
            return render(().into_response(), &ResumePage { page, area, csrf: csrf.to_owned() });
        }
        let registration = self.registration(area);
        let notice = match query {
            "registered" => Some(t.registered),
            "out" => Some(t.logged_out),
            "out-all" => Some(t.logged_out_all),
            _ if is_over => Some(t.ended_elsewhere),
            _ => None,
        };
        let problem = (query == "in" && !is_over).then(|| t.no_cookies.to_owned());
        let entry =
            if query == "register" && registration != Registration::Closed { Entry::Register } else { Entry::LogIn };
        let view = EntryPage { page, area, entry, username: String::new(), registration, notice, problem };
        let unset = if is_over { self.unset() } else { SetCookies::default() };
        render((unset, ()).into_response(), &view)
    }

    /// Logs in with the credentials. Returns the cookies, and in how many seconds the access token expires.
    async fn log_in(
        &self,
        username: &Username,
        password: &Password,
        client: &Client,
        auth: Auth,
    ) -> Result<(SetCookies, u64), ApiError> {
        let account = self.api.authenticate(username, password, client).await?;
        let accounts = &self.api.node.accounts;
        let started = async {
            let options = Accounts::login_options(&account, TokenOptions::new())?;
            let tokens = auth.with_address(client.address).log_in_with(account.id.clone(), options).await?;
            accounts.confirm_login(&account, &tokens.pair().claims).await?;
            Ok(tokens)
        };
        let tokens = started.await;
        self.api.record_login(username, tokens.as_ref().map(|tokens| &tokens.pair().claims), client).await;
        let tokens = tokens?;
        let expires_in = self.expires_in(&tokens.pair().claims);
        Ok((tokens.into_cookies(), expires_in))
    }

    pub(super) fn expires_in(&self, claims: &Claims) -> u64 {
        claims.expires_at.since(self.api.node.clock.now()).as_secs()
    }

    /// Removes the cookies with tokens.
    fn unset(&self) -> SetCookies {
        self.guard.unset_access_cookie().and(self.guard.unset_refresh_cookie())
    }

    fn entry(
        &self,
        page: Page,
        area: Area,
        entry: Entry,
        username: String,
        problem: Option<String>,
    ) -> Box<dyn Rendered> {
        let registration = self.registration(area);
        Box::new(EntryPage { page, area, entry, username, registration, notice: None, problem })
    }

    /// Returns who may register at the pages of this area.
    fn registration(&self, area: Area) -> Registration {
        if area == Area::Account { self.api.settings.registration() } else { Registration::Closed }
    }

    /// Answers a request whose token was rejected: a page goes on with a refresh, or with a login.
    pub(super) fn refused(&self, visit: &Visit, error: impl Into<ApiError>, area: Area) -> Response {
        let error = error.into();
        match &error {
            ApiError::Refused(refused) if !visit.wants_json && refused.status() == StatusCode::UNAUTHORIZED => {
                match refused.kind() {
                    RejectionKind::Csrf => visit.notice(error),
                    RejectionKind::Missing | RejectionKind::Expired => Redirect::to(area.path()).into_response(),
                    _ => (self.unset(), Redirect::to(&area.to("ended"))).into_response(),
                }
            }
            ApiError::Refused(refused) if visit.wants_json && refused.kind() == RejectionKind::Revoked => {
                (self.unset(), error).into_response()
            }
            _ => visit.notice(error),
        }
    }

    /// Answers with the user's sessions.
    async fn account(&self, visit: &Visit, token: &AccessToken, query: &str) -> Response {
        if visit.wants_json {
            let shown = async {
                let account = self.api.account(token.subject()).await?;
                let sessions = self.api.sessions_of(token.subject(), &Part::longest(), token).await?.sessions;
                let username = account.username.as_str();
                let expires_in = self.expires_in(token);
                Ok::<_, ApiError>(Json(json!({"username": username, "expires_in": expires_in, "sessions": sessions})))
            };
            return shown.await.into_response();
        }
        let t = visit.language.messages();
        let notice = match query {
            "others" => Some(t.others_ended),
            "session" => Some(t.session_ended),
            "password" => Some(t.password_changed),
            _ => None,
        };
        match self.account_page(visit, token).await {
            // The script renews the page at intervals, without the events: they cost more than all the rest.
            Ok(page) if query == "renew" => render(().into_response(), &page),
            Ok(page) => {
                let events = events::recent(self, &page.page, token.subject()).await;
                render(().into_response(), &AccountPage { events, notice, ..page })
            }
            Err(error) => visit.notice(error),
        }
    }

    /// Answers an error with the user's sessions and what went wrong.
    async fn account_with(
        &self,
        visit: &Visit,
        token: &AccessToken,
        error: ApiError,
        open: impl Into<Option<Form>>,
        wrong: Option<String>,
    ) -> Response {
        if visit.wants_json {
            return error.into_response();
        }
        match self.account_page(visit, token).await {
            Ok(page) => {
                let t = page.page.messages();
                let wrong = wrong.unwrap_or_else(|| match error {
                    ApiError::InvalidCredentials => t.wrong_password.to_owned(),
                    _ => problem(&error, t),
                });
                let events = events::recent(self, &page.page, token.subject()).await;
                let page = AccountPage { events, problem: Some(wrong), open: open.into(), ..page };
                render(error.into_response(), &page)
            }
            Err(error) => visit.notice(error),
        }
    }

    async fn account_page(&self, visit: &Visit, token: &AccessToken) -> Result<AccountPage, ApiError> {
        let page = visit.page()?;
        let now = self.api.node.clock.now();
        let account = self.api.account(token.subject()).await?;
        let mut listed = self.api.sessions_of(token.subject(), &Part::longest(), token).await?.sessions;
        listed.sort_by_key(|session| (!session.current, std::cmp::Reverse(session.last_seen_at)));
        let row = |session: SessionDetails| {
            let times = [session.created_at, session.last_seen_at].map(Timestamp::from_unix);
            let address = session.address.map(|address| address.to_string());
            let agent = session.user_agent.as_deref();
            SessionRow::new(&page, session.id, agent, address, times.into(), session.current, now)
        };
        let sessions = listed.into_iter().map(row).collect();
        let csrf = token.custom.get("csrf").and_then(Value::as_str).unwrap_or_default().to_owned();
        let (username, expires_in) = (account.username.to_string(), self.expires_in(token));
        let events = Events::Absent;
        Ok(AccountPage { page, username, csrf, expires_in, sessions, events, notice: None, problem: None, open: None })
    }
}
