//! Version 1: whole entries.
//!
//! ```text
//! page   = head entry*
//! entry  = kind issuer-number [issuer] [claim-name] [id] lapses_at [moment]
//! ```
//!
//! `lapses_at` is the difference to the previous entry's, and the moment of an entry (`expires_at`, `issued_until`) is
//! the difference to its own `lapses_at`: neighbours are close to each other, so most differences take a byte or two. Issuer
//! 0 is the node's own, and each issuer number that is one more than the last is followed by its text. The id of a claim is its value.

use std::collections::HashMap;

use super::{
    code::{CLAIM, EVERYTHING, KEY, SESSION, SUBJECT, TOKEN, TOKEN_OF_UNKNOWN_EXPIRY, code},
    head::{read_head, write_head},
    reader::{Reader, bad_id},
    writer,
};
use crate::wire::{FeedPage, WireError};
use adieu::{
    Issuer, TokenId,
    revocation::{Revocation, RevokedClaim, Target, TargetParts},
    time::Timestamp,
};

const VERSION: u8 = 1;

/// A flag of any kind with an id: the id is a UUID in its usual text form, encoded as sixteen bytes.
const UUID: u8 = 0x80;

/// Encodes a page in the binary form.
#[must_use]
pub fn to_binary(answer: &FeedPage) -> Vec<u8> {
    let mut to = write_head(answer, VERSION, 24);

    let mut issuers = HashMap::from([(&answer.issuer, 0)]);
    let mut previous = (&answer.issuer, 0);
    let mut lapses_before = Timestamp::ZERO;
    for entry in &answer.page.entries {
        let TargetParts { kind, id, time } = entry.target.parts();
        let claim = match &entry.target {
            Target::Claim { claim, .. } => Some(claim),
            _ => None,
        };
        // Only a cut-off of everything has no id.
        let id = Some(claim.map_or(id, RevokedClaim::value)).filter(|id| !id.is_empty());
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

        if let Some(claim) = claim {
            to.text(claim.name().as_str());
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
/// If the bytes are not exactly a page, are of another version, or exceed
/// [`MAX_PAGE_BYTES`](crate::wire::MAX_PAGE_BYTES) or [`MAX_PAGE_ENTRIES`](crate::wire::MAX_PAGE_ENTRIES).
pub fn from_binary(bytes: &[u8]) -> Result<FeedPage, WireError> {
    let (mut answer, count, mut from) = read_head(bytes, VERSION)?;
    answer.page.entries = entries(&mut from, count, &answer.issuer)?;
    from.end()?;
    Ok(answer)
}

fn entries(from: &mut Reader<'_>, count: usize, own: &Issuer) -> Result<Vec<Revocation>, WireError> {
    /// The usual size of an entry. Memory is reserved for as many entries of this size as the bytes can hold, whatever count
    /// they declare.
    const USUAL_BYTES: usize = 20;

    let mut entries = Vec::with_capacity(count.min(from.left() / USUAL_BYTES));
    let mut issuers = vec![own.clone()];
    let mut lapses_before = Timestamp::ZERO;
    for _ in 0..count {
        let kind = from.byte()?;
        let issuer = usize::try_from(from.number()?).map_err(|_| WireError::new("an issuer is missing"))?;
        let issuer = match issuers.get(issuer) {
            Some(issuer) => issuer.clone(),
            None if issuer == issuers.len() => {
                let issuer = Issuer::new(from.text()?).map_err(bad_id)?;
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
            KEY => Target::Key { id: from.id(has_uuid)? },
            CLAIM => {
                let name = from.text()?;
                let value: TokenId = from.id(has_uuid)?;
                let claim = RevokedClaim::new(name, value.as_str()).map_err(bad_id)?;
                Target::Claim { claim, issued_until: Timestamp::ZERO }
            }
            _ => return Err(WireError::unknown_kind(kind)),
        };
        let lapses_at = from.time_after(lapses_before)?;
        lapses_before = lapses_at;
        let target = match target {
            Target::Token { id, .. } if kind == TOKEN => {
                Target::Token { id, expires_at: Some(from.time_after(lapses_at)?) }
            }
            Target::Subject { id, .. } => Target::Subject { id, issued_until: from.time_after(lapses_at)? },
            Target::Everything { .. } => Target::Everything { issued_until: from.time_after(lapses_at)? },
            Target::Claim { claim, .. } => Target::Claim { claim, issued_until: from.time_after(lapses_at)? },
            known => known,
        };
        entries.push(Revocation { issuer, target, lapses_at });
    }
    Ok(entries)
}
