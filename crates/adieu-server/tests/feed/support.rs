//! A log and those who follow it, on simulated time.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use adieu::{
    Error, Issuer, SessionId,
    revocation::{Cursor, Page, Position, Pruned, Revocation, RevocationLog, Target},
    store::Memory,
    time::{Clock, Moment, Timestamp},
};
use adieu_server::feed::{Answer, Feed, Leases};
use async_trait::async_trait;
use tokio::time::Instant;

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
        Self { memory: Arc::default(), reads: Arc::default(), reach: Arc::new(Mutex::new(Reach::Within)) }
    }

    /// As if a backup of nothing had been restored.
    pub(crate) fn replace(&self) {
        *self.memory.lock().unwrap() = Memory::new();
    }

    pub(crate) fn set_broken(&self, is_broken: bool) {
        *self.reach.lock().unwrap() = if is_broken { Reach::Out } else { Reach::Within };
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
        self.memory().read(after, wait).await
    }

    async fn prune(&self, now: Timestamp) -> Result<Pruned, Error> {
        self.memory().prune(now).await
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
        let feed = Feed::start(Arc::new(log.clone()), clock.clone(), Issuer::new("adieu").unwrap(), BOUND);
        Self { log, clock, leases: Arc::clone(&feed.leases), feed }
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

pub(crate) fn revocation(session: &str) -> Revocation {
    Revocation {
        issuer: Issuer::new("adieu").unwrap(),
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
