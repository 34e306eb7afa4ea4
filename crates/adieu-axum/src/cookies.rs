//! Tokens in cookies.

mod header;
mod set;
mod variants;

use std::time::Duration;

use adieu::Error;
use axum::http::{HeaderName, Method};
use cookie::Cookie;

pub(crate) use header::{cookies_of, name_and_value};
pub use set::SetCookies;

/// When a browser sends a cookie with a request from another site (RFC 6265bis §4.1.2.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SameSite {
    /// Never.
    Strict,
    /// With top-level navigations by GET.
    Lax,
    /// Always.
    None,
}

impl SameSite {
    const fn attribute(self) -> cookie::SameSite {
        match self {
            Self::Strict => cookie::SameSite::Strict,
            Self::Lax => cookie::SameSite::Lax,
            Self::None => cookie::SameSite::None,
        }
    }
}

/// The maximum length of name and value together that browsers keep (RFC 6265bis §5.7), in bytes.
const MAX_COOKIE_BYTES: usize = 4096;

/// The settings of cookies for tokens, and their protection against cross-site requests.
///
/// 1. A cookie with a token has `Secure` and `HttpOnly`. Access tokens have `SameSite=Lax`, refresh tokens `Strict`.
/// 2. The names begin with `__Host-`, so that no neighbouring domain can set them (RFC 6265bis §4.1.3.2). The prefix requires
///    the path `/` and no domain; for another path or a domain, set other names.
/// 3. A request that may change something (any method but GET, HEAD, OPTIONS and TRACE) must repeat a random value that is
///    signed into the token as its claim `csrf`. Scripts of the same origin read it from a second cookie and send it in a
///    header; see [`TokenCookie::with_csrf_header`]. The value belongs to the session: renewals and refreshes do not change it, so
///    that forms in open pages stay valid.
/// 4. An upgrade, as to a WebSocket, cannot have such a header. It must come from a page of the same origin, or of one that
///    [`Cookies::with_allowed_origin`] adds.
/// 5. The cookies end with the browser session, unless [`Cookies::with_persistent`] is set.
/// 6. A token that is longer than browsers keep fails the login with an error that says so.
/// 7. If a browser sends several cookies of one name, as after a change of domain or path, the valid one counts; of several
///    valid ones, the most recently issued. A logout revokes the tokens in all of them. Login and logout remove the others,
///    for as many domains and paths as fit into 2 KB of headers. A neighbouring domain cannot set a name with `__Host-`; it
///    can set any other name.
///
/// Options that weaken this protection are in [`dangerous`](crate::dangerous). [`Guard::with_cookies`](crate::Guard::with_cookies)
/// rejects contradictory settings.
///
/// The cookies do not protect against login CSRF, in which another site logs a browser in as a different user. A form of
/// another site cannot send a login that takes JSON.
///
/// ```
/// # use std::{sync::Arc, time::Duration};
/// # use adieu::{Error, session::{Scope, Sessions}};
/// # use adieu_axum::{AccessToken, Auth, Cookies, Guard, LoggedOut, PresentedToken, AuthRejection};
/// # use axum::{Router, extract::FromRef, routing::{get, post}};
/// #[derive(Clone, FromRef)]
/// struct App {
///     guard: Guard,
///     sessions: Arc<Sessions>,
/// }
///
/// async fn log_out(auth: Auth, token: PresentedToken) -> Result<LoggedOut, AuthRejection> {
///     auth.log_out(&token, Scope::This).await // and the cookies are removed
/// }
///
/// fn router(sessions: Arc<Sessions>) -> Result<Router, Error> {
///     let guard = Guard::from_sessions(&sessions).with_cookies(Cookies::new().with_persistent())?;
///     Ok(Router::new()
///         .route("/profile", get(async |token: AccessToken| token.subject().to_string()))
///         .route("/logout", post(log_out))
///         .layer(guard.renew_cookies(&sessions, Duration::from_secs(300)))
///         .with_state(App { guard, sessions }))
/// }
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct Cookies {
    pub(crate) access: TokenCookie,
    pub(crate) refresh: TokenCookie,
    pub(crate) domain: Option<String>,
    pub(crate) secure: bool,
    pub(crate) partitioned: bool,
    pub(crate) persistent: bool,
    pub(crate) csrf: bool,
    pub(crate) csrf_in_forms: bool,
    pub(crate) origins: Vec<String>,
}

/// The cookie of one type of token, and the cookie with its CSRF value.
#[derive(Debug, Clone)]
#[must_use]
pub struct TokenCookie {
    pub(crate) name: String,
    pub(crate) path: String,
    pub(crate) same_site: SameSite,
    pub(crate) csrf_name: String,
    pub(crate) csrf_path: String,
    pub(crate) csrf_header: HeaderName,
    pub(crate) csrf_field: String,
}

impl Default for Cookies {
    fn default() -> Self {
        Self::new()
    }
}

impl Cookies {
    /// Creates the cookies `__Host-access_token` and `__Host-refresh_token`, with `__Host-csrf_access_token` and
    /// `__Host-csrf_refresh_token`.
    pub fn new() -> Self {
        Self::named(
            "__Host-access_token",
            "__Host-refresh_token",
            "__Host-csrf_access_token",
            "__Host-csrf_refresh_token",
        )
    }

    /// Creates the cookies with Flask-JWT-Extended's names, for services that share them with a Flask application.
    pub fn flask_jwt_extended() -> Self {
        Self::named("access_token_cookie", "refresh_token_cookie", "csrf_access_token", "csrf_refresh_token")
    }

    fn named(access: &str, refresh: &str, csrf_access: &str, csrf_refresh: &str) -> Self {
        Self {
            access: TokenCookie::new(access, csrf_access, SameSite::Lax),
            refresh: TokenCookie::new(refresh, csrf_refresh, SameSite::Strict),
            domain: None,
            secure: true,
            partitioned: false,
            persistent: false,
            csrf: true,
            csrf_in_forms: false,
            origins: Vec::new(),
        }
    }

    /// Changes the cookie for access tokens.
    pub fn with_access(mut self, change: impl FnOnce(TokenCookie) -> TokenCookie) -> Self {
        self.access = change(self.access);
        self
    }

    /// Changes the cookie for refresh tokens.
    pub fn with_refresh(mut self, change: impl FnOnce(TokenCookie) -> TokenCookie) -> Self {
        self.refresh = change(self.refresh);
        self
    }

    /// Sets `Domain`: all hosts of this domain receive the cookies.
    pub fn with_domain(self, domain: impl Into<String>) -> Self {
        Self { domain: Some(domain.into()), ..self }
    }

    /// Sets `Partitioned`: each site that embeds ours has cookies of its own.
    pub fn with_partitioned(self) -> Self {
        Self { partitioned: true, ..self }
    }

    /// Sets `Max-Age` to the lifetime of the token: the cookies survive a restart of the browser.
    pub fn with_persistent(self) -> Self {
        Self { persistent: true, ..self }
    }

    /// Also accepts the CSRF value in a form field: `application/x-www-form-urlencoded`, or `multipart/form-data` if the
    /// field comes before the files. It requires a layer that reads the body first:
    /// [`Guard::read_bodies`](crate::Guard::read_bodies) or [`Guard::protect`](crate::Guard::protect).
    pub fn with_csrf_in_forms(self) -> Self {
        Self { csrf_in_forms: true, ..self }
    }

    /// Allows pages of this origin, such as `https://app.example`, to open WebSockets with the cookies. Pages of the same
    /// host are always allowed.
    pub fn with_allowed_origin(mut self, origin: impl Into<String>) -> Self {
        self.origins.push(origin.into());
        self
    }

    /// # Errors
    /// [`Error::InvalidSetting`], naming the settings that contradict each other.
    pub(crate) fn validate(&self) -> Result<(), Error> {
        let wrong = |what: String| Err(Error::setting("cookies", what));
        let (access, refresh) = (&self.access, &self.refresh);
        let named = [
            (&access.name, &access.path),
            (&refresh.name, &refresh.path),
            (&access.csrf_name, &access.csrf_path),
            (&refresh.csrf_name, &refresh.csrf_path),
        ];
        for (index, (name, path)) in named.iter().enumerate() {
            if name.is_empty() || !name.bytes().all(is_token_byte) {
                return wrong(format!("`{}` can't be the name of a cookie", name.escape_debug()));
            }
            if named.iter().take(index).any(|(other, _)| other.eq_ignore_ascii_case(name)) {
                return wrong(format!("two cookies are called `{name}`"));
            }
            if !path.starts_with('/') || !path.bytes().all(is_value_byte) {
                return wrong(format!("`{}` can't be the path of a cookie", path.escape_debug()));
            }
            if has_prefix(name, "__Host-") && (*path != "/" || self.domain.is_some()) {
                return wrong(format!("the cookie `{name}` must have the path `/` and no domain, or another name"));
            }
            if (has_prefix(name, "__Host-") || has_prefix(name, "__Secure-")) && !self.secure {
                return wrong(format!("the cookie `{name}` must be `Secure`, or have another name"));
            }
        }
        if self.domain.as_ref().is_some_and(|domain| domain.is_empty() || !domain.bytes().all(is_value_byte)) {
            return wrong("this can't be the domain of a cookie".to_owned());
        }
        if !self.secure && (self.partitioned || [access, refresh].iter().any(|one| one.same_site == SameSite::None)) {
            return wrong("`SameSite=None` and `Partitioned` need `Secure`".to_owned());
        }
        for origin in &self.origins {
            let host = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
            if host.is_none_or(|host| host.is_empty() || !host.bytes().all(is_host_byte)) {
                return wrong(format!("`{}` is not an origin such as `https://app.example`", origin.escape_debug()));
            }
        }
        Ok(())
    }

    /// Returns the cookie with a token, and the one with its CSRF value.
    ///
    /// # Errors
    /// [`Error::Claims`] if the token is too long for a cookie.
    pub(crate) fn set(
        &self,
        cookie: &TokenCookie,
        token: &str,
        csrf: Option<&str>,
        age: Duration,
    ) -> Result<SetCookies, Error> {
        let length = cookie.name.len().saturating_add(token.len());
        if length > MAX_COOKIE_BYTES {
            return Err(Error::Claims(format!(
                "the cookie `{}` would have {length} bytes, and browsers keep at most {MAX_COOKIE_BYTES}: put fewer claims \
                 into the token",
                cookie.name
            )));
        }
        let max_age = self.persistent.then(|| i64::try_from(age.as_secs()).unwrap_or(i64::MAX));
        let mut set = SetCookies::default();
        set.push(&self.cookie(&cookie.name, token, &cookie.path, cookie.same_site, true, max_age));
        if let Some(csrf) = csrf {
            set.push(&self.cookie(&cookie.csrf_name, csrf, &cookie.csrf_path, cookie.same_site, false, max_age));
        }
        Ok(set)
    }

    /// Removes both cookies.
    pub(crate) fn unset(&self, cookie: &TokenCookie) -> SetCookies {
        let mut set = SetCookies::default();
        set.push(&self.cookie(&cookie.name, "", &cookie.path, cookie.same_site, true, Some(0)));
        if self.csrf {
            set.push(&self.cookie(&cookie.csrf_name, "", &cookie.csrf_path, cookie.same_site, false, Some(0)));
        }
        set
    }

    fn cookie<'c>(
        &'c self,
        name: &'c str,
        value: &'c str,
        path: &'c str,
        same_site: SameSite,
        http_only: bool,
        max_age: Option<i64>,
    ) -> Cookie<'c> {
        let mut cookie = Cookie::new(name, value);
        cookie.set_path(path);
        cookie.set_same_site(same_site.attribute());
        cookie.set_secure(self.secure);
        cookie.set_http_only(http_only);
        cookie.set_partitioned(self.partitioned);
        if let Some(domain) = &self.domain {
            cookie.set_domain(domain.as_str());
        }
        if let Some(seconds) = max_age {
            cookie.set_max_age(cookie::time::Duration::seconds(seconds));
        }
        cookie
    }
}

impl TokenCookie {
    fn new(name: &str, csrf_name: &str, same_site: SameSite) -> Self {
        Self {
            name: name.to_owned(),
            path: "/".to_owned(),
            same_site,
            csrf_name: csrf_name.to_owned(),
            csrf_path: "/".to_owned(),
            csrf_header: HeaderName::from_static("x-csrf-token"),
            csrf_field: "csrf_token".to_owned(),
        }
    }

    /// Sets the cookie's name.
    pub fn with_name(self, name: impl Into<String>) -> Self {
        Self { name: name.into(), ..self }
    }

    /// Sets `Path`; the default is `/`.
    pub fn with_path(self, path: impl Into<String>) -> Self {
        Self { path: path.into(), ..self }
    }

    /// Sets `SameSite`.
    pub fn with_same_site(self, same_site: SameSite) -> Self {
        Self { same_site, ..self }
    }

    /// Sets the name of the cookie with the CSRF value, which scripts can read.
    pub fn with_csrf_name(self, csrf_name: impl Into<String>) -> Self {
        Self { csrf_name: csrf_name.into(), ..self }
    }

    /// Sets the path of the cookie with the CSRF value: the path of the pages whose scripts read it.
    pub fn with_csrf_path(self, csrf_path: impl Into<String>) -> Self {
        Self { csrf_path: csrf_path.into(), ..self }
    }

    /// Sets the header that must repeat the CSRF value; the default is `X-CSRF-TOKEN`.
    pub fn with_csrf_header(self, csrf_header: HeaderName) -> Self {
        Self { csrf_header, ..self }
    }

    /// Sets the form field that may repeat the CSRF value, with [`Cookies::with_csrf_in_forms`]; the default is `csrf_token`.
    pub fn with_csrf_field(self, csrf_field: impl Into<String>) -> Self {
        Self { csrf_field: csrf_field.into(), ..self }
    }
}

/// Returns whether a request with this method must prove that it comes from our own pages.
pub(crate) fn may_change_something(method: &Method) -> bool {
    ![Method::GET, Method::HEAD, Method::OPTIONS, Method::TRACE].contains(method)
}

fn has_prefix(name: &str, prefix: &str) -> bool {
    name.get(..prefix.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(prefix))
}

/// RFC 9110 §5.6.2.
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// RFC 6265 §4.1.1: `path-value`.
fn is_value_byte(byte: u8) -> bool {
    (b' '..=b'~').contains(&byte) && byte != b';'
}

/// Returns whether a byte may occur in the host of an origin, including its port.
fn is_host_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte)
}
