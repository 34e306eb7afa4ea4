//! Several processes on one SQLite file, which share a high-water mark, and a backup that replaces the file.
//!
//! *Faithful to:* `Sqlite` (one writer at a time, which compares the log with the mark in the same transaction; `file`, which compares the
//! open file with the file of that name), `restore::HighWater` (the writes of other processes are merged before each record),
//! `Mark::merge`, and `Guard::check`.
//!
//! *Abstractions:* a revocation is a number, an operation is one step. A process that has the file open keeps using it after another file
//! got its name. Processes are killed at any time.
//!
//! *Bounds:* two processes, one backup, two restarts.
//!
//! *Properties:*
//! - "3 no gaps": a process that has read to the end has every revocation that any process answered before and that was not lost.
//! - "7 noticed": a process that starts revokes again everything that was answered and lost.
//! - "no false alarm": everything is revoked at most once for each restored backup, and never without one.

use stateright::{Model, Property};

use crate::{Case, Size};

/// The change that makes a mutant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutation {
    /// No change: the protocol itself.
    None,
    /// Earlier code: a process does not check whether its open file is still the file of that name.
    FileIsNotCompared,
    /// The mark is raised some time after the response.
    NotedAfterAnswer,
    /// Each process has a mark of its own.
    MarkIsNotShared,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct File {
    id: u8,
    /// The entries: what each covers, and a unique number.
    entries: Vec<(u16, u8)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Mark {
    id: u8,
    position: usize,
    entry: Option<(u16, u8)>,
    former: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Process {
    /// The file that it has open; `None` when it does not run.
    file: Option<usize>,
    /// The mark in memory.
    mark: Mark,
    index: u16,
    complete: u16,
    /// Only in a mutant: what has not been recorded yet.
    pending: bool,
}

/// A state of the model.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State {
    files: Vec<File>,
    /// The mark in its file.
    mark: Mark,
    processes: Vec<Process>,
    next: u8,
    answered: u16,
    lost: u16,
    renewals: u8,
    restarts: u8,
}

/// A step of the model.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// A logout is answered.
    LogOut(usize),
    /// A process reads to the end.
    Read(usize),
    /// `Guard::check`.
    Check(usize),
    /// Only in a mutant: the mark is raised.
    Note(usize),
    /// A process is killed.
    Kill(usize),
    /// A killed process is started again.
    Start(usize),
    /// A backup without the last entries replaces the file.
    PutBack(usize),
}

/// The model.
#[derive(Debug, Clone, Copy)]
pub struct Processes {
    mutation: Mutation,
    logouts: u8,
    restarts: u8,
}

impl Mark {
    fn went_back(&self, file: &File) -> bool {
        let entry = self.position.checked_sub(1).and_then(|index| file.entries.get(index));
        self.former & (1 << file.id) != 0 || self.id == file.id && entry != self.entry.as_ref()
    }

    fn see(&mut self, file: &File) {
        if self.former & (1 << file.id) != 0 {
            return;
        }
        if self.id != file.id {
            *self = Self { id: file.id, position: 0, entry: None, former: self.former | 1 << self.id };
        }
        if file.entries.len() > self.position {
            (self.position, self.entry) = (file.entries.len(), file.entries.last().copied());
        }
    }

    fn merge(&mut self, other: &Self) {
        if other.former & (1 << self.id) != 0 || other.id == self.id && other.position > self.position {
            *self = *other;
        }
    }
}

impl File {
    fn covers(&self) -> u16 {
        self.entries.iter().fold(0, |covered, (covers, _)| covered | covers)
    }
}

impl Processes {
    /// Returns the file that a process uses; `None` when it does not run, or its file was replaced.
    fn file(&self, state: &State, process: usize) -> Option<usize> {
        let file = state.processes[process].file?;
        (file + 1 == state.files.len() || self.mutation == Mutation::FileIsNotCompared).then_some(file)
    }

    /// `HighWater::record`.
    fn note(&self, state: &mut State, process: usize, file: usize) {
        let State { files, mark, processes, .. } = state;
        let known = &mut processes[process].mark;
        if self.mutation != Mutation::MarkIsNotShared {
            known.merge(mark);
        }
        known.see(&files[file]);
        *mark = *known;
    }

    fn check(&self, state: &mut State, process: usize) {
        let Some(file) = self.file(state, process) else { return };
        let shared = state.mark;
        if self.mutation != Mutation::MarkIsNotShared {
            state.processes[process].mark.merge(&shared);
        }
        let mark = state.processes[process].mark;
        if mark.went_back(&state.files[file]) {
            state.renewals += 1;
            let (id, covers) = (state.renewals, (1 << state.next) - 1);
            let found = &mut state.files[file];
            found.id = id;
            found.entries.resize(found.entries.len().max(mark.position), (0, 0));
            found.entries.push((covers, id));
            let lost = std::mem::take(&mut state.lost);
            for process in &mut state.processes {
                process.complete &= !lost;
            }
        }
        self.note(state, process, file);
    }

    fn start(&self, state: &mut State, process: usize) {
        let own = self.mutation == Mutation::MarkIsNotShared;
        let (file, mark) = (Some(state.files.len() - 1), if own { state.processes[process].mark } else { state.mark });
        state.processes[process] = Process { file, mark, index: 0, complete: 0, pending: false };
        self.check(state, process);
    }
}

impl Model for Processes {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let mark = Mark { id: 0, position: 0, entry: None, former: 0 };
        let process = Process { file: Some(0), mark, index: 0, complete: 0, pending: false };
        vec![State {
            files: vec![File { id: 0, entries: vec![] }],
            mark,
            processes: vec![process; 2],
            next: 0,
            answered: 0,
            lost: 0,
            renewals: 0,
            restarts: 0,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for process in 0..state.processes.len() {
            match state.processes[process].file {
                None => actions.push(Action::Start(process)),
                Some(_) => {
                    if state.next < self.logouts {
                        actions.push(Action::LogOut(process));
                    }
                    actions.extend([Action::Read(process), Action::Check(process), Action::Note(process)]);
                    if state.restarts < self.restarts {
                        actions.push(Action::Kill(process));
                    }
                }
            }
        }
        if state.files.len() == 1 {
            actions.extend((0..=state.files[0].entries.len()).map(Action::PutBack));
        }
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = before.clone();
        // A bound for a mutant that would never end.
        if state.renewals > 3 {
            return None;
        }
        match action {
            Action::LogOut(process) => {
                let file = self.file(&state, process)?;
                if state.processes[process].mark.went_back(&state.files[file]) {
                    return None;
                }
                let revocation = 1 << state.next;
                state.next += 1;
                state.files[file].entries.push((revocation, 0));
                if self.mutation == Mutation::NotedAfterAnswer {
                    state.processes[process].pending = true;
                } else {
                    self.note(&mut state, process, file);
                }
                state.processes[process].index |= revocation;
                state.answered |= revocation;
                if file + 1 < state.files.len() {
                    state.lost |= revocation;
                }
            }
            Action::Note(process) => {
                let file = self.file(&state, process).filter(|_| state.processes[process].pending)?;
                state.processes[process].pending = false;
                self.note(&mut state, process, file);
            }
            Action::Read(process) => {
                let file = self.file(&state, process)?;
                if state.processes[process].mark.went_back(&state.files[file]) {
                    return None;
                }
                let covers = state.files[file].covers();
                state.processes[process].index |= covers;
                state.processes[process].complete = state.answered;
                if self.mutation != Mutation::NotedAfterAnswer {
                    self.note(&mut state, process, file);
                }
            }
            Action::Check(process) => self.check(&mut state, process),
            Action::Kill(process) => {
                state.restarts += 1;
                state.processes[process].file = None;
            }
            Action::Start(process) => self.start(&mut state, process),
            Action::PutBack(count) => {
                let mut file = state.files[0].clone();
                file.entries.truncate(file.entries.len() - count);
                state.lost = state.answered & !file.covers();
                state.files.push(file);
            }
        }
        (state != *before).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("3 no gaps", |_, state: &State| {
                state.processes.iter().all(|process| process.complete & !process.index & !state.lost == 0)
            }),
            Property::always("7 noticed", |model: &Self, state: &State| {
                let mut started = state.clone();
                model.start(&mut started, 0);
                started.files.last().is_some_and(|file| state.answered & !file.covers() == 0)
            }),
            Property::always("no false alarm", |_, state: &State| usize::from(state.renewals) < state.files.len()),
            Property::sometimes("everything was revoked again", |_, state: &State| state.renewals == 1),
            Property::sometimes("nothing was lost", |_, state: &State| {
                state.files.len() == 2 && state.answered != 0 && state.lost == 0 && state.renewals == 0
            }),
        ]
    }
}

/// The protocol and its mutants.
#[must_use]
pub fn cases(size: Size) -> Vec<Case> {
    let model = Processes { mutation: Mutation::None, logouts: 3, restarts: 2 };
    let mutant = |mutation, property| Case::breaks(mutation, property, Processes { mutation, ..model });
    let mut cases = vec![
        Case::holds("two processes", model),
        mutant(Mutation::FileIsNotCompared, "no false alarm"),
        mutant(Mutation::NotedAfterAnswer, "7 noticed"),
        mutant(Mutation::MarkIsNotShared, "7 noticed"),
    ];
    if size == Size::Large {
        cases.push(Case::holds("more logouts and restarts", Processes { logouts: 5, restarts: 3, ..model }));
    }
    cases
}
