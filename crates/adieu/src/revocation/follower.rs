//! What keeps an index up to date from a log, and knows how fresh it is.
//!
//! A read proves one thing: whatever was acknowledged before it was *sent* is in its answer. So the moment before
//! the read is taken, on the steady clock of this machine; once the pages from it are in the index, the index is known
//! to have been complete then. No clocks of two machines are compared, and an answer that comes late proves nothing
//! that it should not.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{sync::watch, task::JoinHandle};

use crate::{
    Error,
    retry::{Backoff, Outage},
    revocation::{Cursor, Index, Page, RevocationLog},
    time::{Clock, Moment, Timestamp, TrustedTime},
};

/// How long to wait after a read that failed; doubled up to [`MAX_RETRY_DELAY`].
const MIN_RETRY_DELAY: Duration = Duration::from_millis(20);
const MAX_RETRY_DELAY: Duration = Duration::from_millis(500);

/// A read that was to wait and is answered by so much too early, with nothing new, counts as one that does not wait.
const EARLY: Duration = Duration::from_millis(10);

/// After each read, memory of what lapsed is given back in at most so many steps of less than a millisecond: the next
/// read, which keeps the index fresh, does not wait for all of it.
const MAX_STEPS: usize = 32;

/// How long ago an index was certainly complete. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Freshness {
    /// Nanoseconds of the steady clock, plus one; zero for never.
    complete_at: Arc<AtomicU64>,
}

impl Freshness {
    /// Of an index that has never been complete.
    #[must_use]
    pub fn never() -> Self {
        Self::default()
    }

    /// How long before `now` the index was last known to be complete; `None` when it never was.
    #[must_use]
    pub fn age(&self, now: Moment) -> Option<Duration> {
        self.last_complete().map(|complete_at| now.since(complete_at))
    }

    /// When the index was last known to be complete; `None` when it never was.
    #[must_use]
    pub fn last_complete(&self) -> Option<Moment> {
        self.complete_at.load(Ordering::Acquire).checked_sub(1).map(Moment::from_nanos)
    }

    /// Records that everything acknowledged before `moment` is in the index. An earlier moment than the last changes
    /// nothing.
    pub fn complete_at(&self, moment: Moment) {
        self.complete_at.fetch_max(moment.as_nanos().saturating_add(1), Ordering::AcqRel);
    }
}

/// A task that reads a log and keeps an index up to date; it ends when this is dropped.
#[derive(Debug)]
pub struct Follower {
    task: JoinHandle<()>,
    freshness: Freshness,
    progress: watch::Receiver<Progress>,
    applied: watch::Receiver<Option<Cursor>>,
}

/// How far a follower has got.
#[derive(Debug, Clone)]
enum Progress {
    /// The log has not been read yet.
    Starting,
    /// Nor could it be.
    Failing(Error),
    /// The whole log has been read once.
    Ready,
}

impl Follower {
    /// Starts to follow. `max_staleness` is what the verifiers of this index allow; the log is asked a few times
    /// within it.
    #[must_use]
    pub fn start(
        log: Arc<dyn RevocationLog>,
        index: Arc<Index>,
        clock: Arc<dyn Clock>,
        max_staleness: Duration,
    ) -> Self {
        // With reads that take no time the index is at most twice this behind. So one may fail and be repeated before
        // anybody is refused, or the log be that of a node that is itself a little behind.
        Self::start_waiting(log, index, clock, max_staleness / 4)
    }

    /// Starts to follow for others, who read what is here and are behind it in turn: the log is asked twice as often.
    ///
    /// Each relay adds this wait and two round trips to how far its readers are behind. A reader is at most
    /// `max_staleness / 2` and two round trips behind who answers it; so with up to three relays between it and the store it
    /// stays within its bound, as long as a round trip takes less than `max_staleness / 32`.
    #[must_use]
    pub fn start_relaying(
        log: Arc<dyn RevocationLog>,
        index: Arc<Index>,
        clock: Arc<dyn Clock>,
        max_staleness: Duration,
    ) -> Self {
        Self::start_waiting(log, index, clock, max_staleness / 8)
    }

    fn start_waiting(log: Arc<dyn RevocationLog>, index: Arc<Index>, clock: Arc<dyn Clock>, wait: Duration) -> Self {
        let freshness = Freshness::never();
        let (announce, progress) = watch::channel(Progress::Starting);
        let (cursor, applied) = watch::channel(None);
        let following =
            Following { log, index, clock, freshness: freshness.clone(), wait, outage: Outage::default(), cursor };
        Self { task: tokio::spawn(following.run(announce)), freshness, progress, applied }
    }

    /// Returns when the whole log has been read once. The follower goes on trying when that fails.
    ///
    /// # Errors
    /// Why the log could not be read.
    pub async fn ready(&self) -> Result<(), Error> {
        let mut progress = self.progress.clone();
        let known = progress.wait_for(|progress| !matches!(progress, Progress::Starting)).await;
        match known.as_deref() {
            Ok(Progress::Failing(error)) => Err(error.clone()),
            Ok(_) => Ok(()),
            Err(_) => Err(Error::unavailable("the follower has ended")),
        }
    }

    /// Returns when the whole log has been read once, however often that fails before.
    pub async fn caught_up(&self) {
        let mut progress = self.progress.clone();
        let _ = progress.wait_for(|progress| matches!(progress, Progress::Ready)).await;
    }

    /// Why the log has not been read yet, if it could not be.
    #[must_use]
    pub fn failure(&self) -> Option<Error> {
        match &*self.progress.borrow() {
            Progress::Failing(error) => Some(error.clone()),
            Progress::Starting | Progress::Ready => None,
        }
    }

    /// Up to where everything is in the index; nothing at first, and tells when that changes.
    #[must_use]
    pub fn applied(&self) -> watch::Receiver<Option<Cursor>> {
        self.applied.clone()
    }

    /// How fresh the index is; goes on being true when this is dropped.
    #[must_use]
    pub fn freshness(&self) -> Freshness {
        self.freshness.clone()
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Following {
    log: Arc<dyn RevocationLog>,
    index: Arc<Index>,
    clock: Arc<dyn Clock>,
    freshness: Freshness,
    wait: Duration,
    outage: Outage,
    /// Up to where everything is in the index.
    cursor: watch::Sender<Option<Cursor>>,
}

impl Following {
    async fn run(mut self, progress: watch::Sender<Progress>) {
        let mut time = TrustedTime::start(&*self.clock);
        let mut backoff = Backoff::new(MIN_RETRY_DELAY, MAX_RETRY_DELAY);
        loop {
            match self.catch_up().await {
                Ok(left) => {
                    if self.outage.ends() && matches!(*progress.borrow(), Progress::Ready) {
                        tracing::info!("following the revocation log again");
                    }
                    progress.send_replace(Progress::Ready);
                    if left > EARLY {
                        // A node that is about to stop answers at once, and must not be asked at once again.
                        tokio::time::sleep(backoff.next_delay().min(left)).await;
                    } else {
                        backoff.reset();
                    }
                }
                Err(error) => {
                    let is_first = self.outage.begins();
                    if matches!(*progress.borrow(), Progress::Ready) {
                        // Once an outage, not once a try: verifiers say what follows from it.
                        if is_first {
                            tracing::warn!(
                                error = &error as &dyn std::error::Error,
                                "the revocation log can't be read"
                            );
                        }
                    } else {
                        progress.send_replace(Progress::Failing(error));
                    }
                    tokio::time::sleep(backoff.next_delay()).await;
                }
            }
            if let Some(now) = time.now(&*self.clock) {
                self.drop_lapsed(now).await;
            }
        }
    }

    /// In short steps, with others let in between, and not so many that the next read waits for them.
    async fn drop_lapsed(&self, now: Timestamp) {
        for _ in 0..MAX_STEPS {
            if !self.index.drop_lapsed(now) {
                break;
            }
            tokio::task::yield_now().await;
        }
    }

    /// Reads until a page was the last. Each but that is taken in while the next is being read. Gives how much of the wait
    /// is left when there was nothing new.
    async fn catch_up(&mut self) -> Result<Duration, Error> {
        let mut asked_at = self.clock.moment();
        // After a failure what counts is to be fresh again, not to hear of news at once.
        let wait = if self.outage.is_ongoing() { Duration::ZERO } else { self.wait };
        let after = self.cursor.borrow().clone();
        let mut page = self.log.read(after.as_ref(), wait).await?;
        let left = match page.entries.is_empty() && !page.from_start {
            true => wait.saturating_sub(self.clock.moment().since(asked_at)),
            false => Duration::ZERO,
        };
        while !page.complete {
            asked_at = self.clock.moment();
            // The read comes first, so that it has been sent when taking in begins.
            let next = tokio::join!(biased; self.log.read(Some(&page.cursor), Duration::ZERO), async {
                self.apply(&page);
            });
            self.settle(page.cursor.clone());
            let next = next.0?;
            if !next.complete && next.cursor == page.cursor {
                return Err(Error::unavailable("a page of the log that is not the last leads nowhere"));
            }
            page = next;
        }
        self.apply(&page);
        let age = page.age;
        self.settle(page.cursor);
        // Of the last read: whatever was acknowledged before it was sent is in its page or in one before it.
        self.freshness.complete_at(asked_at.minus(age));
        Ok(left)
    }

    /// What comes with a page is in the index: only now may others count on it.
    fn settle(&mut self, cursor: Cursor) {
        self.log.acknowledge(&cursor);
        // Whoever waits for that is not woken in vain.
        self.cursor.send_if_modified(|known| known.replace(cursor) != *known);
    }

    fn apply(&self, page: &Page) {
        if let Some(cursor) = &*self.cursor.borrow()
            && page.from_start
        {
            tracing::error!(
                known = %cursor, found = %page.cursor,
                "the revocation log is another one or went back; everything known stays revoked"
            );
        }
        self.index.raise_pruned_through(page.pruned_through);
        self.index.extend(&page.entries);
    }
}
