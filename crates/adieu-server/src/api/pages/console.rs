//! `/console`: administrators see the whole system, and change it.
//!
//! 1. Every request needs the token of an administrator ([`Operator`]).
//! 2. A change is shown first, with what follows from it and how to do it elsewhere, by a `GET` that changes nothing, and made by a
//!    `POST`. What gives power to others or ends everything also needs the password of the administrator.
//! 3. A change that revokes is answered once it holds everywhere; with `progress=1`, which scripts add, at once, with a page that shows
//!    where it holds.

mod aliases;
mod audit;
mod clients;
mod deliveries;
mod keys;
mod overview;
mod progress;
mod revocations;
mod sessions;
mod token;
mod users;

use std::collections::{HashMap, HashSet};

use adieu::{Error, Subject};
use adieu_axum::{AccessToken, AuthRejection};
use axum::{
    Router,
    extract::{FromRequestParts, RawQuery},
    http::{Method, request::Parts},
    response::{IntoResponse, Redirect, Response},
    routing::{get, post},
};
use serde_json::Value;
use uuid::Uuid;

use super::{
    super::{
        Api,
        client::{Client, is_admin},
        feed::Wait,
        time_limit::MoreTime,
    },
    Fields, Pages, Rendered, SITE, Visit, problem, render,
};
use crate::{
    accounts::Account,
    error::ApiError,
    feed::Everywhere,
    input,
    pages::{Area, ConsoleMessages, Frame, Framed, Messages, NoticePage, Page, Section},
};

/// Returns the routes.
pub(super) fn router() -> Router<Pages> {
    Router::new()
        .route("/console", get(overview::show))
        .route("/console/users", get(users::list))
        .route("/console/users/{id}", get(users::show))
        .route("/console/users/{id}/{action}", post(users::act))
        .route("/console/sessions", get(sessions::list))
        .route("/console/revocations", get(revocations::list).post(revocations::revoke))
        .route("/console/token", get(token::form).post(token::explain))
        .route("/console/clients", get(clients::list))
        .route("/console/clients/{action}", post(clients::act))
        .route("/console/aliases", get(aliases::list).post(aliases::search))
        .route("/console/aliases/add", post(aliases::add))
        .route("/console/aliases/remove", post(aliases::remove))
        .route("/console/progress", get(progress::show))
        .route("/console/keys", get(keys::list))
        .route("/console/keys/rotate", post(keys::rotate))
        .route("/console/keys/remove", post(keys::remove))
        .route("/console/deliveries", get(deliveries::list))
        .route("/console/deliveries/replay", post(deliveries::replay))
        .route("/console/deliveries/skip", post(deliveries::skip))
        .route("/console/audit", get(audit::search))
}

/// An administrator who asks for a page of the console.
struct Operator {
    visit: Visit,
    token: AccessToken,
    query: Query,
    /// Whether a page of this origin has led here, as far as the browser says. What another says was done may not be true.
    is_own_link: bool,
}

impl FromRequestParts<Pages> for Operator {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, pages: &Pages) -> Result<Self, Response> {
        let Ok(visit) = Visit::from_request_parts(parts, pages).await;
        let token = Result::<AccessToken, AuthRejection>::from_request_parts(parts, pages).await;
        let Ok(RawQuery(query)) = RawQuery::from_request_parts(parts, pages).await;
        let query = query.unwrap_or_default();
        let token = match token {
            Ok(Ok(token)) => token,
            Ok(Err(refused)) if parts.method == Method::GET => {
                return Err(pages.entrance(&visit, refused, &query, &parts.headers, Area::Console));
            }
            Ok(Err(refused)) => return Err(pages.refused(&visit, refused, Area::Console)),
            Err(impossible) => match impossible {},
        };
        if !is_admin(&token, pages.api.node.sessions.issuer()) {
            return Err(visit.notice(ApiError::AdminOnly));
        }
        let is_own_link = parts.headers.get(SITE).is_none_or(|site| site == "same-origin");
        Ok(Self { visit, token, query: Query(query), is_own_link })
    }
}

impl Operator {
    fn subject(&self) -> &Subject {
        self.token.subject()
    }

    /// Returns the page and its frame. Says what was done if the query says so.
    async fn frame(&self, pages: &Pages, section: Section) -> Result<(Page, Frame), ApiError> {
        let page = self.visit.page()?;
        let account = pages.api.account(self.subject()).await?;
        let csrf = self.token.custom.get("csrf").and_then(Value::as_str).unwrap_or_default().to_owned();
        let c = page.messages().console;
        let head = self.query.get("at").filter(|_| self.is_own_link).and_then(|head| head.parse().ok());
        let progress = match head {
            Some(head) => Some(progress::progress(pages, &page, &head, None).await?),
            None => None,
        };
        let frame = Frame {
            section,
            title: section.name(c).to_owned(),
            username: account.username.to_string(),
            csrf,
            expires_in: pages.expires_in(&self.token),
            notice: Done::read(&self.query).filter(|_| self.is_own_link).map(|done| done.text(c)),
            problem: None,
            progress,
        };
        Ok((page, frame))
    }

    /// Checks the password in a form.
    async fn confirm(&self, pages: &Pages, form: &mut Fields, client: &Client) -> Result<(), Refusal> {
        let confirmed = async { pages.api.confirm_password(&self.token, &form.password()?, client).await };
        match confirmed.await {
            Ok(_) => Ok(()),
            Err(ApiError::InvalidCredentials) => {
                Err(Refusal::Known(ApiError::InvalidCredentials, |t| t.wrong_password))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Returns who makes a change, for the audit trail.
    fn by(&self, client: &Client) -> crate::audit::Operator<'_> {
        crate::audit::Operator { subject: Some(self.subject()), address: Some(client.address) }
    }

    fn now(&self, pages: &Pages) -> adieu::time::Timestamp {
        pages.api.node.clock.now()
    }
}

/// Why a change was not made.
enum Refusal {
    /// For a reason with a text of its own.
    Known(ApiError, fn(&'static Messages) -> &'static str),
    Other(ApiError),
}

impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        Self::Other(error)
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Other(error.into())
    }
}

impl Refusal {
    fn known(error: ApiError, text: fn(&'static Messages) -> &'static str) -> Self {
        Self::Known(error, text)
    }

    /// Returns the error, and what to say about it.
    fn told(self, t: &'static Messages) -> (ApiError, String) {
        match self {
            Self::Known(error, text) => (error, text(t).to_owned()),
            Self::Other(error) => {
                let text = match &error {
                    ApiError::Conflict(_) => t.console.not_yourself.to_owned(),
                    ApiError::NotFound => t.console.nothing_here.to_owned(),
                    error => problem(error, t),
                };
                (error, text)
            }
        }
    }
}

/// The names of users, by their ids.
type Names = HashMap<String, String>;

impl Api {
    /// Returns the names of those of these ids that are users.
    async fn names(&self, ids: HashSet<&str>) -> Result<Names, ApiError> {
        let mut names = Names::new();
        for id in ids {
            let Ok(subject) = Subject::new(id) else { continue };
            if let Some(account) = self.node.accounts.store().by_id(&subject).await? {
                names.insert(id.to_owned(), account.username.to_string());
            }
        }
        Ok(names)
    }
}

/// A page that was asked for, or why there is none.
type Answer<P> = Result<P, ApiError>;

/// Answers with a page, or with a page that says what went wrong.
fn answer<P: Rendered>(visit: &Visit, page: Answer<P>) -> Response {
    match page {
        Ok(page) => render(().into_response(), &page),
        Err(error) => notice(visit, error),
    }
}

/// Answers an error with a page of its own.
fn notice(visit: &Visit, error: ApiError) -> Response {
    let is_missing = matches!(error, ApiError::NotFound);
    visit.failed(error, |page, problem| {
        let problem = if is_missing { page.messages().console.nothing_here.to_owned() } else { problem };
        Box::new(NoticePage { page, problem })
    })
}

/// Answers a change: one that was not made with the page on which it was chosen, and the reason.
async fn conclude<P: Framed>(
    visit: &Visit,
    changed: Result<Response, Refusal>,
    page: impl Future<Output = Answer<P>>,
) -> Response {
    let refusal = match changed {
        Ok(response) => return response,
        Err(refusal) => refusal,
    };
    let (error, problem) = refusal.told(visit.language.messages());
    match page.await {
        Ok(mut page) => {
            page.frame_mut().problem = Some(problem);
            render(error.into_response(), &page)
        }
        Err(error) => notice(visit, error),
    }
}

/// What was done, in the query of the page that says so.
struct Done {
    sessions: Option<usize>,
    everywhere: Option<Everywhere>,
}

impl Done {
    fn read(query: &Query) -> Option<Self> {
        let done = query.get("done")?;
        let numbers: Vec<usize> = done.split('.').map_while(|number| number.parse().ok()).collect();
        Some(match *numbers {
            [sessions, acknowledged, waited_out, unbounded] => {
                Self { sessions: Some(sessions), everywhere: Some(Everywhere { acknowledged, waited_out, unbounded }) }
            }
            [sessions] => Self { sessions: Some(sessions), everywhere: None },
            _ => Self { sessions: None, everywhere: None },
        })
    }

    fn text(&self, c: &ConsoleMessages) -> String {
        let mut text = c.done.to_owned();
        if let Some(sessions) = self.sessions.filter(|sessions| *sessions > 0) {
            text = format!("{text} {}", (c.sessions_ended)(sessions));
        }
        if let Some(everywhere) = self.everywhere {
            text = format!("{text} {}", everywhere.text(c));
        }
        text
    }
}

impl Everywhere {
    fn text(self, c: &ConsoleMessages) -> String {
        // This server has it too.
        c.everywhere(self.acknowledged.saturating_add(1), self.waited_out, self.unbounded)
    }
}

/// Waits until a revocation holds everywhere, and goes to a page that says so; if the form asks for it, goes there at once, and the page shows
/// the progress.
async fn done_everywhere(
    pages: &Pages,
    time: MoreTime,
    form: &mut Fields,
    sessions: usize,
    to: &str,
) -> Result<Response, Refusal> {
    if form.text("progress").is_ok_and(|progress| progress == "1")
        && let Some(response) = progress::watched(pages, sessions, to).await?
    {
        return Ok(response);
    }
    let waited = Wait::new(Some(()), time).until_everywhere(&pages.api.node.feed).await;
    let done = match waited.map_err(|error| Refusal::known(error, |t| t.console.done_not_everywhere))? {
        Some(Everywhere { acknowledged, waited_out, unbounded }) => {
            format!("{sessions}.{acknowledged}.{waited_out}.{unbounded}")
        }
        None => String::new(),
    };
    Ok(Redirect::to(&format!("{to}?done={done}")).into_response())
}

/// Goes to a page that says that a change was made.
fn done(to: &str) -> Response {
    Redirect::to(&format!("{to}?done=")).into_response()
}

/// The query of a page. Parameters that it does not know are ignored.
struct Query(String);

impl Query {
    /// Returns the value of a parameter.
    fn get(&self, name: &str) -> Option<String> {
        let mut pairs = form_urlencoded::parse(self.0.as_bytes());
        pairs.find(|(named, _)| named == name).map(|(_, value)| value.into_owned())
    }

    /// Returns the values of a parameter that can be given several times.
    fn all(&self, name: &str) -> Vec<String> {
        let pairs = form_urlencoded::parse(self.0.as_bytes());
        pairs.filter(|(named, _)| named == name).map(|(_, value)| value.into_owned()).collect()
    }

    /// Returns the value of a parameter without spaces around it, or nothing.
    fn text(&self, name: &str) -> String {
        self.get(name).unwrap_or_default().trim().to_owned()
    }
}

/// Writes the URL of a page with parameters, leaving out those that are empty.
fn url(path: &str, parameters: &[(&str, &str)]) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(parameters.iter().filter(|(_, value)| !value.is_empty()));
    match query.finish() {
        query if query.is_empty() => path.to_owned(),
        query => format!("{path}?{query}"),
    }
}

/// Encodes a text for one segment of a path, or for a parameter.
fn encoded(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>().replace('+', "%20")
}

/// Returns the user of a command. A name that looks like an id could be that of another user.
fn argument(account: &Account) -> String {
    let (id, name) = (account.id.as_str(), account.username.as_str());
    quoted(if Uuid::parse_str(name).is_ok() { id } else { name })
}

/// Quotes a text for a shell, unless it is a plain word.
fn quoted(text: &str) -> String {
    let is_plain = |character: char| character.is_ascii_alphanumeric() || "._:/=@,+-".contains(character);
    if !text.is_empty() && !text.starts_with('-') && text.chars().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_can_be_pasted_whatever_the_name_is() {
        for (text, expected) in [
            ("jose", "jose"),
            ("tenant=acme", "tenant=acme"),
            ("-rf", "'-rf'"),
            ("", "''"),
            ("a b", "'a b'"),
            ("$(reboot)", "'$(reboot)'"),
            ("it's", r"'it'\''s'"),
            ("é;", "'é;'"),
        ] {
            assert_eq!(quoted(text), expected);
        }
    }

    #[test]
    fn a_parameter_keeps_its_text() {
        let link = url("/console/users", &[("name", "a&b=c d+é"), ("after", "")]);
        assert_eq!(link, "/console/users?name=a%26b%3Dc+d%2B%C3%A9");
        let query = Query(link.split_once('?').map(|(_, query)| query.to_owned()).unwrap_or_default());
        assert_eq!((query.text("name"), query.get("after")), ("a&b=c d+é".to_owned(), None));
        assert_eq!(encoded("a/b c+?"), "a%2Fb%20c%2B%3F");
    }
}
