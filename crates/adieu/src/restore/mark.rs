//! The remembered state of a log, and its comparison with the log that is found.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use crate::{
    RollbackCause,
    restore::LogState,
    revocation::{LogId, Position, Revocation, TargetParts},
    time::Timestamp,
};

/// The maximum number of remembered former identities, and of removed keys.
const MAX_FORMER: usize = 16;
const MAX_REMOVED: usize = 32;

/// The stored length of an entry's digest, in bytes. No attacker chooses both histories.
const FINGERPRINT: usize = 16;

/// The remembered state of a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The identity of the log.
    log: String,
    /// The highest position that was seen in the log.
    position: u64,
    /// How far the log had been pruned.
    pruned_through: Timestamp,
    /// The entry at that position, or an earlier one while another process has recorded only the position.
    anchor: Option<Anchor>,
    /// The former identities of the log, the latest last.
    former: Vec<String>,
    /// The signing keys that were in the store when it was last read.
    keys: Vec<String>,
    /// The signing keys that were in the store and have been removed.
    removed_keys: Vec<String>,
    /// The lineage of the log when this process last raised the mark. It is not used in comparisons.
    #[serde(skip)]
    lineage: Option<LogId>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Anchor {
    position: u64,
    fingerprint: String,
    lapses_at: Timestamp,
    /// The entry itself, unless another process has recorded it.
    #[serde(skip)]
    entry: Option<Arc<Revocation>>,
}

/// The result of comparing a log with a mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The log of the mark, which has continued.
    Continued,
    /// A log that the mark does not know.
    Another,
    /// An older state of the log.
    RolledBack(RollbackCause),
}

impl Mark {
    /// Creates the mark of a log that is seen for the first time.
    pub(super) fn of(log: &LogId) -> Self {
        Self {
            log: log.as_str().to_owned(),
            position: 0,
            pruned_through: Timestamp::ZERO,
            anchor: None,
            former: Vec::new(),
            keys: Vec::new(),
            removed_keys: Vec::new(),
            lineage: None,
        }
    }

    /// Returns the identity of the log.
    #[must_use]
    pub fn log(&self) -> &str {
        &self.log
    }

    /// Returns the highest position that was seen.
    #[must_use]
    pub fn position(&self) -> Position {
        Position::new(self.position)
    }

    /// Returns how far the log had been pruned.
    #[must_use]
    pub fn pruned_through(&self) -> Timestamp {
        self.pruned_through
    }

    /// Returns the position to pass to [`Restorable::inspect`](super::Restorable::inspect) before [`Mark::compare`].
    #[must_use]
    pub fn anchor(&self) -> Position {
        self.anchor.as_ref().map_or(Position::START, |anchor| Position::new(anchor.position))
    }

    /// Returns the entry at [`Mark::anchor`], for an engine that cannot compute its digest; `None` if this process has
    /// not seen the entry.
    #[must_use]
    pub fn anchor_entry(&self) -> Option<&Revocation> {
        self.anchor.as_ref()?.entry.as_deref()
    }

    /// Compares a log with the mark. The mark must have been read before the log, because other tasks raise it
    /// concurrently.
    #[must_use]
    pub fn compare(&self, found: &LogState) -> Verdict {
        if self.has_left(&found.log) {
            return Verdict::RolledBack(RollbackCause::Former);
        }
        if found.log.as_str() != self.log {
            // A copy made from one store to another includes its revocations: a log without any has lost them.
            let is_emptied = self.position > 0 && found.head == Position::START;
            return if is_emptied { Verdict::RolledBack(RollbackCause::Emptied) } else { Verdict::Another };
        }
        if found.head.get() < self.position {
            return Verdict::RolledBack(RollbackCause::Shorter);
        }
        if found.pruned_through < self.pruned_through {
            return Verdict::RolledBack(RollbackCause::LessPruned);
        }
        match (&self.anchor, &found.entry) {
            (Some(anchor), Some(entry)) if fingerprint(entry) != anchor.fingerprint => {
                Verdict::RolledBack(RollbackCause::OtherEntry)
            }
            (Some(anchor), None) if anchor.lapses_at > found.pruned_through => {
                Verdict::RolledBack(RollbackCause::MissingEntry)
            }
            _ => Verdict::Continued,
        }
    }

    /// Returns whether this is a former identity of the log.
    pub(super) fn has_left(&self, log: &LogId) -> bool {
        self.former.iter().any(|former| former == log.as_str())
    }

    /// Returns whether [`Mark::see`] would change anything.
    pub(super) fn is_behind(&self, found: &LogState) -> bool {
        if self.log != found.log.as_str() {
            return !self.has_left(&found.log);
        }
        found.head.get() > self.position || found.pruned_through > self.pruned_through || self.has_other_anchor(found)
    }

    /// Returns whether another lineage than that of `found` has raised the mark since `held`. One of the two may be the
    /// late answer of a server that has been replaced.
    pub(super) fn contradicts(&self, found: &LogState, held: &Self) -> bool {
        let was_raised = self.log != held.log || self.position != held.position;
        was_raised && self.lineage.as_ref().is_some_and(|lineage| *lineage != found.lineage)
    }

    /// Returns whether the last entry of `found` is later than the remembered one, or the same one, of which only the
    /// fingerprint is known.
    fn has_other_anchor(&self, found: &LogState) -> bool {
        let place = if self.anchor_entry().is_some() {
            self.anchor()
        } else {
            Position::new(self.anchor().get().saturating_sub(1))
        };
        found.last.is_some() && found.head > place
    }

    /// Records that this position is in the log. A log with a former identity is ignored.
    fn raise(&mut self, log: &LogId, position: Position) {
        if self.has_left(log) {
            return;
        }
        if self.log != log.as_str() {
            self.former.push(std::mem::replace(&mut self.log, log.as_str().to_owned()));
            self.former.drain(..self.former.len().saturating_sub(MAX_FORMER));
            self.position = 0;
            self.pruned_through = Timestamp::ZERO;
            self.anchor = None;
            self.lineage = None;
            // The keys are those of another store, or are about to be read again: none of them was removed.
            self.keys.clear();
        }
        self.position = self.position.max(position.get());
    }

    /// Records the state of a log that has not gone back.
    pub(super) fn see(&mut self, found: &LogState) {
        if !self.is_behind(found) {
            return;
        }
        self.raise(&found.log, found.head);
        self.lineage = Some(found.lineage.clone());
        self.pruned_through = self.pruned_through.max(found.pruned_through);
        if let Some(last) = &found.last
            && self.has_other_anchor(found)
        {
            self.anchor = Some(Anchor {
                position: found.head.get(),
                fingerprint: fingerprint(last),
                lapses_at: last.lapses_at,
                entry: Some(Arc::new(last.clone())),
            });
        }
    }

    /// Returns whether these are the signing keys that were last seen in the store.
    pub(super) fn has_keys(&self, keys: &[String]) -> bool {
        self.keys == keys
    }

    /// Records the signing keys in the store.
    pub(crate) fn see_keys(&mut self, keys: Vec<String>) {
        let gone = self.keys.iter().filter(|key| !keys.contains(key) && !self.removed_keys.contains(key));
        let gone: Vec<String> = gone.cloned().collect();
        self.removed_keys.extend(gone);
        self.removed_keys.drain(..self.removed_keys.len().saturating_sub(MAX_REMOVED));
        self.keys = keys;
    }

    /// Returns whether this key was in the store and was removed.
    pub(crate) fn has_removed(&self, key: &str) -> bool {
        self.removed_keys.iter().any(|removed| removed == key)
    }

    /// Merges what another process has written to the same file.
    pub(super) fn merge(&mut self, other: &Self) {
        for key in &other.removed_keys {
            if !self.removed_keys.contains(key) {
                self.removed_keys.push(key.clone());
            }
        }
        if other.former.contains(&self.log) {
            // The other process has gone on to the next log.
            let removed_keys = std::mem::take(&mut self.removed_keys);
            *self = Self { removed_keys, lineage: None, ..other.clone() };
        } else if other.log == self.log {
            self.position = self.position.max(other.position);
            self.pruned_through = self.pruned_through.max(other.pruned_through);
            if other.anchor() > self.anchor() {
                self.anchor.clone_from(&other.anchor);
            }
            for former in other.former.iter().rev() {
                if !self.former.contains(former) {
                    self.former.insert(0, former.clone());
                }
            }
        }
    }

    /// Forgets the oldest entry that is dispensable. Returns whether there was one.
    pub(super) fn shrink(&mut self) -> bool {
        if !self.former.is_empty() {
            self.former.remove(0);
            return true;
        }
        if !self.removed_keys.is_empty() {
            self.removed_keys.remove(0);
            return true;
        }
        !std::mem::take(&mut self.keys).is_empty()
    }
}

/// Returns a digest that distinguishes an entry from every other, whatever engine and version it was read with. So it
/// does not depend on any format in which entries are sent or stored.
fn fingerprint(entry: &Revocation) -> String {
    let TargetParts { kind, id, time } = entry.target.parts();
    let mut bytes = vec![kind.code(), u8::from(time.is_some())];
    bytes.extend(time.unwrap_or_default().as_unix().to_be_bytes());
    bytes.extend(entry.lapses_at.as_unix().to_be_bytes());
    for text in [entry.issuer.as_str(), id] {
        bytes.extend(u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes());
        bytes.extend(text.as_bytes());
    }
    hex(digest(&SHA256, &bytes).as_ref(), FINGERPRINT)
}

/// Returns the first bytes of a digest, in hexadecimal.
pub(super) fn hex(digest: &[u8], bytes: usize) -> String {
    digest.iter().take(bytes).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{Issuer, SessionId, revocation::Target};

    fn entry(session: &str, lapses_at: u64) -> Revocation {
        Revocation {
            issuer: Issuer::new("https://adieu.test").unwrap(),
            target: Target::Session { id: SessionId::new(session).unwrap() },
            lapses_at: Timestamp::from_unix(lapses_at),
        }
    }

    fn log(name: &str) -> LogId {
        LogId::new(name).unwrap()
    }

    fn state(name: &str, head: u64, entry: Option<Revocation>, pruned_through: u64) -> LogState {
        LogState {
            log: log(name),
            lineage: log(name),
            head: Position::new(head),
            pruned_through: Timestamp::from_unix(pruned_through),
            restored_at: None,
            last: entry.clone(),
            entry,
        }
    }

    /// The mark of log "one" at position 7, where the entry "a" lapses at 100, pruned through 40.
    fn mark() -> Mark {
        let mut mark = Mark::of(&log("one"));
        mark.see(&state("one", 7, Some(entry("a", 100)), 40));
        mark
    }

    #[test]
    fn a_log_is_held_against_the_mark() {
        let went_back = Verdict::RolledBack;
        for (found, verdict) in [
            (state("one", 7, Some(entry("a", 100)), 40), Verdict::Continued),
            (state("one", 900, Some(entry("a", 100)), 99), Verdict::Continued),
            (state("one", 900, None, 100), Verdict::Continued),
            (state("one", 900, None, 99), went_back(RollbackCause::MissingEntry)),
            (state("one", 900, Some(entry("b", 100)), 40), went_back(RollbackCause::OtherEntry)),
            (state("one", 900, Some(entry("a", 101)), 40), went_back(RollbackCause::OtherEntry)),
            (state("one", 6, None, 1000), went_back(RollbackCause::Shorter)),
            (state("one", 7, Some(entry("a", 100)), 39), went_back(RollbackCause::LessPruned)),
            (state("two", 900, Some(entry("a", 100)), 40), Verdict::Another),
            (state("two", 1, None, 0), Verdict::Another),
            (state("two", 0, None, 0), went_back(RollbackCause::Emptied)),
        ] {
            assert_eq!(mark().compare(&found), verdict, "{found:?}");
        }
        let of_empty = Mark::of(&log("one"));
        assert_eq!(of_empty.compare(&state("two", 0, None, 0)), Verdict::Another, "nothing can have been forgotten");
    }

    #[test]
    fn a_log_that_was_left_behind_does_not_come_back() {
        let mut mark = mark();
        mark.raise(&log("two"), Position::new(3));
        assert_eq!((mark.log(), mark.position().get(), mark.anchor().get()), ("two", 3, 0));
        assert_eq!(mark.compare(&state("one", 900, None, 1000)), Verdict::RolledBack(RollbackCause::Former));
        let before = mark.clone();
        mark.raise(&log("one"), Position::new(900));
        mark.see(&state("one", 900, Some(entry("a", 100)), 40));
        assert_eq!(mark, before);
    }

    /// A server that has been replaced answers late.
    #[test]
    fn two_lineages_do_not_raise_it_together() {
        let of =
            |lineage: &str, head| LogState { lineage: log(lineage), ..state("one", head, Some(entry("b", 100)), 40) };
        let held = mark();
        assert!(!held.contradicts(&of("one-2", 8), &held), "it was not raised meanwhile");
        let mut raised = held.clone();
        raised.see(&of("one-2", 8));
        assert!(raised.contradicts(&of("one-1", 8), &held) && raised.contradicts(&of("one-1", 9), &held));
        assert!(!raised.contradicts(&of("one-2", 8), &held) && !raised.contradicts(&of("one-1", 9), &raised));
    }

    #[test]
    fn what_another_process_has_written_is_taken_in() {
        let (mut ours, mut theirs) = (mark(), mark());
        theirs.raise(&log("one"), Position::new(9));
        ours.merge(&theirs);
        assert_eq!(ours.position().get(), 9);
        theirs.raise(&log("two"), Position::new(1));
        ours.merge(&theirs);
        assert_eq!((ours.log(), ours.position().get()), ("two", 1));
        // Nor back again by a process that does not know of the change.
        let mut late = mark();
        late.merge(&theirs);
        assert_eq!(late, theirs);
        theirs.merge(&mark());
        assert_eq!(late, theirs);
    }

    #[test]
    fn a_key_that_is_gone_is_remembered() {
        let mut mark = mark();
        mark.see_keys(vec!["old".to_owned(), "new".to_owned()]);
        assert!(!mark.has_removed("old"));
        mark.see_keys(vec!["new".to_owned()]);
        assert!(mark.has_removed("old") && !mark.has_removed("new"));
    }

    /// Later versions can read marks.
    #[test]
    fn a_fingerprint_never_changes() {
        assert_eq!(fingerprint(&entry("a", 100)), "5d4511cb57362fff16a7eb36384bf4cc");
        let everything =
            Revocation { target: Target::Everything { issued_until: Timestamp::from_unix(5) }, ..entry("a", 100) };
        assert_eq!(fingerprint(&everything), "96d3d4ebef1bf8587056a4e61ade412d");
    }

    #[test]
    fn entries_that_differ_in_anything_have_other_fingerprints() {
        let token = |expires_at| Revocation {
            target: Target::Token { id: crate::TokenId::new("a").unwrap(), expires_at },
            ..entry("a", 100)
        };
        let all = [
            entry("a", 100),
            entry("b", 100),
            entry("a", 101),
            Revocation { issuer: Issuer::new("other").unwrap(), ..entry("a", 100) },
            token(None),
            token(Some(Timestamp::ZERO)),
            token(Some(Timestamp::from_unix(1))),
        ];
        let distinct: std::collections::BTreeSet<String> = all.iter().map(fingerprint).collect();
        assert_eq!(distinct.len(), all.len());
    }
}
