//! EndSessions all sessions, however many there are.
//!
//! What revokes them is the cut-off, which goes into the log first. The rows go after it, in steps that hold nobody up and that no
//! number of sessions makes too long. A call that fails between two of them has revoked every token already.

use crate::{
    revocation::{Revocation, Target},
    session::{EndSessions, Ended, Session},
    time::Timestamp,
};

/// Sessions that one step removes.
pub const STEP: usize = 4_096;

/// What is to be appended with a later step that removes these sessions, after what was done `before`: revocations of their own where
/// they need one, and the cut-off again if it has to be kept for longer than it would be.
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

/// Adds what a later step has done.
pub fn add(ended: &mut Ended, step: Ended) {
    ended.sessions = ended.sessions.saturating_add(step.sessions);
    ended.revocations.extend(step.revocations);
}

/// Until when every cut-off is kept.
fn kept_until(ended: &Ended) -> Option<Timestamp> {
    // Of one that was appended again the last.
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
