//! `?wait=everywhere` at one node: the hub, which serves followers from memory, and the lease of one follower.
//!
//! *Faithful to:* `feed::Feed::everywhere` (the end of the log, then `Hub::serves`, then `Leases::everywhere`), `Leases::renew` and
//! `settle`, `feed::Hub` (`run`, `read`, `read_log`, `begin`), and `api::feed`, which renews the lease before it answers.
//!
//! *Abstractions:* one revocation, and one follower that the node has known before: its lease has expired. Its requests and the responses
//! take any time and may be lost. The hub reads by itself, and serves what it has read later. It has a tail, or has just been started and
//! answers from the log until a reader has reached the end of the log.
//!
//! *Bounds:* a `max_staleness` of 1, in 3 units of time.
//!
//! *Properties:*
//! - "4 everywhere": after `?wait=everywhere` was answered, the follower does not accept the revoked token.

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
    /// Earlier code: leases are judged as soon as the end of the log is known.
    LeasesBeforeServed,
    /// A tail begins with a page that was requested before a reader relied on the absence of a tail.
    LateTailBegins,
    /// A lease is renewed only after the request was processed.
    LeaseAfterLook,
    /// A follower counts as having applied everything that is in the log when it sends a request.
    SettledIsHead,
    /// A lease expires too early.
    LeaseTooShort,
    /// Pages from memory have no age.
    NoAge,
    /// Leases are not renewed at all.
    NoLease,
}

const MUTANTS: [Mutation; 7] = [
    Mutation::LeasesBeforeServed,
    Mutation::LateTailBegins,
    Mutation::LeaseAfterLook,
    Mutation::SettledIsHead,
    Mutation::LeaseTooShort,
    Mutation::NoAge,
    Mutation::NoLease,
];

/// A message between the node and the follower.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Message {
    /// A request of the follower.
    Request {
        /// When it was sent, by the clock of the follower.
        sent: i8,
        /// The position that the follower has applied.
        cursor: i8,
    },
    /// The response to it.
    Answer {
        /// When the request was sent.
        sent: i8,
        /// The age of its content when the request arrived.
        age: i8,
        /// The position of its end.
        cursor: i8,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Call {
    NotYet,
    KnowsHead { revoked_at: i8 },
    Waits { revoked_at: i8, is_pending: bool },
    Answered { at: i8 },
}

/// A state of the model.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State {
    now: i8,
    head: i8,
    call: Call,
    /// Without a tail, every response comes from the log.
    has_tail: bool,
    /// The page with which a tail may begin: the position of its end, as of when it is complete, and whether it is too late.
    beginning: Option<(i8, i8, bool)>,
    /// The positions up to which the tail has been read and is served, and as of when that is complete.
    read_to: i8,
    read_at: i8,
    shown_to: i8,
    shown_at: i8,
    lease: Option<Lease>,
    /// Only in a mutant: a request without a lease yet.
    is_unregistered: bool,
    /// A request at the node: when sent, when arrived, cursor.
    held: Option<(i8, i8, i8)>,
    messages: Vec<Message>,
    follower: Applied,
    sent: Option<i8>,
    requests: u8,
}

/// A step of the model.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Time advances.
    Tick,
    /// A token is revoked, durably.
    Revoke,
    /// A client waits until the revocation holds everywhere.
    Call,
    /// The served pages include the revocation: the node reads the list of followers.
    SeeLeases,
    /// The node checks whether all followers have applied the revocation, or their leases have expired.
    Look,
    /// The node reads a page from the log, with which a tail may begin.
    ReadToBegin,
    /// `Hub::begin`.
    Begin,
    /// The hub reads the log.
    HubReads,
    /// The hub serves what it has read.
    HubShows,
    /// The follower sends a request.
    Send,
    /// A message arrives.
    Deliver(Message),
    /// A message is lost.
    Lose(Message),
    /// The node answers.
    Answer,
    /// Only in a mutant: the lease is renewed.
    Register,
}

/// The model.
#[derive(Debug, Clone, Copy)]
pub struct Everywhere {
    mutation: Mutation,
    until: i8,
    requests: u8,
    in_flight: usize,
}

fn post(messages: &mut Vec<Message>, message: Message) {
    if !messages.contains(&message) {
        messages.push(message);
        messages.sort_unstable();
    }
}

impl Model for Everywhere {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let with_tail = State {
            now: 0,
            head: 0,
            call: Call::NotYet,
            has_tail: true,
            beginning: None,
            read_to: 0,
            read_at: 0,
            shown_to: 0,
            shown_at: 0,
            lease: None,
            is_unregistered: false,
            held: None,
            messages: vec![],
            follower: Applied::default(),
            sent: None,
            requests: 0,
        };
        let without_tail = State { has_tail: false, ..with_tail.clone() };
        vec![with_tail, without_tail]
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
            Call::KnowsHead { .. } => actions.push(Action::SeeLeases),
            Call::Waits { .. } => actions.push(Action::Look),
            _ => {}
        }
        if state.has_tail {
            actions.push(Action::HubReads);
        } else {
            actions.push(if state.beginning.is_none() { Action::ReadToBegin } else { Action::Begin });
        }
        if state.shown_to < state.read_to {
            actions.push(Action::HubShows);
        }
        if state.messages.len() < self.in_flight && state.sent != Some(state.now) && state.requests < self.requests {
            actions.push(Action::Send);
        }
        for message in &state.messages {
            actions.extend([Action::Deliver(*message), Action::Lose(*message)]);
        }
        if state.held.is_some() {
            actions.push(Action::Answer);
        }
        if state.is_unregistered {
            actions.push(Action::Register);
        }
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = before.clone();
        match action {
            Action::Tick => state.now += 1,
            Action::Revoke => state.head = 1,
            Action::Call => state.call = Call::KnowsHead { revoked_at: state.now },
            Action::SeeLeases => {
                let Call::KnowsHead { revoked_at } = state.call else { return None };
                let is_over = state.now >= revoked_at + MAX_STALENESS;
                let is_served = !state.has_tail || state.shown_to >= 1;
                if self.mutation != Mutation::LeasesBeforeServed && !is_served && !is_over {
                    return None;
                }
                if let Some((_, _, is_late)) = &mut state.beginning {
                    *is_late = !state.has_tail;
                }
                let is_pending = state.lease.is_some_and(|lease| lease.is_live(revoked_at));
                state.call = Call::Waits { revoked_at, is_pending };
            }
            Action::Look => {
                let Call::Waits { revoked_at, is_pending } = state.call else { return None };
                let short = i8::from(self.mutation == Mutation::LeaseTooShort);
                if is_pending && !state.lease.is_none_or(|lease| lease.is_done(revoked_at, state.now + short)) {
                    return None;
                }
                state.call = Call::Answered { at: state.now };
            }
            Action::ReadToBegin => state.beginning = Some((state.head, state.now, false)),
            Action::Begin => {
                let (to, at, is_late) = state.beginning.take()?;
                if !is_late || self.mutation == Mutation::LateTailBegins {
                    state.has_tail = true;
                    (state.read_to, state.read_at, state.shown_to, state.shown_at) = (to, at, to, at);
                }
            }
            Action::HubReads => {
                (state.read_to, state.read_at) = (state.head, state.now);
                if state.shown_to == state.read_to {
                    state.shown_at = state.read_at;
                }
            }
            Action::HubShows => (state.shown_to, state.shown_at) = (state.read_to, state.read_at),
            Action::Send => {
                state.requests += 1;
                state.sent = Some(state.now);
                post(&mut state.messages, Message::Request { sent: before.now, cursor: before.follower.to });
            }
            Action::Lose(message) => state.messages.retain(|known| *known != message),
            Action::Deliver(message) => {
                state.messages.retain(|known| *known != message);
                match message {
                    Message::Request { sent, cursor } => {
                        if state.held.is_some() {
                            return None;
                        }
                        state.held = Some((sent, state.now, cursor));
                        match self.mutation {
                            Mutation::LeaseAfterLook => state.is_unregistered = true,
                            Mutation::NoLease => {}
                            Mutation::SettledIsHead => {
                                state.lease = Some(Lease { arrived: state.now, settled: state.head })
                            }
                            _ => state.lease = Some(Lease { arrived: state.now, settled: cursor }),
                        }
                    }
                    Message::Answer { sent, age, cursor } if state.sent == Some(sent) => {
                        state.follower.apply(cursor, sent - age);
                        state.sent = None;
                    }
                    // The response to a request that is over.
                    Message::Answer { .. } => {}
                }
            }
            Action::Answer => {
                let (sent, came, cursor) = state.held.take()?;
                // A follower that is ahead of the hub gets a page from the log.
                let (to, at) = if !state.has_tail || cursor > state.read_to {
                    (state.head, state.now)
                } else {
                    (cursor.max(state.shown_to), state.shown_at)
                };
                let age = if self.mutation == Mutation::NoAge { 0 } else { (came - at).max(0) };
                post(&mut state.messages, Message::Answer { sent, age, cursor: to });
            }
            Action::Register => {
                state.is_unregistered = false;
                state.lease = Some(Lease { arrived: state.now, settled: state.lease.map_or(0, |lease| lease.settled) });
            }
        }
        (state != *before).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        fn accepts(state: &State) -> bool {
            state.follower.accepts(state.now, MAX_STALENESS)
        }
        vec![
            Property::always(
                "4 everywhere",
                |_, state: &State| !matches!(state.call, Call::Answered { at } if state.now > at && accepts(state)),
            ),
            Property::sometimes("the follower has settled", |_, state: &State| {
                matches!(state.call, Call::Answered { .. }) && state.lease.is_some_and(|lease| lease.settled == 1)
            }),
            Property::sometimes("fresh without the revocation", |_, state: &State| state.head == 1 && accepts(state)),
        ]
    }
}

/// The protocol and its mutants.
#[must_use]
pub fn cases(size: Size) -> Vec<Case> {
    let model = Everywhere { mutation: Mutation::None, until: 3, requests: 3, in_flight: 1 };
    let mutants = MUTANTS.map(|mutation| Case::breaks(mutation, "4 everywhere", Everywhere { mutation, ..model }));
    let mut cases: Vec<_> = [Case::holds("one message at a time", model)].into_iter().chain(mutants).collect();
    if size == Size::Large {
        cases.push(Case::holds("messages overtake each other", Everywhere { in_flight: 2, requests: 4, ..model }));
    }
    cases
}
