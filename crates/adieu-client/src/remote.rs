//! The log of another node, over HTTP.

mod request;
mod settings;

use std::{convert::Infallible, fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use reqwest::Url;
use serde::Deserialize;
use tokio::sync::watch;

use adieu::{
    Error, Issuer,
    retry::{Backoff, Outage},
    revocation::{
        Cursor, HashedPage, HashedRevocation, Page, Position, Pruned, Revocation, RevocationHasher, RevocationLog,
    },
    time::{Clock, Timestamp},
};

use crate::{
    transport::{Transport, send_within},
    wire::{self, FeedPage},
};

pub use settings::RemoteBuilder;

/// The maximum time that a node holds a request.
const MAX_WAIT: Duration = Duration::from_secs(30);

/// The minimum timeout beside the time that the node is asked to wait. The timeout is a quarter of the bound, so that one
/// lost request can be repeated within it, but never too short for an answer.
const MIN_TIMEOUT: Duration = Duration::from_millis(500);
const MAX_TIMEOUT: Duration = Duration::from_secs(10);
/// The timeout of the very first page, which needs a new connection, and of pages that are read without waiting: they are
/// long.
const FIRST_PAGE_TIMEOUT: Duration = Duration::from_secs(10);
const PAGE_TIMEOUT: Duration = Duration::from_secs(2);

/// The timeout of an append. The node has to hash, sync and queue.
const APPEND_TIMEOUT: Duration = Duration::from_secs(5);
/// The number of attempts of an append, and the first delay between them.
const MAX_APPEND_ATTEMPTS: u32 = 3;
const APPEND_RETRY_DELAY: Duration = Duration::from_millis(100);

/// Enough for an error response and for the response to a revocation.
const MAX_ANSWER_BYTES: usize = 1 << 20;

/// The log of the node at a URL.
///
/// Holds no connections but those of its [`Transport`]. The node prunes its own log.
///
/// 1. **A late answer is dated correctly.** The reader records the time before the request
///    ([`Follower`](adieu::revocation::Follower)); the answer describes the state at that time, less the age that the
///    node reports.
/// 2. **A lost network does not block.** Each request has a timeout and is then sent again.
/// 3. **The node knows its followers.** Each request contains the follower's name, its `max_staleness`, and what it has
///    [acknowledged](RevocationLog::acknowledge): `?wait=everywhere` relies on it.
/// 4. **The node guarantees durability.** An append returns when the node has confirmed it, and may be sent again until
///    then: appending a revocation twice has the effect of one.
///
/// Nothing is stored locally: a process that starts reads the whole log.
pub struct Remote {
    transport: Arc<dyn Transport>,
    base: Url,
    authorization: HeaderValue,
    name: String,
    follower: String,
    max_staleness: Duration,
    accepts_when_stale: bool,
    clock: Arc<dyn Clock>,
    applied: watch::Sender<Option<Cursor>>,
    /// The node's own issuer, according to its last page.
    issuer: watch::Sender<Option<Issuer>>,
    /// Begins when the node rejects this client.
    outage: Outage,
}

impl fmt::Debug for Remote {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Remote")
            .field("base", &self.base.as_str())
            .field("name", &self.name)
            .field("follower", &self.follower)
            .finish_non_exhaustive()
    }
}

/// The body of an error response.
#[derive(Deserialize)]
struct Refused {
    message: Option<String>,
    errors: Option<serde_json::Value>,
}

impl Remote {
    /// Returns the node's own issuer, according to its last page; `None` before its log has been read.
    #[must_use]
    pub fn issuer(&self) -> Option<Issuer> {
        self.issuer.borrow().clone()
    }

    /// Returns the id of this process in its requests to the node.
    #[must_use]
    pub fn follower_id(&self) -> &str {
        &self.follower
    }

    /// Returns the URL where the node publishes its keys.
    ///
    /// # Errors
    /// [`Error::InvalidSetting`] if its URL cannot be extended.
    pub fn keys_url(&self) -> Result<String, Error> {
        self.url(".well-known/jwks.json").map(String::from)
    }

    /// Revokes a token that the node has issued; with a refresh token, its whole session.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the node did not confirm the revocation, [`Error::Unsupported`] if the node has not issued the
    /// token, [`Error::Unauthorized`] if the node rejects this client.
    pub async fn revoke_token(&self, token: &str) -> Result<(), Error> {
        self.post(&serde_json::json!({ "token": token })).await
    }

    /// Ends a session of the node's own issuer.
    ///
    /// # Errors
    /// Those of [`Remote::revoke_token`].
    pub async fn end_session(&self, session: &adieu::SessionId) -> Result<(), Error> {
        self.post(&serde_json::json!({ "session": session })).await
    }

    /// Ends a session of any issuer, for as long as the node knows that its tokens can live.
    ///
    /// # Errors
    /// Those of [`Remote::revoke_token`].
    pub(crate) async fn end_session_of(&self, issuer: &Issuer, session: &adieu::SessionId) -> Result<(), Error> {
        self.post(&serde_json::json!({ "issuer": issuer, "session": session })).await
    }

    /// Requests one page. With a hasher, the node may hash the entries with its key.
    async fn ask(
        &self,
        hasher: Option<&RevocationHasher>,
        after: Option<&Cursor>,
        wait: Duration,
        applied: Option<&Cursor>,
    ) -> Result<HashedPage, Error> {
        let wait = wait.min(MAX_WAIT);
        let timeout = match after {
            None => FIRST_PAGE_TIMEOUT,
            Some(_) if wait.is_zero() => self.max_staleness.clamp(PAGE_TIMEOUT, MAX_TIMEOUT),
            Some(_) => (self.max_staleness / 4).clamp(MIN_TIMEOUT, MAX_TIMEOUT),
        };
        let mut url = self.url("revocations")?;
        request::query(&mut url, self, after, wait, applied);
        let accept = if hasher.is_some() { wire::HASHED_OR_BINARY } else { wire::BINARY };
        let mut request = self.request(Method::GET, &url, accept, Vec::new())?;
        if let Some(hasher) = hasher {
            request.headers_mut().insert(wire::INDEX_KEY, request::index_key(hasher)?);
        }
        let answer = send_within(&*self.transport, request, wire::MAX_PAGE_BYTES, wait + timeout).await?;
        let (FeedPage { issuer, page, .. }, hashed) = self.understand(answer, hasher)?;
        if !continues(&page, after) {
            return Err(Error::unavailable("the page does not continue the log from where it was read"));
        }
        self.issuer.send_replace(Some(issuer));
        Ok(HashedPage { page, hashed })
    }

    fn understand(
        &self,
        answer: Response<Vec<u8>>,
        hasher: Option<&RevocationHasher>,
    ) -> Result<(FeedPage, Vec<HashedRevocation>), Error> {
        let answer = self.succeeded(answer)?;
        let whole = |page| (page, Vec::new());
        let media_type = answer.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let page = match (media_type.and_then(|value| value.split(';').next()).map(str::trim), hasher) {
            (Some(wire::HASHED), Some(hasher)) => wire::from_hashed(answer.body(), hasher),
            (Some(wire::BINARY), _) => wire::from_binary(answer.body()).map(whole),
            (Some(wire::JSON), _) => wire::from_json(answer.body()).map(whole),
            _ => return Err(Error::unavailable("the answer is not a page of a feed")),
        };
        page.map_err(Error::unavailable)
    }

    async fn read_as(
        &self,
        hasher: Option<&RevocationHasher>,
        after: Option<&Cursor>,
        wait: Duration,
    ) -> Result<HashedPage, Error> {
        let mut applied = self.applied.subscribe();
        let now_applied = applied.borrow_and_update().clone();
        let asking = self.ask(hasher, after, wait, now_applied.as_ref());
        // Followers of this process may acknowledge during the wait. The node learns that at once, not with the next read.
        let telling = async {
            loop {
                if wait.is_zero() || applied.changed().await.is_err() {
                    std::future::pending::<Infallible>().await;
                }
                let now_applied = applied.borrow_and_update().clone();
                let _ = self.ask(None, after, Duration::ZERO, now_applied.as_ref()).await;
            }
        };
        let read = tokio::select! {
            biased;
            answer = asking => answer?,
            never = telling => match never {},
        };
        if read.page.from_start && after.is_some() {
            // Nothing of this log has been acknowledged, even if it is a restored log with the same identity.
            self.applied.send_replace(None);
        }
        Ok(read)
    }

    async fn post(&self, body: &serde_json::Value) -> Result<(), Error> {
        let url = self.url("revocations")?;
        let body = serde_json::to_vec(body).map_err(Error::unavailable)?;
        let mut backoff = Backoff::new(APPEND_RETRY_DELAY, APPEND_TIMEOUT);
        let mut attempts = 1;
        loop {
            let mut request = self.request(Method::POST, &url, wire::JSON, body.clone())?;
            request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(wire::JSON));
            let answer = send_within(&*self.transport, request, MAX_ANSWER_BYTES, APPEND_TIMEOUT).await;
            match answer.and_then(|answer| self.succeeded(answer)) {
                Err(Error::Unavailable(_)) if attempts < MAX_APPEND_ATTEMPTS => {
                    tokio::time::sleep(backoff.next_delay()).await;
                    attempts += 1;
                }
                result => return result.map(drop),
            }
        }
    }

    pub(crate) fn transport(&self) -> &Arc<dyn Transport> {
        &self.transport
    }

    /// Sends a revocation of another client with the credentials of this one, and returns the node's response, whatever it is.
    /// `query` is empty or begins with `?`.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if there is no response within `limit`.
    #[doc(hidden)]
    pub async fn forward(
        &self,
        query: &str,
        headers: HeaderMap,
        body: Vec<u8>,
        limit: Duration,
    ) -> Result<Response<Vec<u8>>, Error> {
        let url = self.url(&format!("revocations{query}"))?;
        let mut request = self.request(Method::POST, &url, wire::JSON, body)?;
        request.headers_mut().extend(headers);
        send_within(&*self.transport, request, MAX_ANSWER_BYTES, limit).await
    }

    fn url(&self, path: &str) -> Result<Url, Error> {
        self.base.join(path).map_err(|error| Error::setting("url", format!("not a URL: {error}")))
    }

    fn request(
        &self,
        method: Method,
        url: &Url,
        accept: &'static str,
        body: Vec<u8>,
    ) -> Result<http::Request<Vec<u8>>, Error> {
        let mut authorization = self.authorization.clone();
        authorization.set_sensitive(true);
        http::Request::builder()
            .method(method)
            .uri(url.as_str())
            .header(header::AUTHORIZATION, authorization)
            .header(header::ACCEPT, accept)
            .body(body)
            .map_err(|error| Error::setting("url", error.to_string()))
    }

    /// Returns a successful response, or the error that an error response stands for.
    fn succeeded(&self, answer: Response<Vec<u8>>) -> Result<Response<Vec<u8>>, Error> {
        let status = answer.status();
        // Of other successes, such as a part of the content, nothing is known.
        if status == StatusCode::OK {
            self.outage.ends();
            return Ok(answer);
        }
        let error = match status {
            StatusCode::UNAUTHORIZED => Error::Unauthorized(format!(
                "the node does not know the client `{}` with this secret",
                self.name.escape_debug()
            )),
            StatusCode::FORBIDDEN => {
                let said = said(answer.body());
                let why = if said.is_empty() { String::new() } else { format!(": {said}") };
                let name = self.name.escape_debug();
                Error::Unauthorized(format!("the node does not let the client `{name}` do this{why}"))
            }
            StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY => {
                Error::Unsupported(format!("the node rejects the request: {}", said(answer.body())))
            }
            _ => return Err(Error::unavailable(format!("the node answered with status {}", status.as_u16()))),
        };
        // Logged once, not with every attempt: the follower keeps retrying.
        if self.outage.begins() {
            tracing::error!(node = %self.base, error = &error as &dyn std::error::Error, "the node rejects the request");
        }
        Err(error)
    }
}

/// Returns whether nothing can be missing between the cursor of the request and the page.
fn continues(page: &Page, after: Option<&Cursor>) -> bool {
    let follows = |after: &Cursor| page.cursor.log == after.log && page.cursor.position >= after.position;
    page.from_start || after.is_some_and(follows)
}

/// Returns the node's error message, shortened.
fn said(body: &[u8]) -> String {
    const MAX_REASON_BYTES: usize = 300;
    let said = serde_json::from_slice(body).ok().and_then(|refused: Refused| match refused.errors {
        Some(errors) => Some(errors.to_string()),
        None => refused.message,
    });
    let said: String = said.unwrap_or_default().chars().take(MAX_REASON_BYTES).collect();
    // The message must fit on one line of a log.
    said.replace(char::is_control, " ")
}

#[async_trait]
impl RevocationLog for Remote {
    /// Appends through the node, which returns no position: the result is [`Position::START`]. More than 500 revocations, or
    /// more than the node accepts at once, are sent in several requests; if one of them fails, earlier ones may have been
    /// appended.
    ///
    /// The node's interface cannot express everything that other engines keep. These are [`Error::Unsupported`]: a revocation of
    /// [everything](adieu::revocation::Target::Everything) or of a [key](adieu::revocation::Target::Key), which require an
    /// administrator; a session of another issuer; and a subject or a claim with a cut-off other than now, since the node
    /// sets its own.
    async fn append(&self, revocations: Vec<Revocation>) -> Result<Position, Error> {
        let own = self.issuer();
        let bodies: Vec<serde_json::Value> = revocations
            .iter()
            .map(|revocation| request::body(revocation, own.as_ref(), self.clock.now()))
            .collect::<Result<_, _>>()?;
        for batch in request::batches(&bodies) {
            self.post(&serde_json::json!({ "revocations": batch })).await?;
        }
        Ok(Position::START)
    }

    async fn read(&self, after: Option<&Cursor>, wait: Duration) -> Result<Page, Error> {
        Ok(self.read_as(None, after, wait).await?.page)
    }

    async fn read_hashed(
        &self,
        hasher: &RevocationHasher,
        after: Option<&Cursor>,
        wait: Duration,
    ) -> Result<HashedPage, Error> {
        self.read_as(Some(hasher), after, wait).await
    }

    /// Does nothing: the node prunes its own log.
    async fn prune(&self, _now: Timestamp) -> Result<Pruned, Error> {
        Ok(Pruned { removed: 0, complete: true })
    }

    fn acknowledge(&self, cursor: &Cursor) {
        self.applied.send_if_modified(|applied| {
            let changes = applied.as_ref() != Some(cursor);
            *applied = Some(cursor.clone());
            changes
        });
    }
}
