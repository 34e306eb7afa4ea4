//! A page of the feed as bytes: what a node sends to those who follow it over a network.
//!
//! There are two forms of the same. JSON is for everybody; the compact binary form is for large snapshots, about 22
//! bytes a revocation whose id is a UUID. `docs/feed.md` describes both to the byte.
//!
//! 1. **Whole or not at all.** Bytes that are not exactly a page give an error, never a part of one: a reader who skips
//!    what it does not understand would accept what has been revoked.
//! 2. **Bounded.** Nothing that a peer sends makes decoding panic, or take more memory than a small multiple of what
//!    was sent.
//! 3. **Stable.** What one version wrote, every later one reads. The binary form begins with its version; in JSON,
//!    members may be added that change the meaning of none that are there.

mod binary;
mod json;

use std::time::Duration;

use adieu::{Issuer, revocation::Page};

pub use binary::{from_binary, to_binary};
pub use json::{from_json, to_json};

/// The media type of JSON.
pub const JSON: &str = "application/json";

/// The media type of the binary form.
pub const BINARY: &str = "application/vnd.adieu.revocations";

/// The most bytes of one page that a reader has to take; a node sends no longer ones.
pub const MAX_PAGE_BYTES: usize = 16 << 20;

/// The most entries of one page that a reader has to take. An entry takes more memory than its bytes, so those alone are no bound;
/// a node sends far fewer.
pub const MAX_PAGE_ENTRIES: usize = 1 << 16;

/// What a node answers when it is asked for its feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedPage {
    /// The node's own issuer, which is meant by a revocation that is sent to it and names none.
    pub issuer: Issuer,
    /// The node's own bound: nobody who follows it may promise a longer one to it. Whole milliseconds are sent.
    pub max_staleness: Duration,
    /// What was read. Its age is sent in whole milliseconds, rounded up.
    pub page: Page,
}

/// Why bytes are no page of the feed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a page of the feed: {0}")]
pub struct WireError(String);

impl WireError {
    fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

fn milliseconds_down(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
