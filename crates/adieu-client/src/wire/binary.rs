//! The compact binary form.
//!
//! ```text
//! page   = "ADRV" version flags age_ms pruned_through max_staleness_ms issuer log position count entry*
//! entry  = kind issuer-number [issuer] [id] lapses_at [moment]
//! ```
//!
//! Integers are LEB128, in as few bytes as possible; differences are zigzag-encoded first. A text is its length and its
//! UTF-8. `lapses_at` is the difference to the previous entry's, and the moment of an entry (`expires_at`, `issued_until`) is
//! the difference to its own `lapses_at`: neighbours are close to each other, so most differences take a byte or two. Issuer
//! 0 is the node's own, and each issuer number that is one more than the last is followed by its text.

mod reader;
mod writer;

use std::{collections::HashMap, time::Duration};

use self::{reader::Reader, writer::Writer};
use super::{FeedPage, MAX_PAGE_BYTES, MAX_PAGE_ENTRIES, WireError, milliseconds_down};
use adieu::{
    Issuer,
    revocation::{Cursor, LogId, Page, Position, Revocation, Target, TargetKind, TargetParts},
    time::{Timestamp, ceil_millis},
};

const MAGIC: [u8; 4] = *b"ADRV";
const VERSION: u8 = 1;

const COMPLETE: u8 = 1;
const FROM_START: u8 = 2;

const TOKEN: u8 = 0;
const TOKEN_OF_UNKNOWN_EXPIRY: u8 = 1;
const SESSION: u8 = 2;
const SUBJECT: u8 = 3;
const EVERYTHING: u8 = 4;
/// A flag of any kind with an id: the id is a UUID in its usual text form, encoded as sixteen bytes.
const UUID: u8 = 0x80;

/// Returns the code of an entry. This format has one more for a token of unknown expiry, so that all others are one higher.
const fn code(kind: TargetKind, has_time: bool) -> u8 {
    match kind {
        TargetKind::Token if has_time => TOKEN,
        kind => kind.code() + TOKEN_OF_UNKNOWN_EXPIRY,
    }
}

/// Encodes a page in the binary form.
#[must_use]
pub fn to_binary(answer: &FeedPage) -> Vec<u8> {
    let page = &answer.page;
    let mut to = Writer::with_capacity(128 + page.entries.len().saturating_mul(24));
    to.bytes(&MAGIC);
    to.byte(VERSION);
    to.byte(if page.complete { COMPLETE } else { 0 } | if page.from_start { FROM_START } else { 0 });
    to.number(ceil_millis(page.age));
    to.number(page.pruned_through.as_unix());
    to.number(milliseconds_down(answer.max_staleness));
    to.text(answer.issuer.as_str());
    to.text(page.cursor.log.as_str());
    to.number(page.cursor.position.get());
    to.number(page.entries.len() as u64);

    let mut issuers = HashMap::from([(&answer.issuer, 0)]);
    let mut previous = (&answer.issuer, 0);
    let mut lapses_before = Timestamp::ZERO;
    for entry in &page.entries {
        let TargetParts { kind, id, time } = entry.target.parts();
        // Only a cut-off of everything has no id.
        let id = Some(id).filter(|id| !id.is_empty());
        let uuid = id.and_then(writer::usual_uuid);
        to.byte(code(kind, time.is_some()) | if uuid.is_some() { UUID } else { 0 });

        // Neighbouring entries mostly have the same issuer.
        if *previous.0 != entry.issuer {
            let next = issuers.len() as u64;
            previous = (&entry.issuer, *issuers.entry(&entry.issuer).or_insert(next));
            to.number(previous.1);
            if previous.1 == next {
                to.text(entry.issuer.as_str());
            }
        } else {
            to.number(previous.1);
        }

        match (uuid, id) {
            (Some(uuid), _) => to.bytes(uuid.as_bytes()),
            (None, Some(id)) => to.text(id),
            (None, None) => {}
        }
        to.difference(entry.lapses_at, lapses_before);
        lapses_before = entry.lapses_at;
        if let Some(time) = time {
            to.difference(time, entry.lapses_at);
        }
    }
    to.finish()
}

/// Decodes a page from the binary form.
///
/// # Errors
/// If the bytes are not exactly a page, are of another version, or exceed [`MAX_PAGE_BYTES`] or [`MAX_PAGE_ENTRIES`].
pub fn from_binary(bytes: &[u8]) -> Result<FeedPage, WireError> {
    if bytes.len() > MAX_PAGE_BYTES {
        return Err(WireError::new("it is too long"));
    }
    let mut from = Reader::new(bytes);
    if from.bytes()? != MAGIC {
        return Err(WireError::new("it does not begin as one"));
    }
    let version = from.byte()?;
    if version != VERSION {
        return Err(WireError::new(format!("it is of version {version}, and {VERSION} is what this program reads")));
    }
    let flags = from.byte()?;
    if flags & !(COMPLETE | FROM_START) != 0 {
        return Err(WireError::new("it has an unknown flag"));
    }
    let age = Duration::from_millis(from.number()?);
    let pruned_through = from.time()?;
    let max_staleness = Duration::from_millis(from.number()?);
    let issuer = Issuer::new(from.text()?).map_err(reader::bad_id)?;
    let log = LogId::new(from.text()?).map_err(reader::bad_id)?;
    let position = Position::new(from.number()?);
    let entries = entries(&mut from, &issuer)?;
    from.end()?;
    Ok(FeedPage {
        issuer,
        max_staleness,
        page: Page {
            entries,
            cursor: Cursor { log, position },
            complete: flags & COMPLETE != 0,
            from_start: flags & FROM_START != 0,
            age,
            pruned_through,
        },
    })
}

fn entries(from: &mut Reader<'_>, own: &Issuer) -> Result<Vec<Revocation>, WireError> {
    /// The usual size of an entry. Memory is reserved for as many entries of this size as the bytes can hold, whatever count
    /// they declare.
    const USUAL_BYTES: usize = 20;

    let count = usize::try_from(from.number()?).ok().filter(|count| *count <= MAX_PAGE_ENTRIES);
    let count = count.ok_or_else(|| WireError::new("it has too many entries"))?;
    let mut entries = Vec::with_capacity(count.min(from.left() / USUAL_BYTES));
    let mut issuers = vec![own.clone()];
    let mut lapses_before = Timestamp::ZERO;
    for _ in 0..count {
        let kind = from.byte()?;
        let issuer = usize::try_from(from.number()?).map_err(|_| WireError::new("an issuer is missing"))?;
        let issuer = match issuers.get(issuer) {
            Some(issuer) => issuer.clone(),
            None if issuer == issuers.len() => {
                let issuer = Issuer::new(from.text()?).map_err(reader::bad_id)?;
                issuers.push(issuer.clone());
                issuer
            }
            None => return Err(WireError::new("an issuer is missing")),
        };
        let has_uuid = kind & UUID != 0;
        let kind = kind & !UUID;
        let target = match kind {
            TOKEN | TOKEN_OF_UNKNOWN_EXPIRY => Target::Token { id: from.id(has_uuid)?, expires_at: None },
            SESSION => Target::Session { id: from.id(has_uuid)? },
            SUBJECT => Target::Subject { id: from.id(has_uuid)?, issued_until: Timestamp::ZERO },
            EVERYTHING if !has_uuid => Target::Everything { issued_until: Timestamp::ZERO },
            _ => return Err(WireError::new("an entry is of an unknown kind")),
        };
        let lapses_at = from.time_after(lapses_before)?;
        lapses_before = lapses_at;
        let target = match target {
            Target::Token { id, .. } if kind == TOKEN => {
                Target::Token { id, expires_at: Some(from.time_after(lapses_at)?) }
            }
            Target::Subject { id, .. } => Target::Subject { id, issued_until: from.time_after(lapses_at)? },
            Target::Everything { .. } => Target::Everything { issued_until: from.time_after(lapses_at)? },
            known => known,
        };
        entries.push(Revocation { issuer, target, lapses_at });
    }
    Ok(entries)
}
