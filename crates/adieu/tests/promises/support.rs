//! A node of Adieu without a network: a store, an index that follows it, and sessions.

use std::{path::Path, sync::Arc, time::Duration};

use adieu::{
    Issuer, Subject,
    revocation::{Follower, Index, RevocationLog},
    session::{RefreshToken, SessionError, SessionSettings, SessionStore, Sessions, TokenPair},
    store::Memory,
    time::{Clock, ManualClock, Timestamp},
    token::{
        Algorithm, CacheLimits, Decoder, KeySet, KeyStore, Rules, SigningKey, StalePolicy, TokenError, Verifier,
        load_or_make_keys,
    },
};
use adieu_sqlite::Sqlite;

/// The start time of every test.
pub(crate) const NOON: Timestamp = Timestamp::from_unix(1_800_000_000);
pub(crate) const MAX_STALENESS: Duration = Duration::from_secs(2);

pub(crate) struct Node {
    pub(crate) clock: ManualClock,
    pub(crate) sessions: Sessions,
    pub(crate) index: Arc<Index>,
    pub(crate) log: Arc<dyn RevocationLog>,
    pub(crate) store: Arc<dyn SessionStore>,
    pub(crate) follower: Follower,
}

/// The parts of a node other than its store.
#[derive(Clone)]
pub(crate) struct Setup {
    pub(crate) clock: ManualClock,
    pub(crate) settings: SessionSettings,
    pub(crate) stale_policy: StalePolicy,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            clock: ManualClock::at(NOON),
            settings: SessionSettings::new(issuer()),
            stale_policy: StalePolicy::Reject,
        }
    }
}

impl Setup {
    /// A node whose clock is ahead by so many seconds.
    pub(crate) fn ahead(seconds: u64) -> Self {
        Self { clock: ManualClock::at(NOON.plus(Duration::from_secs(seconds))), ..Self::default() }
    }
}

pub(crate) fn issuer() -> Issuer {
    Issuer::new("https://adieu.test").unwrap()
}

pub(crate) fn jose() -> Subject {
    Subject::new("jose").unwrap()
}

impl Node {
    /// Starts on a store in memory.
    pub(crate) async fn start() -> Self {
        Self::on(Memory::new(), Setup::default()).await
    }

    /// Starts on a file, which other nodes may share.
    pub(crate) async fn on_file(path: &Path, setup: Setup) -> Self {
        Self::on(Sqlite::open(path).await.unwrap(), setup).await
    }

    pub(crate) async fn on<S>(store: S, setup: Setup) -> Self
    where
        S: RevocationLog + SessionStore + KeyStore + Clone,
    {
        Self::with_rules(store, Rules::new(setup.settings.issuer.clone()), setup).await
    }

    pub(crate) async fn with_rules<S>(store: S, rules: Rules, setup: Setup) -> Self
    where
        S: RevocationLog + SessionStore + KeyStore + Clone,
    {
        let keys = load_or_make_keys(&store, Algorithm::EdDSA, NOON).await.unwrap();
        let key = keys.into_iter().next().unwrap();
        let (log, store): (Arc<dyn RevocationLog>, Arc<dyn SessionStore>) = (Arc::new(store.clone()), Arc::new(store));
        Self::with_parts(log, store, key, rules, setup).await
    }

    pub(crate) async fn with_parts(
        log: Arc<dyn RevocationLog>,
        store: Arc<dyn SessionStore>,
        key: SigningKey,
        rules: Rules,
        setup: Setup,
    ) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(setup.clock.clone());
        let index = Arc::new(Index::new(clock.now()));
        let follower = Follower::start(Arc::clone(&log), Arc::clone(&index), Arc::clone(&clock), MAX_STALENESS);
        follower.ready().await.unwrap();
        let keys = KeySet::new([key.verifying_key().clone()]).unwrap();
        // The cache must never make a difference to a promise.
        let decoder = Decoder::new(rules, keys).with_cache(CacheLimits::default());
        let verifier = Verifier::new(
            decoder,
            Arc::clone(&index),
            follower.freshness(),
            Arc::clone(&clock),
            MAX_STALENESS,
            setup.stale_policy,
        );
        let sessions = Sessions::new(Arc::clone(&store), Arc::new(verifier), key, setup.settings, clock).unwrap();
        Self { clock: setup.clock, sessions, index, log, store, follower }
    }

    pub(crate) async fn log_in(&self, subject: Subject) -> TokenPair {
        self.sessions.log_in(subject).await.unwrap()
    }

    pub(crate) async fn refresh(&self, token: &str) -> Result<TokenPair, SessionError> {
        let token: RefreshToken = self.sessions.inspect(token)?;
        self.sessions.refresh(&token).await
    }

    /// Returns why an access token is rejected; `None` if it is valid.
    pub(crate) fn refusal(&self, token: &str) -> Option<TokenError> {
        self.sessions.verifier().verify(token).err()
    }

    /// Returns when the index contains everything that is in the log now.
    pub(crate) async fn catch_up(&self) {
        let before = self.clock.moment();
        self.clock.advance(Duration::from_millis(1));
        while self
            .follower
            .freshness()
            .age(self.clock.moment())
            .is_none_or(|age| self.clock.moment().minus(age) <= before)
        {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}
