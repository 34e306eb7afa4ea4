//! Freshness along a chain: the log, two relays, and a service that follows the second.
//!
//! *Faithful to:* `revocation::Follower` (`catch_up` takes the moment before a read is sent; only a page that is the last proves
//! anything), `feed::Hub` with `Answer::age`, `store::Remote`, and `Verifier`, which reads the freshness before the index.
//!
//! *Abstractions:* one revocation. A relay is one reader, because it reads through its own hub. Requests and responses take any time and
//! may be lost; readers and servers may pause. Clocks are steady, have the same rate, and start at different values.
//!
//! *Bounds:* a `max_staleness` of 1, in 3 units of time; one request of each reader at a time.
//!
//! *Properties:*
//! - "3 bounded": no reader accepts the token later than `max_staleness` after it was revoked.

use stateright::{Model, Property};

use crate::{Case, Size};

const MAX_STALENESS: i8 = 1;

/// The change that makes a mutant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutation {
    /// No change: the protocol itself.
    None,
    /// An index is complete as of the arrival of the response.
    MomentOfAnswer,
    /// Responses have no age.
    NoAge,
    /// The age is measured until the response is sent, and counted from the arrival of the request.
    AgeAtAnswer,
    /// The response to a request that is over counts as a response to the next.
    LateAnswersCount,
    /// A page that is not the last proves that an index is complete.
    FreshFromFirstPage,
    /// A response has the moment of completeness by the clock of the server.
    ClocksAreCompared,
}

const MUTANTS: [Mutation; 6] = [
    Mutation::MomentOfAnswer,
    Mutation::NoAge,
    Mutation::AgeAtAnswer,
    Mutation::LateAnswersCount,
    Mutation::FreshFromFirstPage,
    Mutation::ClocksAreCompared,
];

/// A response in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Answer {
    sent: i8,
    age: i8,
    is_revoked: bool,
    is_last: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Request {
    None,
    Sent { sent: i8 },
    Held { sent: i8, came: i8 },
    Answered(Answer),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Reader {
    knows: bool,
    /// By its own clock.
    complete_as_of: Option<i8>,
    request: Request,
    /// Only in a mutant: the response to a request that is over.
    late: Option<Answer>,
}

/// A state of the model.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State {
    now: i8,
    revoked_at: Option<i8>,
    readers: Vec<Reader>,
}

/// A step of the model, with the reader and the server that it reads from.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Time advances.
    Tick,
    /// The token is revoked.
    Revoke,
    /// A request is sent.
    Send(usize),
    /// The request arrives.
    Arrive(usize),
    /// The server answers it.
    Answer(usize),
    /// The server answers it with the first of two pages.
    AnswerPart(usize),
    /// The reader applies the response.
    TakeIn(usize),
    /// The request or the response is lost, or arrives too late.
    GiveUp(usize),
    /// Only in a mutant: the reader applies a late response.
    TakeInLate(usize),
}

/// The model.
#[derive(Debug, Clone, Copy)]
pub struct Chain {
    mutation: Mutation,
    readers: usize,
    until: i8,
}

/// Returns the time on the clock of a reader.
fn clock(reader: usize, now: i8) -> i8 {
    now + [5, 2, 9][reader % 3]
}

impl Chain {
    fn take_in(&self, reader: &mut Reader, sent: i8, answer: Answer, now: i8) {
        reader.knows |= answer.is_revoked;
        let as_of = match self.mutation {
            Mutation::MomentOfAnswer => now,
            _ => sent - answer.age,
        };
        if answer.is_last || self.mutation == Mutation::FreshFromFirstPage {
            reader.complete_as_of = reader.complete_as_of.max(Some(as_of));
        }
    }
}

impl Model for Chain {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let reader = Reader { knows: false, complete_as_of: None, request: Request::None, late: None };
        vec![State { now: 0, revoked_at: None, readers: vec![reader; self.readers] }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.now < self.until {
            actions.push(Action::Tick);
        }
        if state.revoked_at.is_none() {
            actions.push(Action::Revoke);
        }
        for (number, reader) in state.readers.iter().enumerate() {
            match reader.request {
                Request::None => actions.push(Action::Send(number)),
                Request::Sent { .. } => actions.push(Action::Arrive(number)),
                Request::Held { .. } => actions.push(Action::Answer(number)),
                Request::Answered(_) => actions.extend([Action::TakeIn(number), Action::GiveUp(number)]),
            }
            if number == 0 && matches!(reader.request, Request::Held { .. }) {
                actions.push(Action::AnswerPart(number));
            }
            if reader.late.is_some() && matches!(reader.request, Request::Sent { .. }) {
                actions.push(Action::TakeInLate(number));
            }
        }
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = before.clone();
        match action {
            Action::Tick => state.now += 1,
            Action::Revoke => state.revoked_at = Some(state.now),
            Action::Send(number) => state.readers[number].request = Request::Sent { sent: clock(number, state.now) },
            Action::Arrive(number) => {
                let Request::Sent { sent } = state.readers[number].request else { return None };
                let came = number.checked_sub(1).map_or(state.now, |server| clock(server, state.now));
                state.readers[number].request = Request::Held { sent, came };
            }
            Action::Answer(number) => {
                let Request::Held { sent, came } = state.readers[number].request else { return None };
                let (is_revoked, age) = match number.checked_sub(1) {
                    None => (state.revoked_at.is_some(), 0),
                    Some(server) => {
                        let Reader { knows, complete_as_of, .. } = state.readers[server];
                        let complete_as_of = complete_as_of?;
                        let age = (came - complete_as_of).max(0);
                        let age = match self.mutation {
                            Mutation::NoAge => 0,
                            Mutation::AgeAtAnswer => age - (clock(server, state.now) - came),
                            Mutation::ClocksAreCompared => sent - complete_as_of,
                            _ => age,
                        };
                        (knows, age)
                    }
                };
                state.readers[number].request = Request::Answered(Answer { sent, age, is_revoked, is_last: true });
            }
            Action::AnswerPart(number) => {
                let Request::Held { sent, .. } = state.readers[number].request else { return None };
                let answer = Answer { sent, age: 0, is_revoked: false, is_last: false };
                state.readers[number].request = Request::Answered(answer);
            }
            Action::TakeIn(number) => {
                let Request::Answered(answer) = state.readers[number].request else { return None };
                let now = clock(number, state.now);
                state.readers[number].request = Request::None;
                self.take_in(&mut state.readers[number], answer.sent, answer, now);
            }
            Action::GiveUp(number) => {
                let Request::Answered(answer) = state.readers[number].request else { return None };
                state.readers[number].request = Request::None;
                if self.mutation == Mutation::LateAnswersCount {
                    state.readers[number].late = Some(answer);
                }
            }
            Action::TakeInLate(number) => {
                let Request::Sent { sent } = state.readers[number].request else { return None };
                let late = state.readers[number].late.take()?;
                let now = clock(number, state.now);
                state.readers[number].request = Request::None;
                self.take_in(&mut state.readers[number], sent, late, now);
            }
        }
        (state != *before).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        fn accepts(number: usize, reader: &Reader, now: i8) -> bool {
            let is_fresh = |as_of| clock(number, now) - as_of <= MAX_STALENESS;
            !reader.knows && reader.complete_as_of.is_some_and(is_fresh)
        }
        vec![
            Property::always("3 bounded", |_, state: &State| {
                let is_late = state.revoked_at.is_some_and(|revoked_at| state.now > revoked_at + MAX_STALENESS);
                let mut readers = state.readers.iter().enumerate();
                !is_late || !readers.any(|(number, reader)| accepts(number, reader, state.now))
            }),
            Property::sometimes("the last reader accepts", |model: &Self, state: &State| {
                state.now == model.until
                    && state.readers.last().is_some_and(|last| accepts(state.readers.len() - 1, last, state.now))
            }),
        ]
    }
}

/// The protocol and its mutants.
#[must_use]
pub fn cases(size: Size) -> Vec<Case> {
    let model = Chain { mutation: Mutation::None, readers: 2, until: 3 };
    let mutants = MUTANTS.map(|mutation| Case::breaks(mutation, "3 bounded", Chain { mutation, ..model }));
    let mut cases: Vec<_> = [Case::holds("a relay and a service", model)].into_iter().chain(mutants).collect();
    if size == Size::Large {
        cases.push(Case::holds("two relays and a service", Chain { readers: 3, ..model }));
    }
    cases
}
