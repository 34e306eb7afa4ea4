//! A store that loses the end of its log while nodes run: an asynchronous standby or replica takes over, or a backup is restored in
//! place.
//!
//! *Faithful to:* `restore::{Mark, Witness}` and `node::Guard` (`Mark::compare`, `Mark::see`, `Mark::contradicts`, `Guard::check`,
//! `Guard::reset`), and the reads and appends of the engines, which compare the log with the mark in the same step: a statement or
//! transaction of PostgreSQL and SQLite, a script of Redis. A cursor carries the lineage of the server, which every failover changes: the
//! timeline of PostgreSQL's write-ahead log, the run and the replication id of a Redis server. Followers move between nodes.
//!
//! *Abstractions:* a revocation is a number that is used once; a position is an index into the log; a read fits on one page. There is no
//! time: an index is complete as of the moment at which its last read was sent. The old primary is fenced: nothing reaches it after the
//! failover, but its earlier responses may arrive later. A backup that is restored in place keeps the lineage, so that only the mark of a
//! node can detect it: then the model has one node. (With two, one of which is gone for good, a service that had read more from that node
//! than the other has ever seen gets a page with a gap once the other has appended as much.) The same holds for a store that is emptied:
//! another node that had seen nothing yet may append before any other node reads. Pruning is left out, because it only removes what no
//! token can match (see [`pruning`](crate::pruning)).
//!
//! *Properties:*
//! - "3 no gaps": a reader that is complete as of a moment has every revocation that was answered before and was not lost.
//! - "7 noticed": once a node has read the log, everything that it has ever answered or rejected is in the log, by itself or under a
//!   cut-off, also when no other node comes back.
//! - "no false alarm": an event that lost nothing ends no session, and an event that lost something ends them at most once.

mod log;

use stateright::{Model, Property};

use self::log::{Entry, Found, Log, Mark, Verdict};
use crate::{Case, Size};

/// The identity of a log that was emptied; no other log has it.
const EMPTIED: u8 = 7;

/// The change that makes a mutant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutation {
    /// No change: the protocol itself.
    None,
    /// Earlier code: an append does not compare the log with the mark.
    AppendsAreNotHeld,
    /// An append compares the log with the mark in a step before the one that appends.
    HeldBeforeAppend,
    /// Earlier code: a page is accepted if its cursor is not behind the end of the log.
    ReadsAreNotHeld,
    /// Earlier code: the position is raised at once, the entry there is recorded only now and then.
    EntryIsNotedLater,
    /// Earlier code: the cursor does not carry the lineage.
    CursorWithoutLineage,
    /// The mark carries the lineage.
    MarkWithLineage,
    /// The mark is read after the log.
    MarkAfterLook,
    /// The state of one lineage is recorded after the mark was raised in another.
    LateAnswersCount,
    /// The log keeps its identity when everything is revoked.
    SameIdentity,
    /// Earlier code: an empty log with an identity that the mark does not know counts as another store, whatever was seen before.
    EmptiedIsAnother,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Cursor {
    log: u8,
    lineage: u8,
    position: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Page {
    covers: u16,
    cursor: Cursor,
}

/// An append in progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Append {
    None,
    /// In a transaction, which has read the mark.
    Begun(Mark),
    /// Committed; the response is in flight.
    Committed {
        mark: Mark,
        revocation: u16,
        after: Found,
    },
}

/// A read in progress; `answered` has the logouts that had been answered when it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Read {
    None,
    Sent { mark: Mark, answered: u16 },
    Answered { mark: Mark, answered: u16, page: Page, found: Found },
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Follower {
    cursor: Option<Cursor>,
    index: u16,
    /// The logouts that had been answered when the last applied read was sent.
    complete: u16,
    read: Read,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Node {
    mark: Mark,
    append: Append,
    /// The state of the log that the guard has read, and the mark that it read before.
    looked: Option<(Mark, Found)>,
    own: Follower,
    /// Everything that its index has ever had.
    refused: u16,
}

/// A state of the model.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State {
    log: Log,
    nodes: Vec<Node>,
    /// A service, and the node that it currently reads from.
    service: Option<(Follower, usize)>,
    next: u8,
    answered: u16,
    /// The revocations that are no longer in the log, and not yet under a cut-off.
    lost: u16,
    events: u8,
    losses: u8,
    renewals: u8,
    restarts: u8,
}

/// The reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    /// A node, for its own index.
    Node(usize),
    /// The service, from this node.
    Service(usize),
}

/// A step of the model.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// `Witness::mark`, in the transaction of an append.
    Begin(usize),
    /// `Witness::hold`, and the commit.
    Commit(usize),
    /// `Witness::note`; then the index has it, and the logout is answered.
    Answer(usize),
    /// `Witness::mark`, and the read is sent.
    Send(Reader),
    /// The store answers.
    Execute(Reader),
    /// `Witness::hold`, `Witness::note`, and the index applies the page.
    TakeIn(Reader),
    /// An append of another node, in one step.
    LogOut(usize),
    /// A read of another node, in one step.
    ReadAll(usize),
    /// A read of the service from this node, in one step.
    ServiceReads(usize),
    /// `Guard::check` of another node, in one step.
    Check(usize),
    /// `Guard::check`: reads the mark, then the log.
    Look(usize),
    /// `Guard::check`: compares, and resets the log or records its state.
    Act(usize),
    /// A node is killed and started again.
    Restart(usize),
    /// The standby takes over without the last entries.
    Failover(usize),
    /// A backup without the last entries is restored in place.
    PutBack(usize),
    /// The store is emptied, and its log gets another identity.
    Empty,
}

/// The bounds of the model, and the change that makes it a mutant.
#[derive(Debug, Clone, Copy)]
pub struct Failover {
    mutation: Mutation,
    nodes: usize,
    service: bool,
    /// The operations of the first node take several steps each.
    in_steps: bool,
    /// The other node reads as well.
    others_read: bool,
    logouts: u8,
    failovers: u8,
    put_back: bool,
    emptied: bool,
    lost: usize,
    restarts: u8,
}

impl State {
    fn follower(&mut self, reader: Reader) -> Option<&mut Follower> {
        match reader {
            Reader::Node(node) => Some(&mut self.nodes[node].own),
            Reader::Service(node) => self.service.as_mut().filter(|(_, at)| *at == node).map(|(service, _)| service),
        }
    }
}

impl Failover {
    fn identity(&self, log: &Log, position: usize) -> Cursor {
        let lineage = if self.mutation == Mutation::CursorWithoutLineage { 0 } else { log.lineage };
        Cursor { log: log.id(), lineage, position }
    }

    fn page(&self, log: &Log, after: Option<Cursor>) -> Page {
        let head = self.identity(log, log.entries.len());
        let is_of_use =
            |after: &Cursor| (after.log, after.lineage) == (head.log, head.lineage) && after.position <= head.position;
        let from = after.filter(is_of_use).map_or(0, |after| after.position);
        Page { covers: log.entries[from..].iter().fold(0, |covered, entry| covered | entry.covers), cursor: head }
    }

    /// `Guard::check`: reads the log, resets it until it has not gone back, and records its state.
    fn check(&self, state: &mut State, node: usize) {
        loop {
            let mark = state.nodes[node].mark;
            let found = state.log.look(mark.anchor_position());
            if mark.judge(&found, self.mutation) != Verdict::WentBack {
                state.nodes[node].mark.see(&found);
                return;
            }
            self.begin_anew(state, node, mark.position);
        }
    }

    /// `Guard::reset`: a cut-off, and with it another identity of the log.
    fn begin_anew(&self, state: &mut State, node: usize, after: usize) {
        state.renewals += 1;
        while state.log.entries.len() < after {
            state.log.entries.push(Entry { covers: 0, id: 0 });
        }
        state.log.entries.push(Entry { covers: (1 << state.next) - 1, id: state.renewals });
        // From here on, the lost revocations count as answered again: no reader is complete as of this moment yet.
        let lost = std::mem::take(&mut state.lost);
        let services = state.service.iter_mut().map(|(service, _)| service);
        for follower in state.nodes.iter_mut().map(|node| &mut node.own).chain(services) {
            follower.complete &= !lost;
            match &mut follower.read {
                Read::Sent { answered, .. } | Read::Answered { answered, .. } => *answered &= !lost,
                Read::None => {}
            }
        }
        let found = state.log.look(state.log.entries.len());
        let mark = &mut state.nodes[node].mark;
        mark.see(&Found { head: 0, entry: None, last: None, ..found });
        if self.mutation == Mutation::SameIdentity {
            (mark.position, mark.anchor) = (found.head, found.last.map(|last| (found.head, last)));
        }
    }

    /// `Mark::contradicts`: whether the mark was raised in another lineage since this operation read it. A lineage includes the
    /// identity.
    fn is_late(&self, state: &State, node: usize, taken: &Mark, found: &Found) -> bool {
        let mark = state.nodes[node].mark;
        let was_raised = (mark.log, mark.position) != (taken.log, taken.position);
        let is_other = (mark.log, mark.lineage) != (found.log, found.lineage);
        self.mutation != Mutation::LateAnswersCount && was_raised && is_other
    }

    fn lose(&self, state: &mut State, count: usize) {
        state.events += 1;
        let left = state.log.entries.len() - count;
        let before = state.log.covers();
        state.log.entries.truncate(left);
        state.lost |= before & !state.log.covers();
        state.losses += u8::from(count > 0);
    }
}

impl Model for Failover {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let keeps_identity = self.mutation == Mutation::SameIdentity;
        let mark = Mark { log: 0, lineage: 0, position: 0, anchor: None, former: 0 };
        let follower = Follower { cursor: None, index: 0, complete: 0, read: Read::None };
        let node = Node { mark, append: Append::None, looked: None, own: follower.clone(), refused: 0 };
        vec![State {
            log: Log { first_id: 0, lineage: 0, entries: Vec::new(), keeps_identity },
            nodes: vec![node; self.nodes],
            service: self.service.then_some((follower, 0)),
            next: 0,
            answered: 0,
            lost: 0,
            events: 0,
            losses: 0,
            renewals: 0,
            restarts: 0,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for node in 0..self.nodes {
            if node > 0 || !self.in_steps {
                if self.service {
                    actions.push(Action::ServiceReads(node));
                }
                if state.next < self.logouts {
                    actions.push(Action::LogOut(node));
                }
                if self.others_read {
                    actions.extend([Action::ReadAll(node), Action::Check(node)]);
                }
                continue;
            }
            match state.nodes[node].append {
                Append::None if state.next < self.logouts => actions.push(Action::Begin(node)),
                Append::None => {}
                Append::Begun(_) => actions.push(Action::Commit(node)),
                Append::Committed { .. } => actions.push(Action::Answer(node)),
            }
            for reader in [Reader::Node(node), Reader::Service(node)] {
                let follower = match (reader, &state.service) {
                    (Reader::Node(node), _) => &state.nodes[node].own,
                    (Reader::Service(node), Some((service, at))) if service.read == Read::None || *at == node => {
                        service
                    }
                    _ => continue,
                };
                actions.push(match follower.read {
                    Read::None => Action::Send(reader),
                    Read::Sent { .. } => Action::Execute(reader),
                    Read::Answered { .. } => Action::TakeIn(reader),
                });
            }
            actions.push(if state.nodes[node].looked.is_none() { Action::Look(node) } else { Action::Act(node) });
            if state.restarts < self.restarts {
                actions.push(Action::Restart(node));
            }
        }
        if state.events < self.failovers && self.emptied {
            actions.push(Action::Empty);
        } else if state.events < self.failovers {
            for lost in 0..=self.lost.min(state.log.entries.len()) {
                actions.push(if self.put_back { Action::PutBack(lost) } else { Action::Failover(lost) });
            }
        }
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = before.clone();
        match action {
            Action::Begin(node) => {
                let mark = state.nodes[node].mark;
                let is_held_now = self.mutation == Mutation::HeldBeforeAppend;
                if is_held_now
                    && mark.judge(&state.log.look(mark.anchor_position()), self.mutation) == Verdict::WentBack
                {
                    return None;
                }
                state.nodes[node].append = Append::Begun(mark);
            }
            Action::Commit(node) => {
                let Append::Begun(mark) = state.nodes[node].append else { return None };
                let found = state.log.look(mark.anchor_position());
                let is_held = !matches!(self.mutation, Mutation::AppendsAreNotHeld | Mutation::HeldBeforeAppend);
                state.nodes[node].append = Append::None;
                if !is_held || mark.judge(&found, self.mutation) != Verdict::WentBack {
                    let revocation = 1 << state.next;
                    state.next += 1;
                    state.log.entries.push(Entry { covers: revocation, id: 0 });
                    let after = Found { entry: found.entry, ..state.log.look(state.log.entries.len()) };
                    state.nodes[node].append = Append::Committed { mark, revocation, after };
                }
            }
            Action::Answer(node) => {
                let Append::Committed { mark, revocation, mut after } = state.nodes[node].append else { return None };
                if self.is_late(&state, node, &mark, &after) {
                    state.nodes[node].append = Append::None;
                    return Some(state);
                }
                if self.mutation == Mutation::EntryIsNotedLater {
                    after.last = None;
                }
                state.nodes[node].mark.see(&after);
                state.nodes[node].own.index |= revocation;
                state.nodes[node].append = Append::None;
                state.answered |= revocation;
                state.nodes[node].refused |= revocation;
                // No reader can be complete of a log with a revocation that was lost before it was answered.
            }
            Action::Send(reader) => {
                let at = match reader {
                    Reader::Node(node) => node,
                    Reader::Service(node) => {
                        state.service.as_mut()?.1 = node;
                        node
                    }
                };
                let (mark, answered) = (state.nodes[at].mark, state.answered);
                state.follower(reader)?.read = Read::Sent { mark, answered };
            }
            Action::Execute(reader) => {
                let log = state.log.clone();
                let follower = state.follower(reader)?;
                let Read::Sent { mark, answered } = follower.read else { return None };
                let (page, found) = (self.page(&log, follower.cursor), log.look(mark.anchor_position()));
                follower.read = Read::Answered { mark, answered, page, found };
            }
            Action::TakeIn(reader) => {
                let (Reader::Node(at) | Reader::Service(at)) = reader;
                let Read::Answered { mark, answered, page, mut found } = state.follower(reader)?.read else {
                    return None;
                };
                state.follower(reader)?.read = Read::None;
                if self.is_late(&state, at, &mark, &found) {
                    return Some(state);
                }
                let follower = state.follower(reader)?;
                let is_held = self.mutation != Mutation::ReadsAreNotHeld;
                if !is_held || mark.judge(&found, self.mutation) != Verdict::WentBack {
                    follower.cursor = Some(page.cursor);
                    follower.index |= page.covers;
                    follower.complete |= answered;
                    if reader == Reader::Node(at) {
                        state.nodes[at].refused |= page.covers;
                    }
                    if self.mutation == Mutation::EntryIsNotedLater {
                        found.last = None;
                    }
                    state.nodes[at].mark.see(&found);
                }
            }
            Action::LogOut(node) => {
                return [Action::Begin(node), Action::Commit(node), Action::Answer(node)]
                    .into_iter()
                    .try_fold(state, |state, step| self.next_state(&state, step));
            }
            Action::ReadAll(_) | Action::ServiceReads(_) => {
                let reader = match action {
                    Action::ServiceReads(node) => Reader::Service(node),
                    Action::ReadAll(node) | Action::LogOut(node) => Reader::Node(node),
                    _ => return None,
                };
                let state = [Action::Send(reader), Action::Execute(reader), Action::TakeIn(reader)]
                    .into_iter()
                    .try_fold(state, |state, step| self.next_state(&state, step))?;
                return (state != *before).then_some(state);
            }
            Action::Check(node) => self.check(&mut state, node),
            Action::Look(node) => {
                let mark = state.nodes[node].mark;
                state.nodes[node].looked = Some((mark, state.log.look(mark.anchor_position())));
            }
            Action::Act(node) => {
                let (mut mark, found) = state.nodes[node].looked.take()?;
                if self.mutation == Mutation::MarkAfterLook {
                    mark = state.nodes[node].mark;
                }
                if mark.judge(&found, self.mutation) == Verdict::WentBack {
                    // Of several nodes that detect the rollback, one acts.
                    if found.log == state.log.id() {
                        self.begin_anew(&mut state, node, mark.position);
                    }
                } else if !self.is_late(&state, node, &mark, &found) {
                    state.nodes[node].mark.see(&found);
                }
            }
            Action::Restart(node) => {
                state.restarts += 1;
                let node_state = &mut state.nodes[node];
                node_state.append = Append::None;
                node_state.looked = None;
                node_state.own = Follower { cursor: None, index: 0, complete: 0, read: Read::None };
                self.check(&mut state, node);
                if let Some((service, at)) = &mut state.service
                    && *at == node
                {
                    service.read = Read::None;
                }
            }
            Action::Failover(count) => {
                self.lose(&mut state, count);
                state.log.lineage += 1;
                // A request that has not been sent yet goes to the new primary; earlier responses may arrive afterwards.
            }
            Action::PutBack(count) => self.lose(&mut state, count),
            Action::Empty => {
                let all = state.log.entries.len();
                self.lose(&mut state, all);
                state.log.first_id = EMPTIED;
            }
        }
        (state != *before).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("3 no gaps", |_, state: &State| {
                let services = state.service.iter().map(|(service, _)| service);
                let mut followers = state.nodes.iter().map(|node| &node.own).chain(services);
                followers.all(|follower| follower.complete & !state.lost & !follower.index == 0)
            }),
            Property::always("7 noticed", |model: &Self, state: &State| {
                (0..model.nodes).all(|node| {
                    let mut looked = state.clone();
                    model.check(&mut looked, node);
                    state.nodes[node].refused & !looked.log.covers() == 0
                })
            }),
            Property::always("no false alarm", |_, state: &State| state.renewals <= state.losses),
            Property::sometimes("something was lost and revoked again", |_, state: &State| state.renewals == 1),
            Property::sometimes("nothing was lost and nothing happened", |_, state: &State| {
                state.events == 1 && state.losses == 0 && state.answered != 0
            }),
        ]
    }
}

/// The protocol and its mutants.
#[must_use]
pub fn cases(size: Size) -> Vec<Case> {
    let model = Failover {
        mutation: Mutation::None,
        nodes: 1,
        service: false,
        in_steps: true,
        others_read: true,
        logouts: 3,
        failovers: 1,
        put_back: false,
        emptied: false,
        lost: 2,
        restarts: 1,
    };
    let at_once = Failover { nodes: 2, service: true, in_steps: false, logouts: 3, restarts: 0, ..model };
    let in_steps = Failover { nodes: 2, others_read: false, lost: 1, restarts: 0, ..model };
    let emptied = Failover { nodes: 1, emptied: true, ..at_once };
    let two_failovers = Failover { failovers: 2, service: false, ..at_once };
    let mutant = |mutation, property, model| Case::breaks(mutation, property, Failover { mutation, ..model });
    let mut cases = vec![
        Case::holds("two nodes and a service", at_once),
        Case::holds("one node and a service, put back", Failover { nodes: 1, put_back: true, ..at_once }),
        Case::holds("two nodes, two failovers", two_failovers),
        Case::holds("one node in steps", Failover { logouts: 2, ..model }),
        Case::holds("one node in steps, put back", Failover { logouts: 2, put_back: true, ..model }),
        Case::holds("two nodes in steps", Failover { logouts: 2, ..in_steps }),
        Case::holds("one node and a service, emptied", emptied),
        Case::holds("one node in steps, emptied", Failover { logouts: 2, emptied: true, ..model }),
        mutant(Mutation::AppendsAreNotHeld, "7 noticed", model),
        mutant(Mutation::HeldBeforeAppend, "7 noticed", in_steps),
        mutant(Mutation::ReadsAreNotHeld, "7 noticed", at_once),
        mutant(Mutation::EntryIsNotedLater, "7 noticed", at_once),
        mutant(Mutation::CursorWithoutLineage, "3 no gaps", at_once),
        mutant(Mutation::MarkWithLineage, "no false alarm", model),
        mutant(Mutation::MarkAfterLook, "no false alarm", model),
        mutant(Mutation::LateAnswersCount, "7 noticed", in_steps),
        mutant(Mutation::SameIdentity, "no false alarm", at_once),
        mutant(Mutation::EmptiedIsAnother, "7 noticed", emptied),
    ];
    if size == Size::Large {
        let in_steps = Failover { others_read: true, ..in_steps };
        cases.extend([
            Case::holds("two nodes and a service, more logouts", Failover { logouts: 4, ..at_once }),
            Case::holds("two nodes, two failovers, more logouts", Failover { logouts: 4, ..two_failovers }),
            Case::holds("one node in steps, more logouts", model),
            Case::holds("one node in steps, two failovers", Failover { failovers: 2, ..model }),
            Case::holds(
                "one node in steps and a service",
                Failover { service: true, logouts: 2, restarts: 0, ..model },
            ),
            Case::holds("two nodes in steps, more reads", Failover { logouts: 2, ..in_steps }),
            Case::holds("one node in steps, put back, more logouts", Failover { put_back: true, ..model }),
        ]);
    }
    cases
}
