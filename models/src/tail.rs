//! The tail that a node serves from memory, when the log gets another identity while reads are in progress.
//!
//! *Faithful to:* `feed::Hub` (`run`, `take`, `head`, `begin`, `restart`, `read_log`) and `feed::tail::Tail` (`take`, `look`). Two
//! readers of the log, the hub's own and `head` for `?wait=everywhere`, whose responses overtake each other; and a follower.
//!
//! *Abstractions:* no time; a page is served as soon as it was read. A failover, a restored backup or another database replaces the log:
//! its positions continue after those of the old one, or start again.
//!
//! *Bounds:* entries, and one change of the log.
//!
//! *Properties:*
//! - "3 no gaps": a follower with a cursor of the log has every entry of the log up to that cursor.

use stateright::{Model, Property};

use crate::{Case, Size};

/// The change that makes a mutant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutation {
    /// No change: the protocol itself.
    None,
    /// Earlier code: a page is applied whatever cursor it was requested with.
    AnyPageIsTakenIn,
    /// A page is applied if its log is the one of the tail, whatever position it was requested from.
    OnlyLogIsCompared,
}

/// A cursor: the log, and the number of its entries before.
type Cursor = (u8, u8);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Page {
    from: Cursor,
    cursor: Cursor,
    entries: Vec<u8>,
    from_start: bool,
}

/// A read in progress.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Read {
    None,
    Sent(Cursor),
    Answered(Page),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Tail {
    log: u8,
    start: u8,
    pages: Vec<(u8, u8, Vec<u8>)>,
    read_to: u8,
}

/// A state of the model.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State {
    log: u8,
    /// The position before the first entry of the log.
    start: u8,
    entries: Vec<u8>,
    next: u8,
    tail: Tail,
    run: Read,
    head: Read,
    cursor: Cursor,
    index: Vec<u8>,
}

/// A step of the model.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// A token is revoked.
    Append,
    /// Another log replaces the log.
    Replace,
    /// The hub sends its next read.
    RunSends,
    /// The store answers that.
    RunExecutes,
    /// The tail applies the page.
    RunTakesIn,
    /// A caller asks for the end of the log.
    HeadSends,
    /// The store answers that.
    HeadExecutes,
    /// The response has arrived.
    HeadTakesIn,
    /// The follower sends a request, and gets the response.
    Follow,
}

/// The model.
#[derive(Debug, Clone, Copy)]
pub struct Replaced {
    mutation: Mutation,
    positions_go_on: bool,
    entries: u8,
}

impl State {
    fn read(&self, from: Cursor) -> Page {
        let end = self.start + self.entries.len() as u8;
        let is_of_use = from.0 == self.log && from.1 <= end;
        let at = if is_of_use { from.1.max(self.start) } else { self.start };
        Page {
            from,
            cursor: (self.log, end),
            entries: self.entries[usize::from(at - self.start)..].to_vec(),
            from_start: !is_of_use,
        }
    }

    fn send(&self, read: &Read) -> Option<Read> {
        (*read == Read::None).then_some(Read::Sent((self.tail.log, self.tail.read_to)))
    }

    fn execute(&self, read: &Read) -> Option<Read> {
        match read {
            Read::Sent(from) => Some(Read::Answered(self.read(*from))),
            _ => None,
        }
    }
}

impl Tail {
    fn begin(page: &Page) -> Self {
        Self { log: page.cursor.0, start: page.cursor.1, pages: vec![], read_to: page.cursor.1 }
    }

    fn look(&self, after: Cursor) -> Option<(Vec<u8>, Cursor)> {
        if after.0 != self.log || after.1 > self.read_to || after.1 < self.start {
            return None;
        }
        let first = self.pages.partition_point(|(_, end, _)| *end <= after.1);
        let entries = self.pages[first..].iter().flat_map(|(_, _, entries)| entries.clone()).collect();
        Some((entries, (self.log, self.read_to)))
    }
}

impl Model for Replaced {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            log: 1,
            start: 0,
            entries: vec![],
            next: 1,
            tail: Tail { log: 1, start: 0, pages: vec![], read_to: 0 },
            run: Read::None,
            head: Read::None,
            cursor: (1, 0),
            index: vec![],
        }]
    }

    fn actions(&self, _: &State, actions: &mut Vec<Action>) {
        use Action::*;
        actions.extend([Append, Replace, Follow]);
        actions.extend([RunSends, RunExecutes, RunTakesIn, HeadSends, HeadExecutes, HeadTakesIn]);
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = before.clone();
        match action {
            Action::Append if state.next <= self.entries => {
                state.entries.push(state.next);
                state.next += 1;
            }
            Action::Replace if state.log == 1 => {
                state.start = if self.positions_go_on { state.start + state.entries.len() as u8 } else { 0 };
                state.log = 2;
                state.entries.clear();
            }
            Action::RunSends => state.run = state.send(&state.run)?,
            Action::HeadSends => state.head = state.send(&state.head)?,
            Action::RunExecutes => state.run = state.execute(&state.run)?,
            Action::HeadExecutes => state.head = state.execute(&state.head)?,
            Action::RunTakesIn | Action::HeadTakesIn => {
                let is_run = action == Action::RunTakesIn;
                let read = if is_run { &mut state.run } else { &mut state.head };
                let Read::Answered(page) = std::mem::replace(read, Read::None) else { return None };
                let tail = &mut state.tail;
                let is_asked_for = page.from == (tail.log, tail.read_to);
                if page.from_start {
                    if is_asked_for || self.mutation != Mutation::None {
                        *tail = Tail::begin(&page);
                    }
                } else if is_run {
                    let is_taken_in = match self.mutation {
                        Mutation::AnyPageIsTakenIn => true,
                        Mutation::OnlyLogIsCompared => page.cursor.0 == tail.log,
                        _ => is_asked_for,
                    };
                    if is_taken_in {
                        if !page.entries.is_empty() {
                            tail.pages.push((tail.read_to, page.cursor.1, page.entries));
                        }
                        tail.read_to = page.cursor.1;
                    }
                }
            }
            Action::Follow => {
                let (entries, cursor) = state.tail.look(state.cursor).unwrap_or_else(|| {
                    let page = state.read(state.cursor);
                    (page.entries, page.cursor)
                });
                state.index.extend(entries);
                state.index.sort_unstable();
                state.index.dedup();
                state.cursor = cursor;
            }
            _ => return None,
        }
        (state != *before).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("3 no gaps", |_, state: &State| {
                let is_known = |(position, entry): (u8, &u8)| position > state.cursor.1 || state.index.contains(entry);
                state.cursor.0 != state.log || (state.start + 1..).zip(&state.entries).all(is_known)
            }),
            Property::sometimes("the tail follows the other log", |_, state: &State| {
                state.tail.log == 2 && state.tail.pages.len() > 1
            }),
        ]
    }
}

/// The protocol and its mutants.
#[must_use]
pub fn cases(size: Size) -> Vec<Case> {
    let entries = if size == Size::Small { 4 } else { 6 };
    let model = Replaced { mutation: Mutation::None, positions_go_on: true, entries };
    let restarted = Replaced { positions_go_on: false, ..model };
    let mutant = |mutation, model| Case::breaks(mutation, "3 no gaps", Replaced { mutation, ..model });
    vec![
        Case::holds("positions continue", model),
        Case::holds("positions restart", restarted),
        mutant(Mutation::AnyPageIsTakenIn, model),
        mutant(Mutation::OnlyLogIsCompared, restarted),
    ]
}
