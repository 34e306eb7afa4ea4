//! A backup that is restored table by table while a node runs, as `pg_restore` does without `--single-transaction`.
//!
//! *Faithful to:* `node::Guard` (`check`, `reset`, the removal of keys that came back, the end of sessions from before) and
//! `node::kept_keys`. The state of the log, the sessions and the signing keys appear one after the other, in any order.
//!
//! *Abstractions:* one node, one session from before the restore, one that begins after it, one key that had been removed. An operator
//! accepts a restore once all tables are there.
//!
//! *Bounds:* two restores, one restart.
//!
//! *Properties*, once all tables are there and the guard has checked again:
//! - "7 a removed key stays removed";
//! - "7 sessions from before a restore end";
//! - "a login after the restore lasts": no check ends a session that began after the cut-off.

use stateright::{Model, Property};

use crate::{Case, Size};

/// The change that makes a mutant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutation {
    /// No change: the protocol itself.
    None,
    /// Earlier code: the guard removes keys and ends sessions once, when the log went back.
    ActsOnce,
    /// Accepting a restore does not end sessions that came back since the last check, and no later check looks for them.
    AcceptDoesNotLook,
    /// Keys that came back are not removed.
    KeysComeBack,
    /// Every check ends all sessions, also those that began after the cut-off.
    EndsEverySession,
}

/// A state of the model.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State {
    /// The end of the log and its identity; `None` while its table does not exist.
    log: Option<(u8, u8)>,
    /// The mark: identity and position.
    mark: (u8, u8),
    /// Whether a session from before, one from after, and the removed key are in the store.
    old_session: bool,
    new_session: bool,
    has_logged_in: bool,
    removed_key: bool,
    to_come: Vec<Table>,
    restores: u8,
    identities: u8,
    is_accepted: bool,
    has_restarted: bool,
}

/// The parts that a backup restores, one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Table {
    /// The log and its state.
    Log,
    /// The sessions.
    Sessions,
    /// The signing keys.
    Keys,
}

/// A step of the model.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// The tables are dropped.
    Restore,
    /// This table is restored.
    Fill(Table),
    /// `Guard::check`.
    Check,
    /// `adieu log accept-restore`.
    Accept,
    /// A user logs in.
    LogIn,
    /// The node is started again.
    Restart,
}

/// The model.
#[derive(Debug, Clone, Copy)]
pub struct Staged {
    mutation: Mutation,
    restores: u8,
}

impl Staged {
    fn check(&self, state: &mut State) {
        let Some((identity, head)) = state.log else { return };
        let has_renewed = state.identities > 0;
        let went_back = identity < state.mark.0 || identity == state.mark.0 && head < state.mark.1;
        let looks_again = has_renewed && self.mutation != Mutation::ActsOnce;
        if went_back {
            state.identities += 1;
            state.log = Some((state.identities, 3));
            state.mark = (state.identities, 3);
            state.is_accepted = false;
            // Everything issued until now.
            (state.old_session, state.new_session) = (false, false);
        }
        // Keys are removed at each read, sessions until the restore is accepted.
        if (went_back || looks_again) && self.mutation != Mutation::KeysComeBack {
            state.removed_key = false;
        }
        if looks_again && !state.is_accepted {
            state.old_session = false;
            state.new_session &= self.mutation != Mutation::EndsEverySession;
        }
    }
}

impl Model for Staged {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            log: Some((0, 2)),
            mark: (0, 2),
            old_session: false,
            new_session: false,
            has_logged_in: false,
            removed_key: false,
            to_come: vec![],
            restores: 0,
            identities: 0,
            is_accepted: true,
            has_restarted: false,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.restores < self.restores {
            actions.push(Action::Restore);
        }
        actions.extend(state.to_come.iter().copied().map(Action::Fill));
        actions.extend([Action::Check, Action::Accept, Action::LogIn, Action::Restart]);
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = before.clone();
        match action {
            Action::Restore => {
                state.restores += 1;
                (state.log, state.old_session, state.new_session) = (None, false, false);
                state.has_logged_in = false;
                state.to_come = vec![Table::Log, Table::Sessions, Table::Keys];
            }
            Action::Fill(table) => {
                state.to_come.retain(|known| *known != table);
                match table {
                    Table::Log => state.log = Some((0, 1)),
                    Table::Sessions => state.old_session = true,
                    Table::Keys => state.removed_key = true,
                }
            }
            Action::Check => self.check(&mut state),
            Action::Accept if state.identities > 0 && state.to_come.is_empty() => {
                if self.mutation != Mutation::AcceptDoesNotLook {
                    self.check(&mut state);
                }
                state.is_accepted = true;
            }
            // A login after the cut-off, once the sessions are restored and the guard has acted.
            Action::LogIn
                if state.to_come.is_empty() && state.log == Some(state.mark) && state.identities == state.restores =>
            {
                (state.new_session, state.has_logged_in) = (true, true);
            }
            Action::Restart if !state.has_restarted => {
                state.has_restarted = true;
                self.check(&mut state);
            }
            _ => return None,
        }
        (state != *before).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        fn looked(model: &Staged, state: &State) -> Option<State> {
            let mut looked = state.clone();
            model.check(&mut looked);
            state.to_come.is_empty().then_some(looked)
        }
        vec![
            Property::always("7 a removed key stays removed", |model, state| {
                looked(model, state).is_none_or(|looked| !looked.removed_key)
            }),
            Property::always("7 sessions from before a restore end", |model, state| {
                looked(model, state).is_none_or(|looked| !looked.old_session)
            }),
            Property::always("a login after the restore lasts", |_, state: &State| {
                !state.has_logged_in || state.new_session
            }),
            Property::sometimes("a user is logged in again", |_, state: &State| {
                state.restores > 0 && state.new_session
            }),
        ]
    }
}

/// The protocol and its mutants.
#[must_use]
pub fn cases(_: Size) -> Vec<Case> {
    let model = Staged { mutation: Mutation::None, restores: 2 };
    let mutant = |mutation, property| Case::breaks(mutation, property, Staged { mutation, ..model });
    vec![
        Case::holds("two restores", model),
        mutant(Mutation::ActsOnce, "7 a removed key stays removed"),
        mutant(Mutation::AcceptDoesNotLook, "7 sessions from before a restore end"),
        mutant(Mutation::KeysComeBack, "7 a removed key stays removed"),
        mutant(Mutation::EndsEverySession, "a login after the restore lasts"),
    ]
}
