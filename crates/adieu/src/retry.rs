//! Delays between retries, and one log line per outage.

use std::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::Duration,
};

/// The delay before the next attempt: doubles with each failure, up to a maximum.
#[derive(Debug, Clone)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    next: Duration,
}

impl Backoff {
    /// Creates a backoff whose first delay is `min`.
    #[must_use]
    pub const fn new(min: Duration, max: Duration) -> Self {
        Self { min, max, next: min }
    }

    /// Returns the delay before the next attempt, and doubles the one after it.
    pub fn next_delay(&mut self) -> Duration {
        let delay = self.next;
        self.next = delay.saturating_mul(2).min(self.max);
        delay
    }

    /// Starts again from the minimum, after a success.
    pub const fn reset(&mut self) {
        self.next = self.min;
    }
}

/// The state of a retried operation: whether it is failing now. The log gets one line when an outage begins and one when it
/// ends, instead of one per attempt.
#[derive(Debug, Default)]
pub struct Outage(AtomicBool);

impl Outage {
    /// Records a failure. Returns whether it is the first since the last success.
    pub fn begins(&self) -> bool {
        // Write only on a change: this may be called for every token, by all processors at once.
        !self.is_ongoing() && !self.0.swap(true, Relaxed)
    }

    /// Records a success. Returns whether it is the first since the last failure.
    pub fn ends(&self) -> bool {
        self.is_ongoing() && self.0.swap(false, Relaxed)
    }

    /// Records an outcome. Returns its error if the outage begins with it.
    pub fn begins_with<'e, T, E>(&self, outcome: &'e Result<T, E>) -> Option<&'e E> {
        match outcome {
            Ok(_) => {
                self.ends();
                None
            }
            Err(error) => self.begins().then_some(error),
        }
    }

    /// Returns whether the last attempt failed.
    #[must_use]
    pub fn is_ongoing(&self) -> bool {
        self.0.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_doubles_up_to_the_maximum_until_it_is_reset() {
        let [min, max] = [20, 500].map(Duration::from_millis);
        let mut backoff = Backoff::new(min, max);
        let delays: Vec<_> = (0..7).map(|_| backoff.next_delay().as_millis()).collect();
        assert_eq!(delays, [20, 40, 80, 160, 320, 500, 500]);
        backoff.reset();
        assert_eq!(backoff.next_delay(), min);
    }

    #[test]
    fn an_outage_begins_once_and_ends_once() {
        let outage = Outage::default();
        assert!(!outage.ends(), "nothing has failed");
        assert_eq!([outage.begins(), outage.begins(), outage.is_ongoing()], [true, false, true]);
        assert_eq!([outage.ends(), outage.ends(), outage.is_ongoing()], [true, false, false]);

        let failed = Err::<(), _>("no route");
        assert_eq!(outage.begins_with(&failed), Some(&"no route"));
        assert_eq!(outage.begins_with(&failed), None);
        assert_eq!(outage.begins_with(&Ok::<_, &str>(())), None);
        assert_eq!(outage.begins_with(&failed), Some(&"no route"));
    }
}
