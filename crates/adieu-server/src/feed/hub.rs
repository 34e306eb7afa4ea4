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
    revocation::{Cursor, Page, RevocationLog},
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

/// What it costs this machine to tell one follower, with all that its own clients may take beside: after everybody was
/// told, so much for each goes by before they are told again. Few are told at once; thousands as often as can be done.
const PACE: Duration = Duration::from_micros(60);
const SLOWEST_PACE: Duration = Duration::from_millis(250);

/// How many followers that are behind the tail have a page read for them at the same time.
const READERS: usize = 32;

/// How long to wait after a read that failed; doubled up to [`SLOWEST_RETRY`].
const FIRST_RETRY: Duration = Duration::from_millis(20);
const SLOWEST_RETRY: Duration = Duration::from_millis(500);

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
    /// None until somebody has read to the end.
    tail: Mutex<Option<Tail>>,
    begun: Notify,
    shown: watch::Sender<()>,
    waiting: AtomicUsize,
    ended: AtomicBool,
    readers: Semaphore,
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
            tail: Mutex::default(),
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
        let mut cursor = self.shared.tail().as_ref().map(Tail::cursor);
        loop {
            let asked_at = self.shared.clock.moment();
            let page = self.shared.log.read(cursor.as_ref(), Duration::ZERO).await?;
            if page.from_start && cursor.is_some() {
                self.shared.restart(&page, asked_at);
            }
            if page.complete {
                self.shared.begin(&page, asked_at);
                return Ok(page.cursor);
            }
            cursor = Some(page.cursor);
        }
    }
}

impl Shared {
    /// Nothing is left half done when a holder panics: nothing there panics.
    fn tail(&self) -> MutexGuard<'_, Option<Tail>> {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Goes on reading from the end of this page, which is that of the log, unless it does so already.
    fn begin(&self, page: &Page, asked_at: Moment) {
        let mut tail = self.tail();
        if tail.is_none() {
            *tail = Some(Tail::begin(&page.cursor, asked_at.minus(page.age), page.pruned_through));
            self.begun.notify_one();
        }
    }

    /// The log is another than the one whose end is known. Everybody who waits has a cursor of no use, and asks the log.
    fn restart(&self, page: &Page, asked_at: Moment) {
        tracing::error!(found = %page.cursor, "the revocation log is another one or went back; followers are told so");
        let end = page.complete.then(|| Tail::begin(&page.cursor, asked_at.minus(page.age), page.pruned_through));
        *self.tail() = end;
        self.leases.forget_settled();
        self.shown.send_replace(());
    }

    async fn read(
        &self,
        after: Option<&Cursor>,
        deadline: Instant,
        arrived: Moment,
        known_good: impl FnOnce() + Send,
    ) -> Result<Answer, Error> {
        let mut known_good = Some(known_good);
        let mut tell = || {
            if let Some(known_good) = known_good.take() {
                known_good();
            }
        };
        let mut after = after.cloned();
        let mut shown = self.shown.subscribe();
        let mut is_over = false;
        loop {
            shown.borrow_and_update();
            let (cursor, complete_at, pruned_through) = match self.look(after.as_ref()) {
                Found::After(part, complete_at) => {
                    tell();
                    return Ok(Answer::new(part, complete_at, arrived));
                }
                Found::Nothing(nothing) => nothing,
                Found::Elsewhere => {
                    let (page, complete_at) = self.read_log(after.as_ref()).await?;
                    if !page.from_start {
                        tell();
                    }
                    if !page.entries.is_empty() || !page.complete || page.from_start {
                        return Ok(Answer::new(Part::new(page), complete_at, arrived));
                    }
                    // Ahead of the tail, which comes to it.
                    (page.cursor, complete_at, page.pruned_through)
                }
            };
            tell();
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

    fn look(&self, after: Option<&Cursor>) -> Found {
        match (after, self.tail().as_mut()) {
            (Some(after), Some(tail)) => tail.look(after),
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
        let mut retry = FIRST_RETRY;
        let mut failing = false;
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
                    if std::mem::take(&mut failing) {
                        tracing::info!("reading the revocation log for followers again");
                    }
                    retry = FIRST_RETRY;
                    if self.take(page, asked_at, due) {
                        // Those who are still being told count as well, so that a slow machine is not asked for more.
                        followers = self.waiting.load(Ordering::Relaxed).max(followers * 3 / 4);
                        let pace = PACE.saturating_mul(u32::try_from(followers).unwrap_or(u32::MAX));
                        due = Instant::now() + pace.min(SLOWEST_PACE);
                        self.shown.send_replace(());
                    }
                }
                Err(error) => {
                    // Followers see it by the age of what they get.
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!(
                            error = &error as &dyn std::error::Error,
                            "the revocation log can't be read for followers"
                        );
                    }
                    sleep(retry).await;
                    retry = (retry * 2).min(SLOWEST_RETRY);
                }
            }
        }
    }

    /// Where to read on, and whether there is something that is not shown yet.
    fn place(&self) -> Option<(Cursor, bool)> {
        self.tail().as_ref().map(|tail| (tail.cursor(), tail.has_pending()))
    }

    /// Takes in what was read, and says whether there is something to be told.
    fn take(&self, page: Page, asked_at: Moment, due: Instant) -> bool {
        if page.from_start {
            self.restart(&page, asked_at);
            return true;
        }
        let mut tail = self.tail();
        let Some(tail) = tail.as_mut() else { return false };
        tail.take(page, asked_at);
        let is_due = tail.has_pending() && Instant::now() >= due;
        if is_due {
            tail.show();
        }
        is_due
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
