//! The removal of a signing key, which revokes every token that it has signed.
//!
//! *Faithful to:* `node::kept_keys` (one read of the keys at a time; the keys are replaced before their moment counts) with `WithKeys`
//! (an index is no fresher than the keys are), and `Verifier`, which reads the freshness before the keys.
//!
//! *Abstractions:* one node, one key, which is removed once and not restored (see [`staged_restore`](crate::staged_restore)). Reads
//! of keys and log take any time and may be lost.
//!
//! *Bounds:* a `max_staleness` of 2, in 6 units of time; in a mutant, two reads at once.
//!
//! *Properties:*
//! - "3 bounded for keys": no check that begins later than `max_staleness` after the removal accepts what the key has signed.

use stateright::{Model, Property};

use crate::{Case, Size};

const MAX_STALENESS: i8 = 2;

/// The change that makes a mutant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutation {
    /// No change: the protocol itself.
    None,
    /// Two reads of the keys may run at once, and overtake each other.
    TwoReadsAtOnce,
    /// Keys count as of the arrival of the response.
    MomentOfAnswer,
    /// An index counts as fresh as the log, however old the keys are.
    KeysDoNotAge,
    /// The moment of the keys is raised before the keys are replaced.
    FreshBeforeTakenIn,
}

const MUTANTS: [Mutation; 4] =
    [Mutation::TwoReadsAtOnce, Mutation::MomentOfAnswer, Mutation::KeysDoNotAge, Mutation::FreshBeforeTakenIn];

/// A state of the model.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State {
    now: i8,
    removed_at: Option<i8>,
    /// Reads of the keys: when each was sent and, once the store has answered, whether the key was there.
    reads: Vec<(i8, Option<bool>)>,
    taking_in: Option<(i8, bool)>,
    believed: bool,
    keys_as_of: i8,
    /// When the current read of the log was sent, and as of when the index is complete.
    log_read: Option<i8>,
    complete_as_of: i8,
}

/// A step of the model.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Time advances.
    Tick,
    /// The key is removed.
    Remove,
    /// A read of the keys is sent.
    Send,
    /// The store answers this read.
    Execute(usize),
    /// The response to this read arrives.
    Answer(usize),
    /// The moment of the keys is raised.
    TakeIn,
    /// This read or its response is lost.
    Lose(usize),
    /// A read of the log is sent.
    SendLog,
    /// Its response is in the index.
    AnswerLog,
}

/// The model.
#[derive(Debug, Clone, Copy)]
pub struct Keys {
    mutation: Mutation,
    until: i8,
}

impl Model for Keys {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            now: 0,
            removed_at: None,
            reads: vec![],
            taking_in: None,
            believed: true,
            keys_as_of: 0,
            log_read: None,
            complete_as_of: 0,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.now < self.until {
            actions.push(Action::Tick);
        }
        actions.extend([Action::Remove, Action::Send, Action::TakeIn, Action::SendLog, Action::AnswerLog]);
        for read in 0..state.reads.len() {
            actions.extend([Action::Execute(read), Action::Answer(read), Action::Lose(read)]);
        }
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = before.clone();
        match action {
            Action::Tick => state.now += 1,
            Action::Remove if state.removed_at.is_none() => state.removed_at = Some(state.now),
            Action::Send => {
                let is_idle = state.reads.is_empty() && state.taking_in.is_none();
                if !is_idle && (self.mutation != Mutation::TwoReadsAtOnce || state.reads.len() == 2) {
                    return None;
                }
                state.reads.push((state.now, None));
            }
            Action::Execute(read) if state.reads[read].1.is_none() => {
                state.reads[read].1 = Some(state.removed_at.is_none())
            }
            Action::Answer(read) if state.taking_in.is_none() => {
                let (sent, is_there) = state.reads.remove(read);
                let as_of = if self.mutation == Mutation::MomentOfAnswer { state.now } else { sent };
                if self.mutation == Mutation::FreshBeforeTakenIn {
                    state.keys_as_of = state.keys_as_of.max(as_of);
                }
                state.taking_in = Some((as_of, is_there?));
            }
            Action::TakeIn => {
                let (as_of, is_there) = state.taking_in.take()?;
                state.believed = is_there;
                state.keys_as_of = state.keys_as_of.max(as_of);
            }
            Action::Lose(read) => {
                state.reads.remove(read);
            }
            Action::SendLog if state.log_read.is_none() => state.log_read = Some(state.now),
            Action::AnswerLog => {
                let sent = state.log_read.take()?;
                let as_of = if self.mutation == Mutation::KeysDoNotAge { sent } else { sent.min(state.keys_as_of) };
                state.complete_as_of = state.complete_as_of.max(as_of);
            }
            _ => return None,
        }
        (state != *before).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("3 bounded for keys", |_, state: &State| {
                let is_late = state.removed_at.is_some_and(|removed_at| state.now > removed_at + MAX_STALENESS);
                !(is_late && state.believed && state.now - state.complete_as_of <= MAX_STALENESS)
            }),
            Property::sometimes("fresh without the key", |_, state: &State| {
                state.removed_at.is_some() && !state.believed && state.now == state.complete_as_of
            }),
        ]
    }
}

/// The protocol and its mutants.
#[must_use]
pub fn cases(size: Size) -> Vec<Case> {
    let model = Keys { mutation: Mutation::None, until: if size == Size::Small { 6 } else { 9 } };
    let mutants = MUTANTS.map(|mutation| Case::breaks(mutation, "3 bounded for keys", Keys { mutation, ..model }));
    [Case::holds("one node", model)].into_iter().chain(mutants).collect()
}
