//! Ending all sessions, however many there are.
//!
//! The cut-off that revokes them is appended to the log first. The rows are deleted after it, in steps that are short
//! whatever the number of sessions. If a call fails between two steps, every token is already revoked.

use crate::{
    revocation::{Revocation, Target},
    session::{EndSessions, Ended, Selection, Session},
    time::Timestamp,
};

/// The number of sessions that one step removes.
pub const STEP: usize = 4_096;

/// Returns the first of these requests that ends all sessions, and its place among them.
#[must_use]
pub fn find(endings: &[EndSessions]) -> Option<(usize, EndSessions)> {
    let mut endings = endings.iter().enumerate();
    let (place, ending) = endings.find(|(_, ending)| matches!(ending.selection, Selection::All { .. }))?;
    Some((place, ending.clone()))
}

/// Returns what to append with a later step that removes these sessions, after what was done `before`: revocations of
/// their own for sessions that need one, and the cut-off again if it has to be kept longer than before.
pub fn later_step(ending: &EndSessions, removed: &[Session], before: &Ended) -> Ended {
    let longest = removed.iter().map(|session| Revocation::lapse_for(session.access_expires_at)).max();
    let also = match kept_until(before) {
        Some(until) if longest.is_some_and(|longest| longest > until) => {
            ending.extra_revocations.iter().filter(|revocation| is_cut_off(revocation)).cloned().collect()
        }
        _ => vec![],
    };
    EndSessions { extra_revocations: also, ..ending.clone() }.revocations(removed)
}

/// Adds the result of a later step to `ended`.
pub fn add(ended: &mut Ended, step: Ended) {
    ended.sessions = ended.sessions.saturating_add(step.sessions);
    ended.revocations.extend(step.revocations);
}

/// Returns until when every cut-off is kept.
fn kept_until(ended: &Ended) -> Option<Timestamp> {
    // If a cut-off was appended again, the latest time counts.
    let mut until: Vec<(&Revocation, Timestamp)> = Vec::new();
    for cut_off in ended.revocations.iter().filter(|revocation| is_cut_off(revocation)) {
        match until.iter_mut().find(|(known, _)| known.issuer == cut_off.issuer) {
            Some((_, known)) => *known = cut_off.lapses_at.max(*known),
            None => until.push((cut_off, cut_off.lapses_at)),
        }
    }
    until.into_iter().map(|(_, until)| until).min()
}

fn is_cut_off(revocation: &Revocation) -> bool {
    matches!(revocation.target, Target::Everything { .. })
}
