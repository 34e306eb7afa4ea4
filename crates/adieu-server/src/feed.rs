//! The feed: what followers of this node read, how they are known, and waiting until a revocation holds everywhere.
//!
//! 1. A [`Hub`] reads the log once for all who follow. Thousands wait on it at the cost of a task each: none of them reads
//!    the log, and what they are sent is put together once.
//! 2. What it says of its [age](Answer::age) is never too little, also when it answers from memory.
//! 3. [`Leases`] know each follower that said who it is, and forget it when it must have begun to refuse.
//! 4. [`Feed::everywhere`] first waits until what the hub serves includes what was revoked. Whoever asks after that is given
//!    it, so only then it is judged who follows.
//! 5. [`Leases::everywhere`] returns when no live follower accepts any more what was revoked before: each has said so, or
//!    has been silent for so long that it refuses. Never later than the bound, plus what it takes to read the log once.
//! 6. [`Nodes`] on the same store tell each other how far they are with their index, with what they serve, and with their
//!    followers, so that 5 is true of those as well, where the store can tell them.
//!
//! Whoever sets a smaller bound has to wait for the old one once, since followers from before the start may have it.

mod hub;
mod lease;
mod nodes;
mod tail;

use std::{
    collections::HashMap,
    fmt,
    ops::Deref,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use adieu::{
    Issuer,
    revocation::{Cursor, RevocationLog},
    time::{Clock, Moment},
};
use adieu_client::wire::{self, FeedPage};
use axum::body::Bytes;
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

pub use hub::{Answer, Hub, Progress};
pub use lease::{Everywhere, Follower, Lease, Leases, TooManyFollowers};
pub use nodes::{Joining, Nodes};

use lease::later;

/// How many requests of one client may wait at once.
const MAX_WAITING: usize = 5_000;

/// The longest that one read of the log waits: as often is the log's engine asked whether it is still there.
const MAX_READ: Duration = Duration::from_millis(100);

/// Of a page with more entries than this the bytes are made once for many followers, whose ages are rounded up together.
const LARGE: usize = 4;
const COARSE_AGE: Duration = Duration::from_millis(20);

/// A form in which a page is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// For everybody.
    Json,
    /// For large snapshots.
    Binary,
}

impl Form {
    /// Its media type.
    #[must_use]
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Json => wire::JSON,
            Self::Binary => wire::BINARY,
        }
    }

    /// The one that a header `Accept` asks for: JSON unless the other is named.
    #[must_use]
    pub fn accepted(accept: &str) -> Self {
        let names_binary = |range: &str| {
            let mut parts = range.split(';').map(str::trim);
            parts.next().is_some_and(|name| name.eq_ignore_ascii_case(wire::BINARY))
                && !parts.any(|parameter| matches!(parameter, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"))
        };
        if accept.split(',').any(names_binary) { Self::Binary } else { Self::Json }
    }
}

/// What a node, or a relay, has for its followers. Clones share it.
#[derive(Clone)]
pub struct Feed(Arc<Shared>);

/// See [`Feed`].
pub struct Shared {
    /// What they read.
    pub hub: Hub,
    /// Who they are.
    pub leases: Arc<Leases>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    nodes: Option<Nodes>,
    issuer: Issuer,
    waiting: Mutex<HashMap<String, usize>>,
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
    /// The feed of this log, for a node whose tokens are of `issuer` and that keeps `max_staleness`.
    #[must_use]
    pub fn start(log: Arc<dyn RevocationLog>, clock: Arc<dyn Clock>, issuer: Issuer, max_staleness: Duration) -> Self {
        Self::start_among(log, clock, issuer, max_staleness, None)
    }

    /// The same, for a node that shares its store with others: `joining` them, and how far it has `settled` itself.
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
        let nodes = joining.map(|(joining, settled)| joining.join(settled, hub.progress()));
        Self(Arc::new(Shared { hub, leases, clock, nodes, issuer, waiting: Mutex::default() }))
    }

    /// The bytes of an answer.
    #[must_use]
    pub fn encode(&self, answer: &Answer, form: Form) -> Bytes {
        let encode = |answer: Answer| {
            let page = answer.page();
            let page = FeedPage { issuer: self.issuer.clone(), max_staleness: self.leases.bound(), page };
            match form {
                Form::Json => wire::to_json(&page),
                Form::Binary => wire::to_binary(&page),
            }
        };
        if answer.part.page.entries.len() <= LARGE {
            return encode(answer.clone()).into();
        }
        let steps = u32::try_from(answer.age.as_nanos().div_ceil(COARSE_AGE.as_nanos())).unwrap_or(u32::MAX);
        let rounded = Answer { part: Arc::clone(&answer.part), age: COARSE_AGE.saturating_mul(steps) };
        answer.part.encoded((form, steps), || encode(rounded))
    }

    /// Lets one more request of this client wait until the answer is dropped; none when it has too many that do.
    #[must_use]
    pub fn let_wait(&self, client: &str) -> Option<WaitsFor> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let count = waiting.entry(client.to_owned()).or_default();
        if *count >= MAX_WAITING {
            return None;
        }
        *count += 1;
        Some(WaitsFor { feed: self.clone(), client: client.to_owned() })
    }

    /// Returns when what was revoked before the call holds everywhere; see [`Leases::everywhere`] and [`Nodes::everywhere`].
    ///
    /// # Errors
    /// When the store did not say within the bound which other nodes it has: what was revoked is, and nothing is known of
    /// those.
    pub async fn everywhere(&self) -> Result<Everywhere, adieu::Error> {
        let (revoked_at, bound) = (self.clock.moment(), self.leases.bound());
        // What is served first: whoever comes after that, and is not known, is given what was revoked.
        if self.nodes.is_none() && self.hub.answers_from_log() && !self.leases.may_have_followers(revoked_at) {
            return Ok(Everywhere::default());
        }
        let over_at = later(revoked_at, bound);
        // A store that hangs must not hold this up: by then all have run out.
        let head = timeout(bound, self.hub.head()).await.unwrap_or_else(|late| Err(adieu::Error::unavailable(late)));
        if let Err(error) = &head {
            let error = error as &dyn std::error::Error;
            tracing::warn!(error, "the end of the log is not known; all followers are waited out");
        }
        let head = head.ok();
        let followers = async {
            let served = async {
                match &head {
                    Some(head) => self.hub.serves(head).await,
                    None => std::future::pending().await,
                }
            };
            // What is served without it was complete before it was revoked: nobody believes that for longer than the bound.
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

    /// Returns when it is this late.
    async fn pass(&self, moment: Moment) {
        loop {
            let left = moment.since(self.clock.moment());
            if left.is_zero() {
                return;
            }
            // Rounded up to what a timer can tell apart.
            sleep(left + Duration::from_millis(1)).await;
        }
    }

    /// Tells the other nodes that this one accepts no tokens any more. To be called when it does not.
    pub async fn leave(&self) {
        if let Some(nodes) = &self.nodes {
            nodes.leave().await;
        }
    }
}

/// A request that waits, counted for its client until this is dropped.
#[derive(Debug)]
pub struct WaitsFor {
    feed: Feed,
    client: String,
}

impl Drop for WaitsFor {
    fn drop(&mut self) {
        let mut waiting = self.feed.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = waiting.get_mut(&self.client) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                waiting.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
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
            assert_eq!(Form::accepted(accept), form, "{accept}");
        }
    }
}
