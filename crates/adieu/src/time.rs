//! Two clocks: the wall clock and a steady clock that never goes back.
//!
//! 1. The expiry of a token is checked against the wall clock ([`Timestamp`]), because `exp` refers to it.
//! 2. Durations on one machine are measured with the steady clock ([`Moment`]), because the wall clock jumps. It
//!    advances while the machine sleeps (`CLOCK_BOOTTIME` on Linux).
//!
//! If a hypervisor freezes both clocks, this module cannot detect it.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use serde::{Deserialize, Serialize};

/// A time in whole seconds since 1970-01-01T00:00:00Z, without leap seconds (`NumericDate`, RFC 7519 §2).
///
/// Never later than [`Timestamp::MAX`]; arithmetic saturates.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(from = "u64", into = "u64")]
pub struct Timestamp(u64);

impl Timestamp {
    /// The latest timestamp, 9999-12-31T23:59:59Z. Stands for "never", and fits every store.
    pub const MAX: Self = Self(253_402_300_799);
    /// The epoch, 1970-01-01T00:00:00Z.
    pub const ZERO: Self = Self(0);

    /// Creates a timestamp from seconds since the epoch, at most [`Timestamp::MAX`].
    #[must_use]
    pub const fn from_unix(seconds: u64) -> Self {
        if seconds > Self::MAX.0 { Self::MAX } else { Self(seconds) }
    }

    /// Returns the seconds since the epoch.
    #[must_use]
    pub const fn as_unix(self) -> u64 {
        self.0
    }

    /// Returns this time plus `duration`, which is rounded up to whole seconds.
    #[must_use]
    pub const fn plus(self, duration: Duration) -> Self {
        let seconds = duration.as_secs().saturating_add((duration.subsec_nanos() > 0) as u64);
        Self::from_unix(self.0.saturating_add(seconds))
    }

    /// Returns this time minus `duration`, which is rounded up to whole seconds.
    #[must_use]
    pub const fn minus(self, duration: Duration) -> Self {
        let seconds = duration.as_secs().saturating_add((duration.subsec_nanos() > 0) as u64);
        Self(self.0.saturating_sub(seconds))
    }

    /// Returns the time that has passed since `earlier`; zero if `earlier` is later than this.
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

/// A reading of the steady clock of this machine. It has no meaning on another machine or after a reboot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(u64);

impl Moment {
    /// Creates a moment from nanoseconds since the start of the clock.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Returns the nanoseconds since the start of the clock.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Returns the time that has passed since `earlier`; zero if `earlier` is later than this.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// Returns the moment that is `duration` before this one, but not before the start of the clock.
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// A source of time, passed in so that tests can control it.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// Returns the time of the wall clock.
    fn now(&self) -> Timestamp;

    /// Returns the time of the steady clock, which never goes back and advances while the machine sleeps.
    fn moment(&self) -> Moment;
}

/// The clocks of the machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        // NumericDate has no times before 1970: such a clock is as wrong as one that shows 1970.
        let reading = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
        Timestamp::from_unix(u64::try_from(reading.tv_sec).unwrap_or(0))
    }

    fn moment(&self) -> Moment {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        let reading = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        // Elsewhere the monotonic clock advances while the machine sleeps, or is the closest one.
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        let reading = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let seconds = u64::try_from(reading.tv_sec).unwrap_or(0);
        let nanos = u64::try_from(reading.tv_nsec).unwrap_or(0);
        Moment(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
    }
}

/// The wall clock for tasks that delete data by it: a reading is trusted only after it has lasted.
///
/// Deleted data cannot be recovered, so a clock that is ahead for a moment must not decide: neither one that jumps,
/// nor one that is wrong at the start until the network corrects it. A clock that stays ahead is trusted after a
/// while, so that nothing is kept for ever.
#[derive(Debug)]
pub(crate) struct TrustedTime {
    believed: Reading,
    /// The last reading, whether it was believed or not.
    last: Reading,
    /// The moment since which the wall clock has not been trusted.
    doubted_since: Option<Moment>,
}

/// What the wall clock showed at a moment.
#[derive(Debug, Clone, Copy)]
struct Reading {
    wall: Timestamp,
    at: Moment,
}

impl Reading {
    fn of(clock: &dyn Clock) -> Self {
        Self { wall: clock.now(), at: clock.moment() }
    }

    /// Returns whether the wall clock has got this far ahead of the steady clock since another reading.
    fn is_ahead_of(self, other: Self) -> bool {
        self.wall > other.wall.plus(self.at.since(other.at)).plus(TrustedTime::SLACK)
    }

    /// Returns whether the wall clock has got this far behind the steady clock since another reading.
    fn is_behind(self, other: Self) -> bool {
        other.wall.plus(self.at.since(other.at)) > self.wall.plus(TrustedTime::SLACK)
    }
}

impl TrustedTime {
    /// How far the wall clock may get ahead of the steady clock between two readings.
    const SLACK: Duration = Duration::from_secs(60);
    /// How long the wall clock is not trusted after a jump. Another jump starts the time again, unless it takes the first one back.
    pub(crate) const LASTING: Duration = Duration::from_secs(10 * 60);

    pub(crate) fn start(clock: &dyn Clock) -> Self {
        let now = Reading::of(clock);
        Self { believed: now, last: now, doubted_since: Some(now.at) }
    }

    /// Returns the current time for deleting expired data; `None` while the clock is not trusted.
    pub(crate) fn now(&mut self, clock: &dyn Clock) -> Option<Timestamp> {
        let now = Reading::of(clock);
        let has_jumped = now.is_ahead_of(self.last) || now.is_behind(self.last);
        let was_behind = now.is_behind(self.believed);
        if was_behind || has_jumped && now.is_ahead_of(self.believed) {
            self.doubted_since = Some(now.at);
        }
        if was_behind {
            self.believed = now;
        }
        self.last = now;
        if let Some(since) = self.doubted_since
            && now.at.since(since) < Self::LASTING
        {
            return None;
        }
        *self = Self { believed: now, last: now, doubted_since: None };
        Some(now.wall)
    }
}

/// Clocks for tests, which advance only when they are moved. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct ManualClock {
    wall: Arc<AtomicU64>,
    steady: Arc<AtomicU64>,
}

impl ManualClock {
    /// Creates clocks that start at `now`.
    #[must_use]
    pub fn at(now: Timestamp) -> Self {
        let clock = Self::default();
        clock.set_wall(now);
        clock
    }

    /// Advances both clocks.
    pub fn advance(&self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.steady.fetch_add(nanos, Ordering::SeqCst);
        self.wall.fetch_add(duration.as_secs(), Ordering::SeqCst);
    }

    /// Sets the wall clock, forward or back, without changing the steady clock.
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

/// Returns a duration in whole milliseconds, rounded up, so that a reported age or bound is never too small.
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

    #[test]
    fn each_jump_forward_has_to_last() {
        let (clock, mut time) = started(1_000);
        clock.advance(TrustedTime::LASTING - Duration::from_secs(1));
        assert_eq!(time.now(&clock), None);
        clock.set_wall(Timestamp::from_unix(1_000_000));
        clock.advance(Duration::from_secs(1));
        assert_eq!(time.now(&clock), None, "the first ten minutes after the start do not count for this one");
        clock.advance(TrustedTime::LASTING / 2);
        assert_eq!(time.now(&clock), None);
        clock.set_wall(Timestamp::from_unix(9_000_000));
        assert_eq!(time.now(&clock), None);
        clock.advance(TrustedTime::LASTING / 2);
        assert_eq!(time.now(&clock), None, "nor does the time after another jump");
        clock.set_wall(Timestamp::from_unix(2_000_000));
        assert_eq!(time.now(&clock), None, "nor after one back to a time that is still ahead");
        clock.advance(TrustedTime::LASTING / 2);
        assert_eq!(time.now(&clock), None);
        clock.advance(TrustedTime::LASTING / 2);
        assert_eq!(time.now(&clock), Some(Timestamp::from_unix(2_000_600)));
    }
}
