//! What this process has received, for the console: how often, when last, and why the last messages were rejected.
//!
//! Memory is bounded: counts are kept for trusted issuers only, and of the rejected messages the last [`MAX_REJECTED`].

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use adieu::{
    Issuer,
    time::{Clock, Timestamp},
};

/// How many rejected messages are kept.
const MAX_REJECTED: usize = 20;

/// The maximum length of a reason, in characters: it may quote the message.
const MAX_REASON_CHARS: usize = 200;

/// The events of one kind and issuer that had the same outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) issuer: Issuer,
    pub(crate) kind: &'static str,
    pub(crate) outcome: &'static str,
    pub(crate) count: u64,
    pub(crate) last: Timestamp,
}

/// A message that was rejected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RejectedMessage {
    pub(crate) at: Timestamp,
    /// What it was sent as.
    pub(crate) kind: &'static str,
    /// The issuer that it names, if that is trusted. Anyone can name it.
    pub(crate) named: Option<Issuer>,
    pub(crate) reason: String,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Journal {
    clock: Arc<dyn Clock>,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    tallies: BTreeMap<(Issuer, &'static str, &'static str), (u64, Timestamp)>,
    rejected: VecDeque<RejectedMessage>,
}

impl Journal {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, kept: Mutex::default() }
    }

    /// Counts an event of a trusted issuer.
    pub(super) fn received(&self, issuer: &Issuer, kind: &'static str, outcome: &'static str) {
        let now = self.clock.now();
        let mut kept = self.kept();
        let (count, last) = kept.tallies.entry((issuer.clone(), kind, outcome)).or_insert((0, now));
        (*count, *last) = (count.saturating_add(1), now);
    }

    /// Keeps why a message was rejected.
    pub(super) fn rejected(&self, kind: &'static str, named: Option<Issuer>, reason: &str) {
        let reason = reason.chars().take(MAX_REASON_CHARS).collect();
        let rejected = RejectedMessage { at: self.clock.now(), kind, named, reason };
        let mut kept = self.kept();
        kept.rejected.truncate(MAX_REJECTED - 1);
        kept.rejected.push_front(rejected);
    }

    /// Returns the counts, by issuer, kind and outcome.
    pub(crate) fn tallies(&self) -> Vec<Tally> {
        let kept = self.kept();
        let tallies = kept.tallies.iter().map(|((issuer, kind, outcome), (count, last))| Tally {
            issuer: issuer.clone(),
            kind,
            outcome,
            count: *count,
            last: *last,
        });
        tallies.collect()
    }

    /// Returns the last messages that were rejected, newest first.
    pub(crate) fn last_rejected(&self) -> Vec<RejectedMessage> {
        self.kept().rejected.iter().cloned().collect()
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
