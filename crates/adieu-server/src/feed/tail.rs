//! The newest entries of a log, kept in memory for those who follow closely.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use adieu::{
    revocation::{Cursor, LogId, Page, Position, Revocation},
    time::{Moment, Timestamp},
};
use axum::body::Bytes;

use super::Form;

/// The most that is kept. A follower that is behind all of it reads the log itself.
const MAX_ENTRIES: usize = 32_768;
const MAX_BYTES: usize = 16 << 20;

/// Pages that were read one by one are given out together up to so many entries.
const PAGE: usize = 2_048;

/// How many different pages are kept ready at once. Whoever is further behind than that has one made.
const READY: usize = 16;

/// The end of one log as far as it was read, and how far of that is shown to followers.
#[derive(Debug)]
pub(super) struct Tail {
    log: LogId,
    /// Everything after this position, and up to `read_to`, is in `pages`.
    start: Position,
    pages: VecDeque<Kept>,
    entries: usize,
    bytes: usize,
    read_to: Position,
    /// What had been acknowledged by then is not after `read_to`.
    read_at: Moment,
    shown_to: Position,
    /// The same for `shown_to`.
    shown_at: Moment,
    pruned_through: Timestamp,
    /// Pages for followers, by where they start.
    ready: Vec<(Position, Arc<Part>)>,
}

/// A page as it was read.
#[derive(Debug)]
struct Kept {
    start: Position,
    end: Position,
    entries: Vec<Revocation>,
    bytes: usize,
}

/// A page that may be shared by many followers. Its age is not in it, because each has its own.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) page: Page,
    encoded: Mutex<Vec<Encoded>>,
}

#[derive(Debug)]
struct Encoded {
    key: (Form, u32),
    bytes: Bytes,
}

/// What the tail has for a cursor.
#[derive(Debug)]
pub(super) enum Found {
    /// Entries after it; whatever was acknowledged by the moment is among them or before them.
    After(Arc<Part>, Moment),
    /// Nothing yet; the cursor to go on with, by when nothing more had been acknowledged, and how far was pruned.
    Nothing((Cursor, Moment, Timestamp)),
    /// It is older than the tail, ahead of it, or of another log: the log itself has to be asked.
    Elsewhere,
}

impl Part {
    pub(super) fn new(page: Page) -> Arc<Self> {
        Arc::new(Self { page, encoded: Mutex::default() })
    }

    pub(super) fn nothing_after(cursor: Cursor, pruned_through: Timestamp) -> Arc<Self> {
        let (entries, age) = (Vec::new(), Duration::ZERO);
        Self::new(Page { entries, cursor, complete: true, from_start: false, age, pruned_through })
    }

    /// The bytes for this key, made once.
    pub(super) fn encoded(&self, key: (Form, u32), encode: impl FnOnce() -> Vec<u8>) -> Bytes {
        let mut encoded = self.encoded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = encoded.iter().find(|encoded| encoded.key == key) {
            return found.bytes.clone();
        }
        let bytes = Bytes::from(encode());
        if encoded.len() == READY {
            encoded.clear();
        }
        encoded.push(Encoded { key, bytes: bytes.clone() });
        bytes
    }
}

impl Tail {
    /// Of a log that was read to its end.
    pub(super) fn begin(end: &Cursor, complete_at: Moment, pruned_through: Timestamp) -> Self {
        Self {
            log: end.log.clone(),
            start: end.position,
            pages: VecDeque::new(),
            entries: 0,
            bytes: 0,
            read_to: end.position,
            read_at: complete_at,
            shown_to: end.position,
            shown_at: complete_at,
            pruned_through,
            ready: Vec::new(),
        }
    }

    /// Where to read on.
    pub(super) fn cursor(&self) -> Cursor {
        Cursor { log: self.log.clone(), position: self.read_to }
    }

    /// Up to where followers are given what is in this log; [`Position::START`] of one that is not served.
    pub(super) fn shown_in(&self, log: &LogId) -> Position {
        if *log == self.log { self.shown_to } else { Position::START }
    }

    /// Applies a page that came after [`cursor`](Self::cursor), read at `asked_at`. It is shown when [`show`](Self::show) says so.
    pub(super) fn apply(&mut self, page: Page, asked_at: Moment) {
        if page.pruned_through > self.pruned_through {
            self.pruned_through = page.pruned_through;
            self.ready.clear();
        }
        if !page.entries.is_empty() {
            let bytes = page.entries.iter().map(size).sum();
            self.entries += page.entries.len();
            self.bytes += bytes;
            let (start, end) = (self.read_to, page.cursor.position);
            self.pages.push_back(Kept { start, end, entries: page.entries, bytes });
        }
        self.read_to = page.cursor.position;
        if page.complete {
            self.read_at = self.read_at.max(asked_at.minus(page.age));
            if !self.has_pending() {
                (self.shown_to, self.shown_at) = (self.read_to, self.read_at);
            }
        }
        while self.entries > MAX_ENTRIES || self.bytes > MAX_BYTES {
            let Some(oldest) = self.pages.pop_front() else { break };
            self.entries -= oldest.entries.len();
            self.bytes -= oldest.bytes;
            self.start = oldest.end;
        }
    }

    /// Whether there is something that is not shown yet.
    pub(super) fn has_pending(&self) -> bool {
        self.start > self.shown_to || self.pages.back().is_some_and(|last| last.end > self.shown_to)
    }

    /// Shows all that was read.
    pub(super) fn show(&mut self) {
        (self.shown_to, self.shown_at) = (self.read_to, self.read_at);
        self.ready.clear();
    }

    /// What there is for a follower that has read up to here.
    pub(super) fn find(&mut self, after: &Cursor) -> Found {
        let position = after.position;
        if after.log != self.log || position > self.read_to || position < self.start {
            return Found::Elsewhere;
        }
        let first = self.pages.partition_point(|kept| kept.end <= position);
        let Some(start) = self.pages.get(first).filter(|kept| kept.end <= self.shown_to).map(|kept| kept.start) else {
            let cursor = Cursor { log: self.log.clone(), position: position.max(self.shown_to) };
            return Found::Nothing((cursor, self.shown_at, self.pruned_through));
        };
        if let Some((_, part)) = self.ready.iter().find(|(ready, _)| *ready == start) {
            return Found::After(Arc::clone(part), self.shown_at);
        }
        let part = Part::new(self.page(first));
        if self.ready.len() < READY {
            self.ready.push((start, Arc::clone(&part)));
        }
        Found::After(part, self.shown_at)
    }

    /// From this kept page on, as much as is shown and makes one page.
    fn page(&self, first: usize) -> Page {
        let mut entries: Vec<Revocation> = Vec::new();
        let mut end = self.shown_to;
        let mut complete = true;
        for kept in self.pages.range(first..).take_while(|kept| kept.end <= self.shown_to) {
            if !entries.is_empty() && entries.len() + kept.entries.len() > PAGE {
                (end, complete) = (kept.start, false);
                break;
            }
            entries.extend_from_slice(&kept.entries);
        }
        Page {
            entries,
            cursor: Cursor { log: self.log.clone(), position: end },
            complete,
            from_start: false,
            age: Duration::ZERO,
            pruned_through: self.pruned_through,
        }
    }
}

/// Returns the approximate memory size of an entry.
fn size(revocation: &Revocation) -> usize {
    size_of::<Revocation>() + revocation.issuer.as_str().len() + revocation.target.parts().id.len()
}
