//! The removal of revocations, from the log and from an index, while the wall clock jumps anywhere at any time.
//!
//! *Faithful to:* `store::Housekeeping` and `RevocationLog::prune` (the mark goes up with the removal, in one commit), `Index`
//! (`drop_lapsed`, `extend`, `raise_pruned_through`), `Follower` (`apply` raises the mark before it applies the entries), and
//! `Verifier::verify`, which reads the mark *after* the index.
//!
//! *Abstractions:* one token, one revocation of it, one node. `TrustedTime` is left out: revocations may be removed by any clock at any
//! time, which is the worst that `TrustedTime` could allow. The leeway of the verifier is zero.
//!
//! *Bounds:* the token expires at 2, its revocation lapses at 3, clocks show 0 to 4.
//!
//! *Properties:*
//! - "7 nothing un-revokes": a check that begins after the revocation of a token was read does not accept the token, whatever was
//!   removed since.

use stateright::{Model, Property};

use crate::{Case, Size};

const EXPIRES_AT: u8 = 2;
const LAPSES_AT: u8 = 3;
const LATEST: u8 = 4;

/// The change that makes a mutant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutation {
    /// No change: the protocol itself.
    None,
    /// The verifier reads the mark before the index.
    MarkBeforeIndex,
    /// The index removes what has lapsed before it raises the mark.
    IndexDropsFirst,
    /// The log raises the mark in another commit than the removal.
    LogMarksLater,
    /// Pages do not carry the mark.
    PageWithoutMark,
}

const MUTANTS: [Mutation; 4] =
    [Mutation::MarkBeforeIndex, Mutation::IndexDropsFirst, Mutation::LogMarksLater, Mutation::PageWithoutMark];

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Check {
    None,
    /// The claims are good; `known`: the revocation had been read by then.
    Decoded {
        known: bool,
    },
    Looked {
        known: bool,
        found: bool,
        mark: Option<u8>,
    },
    Accepted {
        known: bool,
    },
}

/// A page that is being applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Page {
    entry: bool,
    mark: u8,
    is_marked: bool,
    after_revocation: bool,
}

/// A state of the model.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State {
    wall_clock: u8,
    is_revoked: bool,
    /// Whether the entry is in the log, and the mark of the log.
    in_log: bool,
    log_mark: u8,
    pending_mark: Option<u8>,
    /// Whether the entry is in the index, and the mark of the index; whether the log was read to its end after the revocation.
    in_index: bool,
    mark: u8,
    is_complete: bool,
    page: Option<Page>,
    dropping: Option<u8>,
    check: Check,
}

/// A step of the model.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// The wall clock jumps to this time.
    Wall(u8),
    /// The token is revoked.
    Revoke,
    /// The log removes what has lapsed.
    Prune,
    /// In a mutant: the log raises its mark.
    MarkPruned,
    /// The follower reads a page.
    Read,
    /// The index raises its mark to that of the page.
    TakeMark,
    /// The index applies the entries of the page.
    TakeEntries,
    /// The index removes what has lapsed: first step.
    Drop,
    /// The second step of the removal.
    Dropped,
    /// The node is started again with nothing in memory.
    Restart,
    /// A check begins.
    Decode,
    /// The check looks the token up in the index.
    Look,
    /// The check reads the mark, or ends.
    Decide,
}

/// The model, with the change that makes it a mutant.
#[derive(Debug, Clone, Copy)]
pub struct Pruning(Mutation);

impl Model for Pruning {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            wall_clock: 0,
            is_revoked: false,
            in_log: false,
            log_mark: 0,
            pending_mark: None,
            in_index: false,
            mark: 0,
            is_complete: false,
            page: None,
            dropping: None,
            check: Check::None,
        }]
    }

    fn actions(&self, _: &State, actions: &mut Vec<Action>) {
        use Action::*;
        actions.extend((0..=LATEST).map(Wall));
        actions.extend([Revoke, Prune, MarkPruned, Read, TakeMark, TakeEntries, Drop, Dropped]);
        actions.extend([Restart, Decode, Look, Decide]);
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = before.clone();
        match action {
            Action::Wall(shows) => state.wall_clock = shows,
            Action::Revoke if !state.is_revoked => {
                (state.is_revoked, state.in_log, state.is_complete) = (true, true, false)
            }
            Action::Prune if state.in_log && LAPSES_AT <= state.wall_clock && state.pending_mark.is_none() => {
                state.in_log = false;
                if self.0 == Mutation::LogMarksLater {
                    state.pending_mark = Some(state.wall_clock);
                } else {
                    state.log_mark = state.log_mark.max(state.wall_clock);
                }
            }
            Action::MarkPruned => state.log_mark = state.log_mark.max(state.pending_mark.take()?),
            // One snapshot: the entries that have not lapsed by the mark, and the mark.
            Action::Read if state.page.is_none() => {
                let mark = if self.0 == Mutation::PageWithoutMark { 0 } else { state.log_mark };
                let entry = state.in_log && LAPSES_AT > state.log_mark;
                state.page = Some(Page { entry, mark, is_marked: false, after_revocation: state.is_revoked });
            }
            Action::TakeMark => {
                let page = state.page.filter(|page| !page.is_marked)?;
                state.mark = state.mark.max(page.mark);
                state.page = Some(Page { is_marked: true, ..page });
            }
            Action::TakeEntries => {
                let page = state.page.filter(|page| page.is_marked)?;
                state.in_index |= page.entry && LAPSES_AT > state.mark;
                state.is_complete |= page.after_revocation;
                state.page = None;
            }
            Action::Drop
                if state.in_index && state.dropping.is_none() && LAPSES_AT <= state.wall_clock.max(state.mark) =>
            {
                state.dropping = Some(LAPSES_AT);
                if self.0 == Mutation::IndexDropsFirst {
                    state.in_index = false;
                } else {
                    state.mark = state.mark.max(LAPSES_AT);
                }
            }
            Action::Dropped => {
                state.mark = state.mark.max(state.dropping.take()?);
                state.in_index = false;
            }
            Action::Restart => {
                (state.in_index, state.mark, state.is_complete) = (false, 0, false);
                (state.page, state.dropping, state.check) = (None, None, Check::None);
            }
            Action::Decode if state.check == Check::None && state.wall_clock < EXPIRES_AT => {
                state.check = Check::Decoded { known: state.is_complete };
            }
            Action::Look => {
                let Check::Decoded { known } = state.check else { return None };
                state.check = match self.0 {
                    Mutation::MarkBeforeIndex => Check::Looked { known, found: false, mark: Some(state.mark) },
                    _ => Check::Looked { known, found: state.in_index, mark: None },
                };
            }
            Action::Decide => match state.check {
                Check::Looked { known, found, mark } => {
                    let (found, mark) = mark.map_or((found, state.mark), |mark| (state.in_index, mark));
                    state.check = if found || LAPSES_AT <= mark { Check::None } else { Check::Accepted { known } };
                }
                Check::Accepted { .. } => state.check = Check::None,
                _ => return None,
            },
            _ => return None,
        }
        (state != *before).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("7 nothing un-revokes", |_, state: &State| state.check != Check::Accepted { known: true }),
            Property::sometimes("forgotten everywhere", |_, state: &State| {
                state.is_revoked && !state.in_log && !state.in_index && state.is_complete
            }),
            Property::sometimes("accepted before", |_, state: &State| state.check == Check::Accepted { known: false }),
        ]
    }
}

/// The protocol and its mutants.
#[must_use]
pub fn cases(_: Size) -> Vec<Case> {
    let mutants = MUTANTS.map(|mutant| Case::breaks(mutant, "7 nothing un-revokes", Pruning(mutant)));
    [Case::holds("one token, one node", Pruning(Mutation::None))].into_iter().chain(mutants).collect()
}
