//! Two clocks: one that says what time it is, and one that only ever goes forward.
//!
//! 1. Whether a token has expired is asked of the wall clock ([`Timestamp`]), because `exp` is written in it.
//! 2. How long ago something happened on this machine is asked of the steady clock ([`Moment`]), because the wall
//!    clock jumps. It goes on while the machine sleeps (`CLOCK_BOOTTIME` on Linux).
//!
//! A hypervisor that freezes both is the one thing that this module can't see.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use serde::{Deserialize, Serialize};

/// Whole seconds since 1970-01-01T00:00:00Z, leap seconds left out (`NumericDate`, RFC 7519 §2).
///
/// Never later than [`Timestamp::MAX`]; arithmetic saturates.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(from = "u64", into = "u64")]
pub struct Timestamp(u64);

impl Timestamp {
    /// 9999-12-31T23:59:59Z: late enough to be never, and it fits every store.
    pub const MAX: Self = Self(253_402_300_799);
    /// 1970-01-01T00:00:00Z.
    pub const ZERO: Self = Self(0);

    /// From seconds since the epoch; what is later than [`Timestamp::MAX`] becomes that.
    #[must_use]
    pub const fn from_unix(seconds: u64) -> Self {
        if seconds > Self::MAX.0 { Self::MAX } else { Self(seconds) }
    }

    /// Seconds since the epoch.
    #[must_use]
    pub const fn as_unix(self) -> u64 {
        self.0
    }

    /// This much later, with what is less than a second rounded up.
    #[must_use]
    pub const fn plus(self, duration: Duration) -> Self {
        let seconds = duration.as_secs().saturating_add((duration.subsec_nanos() > 0) as u64);
        Self::from_unix(self.0.saturating_add(seconds))
    }

    /// This much earlier, with what is less than a second rounded up.
    #[must_use]
    pub const fn minus(self, duration: Duration) -> Self {
        let seconds = duration.as_secs().saturating_add((duration.subsec_nanos() > 0) as u64);
        Self(self.0.saturating_sub(seconds))
    }

    /// How long after `earlier` this is; zero when it is not.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_secs(self.0.saturating_sub(earlier.0))
    }
}

impl From<u64> for Timestamp {
    fn from(seconds: u64) -> Self {
        Self::from_unix(seconds)
    }
}

impl From<Timestamp> for u64 {
    fn from(timestamp: Timestamp) -> Self {
        timestamp.0
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.0)
    }
}

/// A reading of the steady clock of this process's machine; means nothing elsewhere or after a reboot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(u64);

impl Moment {
    /// From nanoseconds since the clock's own start.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the clock's own start.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// How long after `earlier` this is; zero when it is not.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// This much earlier; the clock's own start when that is later.
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// Where the time comes from; handed in, so that a test can move it.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// The wall clock.
    fn now(&self) -> Timestamp;

    /// The steady clock. Never goes back, and goes on while the machine sleeps.
    fn moment(&self) -> Moment;
}

/// The machine's clocks.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        // Before 1970 there is no NumericDate; a clock that says so is as wrong as one that says 1970.
        let reading = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
        Timestamp::from_unix(u64::try_from(reading.tv_sec).unwrap_or(0))
    }

    fn moment(&self) -> Moment {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        let reading = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        // Elsewhere the monotonic clock is the one that goes on in sleep, or the nearest there is.
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        let reading = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let seconds = u64::try_from(reading.tv_sec).unwrap_or(0);
        let nanos = u64::try_from(reading.tv_nsec).unwrap_or(0);
        Moment(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
    }
}

/// The wall clock for whoever forgets things by it: what it says is believed only when it has lasted.
///
/// What has been forgotten is gone, so a clock that is ahead for a moment must not decide: neither one that jumps, nor
/// one that is wrong at the start until the network sets it right. One that stays ahead is believed after a while, so
/// that nothing is kept for ever.
#[derive(Debug)]
pub(crate) struct TrustedTime {
    believed: Timestamp,
    at: Moment,
    /// Since when it has not been believed.
    doubted_since: Option<Moment>,
}

impl TrustedTime {
    /// How far ahead of the steady clock the wall clock may get between two questions.
    const SLACK: Duration = Duration::from_secs(60);
    /// For how long it has to stay where it is before it is believed.
    pub(crate) const LASTING: Duration = Duration::from_secs(10 * 60);

    pub(crate) fn start(clock: &dyn Clock) -> Self {
        let moment = clock.moment();
        Self { believed: clock.now(), at: moment, doubted_since: Some(moment) }
    }

    /// The time by which things may be forgotten; none yet while it is not known well enough.
    pub(crate) fn now(&mut self, clock: &dyn Clock) -> Option<Timestamp> {
        let (wall, moment) = (clock.now(), clock.moment());
        let expected = self.believed.plus(moment.since(self.at));
        let is_ahead = wall > expected.plus(Self::SLACK);
        let was_behind = expected > wall.plus(Self::SLACK);
        if is_ahead && self.doubted_since.is_none() || was_behind {
            self.doubted_since = Some(moment);
        }
        if was_behind {
            (self.believed, self.at) = (wall, moment);
        }
        if let Some(since) = self.doubted_since
            && moment.since(since) < Self::LASTING
        {
            return None;
        }
        *self = Self { believed: wall, at: moment, doubted_since: None };
        Some(wall)
    }
}

/// Clocks that stand still until they are moved, each by itself. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct ManualClock {
    wall: Arc<AtomicU64>,
    steady: Arc<AtomicU64>,
}

impl ManualClock {
    /// Starts at `now`.
    #[must_use]
    pub fn at(now: Timestamp) -> Self {
        let clock = Self::default();
        clock.set_wall(now);
        clock
    }

    /// Lets time pass: both clocks go forward.
    pub fn advance(&self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.steady.fetch_add(nanos, Ordering::SeqCst);
        self.wall.fetch_add(duration.as_secs(), Ordering::SeqCst);
    }

    /// Makes the wall clock jump, forward or back, while the steady clock stays.
    pub fn set_wall(&self, now: Timestamp) {
        self.wall.store(now.as_unix(), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix(self.wall.load(Ordering::SeqCst))
    }

    fn moment(&self) -> Moment {
        Moment(self.steady.load(Ordering::SeqCst))
    }
}

/// Returns a duration in whole milliseconds, rounded up: what is told of an age or a bound is never too little.
#[must_use]
pub fn ceil_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn started(at: u64) -> (ManualClock, TrustedTime) {
        let clock = ManualClock::at(Timestamp::from_unix(at));
        let time = TrustedTime::start(&clock);
        (clock, time)
    }

    #[test]
    fn a_clock_is_believed_once_it_has_run_for_a_while() {
        let (clock, mut time) = started(1_000);
        assert_eq!(time.now(&clock), None);
        clock.advance(TrustedTime::LASTING);
        assert_eq!(time.now(&clock), Some(Timestamp::from_unix(1_600)));
    }

    #[test]
    fn one_that_was_ahead_at_the_start_and_is_set_right_forgets_nothing() {
        let (clock, mut time) = started(1_000_000);
        clock.advance(TrustedTime::LASTING / 2);
        assert_eq!(time.now(&clock), None);
        clock.set_wall(Timestamp::from_unix(1_300));
        assert_eq!(time.now(&clock), None);
        clock.advance(TrustedTime::LASTING);
        assert_eq!(time.now(&clock), Some(Timestamp::from_unix(1_900)));
    }

    #[test]
    fn a_jump_forward_is_believed_when_it_lasts() {
        let (clock, mut time) = started(1_000);
        clock.advance(TrustedTime::LASTING);
        assert_eq!(time.now(&clock), Some(Timestamp::from_unix(1_600)));

        clock.set_wall(Timestamp::from_unix(1_000_000));
        assert_eq!(time.now(&clock), None);
        clock.advance(TrustedTime::LASTING / 2);
        assert_eq!(time.now(&clock), None);
        clock.advance(TrustedTime::LASTING / 2);
        assert_eq!(time.now(&clock), Some(Timestamp::from_unix(1_000_600)));
    }

    #[test]
    fn a_jump_for_a_moment_changes_nothing() {
        let (clock, mut time) = started(1_000);
        clock.advance(TrustedTime::LASTING);
        assert_eq!(time.now(&clock), Some(Timestamp::from_unix(1_600)));
        clock.set_wall(Timestamp::from_unix(1_000_000));
        assert_eq!(time.now(&clock), None);
        clock.set_wall(Timestamp::from_unix(1_600));
        clock.advance(TrustedTime::LASTING);
        assert_eq!(time.now(&clock), Some(Timestamp::from_unix(2_200)));
    }
}
