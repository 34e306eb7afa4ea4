//! A log, and a node's mark of it.

use super::Mutation;

/// An entry: a revocation, a cut-off, or an empty one. It has the revocations that it covers, and a unique number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Entry {
    pub(super) covers: u16,
    /// For a cut-off: the identity that the log gets with it.
    pub(super) id: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Log {
    /// The identity before the first cut-off.
    pub(super) first_id: u8,
    pub(super) lineage: u8,
    pub(super) entries: Vec<Entry>,
    /// Only in a mutant: the log keeps its identity at a cut-off.
    pub(super) keeps_identity: bool,
}

/// `restore::Mark`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Mark {
    pub(super) log: u8,
    /// The lineage in which the mark was last raised; compared only in a mutant.
    pub(super) lineage: u8,
    pub(super) position: usize,
    pub(super) anchor: Option<(usize, Entry)>,
    pub(super) former: u8,
}

/// `restore::LogState`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Found {
    pub(super) log: u8,
    pub(super) lineage: u8,
    pub(super) head: usize,
    pub(super) entry: Option<Entry>,
    pub(super) last: Option<Entry>,
}

impl Mark {
    pub(super) fn judge(&self, found: &Found, mutation: Mutation) -> Verdict {
        if self.former & (1 << found.log) != 0 {
            return Verdict::WentBack;
        }
        if found.log != self.log {
            let is_emptied = self.position > 0 && found.head == 0 && mutation != Mutation::EmptiedIsAnother;
            return if is_emptied { Verdict::WentBack } else { Verdict::Another };
        }
        let other_entry = self.anchor.is_some_and(|(_, entry)| found.entry != Some(entry));
        let other_lineage = mutation == Mutation::MarkWithLineage && found.lineage != self.lineage;
        if found.head < self.position || other_entry || other_lineage { Verdict::WentBack } else { Verdict::WentOn }
    }

    pub(super) fn see(&mut self, found: &Found) {
        let has_news = found.head > self.position || found.last.is_some() && found.head > self.anchor_position();
        if self.former & (1 << found.log) != 0 || self.log == found.log && !has_news {
            return;
        }
        if self.log != found.log {
            self.former |= 1 << self.log;
            (self.log, self.position, self.anchor) = (found.log, 0, None);
        }
        self.lineage = found.lineage;
        self.position = self.position.max(found.head);
        if let Some(last) = found.last
            && found.head > self.anchor_position()
        {
            self.anchor = Some((found.head, last));
        }
    }

    pub(super) fn anchor_position(&self) -> usize {
        self.anchor.map_or(0, |(position, _)| position)
    }
}

#[derive(PartialEq, Eq)]
pub(super) enum Verdict {
    WentOn,
    Another,
    WentBack,
}

impl Log {
    pub(super) fn look(&self, at: usize) -> Found {
        let entry = |position: usize| position.checked_sub(1).and_then(|index| self.entries.get(index)).copied();
        let head = self.entries.len();
        Found { log: self.id(), lineage: self.lineage, head, entry: entry(at), last: entry(head) }
    }

    /// The identity is written with the cut-off, and lost with it.
    pub(super) fn id(&self) -> u8 {
        self.entries
            .iter()
            .map(|entry| entry.id)
            .max()
            .filter(|id| *id > 0 && !self.keeps_identity)
            .unwrap_or(self.first_id)
    }

    pub(super) fn covers(&self) -> u16 {
        self.entries.iter().fold(0, |covered, entry| covered | entry.covers)
    }
}
