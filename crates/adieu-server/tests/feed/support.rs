//! A log and those who follow it, on simulated time.

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
/// What the hub waits for in one read.
pub(crate) const READ_WAIT: Duration = Duration::from_millis(100);

/// A clock that goes with the time of the runtime.
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
        // Not at its very start, so that there is a before.
        Moment::from_nanos(u64::try_from(self.0.elapsed().as_nanos()).unwrap() + 1_000_000_000_000)
    }
}

/// A log in memory that counts how often it is read, and can be replaced by another or be out of reach.
#[derive(Clone)]
pub(crate) struct Log {
    memory: Arc<Mutex<Memory>>,
    pub(crate) reads: Arc<AtomicUsize>,
    reach: Arc<Mutex<Reach>>,
    /// How late reads that wait for news are answered: those of the hub, and nobody else's.
    delay: Arc<Mutex<Duration>>,
    /// The next read that does not wait is answered when this is told.
    held: Arc<Mutex<Option<Arc<Notify>>>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Reach {
    Within,
    Out,
    /// It takes what is asked, and never answers.
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

    /// As if a backup of nothing had been restored.
    pub(crate) fn replace(&self) {
        *self.memory.lock().unwrap() = Memory::new();
    }

    pub(crate) fn set_broken(&self, is_broken: bool) {
        *self.reach.lock().unwrap() = if is_broken { Reach::Out } else { Reach::Within };
    }

    /// The same log, for another node.
    pub(crate) fn with_delay_of_its_own(&self) -> Self {
        Self { delay: Arc::default(), ..self.clone() }
    }

    /// From its next read on, the hub is behind by so much.
    pub(crate) fn delay_the_hub(&self, delay: Duration) {
        *self.delay.lock().unwrap() = delay;
    }

    /// The next answer to a read that does not wait, which is not the hub's own, is of when it is asked for and comes when this
    /// is told.
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

/// Where nodes in this process say how far they are; one of them may be unable to.
#[derive(Clone, Default)]
pub(crate) struct Members {
    standings: Arc<Mutex<BTreeMap<String, NodeStatus>>>,
    takeovers: Arc<AtomicUsize>,
    /// It can't say anything.
    silent: Arc<AtomicBool>,
    /// Nor hear of the others.
    deaf: Arc<AtomicBool>,
}

impl Members {
    /// Can neither be written nor read.
    pub(crate) fn set_out_of_reach(&self, is_out: bool) {
        self.set_read_only(is_out);
        self.deaf.store(is_out, Ordering::SeqCst);
    }

    pub(crate) fn set_read_only(&self, is_read_only: bool) {
        self.silent.store(is_read_only, Ordering::SeqCst);
    }

    /// The same nodes, for a node that is silent by itself.
    pub(crate) fn for_another(&self) -> Self {
        Self { standings: Arc::clone(&self.standings), takeovers: Arc::clone(&self.takeovers), ..Self::default() }
    }

    /// Another server takes over, without what anybody has said.
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
    async fn tell(&self, standing: &NodeStatus) -> Result<LogId, Error> {
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
        if let Some(standing) = standings.get_mut(node).filter(|standing| standing.beat == beat) {
            standing.beat = 0;
        }
        Ok(())
    }

    async fn forget(&self, node: &str, beat: u64) -> Result<(), Error> {
        self.reach()?;
        let mut standings = self.standings.lock().unwrap();
        if standings.get(node).is_some_and(|standing| standing.beat == beat) {
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

    /// After the time in which there might be followers from before the start.
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

    /// Reads to the end.
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

/// The sessions in a page.
pub(crate) fn sessions(answer: &Answer) -> Vec<String> {
    let id = |revocation: &Revocation| match &revocation.target {
        Target::Session { id } => id.to_string(),
        other => panic!("{other:?}"),
    };
    answer.page().entries.iter().map(id).collect()
}
