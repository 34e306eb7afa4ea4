//! The configuration that the extractors of a router share.

use std::{
    cmp::Reverse,
    fmt, iter,
    pin::Pin,
    sync::{Arc, LazyLock},
};

use adieu::{
    Error, Node, Subject,
    session::{Sessions, TokenOptions},
    token::{Claims, TokenError, TokenType, Verifier},
};
use axum::{extract::FromRef, http::request::Parts};
use serde_json::{Map, Value};

use crate::{
    AuthRejection, Cookies, FlaskJwtExtendedResponses, Location, Place, ReadBodies, RejectionReason,
    RejectionResponses, SetCookies,
    csrf::{self, ACCESS_CSRF_CLAIM, CSRF_CLAIM, CsrfValues},
    location::{Candidates, Found, Places, Wanted, find},
};

/// How many cookies of one name are examined beside the first: more than a browser collects by itself, and few enough to
/// check that many signatures.
const MAX_CANDIDATES: usize = 31;

/// The configuration of a router's extractors: the verifier, and how rejections are answered. Cheap to clone.
///
/// A router whose state provides one ([`FromRef`]) can have handlers that take tokens. These states provide one directly:
/// `Arc<Sessions>`, `Arc<Node>`, `Arc<Verifier>` (of a service that only follows another node), and `Guard`.
///
/// ```
/// # use std::sync::Arc;
/// # use adieu::{Node, session::Sessions};
/// # use adieu_axum::Guard;
/// # use axum::extract::FromRef;
/// #[derive(Clone)]
/// struct App {
///     guard: Guard,
///     sessions: Arc<Sessions>,
/// }
///
/// impl FromRef<App> for Guard {
///     fn from_ref(app: &App) -> Guard {
///         app.guard.clone()
///     }
/// }
///
/// fn app(node: &Node) -> App {
///     App { guard: Guard::from_sessions(node.sessions()), sessions: Arc::clone(node.sessions()) }
/// }
/// ```
#[derive(Clone)]
#[must_use]
pub struct Guard {
    source: Source,
    settings: Arc<Settings>,
}

#[derive(Clone)]
enum Source {
    Verifier(Arc<Verifier>),
    Sessions(Arc<Sessions>),
}

#[derive(Clone)]
struct Settings {
    locations: Vec<Location>,
    cookies: Cookies,
    answers: Arc<dyn RejectionResponses>,
    checks: Vec<Check>,
    claims_of: Option<Arc<ClaimsOf>>,
    notes_use: bool,
    own_tokens_only: bool,
    places: Places,
}

type Answer<T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send>>;
type ClaimsOf = dyn Fn(Subject) -> Answer<Map<String, Value>> + Send + Sync;

#[derive(Clone)]
enum Check {
    Now(Arc<dyn Fn(&Claims) -> bool + Send + Sync>),
    Later(Arc<dyn Fn(Claims) -> Answer<bool> + Send + Sync>),
}

impl Settings {
    /// The default settings, shared by all guards that do not change them.
    fn usual() -> Arc<Self> {
        static USUAL: LazyLock<Arc<Settings>> = LazyLock::new(|| {
            Arc::new(Settings {
                locations: vec![Location::bearer()],
                cookies: Cookies::new(),
                answers: Arc::new(FlaskJwtExtendedResponses),
                checks: Vec::new(),
                claims_of: None,
                notes_use: true,
                own_tokens_only: false,
                places: Places::Several,
            })
        });
        Arc::clone(&USUAL)
    }
}

impl Guard {
    /// Creates a guard that only verifies, for a service that follows another node and has no sessions.
    pub fn from_verifier(verifier: Arc<Verifier>) -> Self {
        Self { source: Source::Verifier(verifier), settings: Settings::usual() }
    }

    /// Creates a guard of a node with sessions. It also records when a session is used; see [`Sessions::record_use`].
    pub fn from_sessions(sessions: &Arc<Sessions>) -> Self {
        Self { source: Source::Sessions(Arc::clone(sessions)), settings: Settings::usual() }
    }

    /// Sets the places where tokens are looked for, in order; the default is [`Location::bearer`] alone.
    /// [`only_in`](crate::only_in) sets others for some routes.
    pub fn with_locations(mut self, locations: impl IntoIterator<Item = Location>) -> Self {
        self.change().locations = locations.into_iter().collect();
        self
    }

    /// Sets the cookies for tokens, and adds [`Location::Cookies`] after the other places. With [`Location::Cookies`] among
    /// the places, a login sets cookies and a logout removes them.
    ///
    /// # Errors
    /// [`Error::InvalidSetting`] if the cookie settings contradict each other or the browsers' rules.
    pub fn with_cookies(mut self, cookies: Cookies) -> Result<Self, Error> {
        cookies.validate()?;
        let settings = self.change();
        settings.cookies = cookies;
        if !settings.locations.contains(&Location::Cookies) {
            settings.locations.push(Location::Cookies);
        }
        Ok(self)
    }

    /// Sets how rejections are answered; the default is [`FlaskJwtExtendedResponses`].
    pub fn with_rejection_responses(mut self, answers: impl RejectionResponses) -> Self {
        self.change().answers = Arc::new(answers);
        self
    }

    /// Adds a check of the claims of every valid token, access and refresh alike. A token that fails it is rejected with 400.
    pub fn with_claims_check(mut self, check: impl Fn(&Claims) -> bool + Send + Sync + 'static) -> Self {
        self.change().checks.push(Check::Now(Arc::new(check)));
        self
    }

    /// Like [`Guard::with_claims_check`], for an async check; it runs on every request with a token.
    pub fn with_async_claims_check<F, A>(mut self, check: F) -> Self
    where
        F: Fn(Claims) -> A + Send + Sync + 'static,
        A: Future<Output = Result<bool, Error>> + Send + 'static,
    {
        self.change().checks.push(Check::Later(Arc::new(move |claims| Box::pin(check(claims)))));
        self
    }

    /// Sets the custom claims of a subject's access tokens; [`Auth`](crate::Auth) calls this at each login, refresh and
    /// renewal.
    pub fn with_custom_claims<F, A>(mut self, claims_of: F) -> Self
    where
        F: Fn(Subject) -> A + Send + Sync + 'static,
        A: Future<Output = Result<Map<String, Value>, Error>> + Send + 'static,
    {
        self.change().claims_of = Some(Arc::new(move |subject| Box::pin(claims_of(subject))));
        self
    }

    /// Rejects tokens of other issuers that the [verifier accepts](Verifier::with_issuer), for handlers that look up a
    /// subject: the same subject of another issuer is a different user.
    pub fn own_tokens_only(mut self) -> Self {
        self.change().own_tokens_only = true;
        self
    }

    /// Rejects a request that has tokens in two places, with 400. By default the first place decides: a client that sends a
    /// header may have a cookie as well.
    pub fn with_one_place(mut self) -> Self {
        self.change().places = Places::One;
        self
    }

    /// Does not record when a session is used: its `last_seen_at` then shows refreshes only.
    pub fn without_last_seen(mut self) -> Self {
        self.change().notes_use = false;
        self
    }

    /// Returns the verifier.
    #[must_use]
    pub fn verifier(&self) -> &Verifier {
        match &self.source {
            Source::Verifier(verifier) => verifier,
            Source::Sessions(sessions) => sessions.verifier(),
        }
    }

    /// Returns the rejection of a request for this reason, answered as this guard is configured.
    #[must_use]
    pub fn reject(&self, reason: impl Into<RejectionReason>) -> AuthRejection {
        AuthRejection::new(reason.into(), Arc::clone(&self.settings.answers))
    }

    /// Returns a layer that reads bodies before the handlers do, for [`Location::JsonBody`] and [`Cookies::with_csrf_in_forms`].
    pub fn read_bodies(&self) -> ReadBodies {
        ReadBodies::new(self.cookies_used())
    }

    /// Returns the cookies for an access token. The token needs the claim `csrf`, which [`Auth`](crate::Auth) adds.
    ///
    /// # Errors
    /// If the token is not an authentic access token, lacks the claim although these cookies need it, or exceeds what
    /// browsers keep.
    pub fn set_access_cookie(&self, token: &str) -> Result<SetCookies, AuthRejection> {
        self.set_cookie(token, TokenType::Access)
    }

    /// Returns the cookies for a refresh token. The token needs the claim `csrf`.
    ///
    /// # Errors
    /// If the token is not an authentic refresh token, lacks the claim although these cookies need it, or exceeds what
    /// browsers keep.
    pub fn set_refresh_cookie(&self, token: &str) -> Result<SetCookies, AuthRejection> {
        self.set_cookie(token, TokenType::Refresh)
    }

    /// Adds the CSRF values that cookies need to the claims of new tokens: those of the session of a refresh token with the claims
    /// `refreshed`, or new ones for a login. For an application that calls [`Sessions`] itself; [`Auth`](crate::Auth) does it.
    pub fn add_csrf_values(&self, options: &mut TokenOptions, refreshed: Option<&Claims>) {
        let random = CsrfValues::random;
        let values = refreshed.map_or_else(random, |claims| CsrfValues::of(claims, ACCESS_CSRF_CLAIM));
        self.insert_csrf_values(options, values);
    }

    /// Removes the cookies of access tokens.
    pub fn unset_access_cookie(&self) -> SetCookies {
        self.settings.cookies.unset(&self.settings.cookies.access)
    }

    /// Removes the cookies of refresh tokens.
    pub fn unset_refresh_cookie(&self) -> SetCookies {
        self.settings.cookies.unset(&self.settings.cookies.refresh)
    }

    /// Returns whether tokens are looked for in cookies.
    #[must_use]
    pub fn uses_cookies(&self) -> bool {
        self.settings.locations.contains(&Location::Cookies)
    }

    /// Adds the application's claims for new tokens of this subject, and the CSRF values where they are needed.
    pub(crate) async fn complete(
        &self,
        subject: &Subject,
        mut options: TokenOptions,
        csrf: CsrfValues,
    ) -> Result<TokenOptions, RejectionReason> {
        if let Some(claims_of) = &self.settings.claims_of {
            for (name, value) in claims_of(subject.clone()).await? {
                options.access_claims.entry(name).or_insert(value);
            }
        }
        self.insert_csrf_values(&mut options, csrf);
        Ok(options)
    }

    fn insert_csrf_values(&self, options: &mut TokenOptions, CsrfValues { access, refresh }: CsrfValues) {
        if self.uses_cookies() && self.settings.cookies.csrf {
            options.refresh_claims.insert(ACCESS_CSRF_CLAIM.to_owned(), access.clone().into());
            options.refresh_claims.insert(CSRF_CLAIM.to_owned(), refresh.into());
            options.access_claims.insert(CSRF_CLAIM.to_owned(), access.into());
        }
    }

    /// Returns whether the application sets the claims of new tokens.
    pub(crate) fn asks_for_claims(&self) -> bool {
        self.settings.claims_of.is_some()
    }

    /// Returns whether a token or a CSRF value may be in a body.
    pub(crate) fn reads_bodies(&self) -> bool {
        let in_body = |location: &Location| matches!(location, Location::JsonBody { .. });
        self.settings.locations.iter().any(in_body) || self.settings.cookies.csrf_in_forms
    }

    pub(crate) fn cookies_used(&self) -> &Cookies {
        &self.settings.cookies
    }

    /// Returns the token of a request, from the first place that has one.
    pub(crate) fn find<'r>(&self, parts: &'r Parts, wanted: Wanted) -> Result<Option<Candidates<'r>>, RejectionReason> {
        let Settings { locations, places, cookies, .. } = &*self.settings;
        find(parts, locations, *places, cookies, wanted)
    }

    /// Returns the tokens of one place, the most recently issued first and tokens that are not authentic last.
    pub(crate) fn newest_first<'r>(&self, candidates: Candidates<'r>) -> impl Iterator<Item = Found<'r>> + use<'r> {
        let Candidates { mut first, mut others } = candidates;
        if !others.is_empty() {
            others.truncate(MAX_CANDIDATES);
            others.insert(0, first);
            let times = |found: &Found<'_>| {
                let (claims, _) = self.verifier().read_claims(&found.token).ok()?;
                Some((claims.issued_at, claims.expires_at))
            };
            others.sort_by_cached_key(|found| Reverse(times(found)));
            first = others.remove(0);
        }
        iter::once(first).chain(others)
    }

    /// Removes the cookies of both tokens from the browser that sent this request.
    pub(crate) fn unset_cookies(&self, repeated: SetCookies) -> SetCookies {
        repeated.and(self.unset_access_cookie()).and(self.unset_refresh_cookie())
    }

    /// Checks what the verifier does not: the CSRF proof and the application's own checks. Records the use of the session.
    pub(crate) async fn accept(&self, parts: &Parts, place: Place, claims: &Claims) -> Result<(), RejectionReason> {
        csrf::check(parts, place, &self.settings.cookies, claims)?;
        self.check(claims).await?;
        if let Source::Sessions(sessions) = &self.source
            && self.settings.notes_use
        {
            sessions.record_use(claims);
        }
        Ok(())
    }

    /// Returns whether a token is from our own issuer, and not from another accepted one.
    pub(crate) fn is_own(&self, claims: &Claims) -> bool {
        claims.issuer == *self.verifier().decoder().rules().issuer()
    }

    /// Runs the application's checks.
    pub(crate) async fn check(&self, claims: &Claims) -> Result<(), RejectionReason> {
        if self.settings.own_tokens_only && !self.is_own(claims) {
            return Err(TokenError::WrongIssuer.into());
        }
        for check in &self.settings.checks {
            let accepted = match check {
                Check::Now(check) => check(claims),
                Check::Later(check) => check(claims.clone()).await?,
            };
            if !accepted {
                return Err(RejectionReason::ClaimsRejected("a check of the guard".to_owned()));
            }
        }
        Ok(())
    }

    fn set_cookie(&self, token: &str, expected: TokenType) -> Result<SetCookies, AuthRejection> {
        let refuse = |refusal| self.reject(refusal);
        let cookies = &self.settings.cookies;
        let (claims, _) = self.verifier().read_claims(token).map_err(refuse)?;
        claims.require_type(expected).map_err(refuse)?;
        let csrf = csrf::value_of(&claims).filter(|_| cookies.csrf);
        if cookies.csrf && csrf.is_none() {
            return Err(self.reject(Error::Claims("a token for a cookie needs the claim `csrf`".to_owned())));
        }
        let cookie = match expected {
            TokenType::Access => &cookies.access,
            TokenType::Refresh => &cookies.refresh,
        };
        let age = claims.expires_at.since(self.verifier().now());
        cookies.set(cookie, token, csrf, age).map_err(|error| self.reject(error))
    }

    fn change(&mut self) -> &mut Settings {
        Arc::make_mut(&mut self.settings)
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Guard").finish_non_exhaustive()
    }
}

impl From<&Node> for Guard {
    fn from(node: &Node) -> Self {
        Self::from_sessions(node.sessions())
    }
}

impl FromRef<Arc<Sessions>> for Guard {
    fn from_ref(sessions: &Arc<Sessions>) -> Self {
        Self::from_sessions(sessions)
    }
}

impl FromRef<Arc<Node>> for Guard {
    fn from_ref(node: &Arc<Node>) -> Self {
        Self::from_sessions(node.sessions())
    }
}

impl FromRef<Arc<Verifier>> for Guard {
    fn from_ref(verifier: &Arc<Verifier>) -> Self {
        Self::from_verifier(Arc::clone(verifier))
    }
}

/// A router state that provides a [`Guard`]: every type that `Guard` implements [`FromRef`] for.
///
/// A router without one does not compile. axum only reports that the function is not a handler; `#[axum::debug_handler]` on
/// it makes the compiler name the missing implementation:
///
/// ```compile_fail,E0277
/// # use adieu_axum::AccessToken;
/// #[derive(Clone)]
/// struct App;
///
/// // the state `App` has no `Guard` to give, so no handler below it can take a token
/// #[axum::debug_handler(state = App)]
/// async fn profile(token: AccessToken) -> String {
///     token.subject().to_string()
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "the state `{Self}` has no `Guard` to give, so no handler below it can take a token",
    label = "this state has no `Guard`",
    note = "give the router a state that has one with `.with_state(…)`: an `Arc<Sessions>`, an `Arc<Node>`, an \
            `Arc<Verifier>`, a `Guard`, or a type of yours with `impl FromRef<{Self}> for Guard`",
    note = "`#[derive(axum::extract::FromRef)]` on the state writes that for each of its fields"
)]
pub trait GuardedState: Send + Sync {
    /// Returns the guard.
    fn guard(&self) -> Guard;
}

#[diagnostic::do_not_recommend]
impl<S> GuardedState for S
where
    S: Send + Sync,
    Guard: FromRef<S>,
{
    fn guard(&self) -> Guard {
        Guard::from_ref(self)
    }
}

/// A router state that provides sessions: every type that `Arc<Sessions>` implements [`FromRef`] for.
#[diagnostic::on_unimplemented(
    message = "the state `{Self}` has no `Arc<Sessions>` to give, which is needed for logging in, refreshing and logging out",
    label = "this state has no `Arc<Sessions>`",
    note = "give the router a state that has them with `.with_state(…)`: an `Arc<Sessions>`, or a type of yours with \
            `impl FromRef<{Self}> for Arc<Sessions>`; a node that only follows another one has none"
)]
pub trait SessionState: GuardedState {
    /// Returns the sessions.
    fn sessions(&self) -> Arc<Sessions>;
}

#[diagnostic::do_not_recommend]
impl<S> SessionState for S
where
    S: GuardedState,
    Arc<Sessions>: FromRef<S>,
{
    fn sessions(&self) -> Arc<Sessions> {
        Arc::from_ref(self)
    }
}
