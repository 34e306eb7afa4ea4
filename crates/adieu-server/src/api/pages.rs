//! Pages for people: handlers that call what the API calls, and answer with [`crate::pages`]. Here is what all pages share.
//!
//! 1. The tokens are in cookies with the prefix `__Host-`, of which scripts can read only the CSRF values. The rest of the API
//!    accepts them only if the setting `token_cookies` says so.
//! 2. A request that may change something must come from a page of this origin ([`is_foreign`]), also a login, which has no CSRF value
//!    yet; and it must repeat the CSRF value of its token.
//! 3. A request that says `Accept: application/json` gets JSON in the shapes of the API, for scripts and for pages of applications.
//!    Any other gets a page, or a redirect to one.
//! 4. No `GET` changes anything. A page whose access token has expired refreshes by a form.

mod account;
mod console;

use std::sync::Arc;

use adieu::session::Sessions;
use adieu_axum::{Cookies, Guard, RejectionKind, SetCookies};
use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, FromRef, FromRequestParts, Path, Request},
    http::{HeaderMap, HeaderName, Method, StatusCode, header, request::Parts},
    middleware::{Next, from_fn, map_response},
    response::{IntoResponse, Redirect, Response},
    routing::get,
};
use serde_json::Value;
use tokio::sync::Semaphore;

use super::Api;
use crate::{
    error::ApiError,
    input,
    pages::{Area, Asset, Language, Messages, NoticePage, Page, Render, VERSION},
    text::{Password, Username},
};

/// The state of the handlers: that of the API, with a guard that looks for tokens in cookies only.
#[derive(Clone)]
struct Pages {
    api: Api,
    guard: Guard,
    /// Permits for searches of the audit trail by users.
    searches: Arc<Semaphore>,
}

impl FromRef<Pages> for Api {
    fn from_ref(pages: &Pages) -> Self {
        pages.api.clone()
    }
}

impl FromRef<Pages> for Guard {
    fn from_ref(pages: &Pages) -> Self {
        pages.guard.clone()
    }
}

impl FromRef<Pages> for Arc<Sessions> {
    fn from_ref(pages: &Pages) -> Self {
        Arc::clone(&pages.api.node.sessions)
    }
}

/// Returns the routes of the pages.
///
/// # Errors
/// If the cookies contradict each other, which would be a mistake here.
pub(super) fn router(api: Api) -> Result<Router, adieu::Error> {
    let guard = Guard::from_sessions(&api.node.sessions)
        .own_tokens_only()
        .with_locations([])
        .with_cookies(Cookies::new().with_csrf_in_forms())?;
    let (max_body_bytes, timeout) = (api.settings.max_body_bytes.get(), api.settings.request_timeout);
    let read_bodies = guard.read_bodies().with_max_bytes(max_body_bytes).with_body_timeout(timeout);
    let console = match (api.settings.console, api.settings.console_listen) {
        (false, _) => Router::new(),
        (true, None) => console::router(),
        (true, Some(_)) => console::router().route_layer(from_fn(only_at_its_address)),
    };
    Ok(account::router()
        .merge(console)
        .layer(read_bodies)
        .layer(DefaultBodyLimit::max(max_body_bytes))
        .layer(from_fn(reject_foreign))
        .layer(map_response(errors_of_bodies_as_json))
        .route("/assets/{version}/{name}", get(asset))
        .with_state(Pages { api, guard, searches: Arc::new(Semaphore::new(account::SEARCHES)) }))
}

/// Answers a body that is too long or too slow with the JSON of [`ApiError`].
async fn errors_of_bodies_as_json(response: Response) -> Response {
    if response.headers().contains_key(header::CONTENT_TYPE) {
        return response;
    }
    match response.status() {
        StatusCode::PAYLOAD_TOO_LARGE => ApiError::BodyTooLarge.into_response(),
        StatusCode::REQUEST_TIMEOUT => ApiError::RequestTimeout.into_response(),
        _ => response,
    }
}

async fn asset(Path((version, name)): Path<(String, String)>) -> Response {
    let Some(asset) = Asset::named(&name) else { return ApiError::NotFound.into_response() };
    // During an update, another node may have rendered the page.
    let caching = if version == *VERSION { "public, max-age=31536000, immutable" } else { "no-store" };
    ([(header::CONTENT_TYPE, asset.content_type), (header::CACHE_CONTROL, caching)], asset.content).into_response()
}

/// In the requests that were received at the address of the console.
#[derive(Debug, Clone, Copy)]
pub struct AtConsole;

async fn only_at_its_address(request: Request, next: Next) -> Response {
    match request.extensions().get::<AtConsole>() {
        Some(AtConsole) => next.run(request).await,
        None => ApiError::NotFound.into_response(),
    }
}

async fn reject_foreign(request: Request, next: Next) -> Response {
    match is_foreign(request.method(), request.headers()) {
        true => ApiError::Forbidden("This request comes from another site.".into()).into_response(),
        false => next.run(request).await,
    }
}

/// Returns whether a page of another origin sent a request that may change something. Browsers say so in `Sec-Fetch-Site` or, older
/// ones and those without TLS, in `Origin`. A client that sends neither is no browser.
fn is_foreign(method: &Method, headers: &HeaderMap) -> bool {
    if method.is_safe() {
        return false;
    }
    let header = |name| headers.get(name).map(|value: &header::HeaderValue| value.to_str().unwrap_or_default());
    match header(header::ORIGIN).filter(|_| !headers.contains_key(SITE)) {
        Some(origin) => {
            let host = origin.split_once("://").map(|(_, host)| host);
            host.is_none() || host != header(header::HOST)
        }
        None => is_from_another_site(headers),
    }
}

/// Which page caused a request (Fetch Metadata).
const SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Returns whether the browser says that a page of another origin caused a request.
fn is_from_another_site(headers: &HeaderMap) -> bool {
    headers.get(SITE).is_some_and(|site| !["same-origin", "none"].contains(&site.to_str().unwrap_or_default()))
}

/// What a request says about how to answer it.
struct Visit {
    wants_json: bool,
    language: Language,
}

impl<S: Sync> FromRequestParts<S> for Visit {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let accept = parts.headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
        Ok(Self { wants_json: accept.starts_with("application/json"), language: Language::of(&parts.headers) })
    }
}

impl Visit {
    fn page(&self) -> Result<Page, ApiError> {
        Page::new(self.language).map_err(|error| ApiError::internal(error.to_string()))
    }

    /// Answers a change that was made: with the body, or with a redirect.
    fn done(&self, cookies: SetCookies, to: &str, body: Value) -> Response {
        match self.wants_json {
            true => (cookies, Json(body)).into_response(),
            false => (cookies, Redirect::to(to)).into_response(),
        }
    }

    /// Answers an error with a page that says what went wrong, unless the client wants JSON.
    fn failed(&self, error: ApiError, view: impl FnOnce(Page, String) -> Box<dyn Rendered>) -> Response {
        if self.wants_json {
            return error.into_response();
        }
        match self.page() {
            Ok(page) => {
                let problem = problem(&error, page.messages());
                render(error.into_response(), &*view(page, problem))
            }
            Err(error) => error.into_response(),
        }
    }

    /// Answers an error with a page of its own.
    fn notice(&self, error: ApiError) -> Response {
        self.failed(error, |page, problem| Box::new(NoticePage { page, problem }))
    }
}

/// [`Render`], as an object.
trait Rendered {
    fn document(&self, headers: &mut HeaderMap) -> Result<String, Box<dyn std::error::Error + Send + Sync>>;
}

impl<R: Render> Rendered for R {
    fn document(&self, headers: &mut HeaderMap) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
        Render::document(self, headers)
    }
}

/// Puts a page into a response, whose status and other headers it keeps.
fn render(mut response: Response, page: &dyn Rendered) -> Response {
    match page.document(response.headers_mut()) {
        Ok(document) => {
            response.headers_mut().remove(header::CONTENT_LENGTH);
            *response.body_mut() = document.into();
            response
        }
        Err(error) => ApiError::internal(error).into_response(),
    }
}

fn problem(error: &ApiError, t: &Messages) -> String {
    let text = match error {
        ApiError::InvalidCredentials => t.wrong_credentials,
        ApiError::Conflict(_) => t.name_taken,
        ApiError::TooManyAttempts { .. } | ApiError::TooManyStreams => t.too_many,
        ApiError::NotFound => t.not_found,
        ApiError::AdminOnly => t.console.admins_only,
        ApiError::Refused(refused) if refused.kind() == RejectionKind::Stale => t.console.warn_stale,
        ApiError::Invalid(_) => t.same_password,
        ApiError::Forbidden(_) => t.registration_closed,
        ApiError::Refused(refused) if refused.kind() == RejectionKind::Csrf => t.expired_form,
        _ => t.unavailable,
    };
    text.to_owned()
}

/// The form of a request: its fields are read one by one.
struct Fields(input::FormFields);

impl Fields {
    fn text(&mut self, name: &'static str) -> Result<String, ApiError> {
        Ok(self.0.take(name)?.unwrap_or_default())
    }

    /// Where the form comes from, and where its answer goes.
    fn area(&mut self) -> Area {
        Area::named(&self.text("to").unwrap_or_default())
    }

    fn username(&mut self) -> Result<Username, ApiError> {
        Username::new(&self.text("username")?).map_err(|_| ApiError::InvalidCredentials)
    }

    /// The password as it is. One that can't be a password is a wrong one.
    fn password(&mut self) -> Result<Password, ApiError> {
        Password::typed(self.text("password")?.into()).map_err(|_| ApiError::InvalidCredentials)
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn only_pages_of_this_origin_may_change_something() {
        for (headers, expected) in [
            (&[("sec-fetch-site", "same-origin")][..], false),
            (&[("sec-fetch-site", "none")], false),
            (&[("sec-fetch-site", "same-site")], true),
            (&[("sec-fetch-site", "cross-site"), ("origin", "https://a.example")], true),
            (&[("sec-fetch-site", "")], true),
            (&[("origin", "https://a.example")], false),
            (&[("origin", "https://a.example:444")], true),
            (&[("origin", "https://b.example")], true),
            (&[("origin", "null")], true),
            (&[("origin", "a.example")], true),
            (&[], false),
        ] {
            let mut map = HeaderMap::new();
            map.insert(header::HOST, HeaderValue::from_static("a.example"));
            for (name, value) in headers {
                map.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
            }
            assert_eq!(is_foreign(&Method::POST, &map), expected, "{headers:?}");
            assert!(!is_foreign(&Method::GET, &map));
        }
    }
}
