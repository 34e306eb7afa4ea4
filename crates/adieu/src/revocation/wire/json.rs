//! The form for everybody.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{FeedPage, MAX_PAGE_BYTES, WireError, milliseconds_down, milliseconds_up};
use crate::{
    Issuer,
    revocation::{Page, Revocation},
    time::Timestamp,
};

/// What is only said beside the entries, in the order in which it is written.
#[derive(Serialize)]
struct Written<'a> {
    cursor: String,
    complete: bool,
    from_start: bool,
    age_ms: u64,
    pruned_through: Timestamp,
    issuer: &'a Issuer,
    max_staleness_ms: u64,
    entries: &'a [Revocation],
}

#[derive(Deserialize)]
struct Read {
    cursor: String,
    complete: bool,
    from_start: bool,
    age_ms: u64,
    pruned_through: Timestamp,
    issuer: Issuer,
    max_staleness_ms: u64,
    entries: Vec<Revocation>,
}

/// A page as JSON.
#[must_use]
pub fn to_json(answer: &FeedPage) -> Vec<u8> {
    let page = &answer.page;
    let written = Written {
        cursor: page.cursor.to_string(),
        complete: page.complete,
        from_start: page.from_start,
        age_ms: milliseconds_up(page.age),
        pruned_through: page.pruned_through,
        issuer: &answer.issuer,
        max_staleness_ms: milliseconds_down(answer.max_staleness),
        entries: &page.entries,
    };
    // Texts, numbers and flags in memory: there is nothing that JSON has no form for.
    serde_json::to_vec(&written).unwrap_or_default()
}

/// A page from JSON. Members that are not known are skipped, kinds of revocations that are not known are not.
///
/// # Errors
/// When it is not exactly that, or longer than [`MAX_PAGE_BYTES`].
pub fn from_json(bytes: &[u8]) -> Result<FeedPage, WireError> {
    if bytes.len() > MAX_PAGE_BYTES {
        return Err(WireError::new("it is too long"));
    }
    // Only where it is wrong: what stands there may be of anybody.
    let read: Read = serde_json::from_slice(bytes)
        .map_err(|error| WireError::new(format!("wrong JSON at line {}, column {}", error.line(), error.column())))?;
    Ok(FeedPage {
        issuer: read.issuer,
        max_staleness: Duration::from_millis(read.max_staleness_ms),
        page: Page {
            entries: read.entries,
            cursor: read.cursor.parse().map_err(|_| WireError::new("the cursor is none"))?,
            complete: read.complete,
            from_start: read.from_start,
            age: Duration::from_millis(read.age_ms),
            pruned_through: read.pruned_through,
        },
    })
}
