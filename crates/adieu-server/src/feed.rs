//! The feed that followers of this node read, the leases that identify them, and waiting until a revocation holds
//! everywhere.
//!
//! 1. A [`Hub`] reads the log once for all followers. Thousands of waiting followers cost one task each: none of them
//!    reads the log, and each page is encoded once.
//! 2. The [age](Answer::age) of an answer is never understated, even if the answer comes from memory.
//! 3. [`Leases`] keep each follower that has identified itself, until it must have begun to reject tokens.
//! 4. [`Feed::everywhere`] first waits until the hub serves the revocation. A follower that reads after that receives
//!    it, so only then does it determine the followers to wait for.
//! 5. [`Leases::everywhere`] returns when no live follower still accepts the revoked tokens: each has confirmed it,
//!    or has been silent for so long that it rejects tokens. It takes at most the bound plus one read of the log.
//! 6. [`Nodes`] on the same store publish the progress of their index, of what they serve, and of their followers, so
//!    that 5 covers those too.
//!
//! After lowering the bound, the first waits must still use the old one, since followers from before the start may
//! have it.

mod hub;
mod lease;
mod measured;
mod nodes;
mod tail;

use std::{fmt, ops::Deref, sync::Arc, time::Duration};

use adieu::{
    Issuer,
    revocation::{Cursor, RevocationHasher, RevocationLog},
    store::NodeStatus,
    time::{Clock, Moment},
};
use adieu_client::wire::{self, FeedPage};
use axum::{
    body::Bytes,
    http::{HeaderMap, HeaderName, header},
};
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

pub(crate) use measured::Followed;

pub use hub::{Answer, Hub, Progress};
pub use lease::{Everywhere, Follower, Lease, Leases, TooManyFollowers};
pub use nodes::{Joining, Nodes};

use crate::shares::{Share, Shares};
use lease::{Group, LiveFollower, later};

/// With this preference (RFC 7240), the response to a revocation has the cursor up to which a follower must read to
/// have it.
pub(crate) const PREFER: HeaderName = HeaderName::from_static("prefer");
pub(crate) const PREFERS_CURSOR: &str = "adieu-cursor";

/// How many requests of one client may wait at the same time.
const MAX_WAITING: usize = 5_000;

/// The longest wait of one read of the log, and so the longest time between two checks that the engine of the log
/// still works.
const MAX_READ: Duration = Duration::from_millis(100);

/// A page with more entries than this is encoded once for many followers, whose ages are rounded up together.
const LARGE: usize = 4;
const COARSE_AGE: Duration = Duration::from_millis(20);

/// The encoding of a page with whole entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// For all followers.
    Json,
    /// The same, shorter.
    Binary,
}

impl Form {
    /// Returns its media type.
    #[must_use]
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Json => wire::JSON,
            Self::Binary => wire::BINARY,
        }
    }
}

/// The encodings that a follower accepts.
pub struct Accepted {
    /// The form of whole entries.
    form: Form,
    /// The key of the follower's index, if entries may be hashed. Few answers need a hasher, which takes long to create.
    index_key: Option<[u8; RevocationHasher::KEY_BYTES]>,
}

impl fmt::Debug for Accepted {
    /// Omits the key, which is secret.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Accepted").field("form", &self.form).finish_non_exhaustive()
    }
}

impl Accepted {
    /// Reads the headers of a request: JSON unless they name another form.
    #[must_use]
    pub fn read(headers: &HeaderMap) -> Self {
        let index_key = || BASE64_URL_SAFE_NO_PAD.decode(headers.get(wire::INDEX_KEY)?).ok()?.try_into().ok();
        Self {
            form: if accepts(headers, wire::BINARY) { Form::Binary } else { Form::Json },
            index_key: if accepts(headers, wire::HASHED) { index_key() } else { None },
        }
    }
}

/// Returns whether a request names this media type.
fn accepts(headers: &HeaderMap, media_type: &str) -> bool {
    let names_it = |range: &str| {
        let mut parts = range.split(';').map(str::trim);
        parts.next().is_some_and(|name| name.eq_ignore_ascii_case(media_type))
            && !parts.any(|parameter| matches!(parameter, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"))
    };
    let value = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    value.is_some_and(|value| value.split(',').any(names_it))
}

/// The feed of a node or a relay for its followers. Clones share it.
#[derive(Clone)]
pub struct Feed(Arc<Shared>);

/// See [`Feed`].
pub struct Shared {
    /// The reader that serves the followers.
    pub hub: Hub,
    /// The leases of the followers.
    pub leases: Arc<Leases>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    nodes: Option<Nodes>,
    issuer: Issuer,
    waiting: Arc<Shares<String>>,
}

impl Deref for Feed {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl fmt::Debug for Feed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Feed").field("hub", &self.hub).finish_non_exhaustive()
    }
}

impl Feed {
    /// Starts the feed of a log, for a node that issues its tokens as `issuer` and keeps `max_staleness`.
    #[must_use]
    pub fn start(log: Arc<dyn RevocationLog>, clock: Arc<dyn Clock>, issuer: Issuer, max_staleness: Duration) -> Self {
        Self::start_among(log, clock, issuer, max_staleness, None)
    }

    /// Like [`Feed::start`], for a node that shares its store with others: it is `joining` them.
    #[must_use]
    pub fn start_among(
        log: Arc<dyn RevocationLog>,
        clock: Arc<dyn Clock>,
        issuer: Issuer,
        max_staleness: Duration,
        joining: Option<(Joining, watch::Receiver<Option<Cursor>>)>,
    ) -> Self {
        let leases = Arc::new(Leases::start(Arc::clone(&clock), max_staleness));
        let read_wait = MAX_READ.min(max_staleness / 4);
        let hub = Hub::start(log, Arc::clone(&clock), Arc::clone(&leases), read_wait);
        let nodes = joining.map(|(joining, applied)| joining.join(applied, hub.progress()));
        Self(Arc::new(Shared { hub, leases, clock, nodes, issuer, waiting: Shares::at_most(MAX_WAITING) }))
    }

    /// Returns the encoded answer and its media type.
    #[must_use]
    pub fn encode(&self, answer: &Answer, accepted: &Accepted) -> (&'static str, Bytes) {
        let page = |answer: &Answer| {
            let (issuer, max_staleness) = (self.issuer.clone(), self.leases.bound());
            FeedPage { issuer, max_staleness, page: answer.page() }
        };
        let part = &answer.part;
        // Only followers that are nearly up to date share their pages. The others read the log through, and hashing takes less
        // time than sending and receiving ids.
        if let Some(key) = accepted.index_key.filter(|_| !part.page.complete) {
            return (wire::HASHED, wire::to_hashed(&page(answer), &RevocationHasher::from_key(key)).into());
        }
        let form = accepted.form;
        let encode = |answer: &Answer| match form {
            Form::Json => wire::to_json(&page(answer)),
            Form::Binary => wire::to_binary(&page(answer)),
        };
        let bytes = if part.page.entries.len() <= LARGE {
            encode(answer).into()
        } else {
            let steps = u32::try_from(answer.age.as_nanos().div_ceil(COARSE_AGE.as_nanos())).unwrap_or(u32::MAX);
            let rounded = Answer { part: Arc::clone(part), age: COARSE_AGE.saturating_mul(steps) };
            part.encoded((form, steps), || encode(&rounded))
        };
        (form.media_type(), bytes)
    }

    /// Counts one more waiting request of this client until the result is dropped. Returns `None` if the client has
    /// too many.
    #[must_use]
    pub(crate) fn let_wait(&self, client: &str) -> Option<Share<String>> {
        self.waiting.take(client.to_owned())
    }

    /// Returns the live followers of each client, compared with what this node itself has applied.
    pub(crate) fn followers(&self, own: Option<&Cursor>) -> Vec<(String, Group)> {
        self.leases.by_client(own)
    }

    /// Returns live followers, as [`Leases::most_silent`] does.
    pub(crate) fn most_silent(&self, own: Option<&Cursor>, limit: usize) -> (Vec<LiveFollower>, bool) {
        self.leases.most_silent(own, limit)
    }

    /// Returns the last published status of the other nodes of the store.
    ///
    /// # Errors
    /// Fails if the store can't be read.
    pub(crate) async fn other_nodes(&self) -> Result<Vec<NodeStatus>, adieu::Error> {
        match &self.nodes {
            Some(nodes) => nodes.others(self.clock.moment().minus(MAX_READ)).await,
            None => Ok(Vec::new()),
        }
    }

    /// Waits until the revocations from before the call hold everywhere; see [`Leases::everywhere`] and
    /// [`Nodes::everywhere`].
    ///
    /// # Errors
    /// Fails if the store did not return its other nodes within the bound. The revocations are durable, but those
    /// nodes may not have them yet.
    pub async fn everywhere(&self) -> Result<Everywhere, adieu::Error> {
        let (revoked_at, bound) = (self.clock.moment(), self.leases.bound());
        // The hub first: a follower that reads after that, and has no lease yet, receives the revocations.
        if self.nodes.is_none() && self.hub.answers_from_log() && !self.leases.may_have_followers(revoked_at) {
            return Ok(Everywhere::default());
        }
        let over_at = later(revoked_at, bound);
        // A store that hangs must not delay this: by then all leases have expired.
        let head = timeout(bound, self.hub.head()).await.unwrap_or_else(|late| Err(adieu::Error::unavailable(late)));
        if let Err(error) = &head {
            let error = error as &dyn std::error::Error;
            tracing::warn!(error, "the end of the log is unknown; waiting for all followers");
        }
        let head = head.ok();
        let followers = async {
            let served = async {
                match &head {
                    Some(head) => self.hub.serves(head).await,
                    None => std::future::pending().await,
                }
            };
            // An answer without the revocation was complete before it: followers trust that answer no longer than the
            // bound.
            tokio::select! {
                () = served => {}
                () = self.pass(over_at) => {}
            }
            self.leases.everywhere(revoked_at, head.as_ref()).await
        };
        let others = async {
            match &self.nodes {
                Some(nodes) => nodes.everywhere(revoked_at, bound, head.as_ref()).await,
                None => Ok(Everywhere::default()),
            }
        };
        let (followers, others) = tokio::join!(followers, others);
        Ok(followers.and(others?))
    }

    /// Waits until this moment.
    async fn pass(&self, moment: Moment) {
        loop {
            let left = moment.since(self.clock.moment());
            if left.is_zero() {
                return;
            }
            // Rounded up to the resolution of the timer.
            sleep(left + Duration::from_millis(1)).await;
        }
    }

    /// Tells the other nodes that this one accepts tokens no longer. Call it after that is true.
    pub async fn leave(&self) {
        if let Some(nodes) = &self.nodes {
            nodes.leave().await;
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn the_compact_form_is_for_those_who_name_it() {
        for (accept, form) in [
            ("*/*", Form::Json),
            ("application/json", Form::Json),
            ("application/vnd.adieu.revocations", Form::Binary),
            ("application/json;q=0.5, Application/vnd.adieu.revocations; q=1", Form::Binary),
            ("application/vnd.adieu.revocations;q=0, application/json", Form::Json),
            ("application/vnd.adieu.revocations2", Form::Json),
            ("", Form::Json),
        ] {
            let headers = HeaderMap::from_iter([(header::ACCEPT, accept.parse().unwrap())]);
            assert_eq!(Accepted::read(&headers).form, form, "{accept}");
        }
    }

    #[test]
    fn entries_are_hashed_for_those_who_send_a_key() {
        let key = BASE64_URL_SAFE_NO_PAD.encode([7; RevocationHasher::KEY_BYTES]);
        let both = format!("{}, {}", wire::HASHED, wire::BINARY);
        for (accept, key, is_hashed) in [
            (&*both, Some(&*key), true),
            (wire::HASHED, Some(&*key), true),
            (wire::BINARY, Some(&*key), false),
            (&*both, None, false),
            (&*both, Some("short"), false),
            (&*both, Some(&*format!("{key}AA")), false),
        ] {
            let mut headers = HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_str(accept).unwrap())]);
            headers.extend(key.map(|key| (wire::INDEX_KEY, HeaderValue::from_str(key).unwrap())));
            assert_eq!(Accepted::read(&headers).index_key.is_some(), is_hashed, "{accept}, {key:?}");
        }
    }
}
