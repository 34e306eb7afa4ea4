//! `?wait=everywhere` across the nodes of one store, with a service that switches between them.
//!
//! *Faithful to:* `feed::nodes` (`Joining::begin`, `Announced::publish` and its limit, `Heard`, `look`, `forget_silent`, `everywhere`),
//! `store::Membership`, `FreshnessLimit`, `Leases`, and node B's hub and follower.
//!
//! *Abstractions:* node A, which gets the call, answers its followers from the log itself; [`everywhere`](crate::everywhere) has the
//! behaviour of its hub. Every violation is therefore about node B, which may be frozen and removed from the list.
//!
//! A standby may take over once, without the last status of node B; [`failover`](crate::failover) has the effect on revocations.
//!
//! *Bounds:* a `max_staleness` of 1 at node A and at the service; a silence of 2 until a node is suspected to be gone (60 s in the code).
//!
//! *Properties:* after `?wait=everywhere` was answered by node A,
//! - "4 node B": node B does not accept the revoked token, whatever its own bound;
//! - "4 service": nor does the service.

use stateright::{Model, Property};

use crate::{
    Case, Size,
    follower::{Applied, Lease, MAX_STALENESS},
};

const SILENCE: i8 = 2;

/// The change that makes a mutant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutation {
    /// No change: the protocol itself.
    None,
    /// Earlier code: node B publishes the position of its index, whatever it serves.
    SettledIsOwnIndex,
    /// Earlier code: node A waits for its own bound, although node B has a larger one.
    WaitsForOwnBound,
    /// Earlier code: what node B reads counts as complete even if node B may have been removed from the list.
    ForgottenNodeIsComplete,
    /// A silent node is removed without having been marked first.
    ForgottenWithoutSuspicion,
    /// Node B reads before it is in the list.
    ReadsBeforeAnnounced,
    /// The status of node B ignores its followers.
    SettledWithoutFollowers,
    /// Earlier code: a node whose status was lost in a takeover counts as absent.
    LostNodeIsNotWaitedFor,
    /// Earlier code: what node B reads after a takeover counts as complete before node B has published again.
    LimitOfAnyLineage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Call {
    NotYet,
    Waits { revoked_at: i8, is_b_done: bool, is_service_pending: bool },
    Answered { at: i8 },
}

/// `store::NodeStatus`: the position that a node has applied, when that was written, and since when the node is marked as possibly gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Standing {
    settled: i8,
    told_at: i8,
    suspected_at: Option<i8>,
}

/// A state of the model.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State {
    now: i8,
    head: i8,
    call: Call,
    has_started: bool,
    /// The entry of node B in the list of nodes.
    listed: Option<Standing>,
    /// The index of node B.
    index: Applied,
    /// The pages that node B serves.
    shown: Applied,
    service: Applied,
    /// The lease of the service at each node.
    lease_at_a: Option<Lease>,
    lease_at_b: Option<Lease>,
    /// The status that node B is about to publish, and when node B computed it.
    telling: Option<(i8, i8)>,
    /// When node B began to check whether it is still listed.
    looking: Option<i8>,
    /// The limit as of which what node B reads counts as complete, and whether it was raised after the takeover.
    limit: i8,
    is_limit_of_standby: bool,
    has_failed_over: bool,
    /// Since when node A knows of the takeover.
    heard_at: Option<i8>,
    tells: u8,
    requests: u8,
    /// A request of the service: when it was sent, and whether to node B.
    request: Option<(i8, bool)>,
    /// The response: when the request was sent, age, cursor.
    answer: Option<(i8, i8, i8)>,
}

/// A step of the model.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Time advances.
    Tick,
    /// A token is revoked, durably, at node A.
    Revoke,
    /// Node A gets the call with `?wait=everywhere`.
    Call,
    /// Node A reads the list of nodes.
    SeeNodes,
    /// Node A checks whether all nodes and followers are done.
    Look,
    /// Node B begins to read.
    Start,
    /// The index of node B reads to the end of the log.
    IndexReads,
    /// The hub of node B does, and serves it.
    HubReads,
    /// Node B computes its status.
    Tell,
    /// The status is in the list.
    Told,
    /// Node B is marked as possibly gone.
    Suspect,
    /// Node B is removed from the list.
    Forget,
    /// Node B checks whether it is still listed.
    LookForItself,
    /// The store returns the list.
    SeeItself,
    /// A standby takes over, with the status of node B or without it.
    FailOver(bool),
    /// Node A detects the takeover, outside of a call.
    Hear,
    /// The service sends a request to node B, or to node A.
    Send(bool),
    /// The request is lost.
    LoseRequest,
    /// The request arrives, and is answered.
    Arrive,
    /// The response arrives.
    TakeIn,
    /// The response is lost.
    LoseAnswer,
}

/// The model.
#[derive(Debug, Clone, Copy)]
pub struct Members {
    mutation: Mutation,
    bound_of_b: i8,
    forgets: bool,
    fails_over: bool,
    until: i8,
    tells: u8,
    requests: u8,
}

impl Members {
    /// `Progress::applied_with`.
    fn settled(&self, state: &State) -> i8 {
        let own = match self.mutation {
            Mutation::SettledIsOwnIndex => state.index.to,
            _ => state.index.to.min(state.shown.to),
        };
        let live = state.lease_at_b.filter(|lease| lease.is_live(state.now));
        let live = live.filter(|_| self.mutation != Mutation::SettledWithoutFollowers);
        live.map_or(own, |lease| own.min(lease.settled))
    }

    /// Returns as of when what node B reads now counts as complete.
    fn complete_at(&self, state: &State) -> i8 {
        let is_limited = !matches!(self.mutation, Mutation::ForgottenNodeIsComplete | Mutation::ReadsBeforeAnnounced);
        let is_of_another =
            state.has_failed_over != state.is_limit_of_standby && self.mutation != Mutation::LimitOfAnyLineage;
        match is_limited {
            true if is_of_another => i8::MIN / 2,
            true => state.now.min(state.limit),
            false => state.now,
        }
    }

    /// `Heard::lost_until`.
    fn lost_until(&self, state: &State, revoked_at: i8) -> i8 {
        if !state.has_failed_over || self.mutation == Mutation::LostNodeIsNotWaitedFor {
            return i8::MIN;
        }
        state.heard_at.map_or(revoked_at, |heard_at| revoked_at.min(heard_at)) + self.bound_of_b.max(MAX_STALENESS)
    }
}

impl Model for Members {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            now: 0,
            head: 0,
            call: Call::NotYet,
            has_started: false,
            listed: None,
            index: Applied::default(),
            shown: Applied::default(),
            service: Applied::default(),
            lease_at_a: None,
            lease_at_b: None,
            telling: None,
            looking: None,
            limit: i8::MIN / 2,
            is_limit_of_standby: false,
            has_failed_over: false,
            heard_at: None,
            tells: 0,
            requests: 0,
            request: None,
            answer: None,
        }]
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
            Call::Waits { .. } => actions.extend([Action::SeeNodes, Action::Look]),
            _ => {}
        }
        if !state.has_started && (state.listed.is_some() || self.mutation == Mutation::ReadsBeforeAnnounced) {
            actions.push(Action::Start);
        }
        if state.has_started {
            actions.extend([Action::IndexReads, Action::HubReads]);
        }
        if (state.has_started || state.listed.is_none()) && state.telling.is_none() && state.tells < self.tells {
            actions.push(Action::Tell);
        }
        if state.telling.is_some() {
            actions.push(Action::Told);
        }
        if let Some(Standing { told_at, suspected_at, .. }) = state.listed.filter(|_| self.forgets) {
            let may_forget = match suspected_at {
                _ if self.mutation == Mutation::ForgottenWithoutSuspicion => state.now - told_at >= SILENCE,
                Some(suspected_at) => state.now - suspected_at > self.bound_of_b,
                None => false,
            };
            if may_forget {
                actions.push(Action::Forget);
            }
            if suspected_at.is_none() && state.now - told_at >= SILENCE {
                actions.push(Action::Suspect);
            }
        }
        if self.forgets && state.has_started {
            actions.push(if state.looking.is_none() { Action::LookForItself } else { Action::SeeItself });
        }
        if self.fails_over && !state.has_failed_over {
            actions.extend([Action::FailOver(false), Action::FailOver(true)]);
        }
        if state.has_failed_over && state.heard_at.is_none() {
            actions.push(Action::Hear);
        }
        if state.request.is_none() && state.answer.is_none() && state.requests < self.requests {
            actions.push(Action::Send(false));
            if state.has_started {
                actions.push(Action::Send(true));
            }
        }
        if state.request.is_some() {
            actions.extend([Action::Arrive, Action::LoseRequest]);
        }
        if state.answer.is_some() {
            actions.extend([Action::TakeIn, Action::LoseAnswer]);
        }
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = before.clone();
        match action {
            Action::Tick => state.now += 1,
            Action::Revoke => state.head = 1,
            Action::Call => {
                let is_service_pending = state.lease_at_a.is_some_and(|lease| lease.is_live(state.now));
                state.call = Call::Waits { revoked_at: state.now, is_b_done: false, is_service_pending };
            }
            Action::SeeNodes => {
                let Call::Waits { revoked_at, is_service_pending, .. } = state.call else { return None };
                let bound = if self.mutation == Mutation::WaitsForOwnBound { MAX_STALENESS } else { self.bound_of_b };
                if state.has_failed_over {
                    state.heard_at = state.heard_at.or(Some(state.now));
                }
                // A node that is not listed has not begun to read. A listed node is waited for until it has applied the revocation or is stale.
                let is_b_done = match state.listed {
                    Some(standing) if standing.settled < 1 => state.now >= revoked_at + bound,
                    _ => state.now >= self.lost_until(&state, revoked_at),
                };
                state.call = Call::Waits { revoked_at, is_b_done, is_service_pending };
            }
            Action::Look => {
                let Call::Waits { revoked_at, is_b_done, is_service_pending } = state.call else { return None };
                let is_done = |lease: Lease| lease.is_done(revoked_at, state.now);
                if !is_b_done || is_service_pending && !state.lease_at_a.is_none_or(is_done) {
                    return None;
                }
                state.call = Call::Answered { at: state.now };
            }
            Action::Start => state.has_started = true,
            Action::IndexReads => state.index.apply(state.head, self.complete_at(before)),
            Action::HubReads => state.shown.apply(state.head, self.complete_at(before)),
            Action::Tell => {
                state.tells += 1;
                state.telling = Some((self.settled(&state), state.now));
            }
            Action::Told => {
                let (settled, sent) = state.telling.take()?;
                state.listed = Some(Standing { settled, told_at: state.now, suspected_at: None });
                let limit = sent + SILENCE - self.bound_of_b;
                let is_of_another = state.has_failed_over != state.is_limit_of_standby;
                state.limit = if is_of_another { limit } else { state.limit.max(limit) };
                state.is_limit_of_standby = state.has_failed_over;
            }
            Action::Suspect => state.listed.as_mut()?.suspected_at = Some(before.now),
            Action::Forget => state.listed = None,
            Action::LookForItself => state.looking = Some(state.now),
            Action::SeeItself => {
                let looked_at = state.looking.take()?;
                if state.listed.is_some_and(|standing| standing.suspected_at.is_none()) {
                    state.limit = state.limit.max(looked_at);
                }
            }
            Action::FailOver(loses_b) => {
                state.has_failed_over = true;
                if loses_b {
                    state.listed = None;
                }
            }
            Action::Hear => state.heard_at = Some(state.now),
            Action::Send(to_b) => {
                state.requests += 1;
                state.request = Some((state.now, to_b));
            }
            Action::LoseRequest => state.request = None,
            Action::Arrive => {
                let (sent, to_b) = state.request.take()?;
                let lease = if to_b { &mut state.lease_at_b } else { &mut state.lease_at_a };
                *lease = Some(Lease { arrived: state.now, settled: state.service.to });
                let (to, at) = match (to_b, state.shown.as_of) {
                    (false, _) => (state.head, state.now),
                    (true, Some(shown_at)) if state.service.to <= state.shown.to => (state.shown.to, shown_at),
                    // No page is served from memory yet, or the service is ahead of it.
                    _ => (state.head, self.complete_at(&state)),
                };
                state.answer = Some((sent, (state.now - at).max(0), to));
            }
            Action::TakeIn => {
                let (sent, age, cursor) = state.answer.take()?;
                state.service.apply(cursor, sent - age);
            }
            Action::LoseAnswer => state.answer = None,
        }
        (state != *before).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        fn is_answered(state: &State) -> bool {
            matches!(state.call, Call::Answered { at } if state.now > at)
        }
        vec![
            Property::always("4 node B", |model: &Self, state: &State| {
                !(is_answered(state) && state.index.accepts(state.now, model.bound_of_b))
            }),
            Property::always("4 service", |_, state: &State| {
                !(is_answered(state) && state.service.accepts(state.now, MAX_STALENESS))
            }),
            Property::sometimes("node B has settled", |_, state: &State| {
                is_answered(state) && state.listed.is_some_and(|standing| standing.settled == 1)
            }),
        ]
    }
}

/// The protocol and its mutants.
#[must_use]
pub fn cases(size: Size) -> Vec<Case> {
    let model = Members {
        mutation: Mutation::None,
        bound_of_b: MAX_STALENESS,
        forgets: false,
        fails_over: false,
        until: 2,
        tells: 2,
        requests: 1,
    };
    let greater_bound = Members { bound_of_b: MAX_STALENESS + 1, until: 3, requests: 0, ..model };
    let fails_over = Members { fails_over: true, requests: 0, ..model };
    let forgets = Members { forgets: true, until: 5, tells: 1, requests: 0, ..model };
    let mutant = |mutation, property, model| Case::breaks(mutation, property, Members { mutation, ..model });
    let mut cases = vec![
        Case::holds("a service and two nodes", model),
        Case::holds("a greater bound at one node", greater_bound),
        Case::holds("a silent node is suspected", Members { tells: 2, until: 4, ..forgets }),
        Case::holds("a standby takes over", fails_over),
        Case::holds(
            "a standby takes over from a node with a greater bound",
            Members { fails_over: true, ..greater_bound },
        ),
        mutant(Mutation::SettledIsOwnIndex, "4 service", Members { requests: 2, ..model }),
        mutant(Mutation::WaitsForOwnBound, "4 node B", greater_bound),
        mutant(Mutation::ForgottenNodeIsComplete, "4 node B", forgets),
        mutant(Mutation::ForgottenWithoutSuspicion, "4 node B", forgets),
        mutant(Mutation::ReadsBeforeAnnounced, "4 node B", model),
        mutant(Mutation::SettledWithoutFollowers, "4 service", Members { requests: 2, ..model }),
        mutant(Mutation::LostNodeIsNotWaitedFor, "4 node B", fails_over),
        mutant(Mutation::LimitOfAnyLineage, "4 node B", fails_over),
    ];
    if size == Size::Large {
        cases.extend([
            Case::holds("a standby takes over, with a service", Members { requests: 1, ..fails_over }),
            Case::holds("a service and two nodes, more requests", Members { tells: 3, requests: 2, ..model }),
            Case::holds("a greater bound, with a service", Members { tells: 3, requests: 1, ..greater_bound }),
            Case::holds("a silent node is forgotten, or speaks again", Members { tells: 2, ..forgets }),
        ]);
    }
    cases
}
