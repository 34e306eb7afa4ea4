//! `?wait=everywhere` through relays: a node, one relay behind the other, and a service.
//!
//! *Faithful to:* `relay::report_applied` with `feed::Progress::applied_with` and `Leases::least_applied` (a relay says the least of what
//! its own index and its live followers have, and nothing until followers from before its start have run out), `Leases::renew` and
//! `everywhere`, `feed::Answer::age`, and `store::Remote`, which says how far it has settled with its next request.
//!
//! *Abstractions:* one revocation. A relay's index and what it serves are one, since it reads through its own hub, which shows a page
//! before the index has it. The node serves the revocation once it is durable (see [`everywhere`](crate::everywhere)).
//!
//! *Bounds:* a `max_staleness` of 1, three requests of the first reader and one of the last, one restart of the first relay.
//!
//! *Properties:*
//! - "4 everywhere": after the node has answered `?wait=everywhere`, no process in the chain accepts the revoked token.

use stateright::{Model, Property};

use crate::{
    Case, Size,
    follower::{Applied, Lease, MAX_STALENESS},
};

/// The change that makes a mutant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutation {
    /// No change: the protocol itself.
    None,
    /// A relay reports the position of its own index, and ignores its followers.
    SettledWithoutFollowers,
    /// A relay that has just started does not wait for followers that it does not know.
    SettlesAtOnceAfterStart,
    /// Responses of a relay have no age.
    NoAge,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Request {
    None,
    Sent { sent: i8, settled: i8 },
    Held { sent: i8, came: i8 },
    Answered { sent: i8, age: i8, cursor: i8 },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Reader {
    applied: Applied,
    /// The position that it is going to report.
    settled: i8,
    /// Before this moment, other followers may have existed.
    started_at: i8,
    request: Request,
    requests: u8,
    /// Its lease at the server that it reads from.
    lease: Option<Lease>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Call {
    NotYet,
    Waits { revoked_at: i8, is_pending: bool },
    Answered { at: i8 },
}

/// A state of the model.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State {
    now: i8,
    head: i8,
    call: Call,
    readers: Vec<Reader>,
    restarts: u8,
}

/// A step of the model, with the reader and the server that it reads from.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Time advances.
    Tick,
    /// A token is revoked, durably.
    Revoke,
    /// The node gets the call with `?wait=everywhere`.
    Call,
    /// The node checks whether the first relay has applied the revocation, or its lease has expired.
    Look,
    /// The reader computes the position that it and its followers have applied.
    Settle(usize),
    /// A request is sent.
    Send(usize),
    /// The request arrives, and renews the lease.
    Arrive(usize),
    /// The request is answered.
    Answer(usize),
    /// The reader applies the response.
    TakeIn(usize),
    /// The request or its response is lost.
    Lose(usize),
    /// A relay is started again, with nothing in memory.
    Restart(usize),
}

/// The model.
#[derive(Debug, Clone, Copy)]
pub struct Relays {
    mutation: Mutation,
    readers: usize,
    until: i8,
    /// One bound for each reader.
    requests: [u8; 3],
    restarts: u8,
}

impl Model for Relays {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let reader = Reader {
            applied: Applied::default(),
            settled: 0,
            started_at: -MAX_STALENESS,
            request: Request::None,
            requests: 0,
            lease: None,
        };
        vec![State { now: 0, head: 0, call: Call::NotYet, readers: vec![reader; self.readers], restarts: 0 }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.now < self.until {
            actions.push(Action::Tick);
        }
        if state.head == 0 {
            actions.push(Action::Revoke);
        }
        match state.call {
            Call::NotYet if state.head == 1 => actions.push(Action::Call),
            Call::Waits { .. } => actions.push(Action::Look),
            _ => {}
        }
        for (number, reader) in state.readers.iter().enumerate() {
            actions.push(Action::Settle(number));
            match reader.request {
                Request::None if reader.requests < self.requests[number] => actions.push(Action::Send(number)),
                Request::None => {}
                Request::Sent { .. } => actions.extend([Action::Arrive(number), Action::Lose(number)]),
                Request::Held { .. } => actions.push(Action::Answer(number)),
                Request::Answered { .. } => actions.extend([Action::TakeIn(number), Action::Lose(number)]),
            }
        }
        if state.restarts < self.restarts {
            actions.push(Action::Restart(0));
        }
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = before.clone();
        let now = state.now;
        match action {
            Action::Tick => state.now += 1,
            Action::Revoke => state.head = 1,
            Action::Call => {
                let is_pending = state.readers[0].lease.is_some_and(|lease| lease.is_live(now));
                state.call = Call::Waits { revoked_at: now, is_pending };
            }
            Action::Look => {
                let Call::Waits { revoked_at, is_pending } = state.call else { return None };
                if is_pending && !state.readers[0].lease.is_none_or(|lease| lease.is_done(revoked_at, now)) {
                    return None;
                }
                state.call = Call::Answered { at: now };
            }
            Action::Settle(number) => {
                let follower = state.readers.get(number + 1).and_then(|follower| follower.lease);
                let live = follower.filter(|lease| lease.is_live(now));
                let live = live.filter(|_| self.mutation != Mutation::SettledWithoutFollowers);
                let reader = &mut state.readers[number];
                let may_have_others = number + 1 < self.readers
                    && now < reader.started_at + MAX_STALENESS
                    && self.mutation != Mutation::SettlesAtOnceAfterStart;
                let least = live.map_or(reader.applied.to, |lease| lease.settled.min(reader.applied.to));
                reader.settled = if may_have_others { 0 } else { least };
            }
            Action::Send(number) => {
                let reader = &mut state.readers[number];
                reader.requests += 1;
                reader.request = Request::Sent { sent: now, settled: reader.settled };
            }
            Action::Arrive(number) => {
                let reader = &mut state.readers[number];
                let Request::Sent { sent, settled } = reader.request else { return None };
                reader.lease = Some(Lease { arrived: now, settled });
                reader.request = Request::Held { sent, came: now };
            }
            Action::Answer(number) => {
                let Request::Held { sent, came } = state.readers[number].request else { return None };
                let (cursor, complete_as_of) = match number.checked_sub(1) {
                    None => (state.head, now),
                    Some(relay) => (state.readers[relay].applied.to, state.readers[relay].applied.as_of?),
                };
                let age = if self.mutation == Mutation::NoAge { 0 } else { (came - complete_as_of).max(0) };
                let reader = &mut state.readers[number];
                reader.request = Request::Answered { sent, age, cursor };
            }
            Action::TakeIn(number) => {
                let reader = &mut state.readers[number];
                let Request::Answered { sent, age, cursor } = reader.request else { return None };
                reader.applied.apply(cursor, sent - age);
                reader.request = Request::None;
            }
            Action::Lose(number) => state.readers[number].request = Request::None,
            Action::Restart(number) => {
                state.restarts += 1;
                let reader = &mut state.readers[number];
                (reader.applied, reader.settled) = (Applied::default(), 0);
                (reader.started_at, reader.request) = (now, Request::None);
                if let Some(follower) = state.readers.get_mut(number + 1) {
                    follower.lease = None;
                    if matches!(follower.request, Request::Held { .. }) {
                        follower.request = Request::None;
                    }
                }
            }
        }
        (state != *before).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("4 everywhere", |_, state: &State| {
                let is_answered = matches!(state.call, Call::Answered { at } if state.now > at);
                let accepts = |reader: &Reader| reader.applied.accepts(state.now, MAX_STALENESS);
                !(is_answered && state.readers.iter().any(accepts))
            }),
            Property::sometimes("the relay has settled", |_, state: &State| {
                matches!(state.call, Call::Answered { .. })
                    && state.readers[0].lease.is_some_and(|lease| lease.settled == 1)
            }),
        ]
    }
}

/// The protocol and its mutants.
#[must_use]
pub fn cases(size: Size) -> Vec<Case> {
    let model = Relays { mutation: Mutation::None, readers: 2, until: 2, requests: [3, 1, 0], restarts: 0 };
    let restarts = Relays { restarts: 1, requests: [3, 1, 0], ..model };
    let mutant = |mutation, model| Case::breaks(mutation, "4 everywhere", Relays { mutation, ..model });
    let mut cases = vec![
        Case::holds("a relay and a service", model),
        Case::holds("a relay is started again", restarts),
        mutant(Mutation::SettledWithoutFollowers, model),
        mutant(Mutation::SettlesAtOnceAfterStart, restarts),
        mutant(Mutation::NoAge, model),
    ];
    if size == Size::Large {
        cases.extend([
            Case::holds("two relays and a service", Relays { readers: 3, requests: [2, 2, 1], ..model }),
            Case::holds("more time and requests", Relays { until: 3, requests: [3, 2, 0], ..restarts }),
        ]);
    }
    cases
}
