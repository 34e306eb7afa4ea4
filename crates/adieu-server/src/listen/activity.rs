//! The state of a connection, and since when it has that state.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

/// The state of a connection, in one number, because it is written with each request and read by other tasks: the nanoseconds since the
/// connection was opened, and in the lowest two bits the state.
#[derive(Debug)]
pub(super) struct Activity {
    opened_at: Instant,
    word: AtomicU64,
}

/// The head of a request is awaited; it is the first request, or part of the head has arrived.
const HEAD: u64 = 0;
/// A request is being read or answered.
const BUSY: u64 = 1;
/// The next request is awaited.
const IDLE: u64 = 2;

impl Activity {
    /// Creates the state of a connection that has just been opened.
    pub(super) fn new() -> Self {
        Self { opened_at: Instant::now(), word: AtomicU64::new(HEAD) }
    }

    fn set(&self, what: u64) {
        let nanos = u64::try_from(self.opened_at.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.word.store(nanos << 2 | what, Relaxed);
    }

    fn get(&self) -> (u64, Instant) {
        let word = self.word.load(Relaxed);
        (word & 3, self.opened_at + Duration::from_nanos(word >> 2))
    }

    /// Records the start of a request.
    pub(super) fn begin(&self) {
        self.set(BUSY);
    }

    /// Records that the request has been answered.
    pub(super) fn end(&self) {
        self.set(IDLE);
    }

    /// Records that the client has sent something.
    pub(super) fn receive(&self) {
        if self.word.load(Relaxed) & 3 == IDLE {
            self.set(HEAD);
        }
    }

    /// Records that the client has read part of a response: a long response is still in progress.
    pub(super) fn send(&self) {
        if self.word.load(Relaxed) & 3 == IDLE {
            self.set(IDLE);
        }
    }

    /// Returns how long the connection has had no request in progress; `None` if it has one.
    pub(super) fn idle_for(&self) -> Option<Duration> {
        let (what, since) = self.get();
        (what != BUSY).then(|| since.elapsed())
    }

    /// Returns when the client has been silent for too long. The deadline is checked at intervals, not with every request: a head that
    /// begins after one check may take until after the next.
    pub(super) async fn silence(&self, for_head: Duration, for_next: Duration) {
        loop {
            let now = Instant::now();
            let wake_at = match self.deadline(for_head, for_next) {
                Some(deadline) if deadline <= now => return,
                Some(deadline) => deadline.min(now + for_head),
                None => now + for_head.min(for_next),
            };
            sleep_until(wake_at).await;
        }
    }

    /// Returns the time at which the silence is too long; `None` while a request is answered.
    fn deadline(&self, for_head: Duration, for_next: Duration) -> Option<Instant> {
        let (what, since) = self.get();
        match what {
            BUSY => None,
            HEAD => Some(since + for_head),
            _ => Some(since + for_next),
        }
    }
}
