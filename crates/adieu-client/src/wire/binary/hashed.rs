//! Version 2: entries for the index of one follower, hashed with its key.
//!
//! ```text
//! page   = head sample group*
//! group  = kind [claim-name] [lead] count entry*
//! entry  = fingerprint lapses_at
//! ```
//!
//! An index stores fingerprints and not ids, so nine bytes replace an id and its issuer. The order of entries in a page has no
//! meaning: entries of one kind (and of one claim name) whose time is equally far ahead of their `lapses_at` (the lead) form a group,
//! and are sorted by `lapses_at`. Most entries so take ten bytes.
//!
//! The sample is the fingerprint of the log's id as a session of the node's issuer. A reader that does not compute the same one
//! hashes differently, and would find nothing: it rejects the page.

use super::{
    code::{CLAIM, EVERYTHING, KEY, SESSION, SUBJECT, TOKEN, TOKEN_OF_UNKNOWN_EXPIRY, code},
    head::{read_head, write_head},
    reader::{Reader, bad_id, from_unix},
};
use crate::wire::{FeedPage, WireError};
use adieu::{
    SessionId,
    revocation::{ClaimName, HashedParts, HashedRevocation, Revocation, RevocationHasher, Target, TargetKind},
    time::Timestamp,
};

const VERSION: u8 = 2;

/// The size of nearly all entries.
const USUAL_BYTES: usize = HashedRevocation::FINGERPRINT_BYTES + 1;

/// Encodes a page with all entries hashed.
#[must_use]
pub fn to_hashed(answer: &FeedPage, hasher: &RevocationHasher) -> Vec<u8> {
    let mut to = write_head(answer, VERSION, USUAL_BYTES);
    if let Some(sample) = sample(answer, hasher) {
        to.bytes(&sample);
    }
    let mut entries: Vec<HashedParts> = hasher.hash_all(&answer.page.entries).map(|entry| entry.parts()).collect();
    let order = |entry: &HashedParts| (entry.lapses_at, entry.fingerprint);
    entries.sort_unstable_by(|one, other| group(one).cmp(&group(other)).then_with(|| order(one).cmp(&order(other))));
    for entries in entries.chunk_by(|one, other| group(one) == group(other)) {
        let Some((kind, claim, lead)) = entries.first().map(group) else { continue };
        to.byte(kind);
        if let Some(name) = claim {
            to.text(name.as_str());
        }
        if let Some(lead) = lead {
            to.signed(lead);
        }
        to.number(entries.len() as u64);
        let mut before = Timestamp::ZERO;
        for entry in entries {
            to.bytes(&entry.fingerprint);
            to.number(entry.lapses_at.since(before).as_secs());
            before = entry.lapses_at;
        }
    }
    to.finish()
}

/// Decodes a page whose entries were hashed by a hasher with the same key. Returns the page without entries, and the entries.
///
/// # Errors
/// If the bytes are not exactly a page, are of another version, are hashed differently, or exceed
/// [`MAX_PAGE_BYTES`](crate::wire::MAX_PAGE_BYTES) or [`MAX_PAGE_ENTRIES`](crate::wire::MAX_PAGE_ENTRIES).
pub fn from_hashed(bytes: &[u8], hasher: &RevocationHasher) -> Result<(FeedPage, Vec<HashedRevocation>), WireError> {
    let (answer, count, mut from) = read_head(bytes, VERSION)?;
    if Some(from.bytes()?) != sample(&answer, hasher) {
        return Err(WireError::new("it is hashed differently"));
    }
    let mut entries = Vec::with_capacity(count.min(from.left() / USUAL_BYTES));
    while entries.len() < count {
        read_group(&mut from, count, &mut entries)?;
    }
    from.end()?;
    Ok((answer, entries))
}

fn read_group(from: &mut Reader<'_>, count: usize, entries: &mut Vec<HashedRevocation>) -> Result<(), WireError> {
    let (kind, has_time) = match from.byte()? {
        TOKEN => (TargetKind::Token, true),
        TOKEN_OF_UNKNOWN_EXPIRY => (TargetKind::Token, false),
        SESSION => (TargetKind::Session, false),
        SUBJECT => (TargetKind::Subject, true),
        EVERYTHING => (TargetKind::Everything, true),
        KEY => (TargetKind::Key, false),
        CLAIM => (TargetKind::Claim, true),
        unknown => return Err(WireError::unknown_kind(unknown)),
    };
    let claim = match kind {
        TargetKind::Claim => Some(ClaimName::new(from.text()?).map_err(bad_id)?),
        _ => None,
    };
    let lead = if has_time { Some(from.signed()?) } else { None };
    let members = usize::try_from(from.number()?).ok().filter(|members| (1..=count - entries.len()).contains(members));
    let mut before = 0_u64;
    for _ in 0..members.ok_or_else(|| WireError::new("a group has no entries, or too many"))? {
        let fingerprint = from.bytes()?;
        let lapses_at = from_unix(before.checked_add(from.number()?))?;
        before = lapses_at.as_unix();
        let time = lead.map(|lead| from_unix(before.checked_add_signed(lead))).transpose()?;
        let entry =
            HashedRevocation::from_parts(HashedParts { kind, claim: claim.clone(), fingerprint, time, lapses_at });
        entries.push(entry.ok_or_else(|| WireError::new("a fingerprint is not one"))?);
    }
    Ok(())
}

/// Returns the code of the kind, the name of the claim, and how far the time of the entry is ahead of its `lapses_at`; usually
/// the latter is later.
fn group(entry: &HashedParts) -> (u8, Option<&ClaimName>, Option<i64>) {
    // Both times are before the year 10000.
    (
        code(entry.kind, entry.time.is_some()),
        entry.claim.as_ref(),
        entry.time.map(|time| time.as_unix().cast_signed() - entry.lapses_at.as_unix().cast_signed()),
    )
}

fn sample(answer: &FeedPage, hasher: &RevocationHasher) -> Option<[u8; HashedRevocation::FINGERPRINT_BYTES]> {
    let id = SessionId::new(answer.page.cursor.log.as_str()).ok()?;
    let sample =
        Revocation { issuer: answer.issuer.clone(), target: Target::Session { id }, lapses_at: Timestamp::ZERO };
    hasher.hash_all([&sample]).next().map(|sample| sample.parts().fingerprint)
}
