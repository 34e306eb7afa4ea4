//! The beginning of a page, which is the same in both versions but for the number of the version.

use std::time::Duration;

use super::{
    reader::{Reader, bad_id},
    writer::Writer,
};
use crate::wire::{FeedPage, MAX_PAGE_BYTES, MAX_PAGE_ENTRIES, WireError, milliseconds_down};
use adieu::{
    Issuer,
    revocation::{Cursor, LogId, Page, Position},
    time::ceil_millis,
};

const MAGIC: [u8; 4] = *b"ADRV";

const COMPLETE: u8 = 1;
const FROM_START: u8 = 2;

/// Starts a page of `version`, with room for as many entries of `usual_bytes` as it has.
pub(super) fn write_head(answer: &FeedPage, version: u8, usual_bytes: usize) -> Writer {
    let page = &answer.page;
    let mut to = Writer::with_capacity(128 + page.entries.len().saturating_mul(usual_bytes));
    to.bytes(&MAGIC);
    to.byte(version);
    to.byte(if page.complete { COMPLETE } else { 0 } | if page.from_start { FROM_START } else { 0 });
    to.number(ceil_millis(page.age));
    to.number(page.pruned_through.as_unix());
    to.number(milliseconds_down(answer.max_staleness));
    to.text(answer.issuer.as_str());
    to.text(page.cursor.log.as_str());
    to.number(page.cursor.position.get());
    to.number(page.entries.len() as u64);
    to
}

/// Reads the head of a page of `version`. Returns the page without entries, the number of entries, and the rest.
pub(super) fn read_head(bytes: &[u8], version: u8) -> Result<(FeedPage, usize, Reader<'_>), WireError> {
    if bytes.len() > MAX_PAGE_BYTES {
        return Err(WireError::new("it is too long"));
    }
    let mut from = Reader::new(bytes);
    if from.bytes()? != MAGIC {
        return Err(WireError::new("it does not begin as one"));
    }
    let found = from.byte()?;
    if found != version {
        return Err(WireError::new(format!("it is of version {found}, and {version} is what this program reads")));
    }
    let flags = from.byte()?;
    if flags & !(COMPLETE | FROM_START) != 0 {
        return Err(WireError::new("it has an unknown flag"));
    }
    let age = Duration::from_millis(from.number()?);
    let pruned_through = from.time()?;
    let max_staleness = Duration::from_millis(from.number()?);
    let issuer = Issuer::new(from.text()?).map_err(bad_id)?;
    let log = LogId::new(from.text()?).map_err(bad_id)?;
    let position = Position::new(from.number()?);
    let count = usize::try_from(from.number()?).ok().filter(|count| *count <= MAX_PAGE_ENTRIES);
    let count = count.ok_or_else(|| WireError::new("it has too many entries"))?;
    let page = Page {
        entries: Vec::new(),
        cursor: Cursor { log, position },
        complete: flags & COMPLETE != 0,
        from_start: flags & FROM_START != 0,
        age,
        pruned_through,
    };
    Ok((FeedPage { issuer, max_staleness, page }, count, from))
}
