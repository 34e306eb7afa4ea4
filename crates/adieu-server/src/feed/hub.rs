//! Reads the log once for all followers.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use adieu::{
    Error,
    retry::{Backoff, Outage},
    revocation::{Cursor, Page, Position, RevocationLog},
    time::{Clock, Moment},
};
use tokio::{
    sync::{Notify, Semaphore, watch},
    task::JoinHandle,
    time::{Instant, sleep, sleep_until, timeout_at},
};

use super::{
    lease::Leases,
    tail::{Found, Part, Tail},
};

/// The time that one follower costs this machine: after all followers were answered, this much for each of them
/// passes before the next entries are shown. A few followers receive entries immediately; thousands, as often as the
/// machine can answer them.
const PACE: Duration = Duration::from_micros(45);
const MAX_PACE: Duration = Duration::from_millis(250);

/// How many pages are read at the same time for followers that are behind the tail.
const READERS: usize = 32;

/// Delay after a failed read, doubled up to [`MAX_RETRY_DELAY`].
const MIN_RETRY_DELAY: Duration = Duration::from_millis(20);
const MAX_RETRY_DELAY: Duration = Duration::from_millis(500);

/// A read that should wait, but returns nothing by this much too early, counts as one that does not wait.
const EARLY: Duration = Duration::from_millis(10);

/// Reads a log from its end as of the first follower, and serves all followers from memory. Older entries are read
/// from the log itself.
///
/// New entries are shown to all followers at once, and the next ones after all were answered: many revocations a
/// second reach many followers in a few pages each.
pub struct Hub {
    shared: Arc<Shared>,
    reader: JoinHandle<()>,
}

struct Shared {
    log: Arc<dyn RevocationLog>,
    clock: Arc<dyn Clock>,
    leases: Arc<Leases>,
    read_wait: Duration,
    served: Mutex<Served>,
    begun: Notify,
    shown: watch::Sender<()>,
    waiting: AtomicUsize,
    ended: AtomicBool,
    readers: Semaphore,
}

/// The answers served from memory.
#[derive(Debug, Default)]
struct Served {
    /// `None` until a reader has reached the end: until then every answer comes from the log.
    tail: Option<Tail>,
    /// The last moment at which a caller relied on the absence of a tail. A tail read before that is not used.
    relied_on_log: Option<Moment>,
}

/// A page for one follower.
#[derive(Debug, Clone)]
pub struct Answer {
    pub(super) part: Arc<Part>,
    /// The age of the page when the request arrived: every entry acknowledged that long before is in this page or an
    /// earlier one.
    pub age: Duration,
}

impl Answer {
    fn new(part: Arc<Part>, complete_at: Moment, arrived: Moment) -> Self {
        Self { part, age: arrived.since(complete_at) }
    }

    /// Returns the page with its age.
    #[must_use]
    pub fn page(&self) -> Page {
        Page { age: self.age, ..self.part.page.clone() }
    }
}

impl fmt::Debug for Hub {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Hub").field("waiting", &self.shared.waiting).finish_non_exhaustive()
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Hub {
    /// Starts a hub on this log, where one read takes at most `read_wait` if there is nothing new. An answer that
    /// does not wait may be twice as stale. The hub notifies `leases` if the log was replaced.
    #[must_use]
    pub fn start(log: Arc<dyn RevocationLog>, clock: Arc<dyn Clock>, leases: Arc<Leases>, read_wait: Duration) -> Self {
        let shared = Arc::new(Shared {
            log,
            clock,
            leases,
            read_wait,
            served: Mutex::default(),
            begun: Notify::new(),
            shown: watch::Sender::new(()),
            waiting: AtomicUsize::new(0),
            ended: AtomicBool::new(false),
            readers: Semaphore::new(READERS),
        });
        Self { reader: tokio::spawn(Arc::clone(&shared).run()), shared }
    }

    /// Returns how many requests are waiting.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.shared.waiting.load(Ordering::Relaxed)
    }

    /// Ends all waits, now and later: every request is answered with what there is.
    pub fn end_waiting(&self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        self.shared.shown.send_replace(());
    }

    /// Returns what comes after `after`, for a request that arrived at `arrived`; if there is nothing, waits up to
    /// `wait`. Calls `known_good` before waiting, once the cursor is known to be of this log.
    ///
    /// # Errors
    /// Fails if the log had to be read and could not be.
    pub async fn read(
        &self,
        after: Option<&Cursor>,
        wait: Duration,
        arrived: Moment,
        known_good: impl FnOnce() + Send,
    ) -> Result<Answer, Error> {
        self.shared.read(after, Instant::now() + wait, arrived, known_good).await
    }

    /// Returns the end of the log: no entry that was appended before the call comes after it.
    ///
    /// # Errors
    /// Fails if the log cannot be read.
    pub async fn head(&self) -> Result<Cursor, Error> {
        let mut cursor = self.shared.served().tail.as_ref().map(Tail::cursor);
        loop {
            let asked_at = self.shared.clock.moment();
            let page = self.shared.log.read(cursor.as_ref(), Duration::ZERO).await?;
            if let Some(from) = cursor.as_ref().filter(|_| page.from_start) {
                self.shared.restart(from, &page, asked_at);
            }
            if page.complete {
                self.shared.begin(&page, asked_at);
                return Ok(page.cursor);
            }
            if cursor.as_ref() == Some(&page.cursor) {
                return Err(Error::unavailable("a page of the log that is not the last leads nowhere"));
            }
            cursor = Some(page.cursor);
        }
    }

    /// Returns whether all answers come from the log, so that each includes all that was durable when its request
    /// arrived.
    #[must_use]
    pub fn answers_from_log(&self) -> bool {
        let mut served = self.shared.served();
        if served.tail.is_none() {
            served.relied_on_log = Some(self.shared.clock.moment());
        }
        served.tail.is_none()
    }

    /// Waits until every answer includes everything up to `head`, also answers from memory.
    pub async fn serves(&self, head: &Cursor) {
        let mut shown = self.shared.shown.subscribe();
        while self.shared.least_served(head) < head.position {
            // The sender is in the value borrowed here.
            let _ = shown.changed().await;
        }
    }

    /// Returns a view of this node's progress.
    #[must_use]
    pub fn progress(&self) -> Progress {
        Progress {
            shown: self.shared.shown.subscribe(),
            followers: self.shared.leases.watch(),
            hub: Arc::clone(&self.shared),
        }
    }
}

/// The progress of a node: what it serves, and its followers.
pub struct Progress {
    hub: Arc<Shared>,
    shown: watch::Receiver<()>,
    followers: watch::Receiver<()>,
}

impl fmt::Debug for Progress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Progress").finish_non_exhaustive()
    }
}

impl Progress {
    /// Returns the position that a node which has applied `own` has in common with what it serves and with all live followers,
    /// and the number of followers.
    #[must_use]
    pub fn applied_with(&mut self, own: Cursor) -> (Cursor, u32) {
        self.shown.borrow_and_update();
        self.followers.borrow_and_update();
        // The hub first: a follower without a lease that reads after that receives all of it.
        let position = self.hub.least_served(&own).min(own.position);
        self.hub.leases.applied_with(Cursor { log: own.log, position })
    }

    /// Waits until the result of [`applied_with`](Self::applied_with) may have changed.
    pub async fn changed(&mut self) {
        // The senders are in the value borrowed here.
        tokio::select! {
            _ = self.shown.changed() => {}
            _ = self.followers.changed() => {}
        }
    }

    /// Returns the leases of the followers.
    #[must_use]
    pub fn leases(&self) -> &Leases {
        &self.hub.leases
    }
}

impl Shared {
    /// A holder that panics would leave no partial change, and nothing there panics.
    fn served(&self) -> MutexGuard<'_, Served> {
        self.served.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Continues from the end of this page, which is the end of the log, unless a reader does so already.
    fn begin(&self, page: &Page, asked_at: Moment) {
        let mut served = self.served();
        if served.tail.is_none() && served.relied_on_log.is_none_or(|relied_at| relied_at <= asked_at) {
            served.tail = Some(Tail::begin(&page.cursor, asked_at.minus(page.age), page.pruned_through));
            self.begun.notify_one();
        }
    }

    /// Starts over after a read after `from` has shown that the log was replaced. The cursors of all waiting
    /// followers are invalid, and they read from the log.
    ///
    /// An answer that arrives late is ignored: the tail has been replaced since, or the next read finds the new log.
    fn restart(&self, from: &Cursor, page: &Page, asked_at: Moment) {
        let mut served = self.served();
        if served.tail.as_ref().is_none_or(|tail| tail.cursor() != *from) {
            return;
        }
        tracing::error!(found = %page.cursor, "the revocation log was replaced or rolled back; followers read it from the beginning");
        served.tail = page.complete.then(|| Tail::begin(&page.cursor, asked_at.minus(page.age), page.pruned_through));
        served.relied_on_log = Some(asked_at);
        drop(served);
        self.leases.forget_applied();
        self.shown.send_replace(());
    }

    /// Returns the position up to which every later answer includes the entries of this cursor's log, at most the
    /// cursor's own.
    fn least_served(&self, cursor: &Cursor) -> Position {
        let mut served = self.served();
        match &served.tail {
            Some(tail) => tail.shown_in(&cursor.log).min(cursor.position),
            None => {
                served.relied_on_log = Some(self.clock.moment());
                cursor.position
            }
        }
    }

    async fn read(
        &self,
        after: Option<&Cursor>,
        deadline: Instant,
        arrived: Moment,
        known_good: impl FnOnce() + Send,
    ) -> Result<Answer, Error> {
        let mut known_good = Some(known_good);
        let mut report_known_good = || {
            if let Some(known_good) = known_good.take() {
                known_good();
            }
        };
        let mut after = after.cloned();
        let mut shown = self.shown.subscribe();
        let mut is_over = false;
        loop {
            shown.borrow_and_update();
            let (cursor, complete_at, pruned_through) = match self.find(after.as_ref()) {
                Found::After(part, complete_at) => {
                    report_known_good();
                    return Ok(Answer::new(part, complete_at, arrived));
                }
                Found::Nothing(nothing) => nothing,
                Found::Elsewhere => {
                    let (page, complete_at) = self.read_log(after.as_ref()).await?;
                    if !page.from_start {
                        report_known_good();
                    }
                    if !page.entries.is_empty() || !page.complete || page.from_start {
                        return Ok(Answer::new(Part::new(page), complete_at, arrived));
                    }
                    // Ahead of the tail, which will reach it.
                    (page.cursor, complete_at, page.pruned_through)
                }
            };
            report_known_good();
            is_over |= self.ended.load(Ordering::SeqCst) || Instant::now() >= deadline;
            if is_over {
                let part = Part::nothing_after(cursor, pruned_through);
                return Ok(Answer::new(part, complete_at, arrived));
            }
            after = Some(cursor);
            let _counted = Waiting::count(&self.waiting);
            // After the deadline, looks once more, so that the answer is as fresh as possible.
            is_over = timeout_at(deadline, shown.changed()).await.is_err();
        }
    }

    fn find(&self, after: Option<&Cursor>) -> Found {
        match (after, self.served().tail.as_mut()) {
            (Some(after), Some(tail)) => tail.find(after),
            _ => Found::Elsewhere,
        }
    }

    /// Reads a page from the log itself. Also returns as of when it is complete.
    async fn read_log(&self, after: Option<&Cursor>) -> Result<(Page, Moment), Error> {
        // The semaphore is never closed.
        let _permit = self.readers.acquire().await;
        let asked_at = self.clock.moment();
        let page = self.log.read(after, Duration::ZERO).await?;
        if page.complete {
            self.begin(&page, asked_at);
        }
        let complete_at = asked_at.minus(page.age);
        Ok((page, complete_at))
    }

    async fn run(self: Arc<Self>) {
        let mut backoff = Backoff::new(MIN_RETRY_DELAY, MAX_RETRY_DELAY);
        let outage = Outage::default();
        let mut followers = 0;
        // When the next entries may be shown.
        let mut due = Instant::now();
        loop {
            let Some((cursor, pending)) = self.place() else {
                self.begun.notified().await;
                continue;
            };
            if pending {
                sleep_until(due).await;
            }
            let asked_at = self.clock.moment();
            let wait = if pending { Duration::ZERO } else { self.read_wait };
            match self.log.read(Some(&cursor), wait).await {
                Ok(page) => {
                    if outage.ends() {
                        tracing::info!("reading the revocation log for followers again");
                    }
                    // An early answer without entries, as from a node that is about to stop: delay the next read.
                    let left = wait.saturating_sub(self.clock.moment().since(asked_at));
                    let is_early = page.entries.is_empty() && !page.from_start && left > EARLY;
                    if !is_early {
                        backoff.reset();
                    }
                    if self.apply(&cursor, page, asked_at, due) {
                        // Followers that are still being answered count too, so that a slow machine gets no further
                        // load.
                        followers = self.waiting.load(Ordering::Relaxed).max(followers * 3 / 4);
                        let pace = PACE.saturating_mul(u32::try_from(followers).unwrap_or(u32::MAX));
                        due = Instant::now() + pace.min(MAX_PACE);
                        self.shown.send_replace(());
                    }
                    if is_early {
                        sleep(backoff.next_delay().min(left)).await;
                    }
                }
                Err(error) => {
                    // Followers notice it by the age of their pages.
                    if outage.begins() {
                        tracing::warn!(
                            error = &error as &dyn std::error::Error,
                            "the revocation log can't be read for followers"
                        );
                    }
                    sleep(backoff.next_delay()).await;
                }
            }
        }
    }

    /// Returns where to continue reading, and whether entries are waiting to be shown.
    fn place(&self) -> Option<(Cursor, bool)> {
        self.served().tail.as_ref().map(|tail| (tail.cursor(), tail.has_pending()))
    }

    /// Applies a page that was read after a cursor. Returns whether there is something new to show.
    fn apply(&self, after: &Cursor, page: Page, asked_at: Moment, due: Instant) -> bool {
        if page.from_start {
            self.restart(after, &page, asked_at);
            return true;
        }
        let mut served = self.served();
        // The tail may have been replaced since the page was requested.
        let Some(tail) = served.tail.as_mut().filter(|tail| tail.cursor() == *after) else { return false };
        let shown_before = tail.shown_in(&after.log);
        tail.apply(page, asked_at);
        if tail.has_pending() && Instant::now() >= due {
            tail.show();
        }
        tail.shown_in(&after.log) > shown_before
    }
}

/// Counts one waiting request until it is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn count(waiting: &'a AtomicUsize) -> Self {
        waiting.fetch_add(1, Ordering::Relaxed);
        Self(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
