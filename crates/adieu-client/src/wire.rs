//! The encodings of a page of the feed, which a node sends to its followers over a network.
//!
//! JSON is for every client. The binary form has the same content, in about 22 bytes for a revocation whose id is a UUID. The
//! hashed form is for snapshots that one index reads: it has ten bytes for a revocation, in place of ids what that index stores
//! of them. `docs/feed.md` describes all three to the byte.
//!
//! 1. **All or nothing.** Bytes that are not exactly a page give an error, never a part of one: a reader that skips what it
//!    does not understand would accept revoked tokens.
//! 2. **Bounded.** No input makes decoding panic, or use more memory than a small multiple of its size.
//! 3. **Stable.** Every later version reads what an earlier one wrote. A binary form begins with its version; in JSON,
//!    members may be added that do not change the meaning of existing ones.

mod binary;
mod json;

use std::{fmt::Display, time::Duration};

use adieu::{Issuer, revocation::Page};
use http::HeaderName;

pub use binary::{from_binary, from_hashed, to_binary, to_hashed};
pub use json::{from_json, to_json};

/// The media type of the JSON form.
pub const JSON: &str = "application/json";

/// The media type of the binary form.
pub const BINARY: &str = "application/vnd.adieu.revocations";

/// The media type of the hashed form, for a request that has the key of the index in [`INDEX_KEY`].
pub const HASHED: &str = "application/vnd.adieu.revocations.hashed";

/// Both binary forms, for an `Accept` header: a node that does not know the hashed one ignores it.
pub const HASHED_OR_BINARY: &str = "application/vnd.adieu.revocations.hashed, application/vnd.adieu.revocations";

/// The header of a request with the key of an index, in base64url.
pub const INDEX_KEY: HeaderName = HeaderName::from_static("adieu-index-key");

/// The maximum size of a page in bytes that a reader must accept; a node sends no longer ones.
pub const MAX_PAGE_BYTES: usize = 16 << 20;

/// The maximum number of entries of a page that a reader must accept. An entry takes more memory than its bytes, so the size
/// alone is not a bound; a node sends far fewer.
pub const MAX_PAGE_ENTRIES: usize = 1 << 16;

/// The response to a request for the feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedPage {
    /// The node's own issuer, which applies to revocations sent to it that name no issuer.
    pub issuer: Issuer,
    /// The node's own bound: a follower must not announce a longer one. Sent in whole milliseconds.
    pub max_staleness: Duration,
    /// The page that was read. Its age is sent in whole milliseconds, rounded up.
    pub page: Page,
}

/// How the reason begins if a kind is unknown.
const UNKNOWN_KIND: &str = "an unknown kind ";

/// Why bytes are not a page of the feed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a page of the feed: {0}")]
pub struct WireError(String);

impl WireError {
    fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }

    /// The error for a kind of revocation that this version does not know: to skip it would be to accept revoked tokens.
    fn unknown_kind(kind: impl Display) -> Self {
        Self(format!("{UNKNOWN_KIND}{kind}: this follower is too old for the node"))
    }
}

fn milliseconds_down(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
