//! Keeps an [`Index`] in sync with a [`RevocationLog`] and tracks its freshness.
//!
//! A read returns everything that was acknowledged before the read was *sent*. So the follower records the moment before
//! each read on the steady clock of this machine. Once it has applied the pages of the read, the index is known to have
//! been complete at that moment. The clocks of two machines are never compared, and a late response does not make the
//! index seem fresher than it is.

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
    revocation::{Cursor, HashedPage, Index, RevocationLog},
    time::{Clock, Moment, Timestamp, TrustedTime},
};

/// The delay after the first failed read; doubled for each further failure, up to [`MAX_RETRY_DELAY`].
const MIN_RETRY_DELAY: Duration = Duration::from_millis(20);
const MAX_RETRY_DELAY: Duration = Duration::from_millis(500);

/// A read that returns nothing new and ends earlier than its wait by more than this counts as one that does not wait.
const EARLY: Duration = Duration::from_millis(10);

/// The maximum number of steps, of less than a millisecond each, that free the memory of lapsed revocations after each
/// read. The limit keeps the next read, and so the freshness of the index, from waiting for all of them.
const MAX_STEPS: usize = 32;

/// The freshness of an index: when it was last known to be complete. Clones share the value.
#[derive(Debug, Clone, Default)]
pub struct Freshness {
    /// Nanoseconds of the steady clock, plus one; zero for never.
    complete_at: Arc<AtomicU64>,
}

impl Freshness {
    /// Creates the freshness of an index that has never been complete.
    #[must_use]
    pub fn never() -> Self {
        Self::default()
    }

    /// Returns how long before `now` the index was last known to be complete, or `None` if it never was.
    #[must_use]
    pub fn age(&self, now: Moment) -> Option<Duration> {
        self.last_complete().map(|complete_at| now.since(complete_at))
    }

    /// Returns when the index was last known to be complete, or `None` if it never was.
    #[must_use]
    pub fn last_complete(&self) -> Option<Moment> {
        self.complete_at.load(Ordering::Acquire).checked_sub(1).map(Moment::from_nanos)
    }

    /// Records that everything acknowledged before `moment` is in the index. A moment earlier than the recorded one
    /// changes nothing.
    pub fn complete_at(&self, moment: Moment) {
        self.complete_at.fetch_max(moment.as_nanos().saturating_add(1), Ordering::AcqRel);
    }
}

/// A task that keeps an [`Index`] in sync with a [`RevocationLog`] and tracks its freshness. Dropping the follower stops
/// the task.
///
/// Freshness is measured on the steady clock of this machine, from the moment before each read is sent. The clocks of
/// two machines are never compared, and a late response does not make the index seem fresher than it is.
#[derive(Debug)]
pub struct Follower {
    task: JoinHandle<()>,
    freshness: Freshness,
    progress: watch::Receiver<Progress>,
    applied: watch::Receiver<Option<Cursor>>,
}

/// The progress of a follower.
#[derive(Debug, Clone)]
enum Progress {
    /// The log has not been read yet.
    Starting,
    /// The log has not been read yet, and the last read failed.
    Failing(Error),
    /// The whole log has been read once.
    Ready,
}

impl Follower {
    /// Starts a follower. `max_staleness` is the limit that the verifiers of this index apply; the follower polls the log
    /// several times within it. For an index that others read in turn, pass a part of the limit.
    #[must_use]
    pub fn start(
        log: Arc<dyn RevocationLog>,
        index: Arc<Index>,
        clock: Arc<dyn Clock>,
        max_staleness: Duration,
    ) -> Self {
        // If reads take no time, the index is at most twice this wait behind. So one read may fail and be retried before
        // the verifiers reject a request, or the log may belong to a node that is itself a little behind.
        let wait = max_staleness / 4;
        let freshness = Freshness::never();
        let (announce, progress) = watch::channel(Progress::Starting);
        let (cursor, applied) = watch::channel(None);
        let following =
            Following { log, index, clock, freshness: freshness.clone(), wait, outage: Outage::default(), cursor };
        Self { task: tokio::spawn(following.run(announce)), freshness, progress, applied }
    }

    /// Waits until the whole log has been read once. If a read fails first, returns its error; the follower keeps retrying.
    ///
    /// # Errors
    /// The reason why the log could not be read.
    pub async fn ready(&self) -> Result<(), Error> {
        let mut progress = self.progress.clone();
        let known = progress.wait_for(|progress| !matches!(progress, Progress::Starting)).await;
        match known.as_deref() {
            Ok(Progress::Failing(error)) => Err(error.clone()),
            Ok(_) => Ok(()),
            Err(_) => Err(Error::unavailable("the follower has ended")),
        }
    }

    /// Waits until the whole log has been read once, however many reads fail before.
    pub async fn caught_up(&self) {
        let mut progress = self.progress.clone();
        let _ = progress.wait_for(|progress| matches!(progress, Progress::Ready)).await;
    }

    /// Returns why the log could not be read yet, or `None` if it has been read or no read has failed.
    #[must_use]
    pub fn failure(&self) -> Option<Error> {
        match &*self.progress.borrow() {
            Progress::Failing(error) => Some(error.clone()),
            Progress::Starting | Progress::Ready => None,
        }
    }

    /// Returns a receiver of the cursor up to which the index contains everything. The value is `None` at first; the
    /// receiver is notified of changes.
    #[must_use]
    pub fn applied(&self) -> watch::Receiver<Option<Cursor>> {
        self.applied.clone()
    }

    /// Returns the freshness of the index. The value stays correct after the follower is dropped.
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
    /// The cursor up to which the index contains everything.
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
                        // A node that is shutting down answers immediately; back off before the next read.
                        tokio::time::sleep(backoff.next_delay().min(left)).await;
                    } else {
                        backoff.reset();
                    }
                }
                Err(error) => {
                    let is_first = self.outage.begins();
                    if matches!(*progress.borrow(), Progress::Ready) {
                        // Logged once per outage, not per attempt: verifiers report the consequences.
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

    /// Drops lapsed revocations in at most [`MAX_STEPS`] short steps, and yields to other tasks between them.
    async fn drop_lapsed(&self, now: Timestamp) {
        for _ in 0..MAX_STEPS {
            if !self.index.drop_lapsed(now) {
                break;
            }
            tokio::task::yield_now().await;
        }
    }

    /// Reads up to the end of the log, and applies each page but the last while the next one is being read. Returns how much
    /// of the wait is left if there was nothing new.
    async fn catch_up(&mut self) -> Result<Duration, Error> {
        let mut asked_at = self.clock.moment();
        // After a failure, do not wait for new entries: becoming fresh again is more urgent.
        let wait = if self.outage.is_ongoing() { Duration::ZERO } else { self.wait };
        let after = self.cursor.borrow().clone();
        let mut read = self.log.read_hashed(self.index.hasher(), after.as_ref(), wait).await?;
        let left = match read.page.entries.is_empty() && read.hashed.is_empty() && !read.page.from_start {
            true => wait.saturating_sub(self.clock.moment().since(asked_at)),
            false => Duration::ZERO,
        };
        while !read.page.complete {
            asked_at = self.clock.moment();
            let cursor = &read.page.cursor;
            // The read is polled first, so that it has been sent before the page is applied.
            let next = self.log.read_hashed(self.index.hasher(), Some(cursor), Duration::ZERO);
            let next = tokio::join!(biased; next, async {
                self.apply(&read);
            });
            self.settle(cursor.clone());
            let next = next.0?;
            if !next.page.complete && next.page.cursor == *cursor {
                return Err(Error::unavailable("a page of the log that is not the last leads nowhere"));
            }
            read = next;
        }
        self.apply(&read);
        let age = read.page.age;
        self.settle(read.page.cursor);
        // `asked_at` is of the last read: everything acknowledged before it was sent is in its page or an earlier one.
        self.freshness.complete_at(asked_at.minus(age));
        Ok(left)
    }

    /// Announces that the index contains everything up to `cursor`.
    fn settle(&mut self, cursor: Cursor) {
        self.log.acknowledge(&cursor);
        // Receivers wake only if the cursor changed.
        self.cursor.send_if_modified(|known| known.replace(cursor) != *known);
    }

    fn apply(&self, HashedPage { page, hashed }: &HashedPage) {
        if let Some(cursor) = &*self.cursor.borrow()
            && page.from_start
        {
            tracing::error!(
                known = %cursor, found = %page.cursor,
                "the revocation log was replaced or rolled back; known revocations stay in force"
            );
        }
        self.index.raise_pruned_through(page.pruned_through);
        self.index.extend(&page.entries);
        self.index.extend_hashed(hashed);
    }
}
