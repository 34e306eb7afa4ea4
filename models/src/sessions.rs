//! Refreshes, a logout and the reuse of a refresh token, concurrently, at two nodes whose wall clocks differ.
//!
//! *Faithful to:* `session::Rotation::decide`, which every store calls in the same step in which it writes; `Sessions` (`refresh`, `end`,
//! the issue of tokens after the store has decided, `ended`), `Session::revocation`, which lapses with the latest access token that
//! the row records, and the renewal of an access token.
//!
//! *Abstractions:* one session. Node A logs out and verifies; node B refreshes, and its wall clock is ahead. There is one store, which
//! runs one operation at a time. Refresh tokens are numbered in the order of their creation.
//!
//! *Bounds:* three refreshes or renewals, an access token lives for 2 units of time of 6, the grace period is 1.
//!
//! *Properties:*
//! - "5 no refresh after a logout": no refresh that begins after a logout was answered returns tokens.
//! - "7 revoked as long as it could be accepted": node A knows the revocation, or has a mark that covers it, as long as any access
//!   token of the session has not expired.
//! - "5 a lost response ends no session": the parent of a successor that has not been used never counts as reuse.
//! - "5 reuse is noticed": the parent of a successor that was used returns tokens only within the grace period.
//! - "5 the chain never forks": no refresh token gets two successors.

use stateright::{Model, Property};

use crate::{Case, Size};

const ACCESS_LIFETIME: u8 = 2;
/// The time for which a revocation is kept beyond the lifetime; the maximum clock skew.
const MARGIN: u8 = 1;
const CLOCK_AHEAD: u8 = 1;
const GRACE_PERIOD: u8 = 1;

/// The change that makes a mutant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutation {
    /// No change: the protocol itself.
    None,
    /// Earlier code: the parent of a successor that has not been used gets the successor only within the grace period.
    GraceForEverySuccessor,
    /// The parent of a used successor is accepted at any time.
    NoGracePeriod,
    /// An access token's expiry is computed when the token is issued, not when the store decides.
    ExpiryAtMint,
    /// A revocation lapses by today's settings, not by what the row records.
    LapseBySettings,
    /// A repeated response is not recorded in the row.
    RepeatIsNotWritten,
    /// The row is read and written in two steps.
    ReadThenWrite,
    /// An access token is renewed without the store.
    RenewWithoutStore,
    /// The index has a revocation before the store.
    IndexBeforeStore,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Row {
    current: u8,
    previous: Option<u8>,
    /// The previous refresh token, and when it was used.
    used: Option<(u8, u8)>,
    refreshed_at: u8,
    access_expires_at: u8,
}

/// A state of the model.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State {
    now: u8,
    row: Option<Row>,
    /// When the revocation lapses, if it is in the log, and how far the log was pruned.
    lapses_at: Option<u8>,
    pruned_through: u8,
    requests: u8,
    drawn: u8,
    parents: Vec<u8>,
    /// The decision of the store for node B: refresh token, and expiry of the access token.
    minting: Vec<(u8, u8)>,
    /// Only in a mutant: the presented token, and the row as it was read.
    read: Option<(u8, Row)>,
    access_tokens: Vec<u8>,
    refresh_tokens: Vec<u8>,
    a_knows: bool,
    b_knows: bool,
    /// A response has reported that the session has ended.
    is_told: bool,
    /// Node A has sent that response, or has read to the end of the log since.
    a_must_know: bool,
    has_restarted: bool,
    refreshed_after_logout: bool,
    lost_response_punished: bool,
    reuse_accepted: bool,
}

/// A step of the model.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Time advances.
    Tick,
    /// Node B gets this refresh token.
    Refresh(u8),
    /// Only in a mutant: the row is written.
    Write,
    /// Node B gets an access token to renew.
    Renew,
    /// Node B sends the tokens that the store decided on.
    Mint(usize),
    /// Node A logs out.
    LogOut,
    /// Node A reads the log.
    ReadAtA,
    /// Node B reads the log.
    ReadAtB,
    /// What has lapsed is removed everywhere, and marked.
    Prune,
    /// Node A is started again, and reads the log.
    RestartA,
    /// Only in a mutant: node A answers before the store has it.
    OnlyIndex,
}

/// The model.
#[derive(Debug, Clone, Copy)]
pub struct OneSession {
    mutation: Mutation,
    requests: u8,
    until: u8,
}

impl OneSession {
    fn end(&self, state: &mut State) {
        if let Some(row) = state.row.take() {
            let by_settings = self.mutation == Mutation::LapseBySettings;
            let expires_at = if by_settings { state.now + ACCESS_LIFETIME - 1 } else { row.access_expires_at };
            state.lapses_at = Some(expires_at + MARGIN);
        }
    }

    /// `Rotation::decide`, and the writes of the store.
    fn rotate(&self, state: &mut State, presented: u8, row: Option<Row>) {
        let now = state.now + CLOCK_AHEAD;
        let expires_at = now + ACCESS_LIFETIME;
        let Some(mut row) = row else { return };
        let latest = row.access_expires_at.max(expires_at);
        let is_forgiven = |at: u8| at + GRACE_PERIOD >= now;
        let is_parent = row.previous == Some(presented);
        if row.current == presented {
            state.drawn += 1;
            state.parents.push(presented);
            row = Row {
                current: state.drawn,
                previous: Some(presented),
                used: row.previous.map(|id| (id, row.refreshed_at)),
                refreshed_at: now,
                access_expires_at: latest,
            };
        } else if is_parent && (self.mutation != Mutation::GraceForEverySuccessor || is_forgiven(row.refreshed_at))
            || row.used.is_some_and(|(id, at)| {
                id == presented && (is_forgiven(at) || self.mutation == Mutation::NoGracePeriod)
            })
        {
            state.reuse_accepted |= !is_parent && row.used.is_some_and(|(_, at)| !is_forgiven(at));
            if self.mutation != Mutation::RepeatIsNotWritten {
                row.access_expires_at = latest;
            }
        } else {
            state.lost_response_punished |= is_parent;
            self.end(state);
            (state.b_knows, state.is_told) = (true, true);
            return;
        }
        state.row = Some(row);
        state.minting.push((row.current, expires_at));
        state.refreshed_after_logout |= state.is_told;
    }
}

impl Model for OneSession {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let row = Row {
            current: 0,
            previous: None,
            used: None,
            refreshed_at: CLOCK_AHEAD,
            access_expires_at: ACCESS_LIFETIME,
        };
        vec![State {
            now: 0,
            row: Some(row),
            lapses_at: None,
            pruned_through: 0,
            requests: 0,
            drawn: 0,
            parents: vec![],
            minting: vec![],
            read: None,
            access_tokens: vec![ACCESS_LIFETIME],
            refresh_tokens: vec![0],
            a_knows: false,
            b_knows: false,
            is_told: false,
            a_must_know: false,
            has_restarted: false,
            refreshed_after_logout: false,
            lost_response_punished: false,
            reuse_accepted: false,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        use Action::*;
        if state.now < self.until {
            actions.push(Tick);
        }
        if state.requests < self.requests {
            actions.extend(state.refresh_tokens.iter().copied().map(Refresh));
            actions.push(Renew);
        }
        actions.extend((0..state.minting.len()).map(Mint));
        actions.extend([Write, LogOut, ReadAtA, ReadAtB, Prune, RestartA, OnlyIndex]);
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = before.clone();
        match action {
            Action::Tick => state.now += 1,
            Action::Refresh(presented) => {
                state.requests += 1;
                if self.mutation != Mutation::ReadThenWrite {
                    self.rotate(&mut state, presented, before.row);
                } else if state.read.is_none() {
                    state.read = Some((presented, state.row?));
                } else {
                    self.rotate(&mut state, presented, before.row);
                }
            }
            Action::Write => {
                let (presented, row) = state.read.take()?;
                self.rotate(&mut state, presented, Some(row));
            }
            Action::Renew => {
                let now = state.now + CLOCK_AHEAD;
                if state.b_knows || !state.access_tokens.iter().any(|expires_at| *expires_at > now) {
                    return None;
                }
                state.requests += 1;
                let expires_at = now + ACCESS_LIFETIME;
                match &mut state.row {
                    _ if self.mutation == Mutation::RenewWithoutStore => state.minting.push((0, expires_at)),
                    Some(row) => {
                        row.access_expires_at = row.access_expires_at.max(expires_at);
                        state.minting.push((row.current, expires_at));
                    }
                    None => state.b_knows |= state.lapses_at.is_some(),
                }
            }
            Action::Mint(which) => {
                let (refresh, decided) = state.minting.remove(which);
                let at_mint = state.now + CLOCK_AHEAD + ACCESS_LIFETIME;
                state.access_tokens.push(if self.mutation == Mutation::ExpiryAtMint { at_mint } else { decided });
                state.refresh_tokens.push(refresh);
                for tokens in [&mut state.access_tokens, &mut state.refresh_tokens] {
                    tokens.sort_unstable();
                    tokens.dedup();
                }
            }
            Action::LogOut => {
                state.row?;
                self.end(&mut state);
                (state.a_knows, state.is_told, state.a_must_know) = (true, true, true);
            }
            Action::OnlyIndex if self.mutation == Mutation::IndexBeforeStore && !state.a_knows => {
                (state.a_knows, state.is_told, state.a_must_know) = (true, true, true);
            }
            Action::ReadAtA if state.lapses_at.is_some() => (state.a_knows, state.a_must_know) = (true, true),
            Action::ReadAtB if state.lapses_at.is_some() => state.b_knows = true,
            Action::Prune => {
                state.lapses_at.take().filter(|lapses_at| *lapses_at <= state.now)?;
                state.pruned_through = state.now;
                (state.a_knows, state.b_knows) = (false, false);
            }
            Action::RestartA if !state.has_restarted => {
                state.has_restarted = true;
                state.a_knows = state.lapses_at.is_some();
            }
            _ => return None,
        }
        (state != *before).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("5 no refresh after a logout", |_, state: &State| !state.refreshed_after_logout),
            Property::always("7 revoked as long as it could be accepted", |_, state: &State| {
                let is_accepted =
                    |expires_at: &u8| state.now < *expires_at && expires_at + MARGIN > state.pruned_through;
                !(state.is_told && state.a_must_know && !state.a_knows && state.access_tokens.iter().any(is_accepted))
            }),
            Property::always("5 a lost response ends no session", |_, state: &State| !state.lost_response_punished),
            Property::always("5 reuse is noticed", |_, state: &State| !state.reuse_accepted),
            Property::always("5 the chain never forks", |_, state: &State| {
                (1..state.parents.len()).all(|index| !state.parents[..index].contains(&state.parents[index]))
            }),
            Property::sometimes("forgotten", |_, state: &State| state.is_told && state.pruned_through > 0),
            Property::sometimes("given again after the grace period", |_, state: &State| {
                let now = state.now + CLOCK_AHEAD;
                state.row.is_some_and(|row| row.refreshed_at + GRACE_PERIOD < now) && !state.minting.is_empty()
            }),
        ]
    }
}

/// The protocol and its mutants.
#[must_use]
pub fn cases(size: Size) -> Vec<Case> {
    const KEPT: &str = "7 revoked as long as it could be accepted";
    let model = OneSession { mutation: Mutation::None, requests: 3, until: 6 };
    let mutant = |mutation, property| Case::breaks(mutation, property, OneSession { mutation, ..model });
    let mut cases = vec![
        Case::holds("three requests", model),
        mutant(Mutation::GraceForEverySuccessor, "5 a lost response ends no session"),
        mutant(Mutation::NoGracePeriod, "5 reuse is noticed"),
        mutant(Mutation::ExpiryAtMint, KEPT),
        mutant(Mutation::LapseBySettings, KEPT),
        mutant(Mutation::RepeatIsNotWritten, KEPT),
        mutant(Mutation::ReadThenWrite, "5 the chain never forks"),
        mutant(Mutation::RenewWithoutStore, KEPT),
        mutant(Mutation::IndexBeforeStore, "5 no refresh after a logout"),
    ];
    if size == Size::Large {
        cases.push(Case::holds("four requests", OneSession { requests: 4, until: 7, ..model }));
    }
    cases
}
