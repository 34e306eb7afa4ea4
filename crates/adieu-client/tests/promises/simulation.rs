//! Processes and a network on tokio's paused time: one seed, one schedule.
//!
//! The engine under test is the real one (`Remote`, `Follower`, `Verifier`, the wire format); only the transport and the servers are
//! simulated.

pub(crate) mod log;
pub(crate) mod network;
pub(crate) mod node;
pub(crate) mod service;

use std::{
    cell::RefCell,
    rc::Rc,
    sync::{Arc, Mutex},
    time::Duration,
};

use adieu::time::{Clock, Moment, Timestamp};
use tokio::{sync::Notify, time::Instant};

use crate::support::NOON;

/// A random source, deterministic for a seed.
#[derive(Clone, Debug)]
pub(crate) struct Dice(Arc<Mutex<fastrand::Rng>>);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(fastrand::Rng::with_seed(seed))))
    }

    /// Returns true once in `times`.
    pub(crate) fn once_in(&self, times: u32) -> bool {
        self.0.lock().unwrap().u32(0..times) == 0
    }

    pub(crate) fn below(&self, end: usize) -> usize {
        self.0.lock().unwrap().usize(0..end)
    }

    pub(crate) fn milliseconds(&self, range: std::ops::Range<u64>) -> Duration {
        Duration::from_micros(self.0.lock().unwrap().u64(range.start * 1_000..range.end * 1_000))
    }
}

/// A value whose changes can be awaited. The longest waiter continues first, which a `watch` leaves to chance.
#[derive(Debug, Clone, Default)]
pub(crate) struct Signal<T>(Arc<(Mutex<T>, Notify)>);

impl<T: Copy> Signal<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(Arc::new((Mutex::new(value), Notify::new())))
    }

    pub(crate) fn get(&self) -> T {
        *self.0.0.lock().unwrap()
    }

    pub(crate) fn set(&self, value: T) {
        *self.0.0.lock().unwrap() = value;
        self.0.1.notify_waiters();
    }

    pub(crate) async fn until(&self, is_so: impl Fn(T) -> bool) {
        loop {
            let notified = self.0.1.notified();
            if is_so(self.get()) {
                break;
            }
            notified.await;
        }
    }
}

/// The clocks of one machine: the monotonic clock has an arbitrary start, the wall clock is off by some seconds.
#[derive(Debug, Clone)]
pub(crate) struct MachineClock {
    started: Instant,
    offset: Duration,
    wall: Timestamp,
}

impl MachineClock {
    pub(crate) fn new(dice: &Dice) -> Self {
        let offset = dice.milliseconds(1..100_000_000);
        Self { started: Instant::now(), offset, wall: NOON.plus(dice.milliseconds(0..20_000)) }
    }
}

impl Clock for MachineClock {
    fn now(&self) -> Timestamp {
        self.wall.plus(Duration::from_secs(self.started.elapsed().as_secs()))
    }

    fn moment(&self) -> Moment {
        Moment::from_nanos(u64::try_from((self.offset + self.started.elapsed()).as_nanos()).unwrap())
    }
}

/// The events so far, printed when a schedule breaks a promise.
#[derive(Clone, Default)]
pub(crate) struct Story(Rc<RefCell<Vec<String>>>);

impl Story {
    pub(crate) fn tell(&self, started: Instant, what: impl std::fmt::Display) {
        self.0.borrow_mut().push(format!("{:>6} ms  {what}", started.elapsed().as_millis()));
    }

    pub(crate) fn whole(&self) -> String {
        self.0.borrow().join("\n")
    }
}
