//! The node's feed, as the follower of the core reads it: what Python needs to know about each read is recorded.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use adieu::{
    Chain, Error,
    revocation::{Cursor, Page, Position, Pruned, Revocation, RevocationLog, Target},
    time::Timestamp,
};
use adieu_client::{Remote, transport::Transport};
use async_trait::async_trait;
use http::{Request, Response};

use crate::revocations::Revocations;

/// The maximum number of messages that wait for Python to log them.
const MAX_MESSAGES: usize = 100;

/// The maximum length of the node's explanation in a message.
const MAX_DETAIL: usize = 300;

/// Why the last read failed.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    /// The status, if the node rejected the request.
    pub(crate) status: Option<u16>,
    pub(crate) message: String,
}

/// How a message is to be logged.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Level {
    Info = 20,
    Warning = 30,
    Error = 40,
}

/// The known revocations, and the messages for Python. They outlive the thread that follows.
pub(crate) struct Shared {
    pub(crate) revocations: Revocations,
    pub(crate) max_staleness: Duration,
    pub(crate) accepts_when_stale: bool,
    /// The position up to which the feed is in the index.
    cursor: Mutex<Option<Cursor>>,
    failure: Mutex<Option<Failure>>,
    messages: Mutex<Vec<(Level, String)>>,
    /// The last response that was not a success.
    refusal: Mutex<Option<Failure>>,
    /// How many pages with revocations were applied.
    changes: AtomicU64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(crate) fn new(revocations: Revocations, max_staleness: Duration, accepts_when_stale: bool) -> Self {
        Self {
            revocations,
            max_staleness,
            accepts_when_stale,
            cursor: Mutex::default(),
            failure: Mutex::default(),
            messages: Mutex::default(),
            refusal: Mutex::default(),
            changes: AtomicU64::new(0),
        }
    }

    pub(crate) fn cursor(&self) -> Option<Cursor> {
        lock(&self.cursor).clone()
    }

    pub(crate) fn failure(&self) -> Option<Failure> {
        lock(&self.failure).clone()
    }

    pub(crate) fn forget_failure(&self) {
        *lock(&self.failure) = None;
    }

    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    pub(crate) fn take_messages(&self) -> Vec<(Level, String)> {
        std::mem::take(&mut lock(&self.messages))
    }

    pub(crate) fn tell(&self, level: Level, message: String) {
        let mut messages = lock(&self.messages);
        if messages.len() < MAX_MESSAGES {
            messages.push((level, message));
        }
    }

    fn failed(&self, failure: Failure) {
        // Told once per outage, not once per retry.
        if lock(&self.failure).replace(failure.clone()).is_none() {
            let consequence =
                if self.accepts_when_stale { "accepted although they may be revoked" } else { "rejected" };
            self.tell(
                Level::Warning,
                format!(
                    "revocations can't be followed: {}; unless that changes within {} s, tokens are {consequence}",
                    failure.message,
                    self.max_staleness.as_secs_f64()
                ),
            );
        }
    }

    fn succeeded(&self) {
        if lock(&self.failure).take().is_some() {
            self.tell(Level::Info, "following the revocations again".to_owned());
        }
    }
}

/// The log of a node. The ids of its tokens are found without their `exp`: see [`Revocations`].
pub(crate) struct Feed {
    pub(crate) remote: Remote,
    pub(crate) shared: Arc<Shared>,
}

impl Feed {
    async fn read_page(&self, after: Option<&Cursor>, wait: Duration) -> Result<Page, Error> {
        *lock(&self.shared.refusal) = None;
        let page = self.remote.read(after, wait).await?;
        if !page.complete && after == Some(&page.cursor) {
            return Err(Error::unavailable("the feed does not get on"));
        }
        Ok(page)
    }

    fn failure(&self, error: &Error) -> Failure {
        if let Some(refusal) = lock(&self.shared.refusal).take() {
            return refusal;
        }
        let why = match error {
            Error::Unavailable(cause) => Chain(&**cause).to_string(),
            _ => Chain(error).to_string(),
        };
        Failure { status: None, message: format!("the node can't be reached: {why}") }
    }
}

#[async_trait]
impl RevocationLog for Feed {
    async fn append(&self, revocations: Vec<Revocation>) -> Result<Position, Error> {
        self.remote.append(revocations).await
    }

    async fn read(&self, after: Option<&Cursor>, wait: Duration) -> Result<Page, Error> {
        // A follower that started after a fork continues where the last one stopped.
        let known = self.shared.cursor();
        // At the start, and after a failure, being fresh is more urgent than waiting for news.
        let is_urgent = after.is_none() || lock(&self.shared.failure).is_some();
        let wait = if is_urgent { Duration::ZERO } else { wait };
        let after = after.or(known.as_ref());
        let mut page =
            self.read_page(after, wait).await.inspect_err(|error| self.shared.failed(self.failure(error)))?;
        if let Some(known) = after
            && page.from_start
        {
            self.shared.tell(
                Level::Error,
                format!(
                    "the revocation log was replaced or rolled back (known {known}, found {}); known revocations stay in force",
                    page.cursor
                ),
            );
        }
        if let Some(issuer) = self.remote.issuer()
            && let Some(before) = self.shared.revocations.name_node(&issuer)
        {
            self.shared.tell(
                Level::Warning,
                format!("the node calls itself {:?} now, and no longer {:?}", issuer.as_str(), before.as_str()),
            );
        }
        for revocation in &mut page.entries {
            if let Target::Token { expires_at, .. } = &mut revocation.target {
                *expires_at = None;
            }
        }
        if page.complete && page.age > self.shared.max_staleness {
            self.shared.failed(Failure {
                status: None,
                message: format!("the node itself has had no news for {} s", page.age.as_secs_f64()),
            });
        } else if page.complete {
            self.shared.succeeded();
        }
        Ok(page)
    }

    async fn prune(&self, now: Timestamp) -> Result<Pruned, Error> {
        self.remote.prune(now).await
    }

    fn acknowledge(&self, cursor: &Cursor) {
        self.remote.acknowledge(cursor);
        if lock(&self.shared.cursor).replace(cursor.clone()).as_ref() != Some(cursor) {
            self.shared.changes.fetch_add(1, Ordering::AcqRel);
        }
    }
}

/// Records responses that are not a success, for Python's errors.
#[derive(Debug)]
pub(crate) struct Recording<T> {
    pub(crate) inner: T,
    pub(crate) shared: Arc<Shared>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Shared").finish_non_exhaustive()
    }
}

#[async_trait]
impl<T: Transport> Transport for Recording<T> {
    async fn send(&self, request: Request<Vec<u8>>, max_body: usize) -> Result<Response<Vec<u8>>, Error> {
        let answer = self.inner.send(request, max_body).await?;
        let status = answer.status().as_u16();
        if !answer.status().is_success() {
            // Only an operator or another request can change these.
            let refuses = matches!(status, 400 | 401 | 403 | 413 | 422);
            *lock(&self.shared.refusal) = Some(Failure {
                status: refuses.then_some(status),
                message: format!("the node answered {status}{}", detail(answer.body())),
            });
        }
        Ok(answer)
    }
}

/// Returns the node's explanation, which names the wrong setting. It is truncated, because it ends up in a log.
fn detail(body: &[u8]) -> String {
    let answer: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let said = ["message", "description", "errors"].into_iter().find_map(|name| match answer.get(name)? {
        serde_json::Value::String(text) if !text.is_empty() => Some(text.clone()),
        serde_json::Value::String(_) | serde_json::Value::Null => None,
        other => Some(other.to_string()),
    });
    let said = said.unwrap_or_default();
    let said: String = said.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_DETAIL).collect();
    if said.is_empty() { said } else { format!(": {said}") }
}
