//! A log and its followers, on simulated time.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use adieu::{
    Error, Issuer, SessionId,
    revocation::{Cursor, LogId, Page, Position, Pruned, Revocation, RevocationLog, Target},
    store::{Membership, Memory, NodeStatus},
    time::{Clock, Moment, Timestamp},
};
use adieu_server::feed::{Answer, Feed, Leases};
use async_trait::async_trait;
use tokio::{
    sync::Notify,
    time::{Instant, sleep},
};

pub(crate) const BOUND: Duration = Duration::from_secs(2);
/// How long the hub waits in one read.
pub(crate) const READ_WAIT: Duration = Duration::from_millis(100);

/// A clock that follows the runtime's time.
#[derive(Debug)]
pub(crate) struct RuntimeClock(Instant);

impl RuntimeClock {
    pub(crate) fn start() -> Arc<Self> {
        Arc::new(Self(Instant::now()))
    }
}

impl Clock for RuntimeClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix(1_800_000_000)
    }

    fn moment(&self) -> Moment {
        // Not zero at the start, so that earlier moments exist.
        Moment::from_nanos(u64::try_from(self.0.elapsed().as_nanos()).unwrap() + 1_000_000_000_000)
    }
}

/// A log in memory that counts its reads, and can be replaced by another or be unreachable.
#[derive(Clone)]
pub(crate) struct Log {
    memory: Arc<Mutex<Memory>>,
    pub(crate) reads: Arc<AtomicUsize>,
    reach: Arc<Mutex<Reach>>,
    /// The delay of reads that wait for news, which are only the hub's.
    delay: Arc<Mutex<Duration>>,
    /// The next read that does not wait is answered when this is notified.
    held: Arc<Mutex<Option<Arc<Notify>>>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Reach {
    Within,
    Out,
    /// It accepts requests and never answers.
    Hanging,
}

impl Log {
    pub(crate) fn new() -> Self {
        Self {
            memory: Arc::default(),
            reads: Arc::default(),
            reach: Arc::new(Mutex::new(Reach::Within)),
            delay: Arc::default(),
            held: Arc::default(),
        }
    }

    /// Replaces the log, as restoring an empty backup would.
    pub(crate) fn replace(&self) {
        *self.memory.lock().unwrap() = Memory::new();
    }

    pub(crate) fn set_broken(&self, is_broken: bool) {
        *self.reach.lock().unwrap() = if is_broken { Reach::Out } else { Reach::Within };
    }

    /// Returns the same log for another node, with its own delay.
    pub(crate) fn with_delay_of_its_own(&self) -> Self {
        Self { delay: Arc::default(), ..self.clone() }
    }

    /// Delays the hub by this much from its next read on.
    pub(crate) fn delay_the_hub(&self, delay: Duration) {
        *self.delay.lock().unwrap() = delay;
    }

    /// Holds the next answer to a read that does not wait, which is not the hub's. The answer reflects the time of the request, and is sent
    /// when the returned value is notified.
    pub(crate) fn hold_next_answer(&self) -> Arc<Notify> {
        let release = Arc::new(Notify::new());
        *self.held.lock().unwrap() = Some(Arc::clone(&release));
        release
    }

    pub(crate) fn hang(&self) {
        *self.reach.lock().unwrap() = Reach::Hanging;
    }

    fn memory(&self) -> Memory {
        self.memory.lock().unwrap().clone()
    }
}

#[async_trait]
impl RevocationLog for Log {
    async fn append(&self, revocations: Vec<Revocation>) -> Result<Position, Error> {
        self.memory().append(revocations).await
    }

    async fn read(&self, after: Option<&Cursor>, wait: Duration) -> Result<Page, Error> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        let reach = *self.reach.lock().unwrap();
        match reach {
            Reach::Within => {}
            Reach::Out => return Err(Error::unavailable("out of reach")),
            Reach::Hanging => std::future::pending().await,
        }
        let page = self.memory().read(after, wait).await;
        let held = if wait.is_zero() { self.held.lock().unwrap().take() } else { None };
        if let Some(release) = held {
            release.notified().await;
        }
        if !wait.is_zero() {
            let delay = *self.delay.lock().unwrap();
            sleep(delay).await;
        }
        page
    }

    async fn prune(&self, now: Timestamp) -> Result<Pruned, Error> {
        self.memory().prune(now).await
    }
}

/// The registry in which nodes in this process report their positions; one of them may be unable to.
#[derive(Clone, Default)]
pub(crate) struct Members {
    standings: Arc<Mutex<BTreeMap<String, NodeStatus>>>,
    takeovers: Arc<AtomicUsize>,
    /// This node can't report.
    silent: Arc<AtomicBool>,
    /// This node can't read the reports of others.
    deaf: Arc<AtomicBool>,
}

impl Members {
    /// Makes the registry unavailable for reads and writes.
    pub(crate) fn set_out_of_reach(&self, is_out: bool) {
        self.set_read_only(is_out);
        self.deaf.store(is_out, Ordering::SeqCst);
    }

    pub(crate) fn set_read_only(&self, is_read_only: bool) {
        self.silent.store(is_read_only, Ordering::SeqCst);
    }

    /// Returns the same registry for a node that can be silenced separately.
    pub(crate) fn for_another(&self) -> Self {
        Self { standings: Arc::clone(&self.standings), takeovers: Arc::clone(&self.takeovers), ..Self::default() }
    }

    /// Simulates a takeover by another server, which lacks all reports.
    pub(crate) fn take_over(&self) {
        self.takeovers.fetch_add(1, Ordering::SeqCst);
        self.standings.lock().unwrap().clear();
    }

    pub(crate) fn lineage(&self) -> LogId {
        LogId::new(&format!("after {} takeovers", self.takeovers.load(Ordering::SeqCst))).unwrap()
    }

    pub(crate) fn count(&self) -> usize {
        self.standings.lock().unwrap().len()
    }

    fn reach(&self) -> Result<(), Error> {
        Self::unless(&self.silent)
    }

    fn unless(is_out: &AtomicBool) -> Result<(), Error> {
        if is_out.load(Ordering::SeqCst) { Err(Error::unavailable("out of reach")) } else { Ok(()) }
    }
}

#[async_trait]
impl Membership for Members {
    async fn publish(&self, standing: &NodeStatus) -> Result<LogId, Error> {
        self.reach()?;
        self.standings.lock().unwrap().insert(standing.node.clone(), standing.clone());
        Ok(self.lineage())
    }

    async fn members(&self) -> Result<adieu::store::Members, Error> {
        Self::unless(&self.deaf)?;
        let nodes = self.standings.lock().unwrap().values().cloned().collect();
        Ok(adieu::store::Members { lineage: self.lineage(), nodes })
    }

    async fn suspect(&self, node: &str, beat: u64) -> Result<(), Error> {
        self.reach()?;
        let mut standings = self.standings.lock().unwrap();
        if let Some(standing) = standings.get_mut(node).filter(|standing| standing.heartbeat == beat) {
            standing.heartbeat = 0;
        }
        Ok(())
    }

    async fn forget(&self, node: &str, beat: u64) -> Result<(), Error> {
        self.reach()?;
        let mut standings = self.standings.lock().unwrap();
        if standings.get(node).is_some_and(|standing| standing.heartbeat == beat) {
            standings.remove(node);
        }
        Ok(())
    }
}

/// A hub on a log.
pub(crate) struct Served {
    pub(crate) log: Log,
    pub(crate) clock: Arc<RuntimeClock>,
    pub(crate) leases: Arc<Leases>,
    pub(crate) feed: Feed,
}

impl Served {
    pub(crate) fn start() -> Self {
        let (log, clock) = (Log::new(), RuntimeClock::start());
        let feed = Feed::start(Arc::new(log.clone()), clock.clone(), issuer(), BOUND);
        Self { log, clock, leases: Arc::clone(&feed.leases), feed }
    }

    /// Starts a hub, and waits until no follower from before the start can be live.
    pub(crate) async fn long_since() -> Self {
        let served = Self::start();
        sleep(BOUND).await;
        served
    }

    pub(crate) async fn revoke(&self, session: &str) {
        self.log.append(vec![revocation(session)]).await.unwrap();
    }

    pub(crate) async fn read(&self, after: Option<&Cursor>, wait: Duration) -> Answer {
        self.feed.hub.read(after, wait, self.clock.moment(), || ()).await.unwrap()
    }

    /// Reads to the end of the log.
    pub(crate) async fn catch_up(&self) -> Cursor {
        self.read(None, Duration::ZERO).await.page().cursor
    }
}

pub(crate) fn issuer() -> Issuer {
    Issuer::new("adieu").unwrap()
}

pub(crate) fn revocation(session: &str) -> Revocation {
    Revocation {
        issuer: issuer(),
        target: Target::Session { id: SessionId::new(session).unwrap() },
        lapses_at: Timestamp::from_unix(1_900_000_000),
    }
}

/// Returns the sessions in a page.
pub(crate) fn sessions(answer: &Answer) -> Vec<String> {
    let id = |revocation: &Revocation| match &revocation.target {
        Target::Session { id } => id.to_string(),
        other => panic!("{other:?}"),
    };
    answer.page().entries.iter().map(id).collect()
}
