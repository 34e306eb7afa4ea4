//! Nodes that share a store and its keys, on clocks that the test moves.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use adieu::{
    Error, Node, NodeBuilder, SessionId, Subject,
    restore::Restorable,
    revocation::{Cursor, Page, Position, Pruned, Revocation, RevocationLog},
    session::{EndSessions, Ended, Rotated, Rotation, Session, SessionError, SessionKey, SessionStore, TokenPair},
    store::{Memory, Store},
    time::{Clock as _, ManualClock, Timestamp},
    token::{KeyStore, StoredKey, TokenError},
};
use async_trait::async_trait;
use tokio::sync::Semaphore;

use crate::support::{NOON, issuer, jose};

/// The fault of reads of the keys. Everything else works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Reads {
    Work,
    Fail,
    /// They are never answered.
    Hang,
    /// They return the current keys, but only when the test releases them.
    Wait,
}

/// A store in memory whose keys can be unreachable. Clones share the content and the fault.
#[derive(Clone)]
pub(crate) struct Faulty {
    pub(crate) memory: Memory,
    reads: Arc<AtomicU8>,
    pub(crate) let_through: Arc<Semaphore>,
    pub(crate) waiting: Arc<Semaphore>,
}

impl Faulty {
    pub(crate) fn on(memory: &Memory) -> Self {
        Self {
            memory: memory.clone(),
            reads: Arc::new(AtomicU8::new(Reads::Work as u8)),
            let_through: Arc::new(Semaphore::new(0)),
            waiting: Arc::new(Semaphore::new(0)),
        }
    }

    pub(crate) fn set(&self, reads: Reads) {
        self.reads.store(reads as u8, Ordering::SeqCst);
    }
}

impl Store for Faulty {
    fn restorable(&self) -> Option<Arc<dyn Restorable>> {
        self.memory.restorable()
    }
}

#[async_trait]
impl KeyStore for Faulty {
    async fn keys(&self) -> Result<Vec<StoredKey>, Error> {
        let found = self.memory.keys().await;
        match self.reads.load(Ordering::SeqCst) {
            reads if reads == Reads::Work as u8 => {}
            reads if reads == Reads::Fail as u8 => return Err(Error::unavailable("out of reach")),
            reads if reads == Reads::Hang as u8 => std::future::pending().await,
            _ => {
                self.waiting.add_permits(1);
                self.let_through.acquire().await.unwrap().forget();
            }
        }
        found
    }

    async fn add_first_key(&self, key: StoredKey) -> Result<Vec<StoredKey>, Error> {
        self.memory.add_first_key(key).await
    }

    async fn replace_keys(&self, added: Option<StoredKey>, removed: Vec<String>) -> Result<Vec<StoredKey>, Error> {
        self.memory.replace_keys(added, removed).await
    }
}

#[async_trait]
impl RevocationLog for Faulty {
    async fn append(&self, revocations: Vec<Revocation>) -> Result<Position, Error> {
        self.memory.append(revocations).await
    }

    async fn read(&self, after: Option<&Cursor>, wait: Duration) -> Result<Page, Error> {
        self.memory.read(after, wait).await
    }

    async fn prune(&self, now: Timestamp) -> Result<Pruned, Error> {
        self.memory.prune(now).await
    }
}

#[async_trait]
impl SessionStore for Faulty {
    async fn create(&self, session: Session) -> Result<(), Error> {
        self.memory.create(session).await
    }

    async fn rotate(&self, rotation: Rotation) -> Result<Rotated, Error> {
        self.memory.rotate(rotation).await
    }

    async fn end(&self, ending: EndSessions) -> Result<Option<Ended>, Error> {
        self.memory.end(ending).await
    }

    async fn end_all(&self, endings: Vec<EndSessions>) -> Result<Vec<Option<Ended>>, Error> {
        self.memory.end_all(endings).await
    }

    async fn session(&self, id: &SessionId) -> Result<Option<Session>, Error> {
        self.memory.session(id).await
    }

    async fn sessions_of(&self, of: &Subject, after: Option<&SessionId>, limit: usize) -> Result<Vec<Session>, Error> {
        self.memory.sessions_of(of, after, limit).await
    }

    async fn sessions(&self, after: Option<&SessionKey>, limit: usize) -> Result<Vec<Session>, Error> {
        self.memory.sessions(after, limit).await
    }

    async fn oldest(&self) -> Result<Option<Session>, Error> {
        self.memory.oldest().await
    }

    async fn latest_expiry(&self) -> Result<Timestamp, Error> {
        self.memory.latest_expiry().await
    }

    async fn record_last_seen(&self, seen: Vec<(SessionId, Subject, Timestamp)>) -> Result<(), Error> {
        self.memory.record_last_seen(seen).await
    }

    async fn delete_expired(&self, now: Timestamp) -> Result<Pruned, Error> {
        self.memory.delete_expired(now).await
    }
}

/// Time, which passes for the nodes as it does for the runtime.
pub(crate) struct Time(pub(crate) ManualClock);

impl Time {
    pub(crate) fn at_noon() -> Self {
        Self(ManualClock::at(NOON))
    }

    pub(crate) fn builder(&self) -> NodeBuilder {
        Node::builder(issuer()).with_clock(Arc::new(self.0.clone()))
    }

    pub(crate) async fn node<S>(&self, store: &S) -> Node
    where
        S: Store + Clone,
    {
        self.builder().start(store.clone()).await.unwrap()
    }

    /// Advances time in several small steps.
    pub(crate) async fn pass(&self, duration: Duration) {
        const STEP: Duration = Duration::from_millis(5);
        let wall = self.0.now();
        let mut left = duration;
        while !left.is_zero() {
            let step = left.min(STEP);
            self.0.advance(step);
            tokio::time::sleep(step).await;
            left -= step;
            // The wall clock counts whole seconds, and drops fractions.
            self.0.set_wall(Timestamp::from_unix(wall.as_unix() + (duration - left).as_secs()));
        }
    }

    /// Jumps, and lets the nodes read the changes since.
    pub(crate) async fn jump(&self, duration: Duration) {
        self.0.advance(duration);
        self.pass(Duration::from_secs(2)).await;
    }
}

pub(crate) async fn log_in(node: &Node) -> TokenPair {
    node.sessions().log_in(jose()).await.unwrap()
}

pub(crate) async fn refresh(node: &Node, token: &str) -> Result<TokenPair, SessionError> {
    let token = node.sessions().inspect(token)?;
    node.sessions().refresh(&token).await
}

/// Returns why an access token is rejected; `None` if it is valid.
pub(crate) fn refusal(node: &Node, token: &str) -> Option<TokenError> {
    node.verifier().verify(token).err()
}

/// Returns the id of the key that a token names.
pub(crate) fn key_of(token: &str) -> String {
    jsonwebtoken::decode_header(token).unwrap().kid.unwrap()
}

/// Returns the id of the key that a node signs with now.
pub(crate) fn signs(node: &Node) -> String {
    node.signing_key().key_id().unwrap().to_string()
}

pub(crate) async fn ids(store: &dyn KeyStore) -> Vec<String> {
    store.keys().await.unwrap().into_iter().map(|key| key.id).collect()
}
