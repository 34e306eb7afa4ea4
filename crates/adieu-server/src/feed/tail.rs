//! The newest entries of a log, kept in memory for followers that are nearly up to date.

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

/// Limits of the tail. A follower that is behind it reads from the log.
const MAX_ENTRIES: usize = 32_768;
const MAX_BYTES: usize = 16 << 20;

/// Pages that were read separately are joined up to this many entries.
const PAGE: usize = 2_048;

/// How many different pages are kept ready. For a follower further behind, a page is made.
const READY: usize = 16;

/// The end of a log as far as it has been read, and how far followers may see it.
#[derive(Debug)]
pub(super) struct Tail {
    log: LogId,
    /// All entries after this position, up to `read_to`, are in `pages`.
    start: Position,
    pages: VecDeque<Kept>,
    entries: usize,
    bytes: usize,
    read_to: Position,
    /// No entry acknowledged by then comes after `read_to`.
    read_at: Moment,
    shown_to: Position,
    /// Like `read_at`, for `shown_to`.
    shown_at: Moment,
    pruned_through: Timestamp,
    /// Pages for followers, by start position.
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

/// A page that many followers may share. Its age is not part of it, because each follower has its own.
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

/// The result of looking up a cursor.
#[derive(Debug)]
pub(super) enum Found {
    /// Entries after the cursor; every entry acknowledged by the moment is among them or before them.
    After(Arc<Part>, Moment),
    /// Nothing yet: the cursor to continue with, the moment up to which it is complete, and the pruning mark.
    Nothing((Cursor, Moment, Timestamp)),
    /// The cursor is older than the tail, ahead of it, or of another log: the log itself must be read.
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

    /// Returns the encoding for this key, made once.
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
    /// Creates the tail of a log that was read to its end.
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

    /// Returns where to continue reading.
    pub(super) fn cursor(&self) -> Cursor {
        Cursor { log: self.log.clone(), position: self.read_to }
    }

    /// Returns the position up to which followers see this log; [`Position::START`] if the log is not served.
    pub(super) fn shown_in(&self, log: &LogId) -> Position {
        if *log == self.log { self.shown_to } else { Position::START }
    }

    /// Applies a page that came after [`cursor`](Self::cursor), read at `asked_at`. [`show`](Self::show) makes it
    /// visible.
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

    /// Returns whether entries are waiting to be shown.
    pub(super) fn has_pending(&self) -> bool {
        self.start > self.shown_to || self.pages.back().is_some_and(|last| last.end > self.shown_to)
    }

    /// Shows everything that was read.
    pub(super) fn show(&mut self) {
        (self.shown_to, self.shown_at) = (self.read_to, self.read_at);
        self.ready.clear();
    }

    /// Looks up the entries for a follower that has read up to here.
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

    /// Returns the entries from this kept page on that are shown and fit in one page.
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
