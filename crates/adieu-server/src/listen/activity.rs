//! What a connection is doing, and since when.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

/// In one number, because it is written with each request and read by others: the nanoseconds since it was opened, and in the
/// lowest two bits what it does.
#[derive(Debug)]
pub(super) struct Activity {
    opened_at: Instant,
    word: AtomicU64,
}

/// The head of a request is awaited, and it is the first or some of it has come.
const HEAD: u64 = 0;
/// A request is read or answered.
const BUSY: u64 = 1;
/// The next request is awaited.
const IDLE: u64 = 2;

impl Activity {
    /// Of a connection that has just been opened.
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

    /// A request begins to be answered.
    pub(super) fn begin(&self) {
        self.set(BUSY);
    }

    /// It has been answered.
    pub(super) fn end(&self) {
        self.set(IDLE);
    }

    /// Something has come from the client.
    pub(super) fn receive(&self) {
        if self.word.load(Relaxed) & 3 == IDLE {
            self.set(HEAD);
        }
    }

    /// Some of an answer has been taken by the client: one that is long is still under way.
    pub(super) fn send(&self) {
        if self.word.load(Relaxed) & 3 == IDLE {
            self.set(IDLE);
        }
    }

    /// For how long no request has been answered; none while one is.
    pub(super) fn idle_for(&self) -> Option<Duration> {
        let (what, since) = self.get();
        (what != BUSY).then(|| since.elapsed())
    }

    /// Returns when the client has been silent for too long. It looks now and then, and not with every request, but in time: a
    /// head that begins after it has looked may take until after it looks again.
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

    /// When the client has been silent for too long; none while a request is answered.
    fn deadline(&self, for_head: Duration, for_next: Duration) -> Option<Instant> {
        let (what, since) = self.get();
        match what {
            BUSY => None,
            HEAD => Some(since + for_head),
            _ => Some(since + for_next),
        }
    }
}
