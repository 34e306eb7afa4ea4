//! When the power fails.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use fastrand::Rng;

use crate::disk::{Disk, Snapshot};

/// How many steps a cut waits for one at the chosen place.
const MAX_STEPS: u32 = 2_000;

/// Orders what clients send and receive, and the cuts.
#[derive(Debug, Clone, Default)]
pub struct Clock(Arc<AtomicU64>);

impl Clock {
    /// Returns a number that is greater than all before.
    pub fn tick(&self) -> u64 {
        self.0.fetch_add(1, Ordering::SeqCst)
    }
}

/// A step of the disk, before or after which the power may fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Something is about to change.
    Change,
    /// Something is about to be synced: a part of it may survive.
    BeforeSync,
    /// Something was synced, and the program does not know yet.
    AfterSync,
}

/// A failure of the power.
#[derive(Debug)]
pub struct Cut {
    /// When, by the clock: what a client had received before has to be kept.
    pub at: u64,
    /// What the disk was doing.
    pub step: Step,
    /// With what.
    pub path: String,
    /// The disk at that moment.
    pub snapshot: Snapshot,
}

/// Chooses moments at random, but evenly between places: most steps are writes to one file.
#[derive(Debug, Default)]
pub struct Cutter {
    clock: Clock,
    random: Rng,
    places: &'static [&'static str],
    wanted: usize,
    cuts: Vec<Cut>,
    next: Next,
}

/// The next moment.
#[derive(Debug, Default)]
struct Next {
    place: &'static str,
    step: Option<Step>,
    skipped: u32,
    steps_left: u32,
}

impl Cutter {
    /// From now on the power fails this many times, at these places.
    pub fn start(&mut self, wanted: usize, places: &'static [&'static str], clock: &Clock, random: Rng) {
        *self = Self { clock: clock.clone(), random, places, wanted, ..Self::default() };
        self.choose();
    }

    /// Returns whether it has failed as often as was wanted.
    pub fn is_done(&self) -> bool {
        self.cuts.len() >= self.wanted
    }

    /// Ends it, and returns the cuts.
    pub fn take(&mut self) -> Vec<Cut> {
        self.wanted = 0;
        std::mem::take(&mut self.cuts)
    }

    fn choose(&mut self) {
        let step = [None, Some(Step::Change), Some(Step::BeforeSync), Some(Step::AfterSync)];
        self.next = Next {
            place: self.random.choice(self.places).copied().unwrap_or_default(),
            step: self.random.choice(step).flatten(),
            skipped: self.random.u32(..12),
            steps_left: MAX_STEPS,
        };
    }

    /// The disk is at this step.
    pub(crate) fn step(&mut self, path: &str, step: Step, disk: &Disk) {
        if self.is_done() {
            return;
        }
        let Next { place, step: wanted, skipped, steps_left } = &mut self.next;
        let is_next = is_at(path, place) && wanted.is_none_or(|wanted| wanted == step);
        *steps_left -= 1;
        if is_next && *skipped > 0 {
            *skipped -= 1;
        } else if is_next || *steps_left == 0 {
            // The time first: what was acknowledged before it is on the disk by now.
            let at = self.clock.tick();
            self.cuts.push(Cut { at, step, path: path.to_owned(), snapshot: disk.snapshot() });
            self.choose();
        }
    }
}

/// Returns whether a path has this end, or is in this folder: then the place ends with a slash.
pub fn is_at(path: &str, place: &str) -> bool {
    path.ends_with(place) || place.ends_with('/') && path.contains(place)
}
