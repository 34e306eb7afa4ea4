//! The servers: the node that has the store, and nodes that follow another.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use adieu::{
    Error, Issuer, TokenId,
    revocation::{
        Cursor, Follower, Freshness, Index, LogId, Page, Position, Pruned, Revocation, RevocationLog, Target,
    },
    time::{Clock, Timestamp},
};
use adieu_client::{
    Remote,
    transport::Transport,
    wire::{self, FeedPage},
};
use async_trait::async_trait;
use http::{Request, Response, StatusCode};

use super::{Dice, MachineClock, Signal, log::Durable, network::Process};
use crate::support::{MAX_STALENESS, issuer};

/// A process that answers requests; `None` if it ends before it answers this one.
#[async_trait]
pub(crate) trait Node: Send + Sync {
    async fn answer(&self, request: Request<Vec<u8>>) -> Option<Response<Vec<u8>>>;
}

/// The parameters of a request.
struct Asked {
    after: Option<Cursor>,
    wait: Duration,
}

fn asked(request: &Request<Vec<u8>>) -> Asked {
    let url = reqwest::Url::parse(&request.uri().to_string()).unwrap();
    let query: HashMap<String, String> = url.query_pairs().into_owned().collect();
    assert_eq!(query["max_staleness"], MAX_STALENESS.as_millis().to_string());
    let after: Option<Cursor> = query.get("after").map(|after| after.parse().unwrap());
    let applied: u64 = query["applied"].parse().unwrap();
    assert!(after.as_ref().map_or(0, |after| after.position.get()) >= applied, "acknowledged what was not read");
    Asked { after, wait: Duration::from_millis(query["wait"].parse().unwrap()) }
}

fn page(page: Page, dice: &Dice) -> Response<Vec<u8>> {
    let answer = FeedPage { issuer: issuer(), max_staleness: MAX_STALENESS, page };
    let (media_type, body) =
        if dice.once_in(2) { (wire::JSON, wire::to_json(&answer)) } else { (wire::BINARY, wire::to_binary(&answer)) };
    Response::builder().header("content-type", media_type).body(body).unwrap()
}

fn status(status: StatusCode) -> Response<Vec<u8>> {
    Response::builder().status(status).body(Vec::new()).unwrap()
}

/// The node that has the store.
pub(crate) struct Origin {
    pub(crate) log: Durable,
    pub(crate) process: Process,
    /// Changes with every restart.
    pub(crate) life: Signal<u64>,
    pub(crate) up: Signal<bool>,
    /// Whether it accepts writes.
    pub(crate) writes: AtomicBool,
    pub(crate) dice: Dice,
}

#[async_trait]
impl Node for Origin {
    async fn answer(&self, request: Request<Vec<u8>>) -> Option<Response<Vec<u8>>> {
        let life = self.life.get();
        if !self.up.get() {
            return None;
        }
        tokio::select! {
            biased;
            () = self.life.until(|now| now != life) => None,
            response = self.answer_in_this_life(request) => Some(response),
        }
    }
}

impl Origin {
    async fn answer_in_this_life(&self, request: Request<Vec<u8>>) -> Response<Vec<u8>> {
        self.process.run().await;
        if request.method() == http::Method::POST {
            if !self.writes.load(Ordering::Relaxed) {
                return status(StatusCode::SERVICE_UNAVAILABLE);
            }
            self.log.append_now(revocations(request.body()));
            self.process.run().await;
            return Response::new(b"{}".to_vec());
        }
        let asked = asked(&request);
        let answer = self.log.read(asked.after.as_ref(), asked.wait).await.unwrap();
        // The node may be paused before it sends the response.
        self.process.run().await;
        page(answer, &self.dice)
    }
}

/// Parses a batch as a node does.
fn revocations(body: &[u8]) -> Vec<Revocation> {
    let body: serde_json::Value = serde_json::from_slice(body).unwrap();
    let one = |entry: &serde_json::Value| {
        let expires_at = Timestamp::from_unix(entry["expires_at"].as_u64().unwrap());
        Revocation {
            issuer: Issuer::new(entry["issuer"].as_str().unwrap()).unwrap(),
            target: Target::Token {
                id: TokenId::new(entry["token_id"].as_str().unwrap()).unwrap(),
                expires_at: Some(expires_at),
            },
            lapses_at: Revocation::lapse_for(expires_at),
        }
    };
    body["revocations"].as_array().unwrap().iter().map(one).collect()
}

/// A node that follows another, and serves the pages that it has applied: late, and stating how late.
pub(crate) struct Relay {
    pub(crate) process: Process,
    pub(crate) life: Mutex<Option<RelayLife>>,
    pub(crate) upstream: Arc<dyn Transport>,
    pub(crate) clock: MachineClock,
    pub(crate) dice: Dice,
}

#[derive(Clone)]
pub(crate) struct RelayLife {
    taken_in: Arc<TakenIn>,
    freshness: Freshness,
    #[expect(dead_code, reason = "follows for as long as this life lasts")]
    follower: Arc<Follower>,
}

/// The pages as received, and how many of them are in the index.
struct TakenIn {
    remote: Remote,
    waiting: Mutex<Vec<Page>>,
    pages: Mutex<Vec<Page>>,
    /// Pages of another log, until it is complete: until then, completeness refers to the previous log.
    other: Mutex<Option<Vec<Page>>>,
    changes: Signal<u64>,
}

impl Relay {
    pub(crate) fn start(&self) {
        let remote = Remote::builder("https://node.test", "relay", "secret".into())
            .with_max_staleness(MAX_STALENESS)
            .with_transport(Arc::clone(&self.upstream))
            .build()
            .unwrap();
        let taken_in = Arc::new(TakenIn {
            remote,
            waiting: Mutex::default(),
            pages: Mutex::default(),
            other: Mutex::default(),
            changes: Signal::new(0),
        });
        let clock: Arc<dyn Clock> = Arc::new(self.clock.clone());
        let index = Arc::new(Index::new(clock.now()));
        // Its readers are further behind than it is.
        let follower = Follower::start(taken_in.clone(), index, clock, MAX_STALENESS / 2);
        let life = RelayLife { taken_in, freshness: follower.freshness(), follower: Arc::new(follower) };
        *self.life.lock().unwrap() = Some(life);
    }

    pub(crate) fn stop(&self) {
        *self.life.lock().unwrap() = None;
    }
}

#[async_trait]
impl Node for Relay {
    async fn answer(&self, request: Request<Vec<u8>>) -> Option<Response<Vec<u8>>> {
        self.process.run().await;
        let arrived = self.clock.moment();
        // The life in which the request arrived; if that life ends meanwhile, it still answers, which is a harder case.
        let life = self.life.lock().unwrap().clone()?;
        if request.method() == http::Method::POST {
            return Some(status(StatusCode::SERVICE_UNAVAILABLE));
        }
        let asked = asked(&request);
        let before = life.taken_in.changes.get();
        let mut answer = life.taken_in.page(asked.after.as_ref());
        if answer.as_ref().is_some_and(|page| page.entries.is_empty() && !page.from_start) {
            let changed = life.taken_in.changes.until(|changes| changes != before);
            let _ = tokio::time::timeout(asked.wait, changed).await;
        }
        self.process.run().await;
        // Read the time of completeness first: the response is then at least as recent.
        let Some(complete_at) = life.freshness.last_complete() else {
            return Some(status(StatusCode::SERVICE_UNAVAILABLE));
        };
        answer = life.taken_in.page(asked.after.as_ref());
        Some(page(Page { age: arrived.since(complete_at), ..answer? }, &self.dice))
    }
}

impl TakenIn {
    fn page(&self, after: Option<&Cursor>) -> Option<Page> {
        let pages = self.pages.lock().unwrap();
        let last = pages.last()?;
        let log: &LogId = &last.cursor.log;
        let known = after.filter(|cursor| cursor.log == *log && cursor.position <= last.cursor.position);
        let from = known.map_or(Position::START, |cursor| cursor.position);
        let later = pages.iter().filter(|page| page.cursor.position > from);
        Some(Page {
            entries: later.flat_map(|page| page.entries.clone()).collect(),
            from_start: known.is_none(),
            complete: true,
            ..last.clone()
        })
    }
}

#[async_trait]
impl RevocationLog for TakenIn {
    async fn append(&self, revocations: Vec<Revocation>) -> Result<Position, Error> {
        self.remote.append(revocations).await
    }

    async fn read(&self, after: Option<&Cursor>, wait: Duration) -> Result<Page, Error> {
        let page = self.remote.read(after, wait).await?;
        self.waiting.lock().unwrap().push(page.clone());
        Ok(page)
    }

    async fn prune(&self, now: Timestamp) -> Result<Pruned, Error> {
        self.remote.prune(now).await
    }

    fn acknowledge(&self, cursor: &Cursor) {
        self.remote.acknowledge(cursor);
        let mut waiting = self.waiting.lock().unwrap();
        let until = waiting.iter().position(|page| page.cursor == *cursor).unwrap();
        let mut pages = self.pages.lock().unwrap();
        let mut other = self.other.lock().unwrap();
        for page in waiting.drain(..=until) {
            if page.from_start {
                *other = Some(Vec::new());
            }
            let is_whole = page.complete;
            match &mut *other {
                Some(other) => other.push(page),
                None => pages.push(page),
            }
            if is_whole && let Some(whole) = other.take() {
                *pages = whole;
            }
        }
        self.changes.set(self.changes.get() + 1);
    }
}
