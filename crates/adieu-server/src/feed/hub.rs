//! One reader of the log for all who follow.

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

/// The time that one follower takes of this machine: after all followers were answered, this much for each of them passes before
/// the next entries are shown. A few followers see them at once; thousands as often as the machine can answer them.
const PACE: Duration = Duration::from_micros(60);
const SLOWEST_PACE: Duration = Duration::from_millis(250);

/// How many followers that are behind the tail have a page read for them at the same time.
const READERS: usize = 32;

/// How long to wait after a read that failed; doubled up to [`MAX_RETRY_DELAY`].
const MIN_RETRY_DELAY: Duration = Duration::from_millis(20);
const MAX_RETRY_DELAY: Duration = Duration::from_millis(500);

/// A read that was to wait and is answered by so much too early, with nothing new, counts as one that does not wait.
const EARLY: Duration = Duration::from_millis(10);

/// Reads a log from where the first follower has got to the end of it, and serves all who follow from memory. What is not
/// there any more they get from the log itself.
///
/// What it reads is shown to everybody at once, and not again before that is done: many revocations a second reach many
/// followers in a few pages each.
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
    /// None until a reader has read to the end: then every answer comes from the log.
    tail: Option<Tail>,
    /// When it was last relied on that there is no tail. None may begin with what was asked for before.
    relied_on_log: Option<Moment>,
}

/// A page for one follower.
#[derive(Debug, Clone)]
pub struct Answer {
    pub(super) part: Arc<Part>,
    /// How old what it says was when the follower's request came: whatever was acknowledged that long before it is in
    /// it, or in the pages before it.
    pub age: Duration,
}

impl Answer {
    fn new(part: Arc<Part>, complete_at: Moment, arrived: Moment) -> Self {
        Self { part, age: arrived.since(complete_at) }
    }

    /// The page, its age included.
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
    /// On this log, of which one read takes at most `read_wait` when there is nothing new: twice as stale may an answer be
    /// that was not waited for. `leases` are told when the log turns out to be another.
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

    /// How many wait just now.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.shared.waiting.load(Ordering::Relaxed)
    }

    /// Ends all waiting, now and from now on: everybody is answered with what there is.
    pub fn end_waiting(&self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        self.shared.shown.send_replace(());
    }

    /// What comes after `after` for a request that came at `arrived`; when there is nothing, waits up to `wait`.
    /// `known_good` is called before that, once it is certain that the cursor is one of this log.
    ///
    /// # Errors
    /// When the log had to be read and could not be.
    pub async fn read(
        &self,
        after: Option<&Cursor>,
        wait: Duration,
        arrived: Moment,
        known_good: impl FnOnce() + Send,
    ) -> Result<Answer, Error> {
        self.shared.read(after, Instant::now() + wait, arrived, known_good).await
    }

    /// Where the log ends: nothing that was appended before the call is after it.
    ///
    /// # Errors
    /// When the log can't be read.
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

    /// Whether no answer comes from memory, so that each includes all that was durable when its request came.
    #[must_use]
    pub fn answers_from_log(&self) -> bool {
        let mut served = self.shared.served();
        if served.tail.is_none() {
            served.relied_on_log = Some(self.shared.clock.moment());
        }
        served.tail.is_none()
    }

    /// Returns once every answer includes everything up to `head`, also those from memory.
    pub async fn serves(&self, head: &Cursor) {
        let mut shown = self.shared.shown.subscribe();
        while self.shared.least_served(head) < head.position {
            // Its sender is in the value borrowed here.
            let _ = shown.changed().await;
        }
    }

    /// How far this node has got.
    #[must_use]
    pub fn progress(&self) -> Progress {
        Progress {
            shown: self.shared.shown.subscribe(),
            followers: self.shared.leases.watch(),
            hub: Arc::clone(&self.shared),
        }
    }
}

/// How far a node has got: what it serves, and those who follow it.
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
        // What is served comes first: a follower that is not known after that will be given all of it.
        let position = self.hub.least_served(&own).min(own.position);
        self.hub.leases.applied_with(Cursor { log: own.log, position })
    }

    /// Returns when there may be news since [`applied_with`](Self::applied_with) was asked.
    pub async fn changed(&mut self) {
        // The senders are in the value borrowed here.
        tokio::select! {
            _ = self.shown.changed() => {}
            _ = self.followers.changed() => {}
        }
    }

    /// The followers.
    #[must_use]
    pub fn leases(&self) -> &Leases {
        &self.hub.leases
    }
}

impl Shared {
    /// Nothing is left half done when a holder panics: nothing there panics.
    fn served(&self) -> MutexGuard<'_, Served> {
        self.served.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Goes on reading from the end of this page, which is that of the log, unless it does so already.
    fn begin(&self, page: &Page, asked_at: Moment) {
        let mut served = self.served();
        if served.tail.is_none() && served.relied_on_log.is_none_or(|relied_at| relied_at <= asked_at) {
            served.tail = Some(Tail::begin(&page.cursor, asked_at.minus(page.age), page.pruned_through));
            self.begun.notify_one();
        }
    }

    /// The log is another than the one whose end is known, as the answer to a read after `from` says. Everybody who waits has
    /// a cursor of no use, and asks the log.
    ///
    /// An answer that comes late is not looked at: what it is about is over, or the next read finds it.
    fn restart(&self, from: &Cursor, page: &Page, asked_at: Moment) {
        let mut served = self.served();
        if served.tail.as_ref().is_none_or(|tail| tail.cursor() != *from) {
            return;
        }
        tracing::error!(found = %page.cursor, "the revocation log is another one or went back; followers are told so");
        served.tail = page.complete.then(|| Tail::begin(&page.cursor, asked_at.minus(page.age), page.pruned_through));
        served.relied_on_log = Some(asked_at);
        drop(served);
        self.leases.forget_applied();
        self.shown.send_replace(());
    }

    /// Up to where every answer from now on includes what is in the log of this cursor, but not further than the cursor.
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
                    // Ahead of the tail, which comes to it.
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
            // When the time is over it is looked once more, so that the answer is as fresh as can be.
            is_over = timeout_at(deadline, shown.changed()).await.is_err();
        }
    }

    fn find(&self, after: Option<&Cursor>) -> Found {
        match (after, self.served().tail.as_mut()) {
            (Some(after), Some(tail)) => tail.find(after),
            _ => Found::Elsewhere,
        }
    }

    /// A page from the log itself, and as of when it is complete.
    async fn read_log(&self, after: Option<&Cursor>) -> Result<(Page, Moment), Error> {
        // Never closed.
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
        // Nothing is shown before.
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
                    // With nothing new before the time is over, as a node does that is about to stop: not at once again.
                    let left = wait.saturating_sub(self.clock.moment().since(asked_at));
                    let is_early = page.entries.is_empty() && !page.from_start && left > EARLY;
                    if !is_early {
                        backoff.reset();
                    }
                    if self.apply(&cursor, page, asked_at, due) {
                        // Followers that are still being answered count as well, so that a slow machine is not asked for more.
                        followers = self.waiting.load(Ordering::Relaxed).max(followers * 3 / 4);
                        let pace = PACE.saturating_mul(u32::try_from(followers).unwrap_or(u32::MAX));
                        due = Instant::now() + pace.min(SLOWEST_PACE);
                        self.shown.send_replace(());
                    }
                    if is_early {
                        sleep(backoff.next_delay().min(left)).await;
                    }
                }
                Err(error) => {
                    // Followers see it by the age of what they get.
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

    /// Where to read on, and whether there is something that is not shown yet.
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

/// Counts one more until it is dropped.
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
