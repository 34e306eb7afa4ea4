//! A node, put together: a store, the index that follows it, the verifier and the sessions.
//!
//! ```
//! use adieu::{Issuer, Node, Subject, session::Scope, store::Memory};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let node = Node::builder(Issuer::new("https://example.org")?).start(Memory::new()).await?;
//!
//! let tokens = node.sessions().log_in(Subject::new("jose")?).await?;
//! assert!(node.verifier().verify(&tokens.access).is_ok());
//!
//! node.sessions().log_out(&tokens.access, Scope::This).await?;
//! assert!(node.verifier().verify(&tokens.access).is_err());
//! # Ok(())
//! # }
//! ```

mod guard;
mod housekeeping;
mod kept_keys;
mod limited;
mod watched;

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use tokio::sync::watch;

use crate::{
    Error, Issuer,
    restore::HighWater,
    revocation::{Cursor, Follower, Index, RevocationLog},
    session::{SessionSettings, Sessions},
    store::IntoStore,
    time::{Clock, SystemClock, Timestamp},
    token::{
        Algorithm, CacheLimits, DEFAULT_SKEW, Decoder, KeySet, KeyStore, RemovedKey, Rules, SigningKey, SigningKeys,
        StalePolicy, StoredKey, Verifier, remove_key, rotate_key,
    },
};

pub use housekeeping::{Housekeeping, run_maintenance};
pub use limited::FreshnessLimit;

use guard::Guard;
use kept_keys::{FirstKeys, KeptKeys, WithKeys};
use limited::Limited;
use watched::{Watched, WatchedKeys};

/// By default, the longest that a node may be behind the log before its verifier refuses.
pub const DEFAULT_MAX_STALENESS: Duration = Duration::from_secs(2);

/// A process with an index: everything that logging in, verifying and logging out take, running.
///
/// What runs in the background ends when the node is dropped.
pub struct Node {
    sessions: Arc<Sessions>,
    verifier: Arc<Verifier>,
    log: Arc<dyn RevocationLog>,
    keys: SigningKeys,
    /// None when it signs with a key of its own.
    kept_keys: Option<Arc<KeptKeys>>,
    clock: Arc<dyn Clock>,
    guard: Option<Arc<Guard>>,
    follower: Follower,
}

impl fmt::Debug for Node {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Node").field("sessions", &self.sessions).finish_non_exhaustive()
    }
}

impl Node {
    /// A node whose tokens are of this issuer. Everything else has a default.
    pub fn builder(issuer: Issuer) -> NodeBuilder {
        NodeBuilder {
            settings: SessionSettings::new(issuer),
            algorithm: Algorithm::EdDSA,
            signing_key: None,
            rules: |rules| rules,
            leeway: Duration::ZERO,
            max_staleness: DEFAULT_MAX_STALENESS,
            stale_policy: StalePolicy::default(),
            token_cache: Some(CacheLimits::default()),
            issuers: Vec::new(),
            high_water: None,
            limit: None,
            clock: Arc::new(SystemClock),
        }
    }

    /// Logs in, refreshes and logs out.
    #[must_use]
    pub fn sessions(&self) -> &Arc<Sessions> {
        &self.sessions
    }

    /// What every path asks whether a token is good.
    #[must_use]
    pub fn verifier(&self) -> &Arc<Verifier> {
        &self.verifier
    }

    /// Where revocations are kept.
    #[must_use]
    pub fn log(&self) -> &Arc<dyn RevocationLog> {
        &self.log
    }

    /// Up to where this node has taken the log in, and when that changes.
    #[must_use]
    pub fn applied(&self) -> watch::Receiver<Option<Cursor>> {
        self.follower.applied()
    }

    /// The key that tokens are signed with now.
    #[must_use]
    pub fn signing_key(&self) -> SigningKey {
        self.keys.at(self.clock.now())
    }

    /// All signing keys, in the order in which they sign: those of the store as they were last read, which is not
    /// longer ago than [`Verifier::staleness`] says.
    #[must_use]
    pub fn signing_keys(&self) -> Vec<SigningKey> {
        self.keys.all()
    }

    /// Makes another signing key, of the same algorithm as the last: every node of the store publishes it as soon as it
    /// has read of it, which is within its `max_staleness`, and signs with it when `publish_for` is over.
    ///
    /// [`DEFAULT_PUBLICATION_DELAY`](crate::token::DEFAULT_PUBLICATION_DELAY) is long enough for whoever takes the keys from the URL of a
    /// server. If it is less than `max_staleness`, another node may refuse what this one has signed until it knows the
    /// key. The old key stays for as long as anything that it has signed can be good.
    ///
    /// # Errors
    /// [`Error::Unsupported`] on a node with a [key of its own](NodeBuilder::with_signing_key); otherwise as [`rotate_key`].
    /// When the key can't be read back it may be there all the same.
    pub async fn rotate_key(&self, publish_for: Duration) -> Result<StoredKey, Error> {
        let kept = self.kept_keys()?;
        let now = self.clock.now();
        let key = rotate_key(&**kept.store(), None, now, now.plus(publish_for)).await?;
        kept.refresh().await?;
        Ok(key)
    }

    /// Removes a signing key that must not be believed any more. When this returns, this node refuses everything that
    /// it has signed, access and refresh tokens alike, and other nodes of the store do within their `max_staleness`. If
    /// it was the one that signs, another is put in its place, which signs at once. `None` when there is no such key.
    ///
    /// Sessions stay, but whoever has no token of another key has to log in again.
    ///
    /// # Errors
    /// [`Error::Unsupported`] on a node with a [key of its own](NodeBuilder::with_signing_key). [`Error::Unavailable`] when the
    /// store could not be read or written: then nothing is promised.
    pub async fn remove_key(&self, id: &str) -> Result<Option<RemovedKey>, Error> {
        let kept = self.kept_keys()?;
        let removed = remove_key(&**kept.store(), id, self.clock.now()).await?;
        kept.refresh().await?;
        Ok(removed)
    }

    fn kept_keys(&self) -> Result<&KeptKeys, Error> {
        self.kept_keys.as_deref().ok_or_else(|| {
            Error::Unsupported("this node signs with a key of its own, and not with those of the store".to_owned())
        })
    }

    /// What time it is here.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// Returns the mark that the log of the store is held against; `None` unless a [file](NodeBuilder::with_high_water) was set.
    #[must_use]
    pub fn high_water(&self) -> Option<&Arc<HighWater>> {
        self.guard.as_deref().map(Guard::high_water)
    }

    /// When it was noticed that a backup had been put back, until that is [accepted](Node::accept_restore); see
    /// [`restore`](crate::restore). Always `None` without a [high-water mark](NodeBuilder::with_high_water).
    #[must_use]
    pub fn restored_at(&self) -> Option<Timestamp> {
        self.guard.as_ref()?.restored_at()
    }

    /// Accepts that a backup was put back: it is not told any more. Gives when it was noticed, or `None` when there is nothing to
    /// accept. What was revoked stays so.
    ///
    /// # Errors
    /// When the store could not be written.
    pub async fn accept_restore(&self) -> Result<Option<Timestamp>, Error> {
        match &self.guard {
            Some(guard) => guard.accept_restore().await,
            None => Ok(None),
        }
    }

    /// Starts to forget what has lapsed and to write down when sessions were last used, for as long as the answer is
    /// kept. One node of a store is enough; several do no harm.
    #[must_use]
    pub fn start_housekeeping(&self) -> Housekeeping {
        let (log, sessions, clock) = (Arc::clone(&self.log), Arc::clone(&self.sessions), Arc::clone(&self.clock));
        match &self.kept_keys {
            Some(keys) => Housekeeping::start_with_keys(log, sessions, Arc::clone(keys.store()), clock),
            None => Housekeeping::start(log, sessions, clock),
        }
    }
}

/// What a node is to be like.
#[derive(Debug, Clone)]
#[must_use]
pub struct NodeBuilder {
    settings: SessionSettings,
    algorithm: Algorithm,
    signing_key: Option<SigningKey>,
    rules: fn(Rules) -> Rules,
    leeway: Duration,
    max_staleness: Duration,
    stale_policy: StalePolicy,
    token_cache: Option<CacheLimits>,
    issuers: Vec<Arc<Decoder>>,
    high_water: Option<PathBuf>,
    limit: Option<FreshnessLimit>,
    clock: Arc<dyn Clock>,
}

impl NodeBuilder {
    /// How long tokens and sessions last, and whom they are for. The issuer becomes that of the settings.
    pub fn with_session_settings(self, settings: SessionSettings) -> Self {
        Self { settings, ..self }
    }

    /// The algorithm of the key that is made at the first start of a node that is given no
    /// [`signing_key`](NodeBuilder::with_signing_key); Ed25519 unless something else is set. A key that is in
    /// the store already stays as it is.
    pub fn with_algorithm(self, algorithm: Algorithm) -> Self {
        Self { algorithm, ..self }
    }

    /// Signs with this key, and verifies with it alone, instead of a key that is kept in the store: for an application
    /// that has a key already, or shares one with another. It is not written down, and what keys the store has makes no
    /// difference.
    ///
    /// Every node that signs for the same sessions needs the same key: a refresh token is good where it was signed.
    pub fn with_signing_key(self, key: SigningKey) -> Self {
        Self { signing_key: Some(key), ..self }
    }

    /// Changes what a token must be like, starting from rules as strict as they are made for the issuer, the audience and
    /// the leeway of this node.
    ///
    /// With a [key](NodeBuilder::with_signing_key) that is shared with an application of Flask-JWT-Extended, these rules take
    /// its tokens as well:
    ///
    /// ```
    /// # use adieu::{Issuer, Node, store::Memory, token::{Algorithm, Rules, SigningKey}};
    /// # async fn start() -> Result<(), Box<dyn std::error::Error>> {
    /// # let secret = [0; 32];
    /// let node = Node::builder(Issuer::new("https://api.example.org")?)
    ///     .with_signing_key(SigningKey::from_secret(Algorithm::HS256, &secret)?)
    ///     .with_rules(|rules| rules.accept_generic_type().accept_missing_issuer())
    ///     .start(Memory::new())
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn with_rules(self, rules: fn(Rules) -> Rules) -> Self {
        Self { rules, ..self }
    }

    /// How far the issuer's clock may be from ours; see [`Rules::with_leeway`].
    pub fn with_leeway(self, leeway: Duration) -> Self {
        Self { leeway, ..self }
    }

    /// How long after a logout was answered elsewhere this node may still accept the token:
    /// [`DEFAULT_MAX_STALENESS`] unless something else is set.
    pub fn with_max_staleness(self, max_staleness: Duration) -> Self {
        Self { max_staleness, ..self }
    }

    /// What happens when this node can't know enough: it refuses, unless something else is set.
    pub fn with_stale_policy(self, stale_policy: StalePolicy) -> Self {
        Self { stale_policy, ..self }
    }

    /// How many tokens are remembered whose signature was found good, so that it is checked once; `None` for none. See
    /// [`Decoder::with_cache`] for what is remembered, and what never is.
    pub fn with_token_cache(self, token_cache: Option<CacheLimits>) -> Self {
        Self { token_cache, ..self }
    }

    /// Accepts the access tokens of another issuer as well; see [`Verifier::with_issuer`]. They can be logged out here;
    /// they have no sessions, and their subjects are not ours.
    pub fn with_issuer(mut self, decoder: impl Into<Arc<Decoder>>) -> Self {
        self.issuers.push(decoder.into());
        self
    }

    /// Remembers in this file how far the log has been, so that a backup which is put back is noticed: then every token that was
    /// issued before is revoked, and every session ends; see [`restore`](crate::restore). None is kept unless this is set.
    ///
    /// The file belongs where a backup of the store does not reach: put back together with the store, it proves
    /// nothing. Each node of several has its own.
    pub fn with_high_water(self, file: impl Into<PathBuf>) -> Self {
        Self { high_water: Some(file.into()), ..self }
    }

    /// Counts what the log says as complete as of no later than `limit` says: for a node that others wait for as long as they
    /// know of it, and that must refuse when they may have forgotten it. A limit that is never raised makes the node refuse.
    pub fn with_freshness_limit(self, limit: FreshnessLimit) -> Self {
        Self { limit: Some(limit), ..self }
    }

    /// A clock other than the system's, for tests.
    pub fn with_clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self }
    }

    /// Starts the node on a store, and returns when it knows everything that has been revoked.
    ///
    /// # Errors
    /// When the store can't be used, when a key in it can't, or when settings contradict each other.
    pub async fn start(self, store: impl IntoStore) -> Result<Node, Error> {
        let store = store.into_store();
        let Self {
            settings,
            algorithm,
            signing_key,
            rules: change_rules,
            leeway,
            max_staleness,
            stale_policy,
            token_cache,
            issuers,
            high_water,
            limit,
            clock,
        } = self;
        // First of all, so that no key and no session is taken from a backup that was put back.
        let guard = match high_water {
            Some(file) => Guard::start(file, &store, &settings, &issuers, algorithm, &clock).await?,
            None => None,
        };
        let key_store: Arc<dyn KeyStore> = match &guard {
            Some(guard) => Arc::new(WatchedKeys { keys: Arc::clone(&store) as _, guard: Arc::clone(guard) }),
            None => Arc::clone(&store) as _,
        };
        // Whoever shares a key issues tokens without a session here, which a cut-off alone can end: then it is the leeway
        // that says how far a clock may be ahead. All other tokens of ours are of sessions, which end by their names.
        let skew = if signing_key.is_some() { Duration::ZERO } else { DEFAULT_SKEW };
        let (keys, set, kept) = match signing_key {
            Some(key) => {
                let set = KeySet::new([key.verifying_key().clone()])?;
                (SigningKeys::from(key), set, None)
            }
            None => {
                let first = FirstKeys::read(key_store, algorithm, &*clock).await?;
                (first.signing.clone(), first.set.clone(), Some(first))
            }
        };
        let mut rules = Rules::new(settings.issuer.clone()).with_leeway(leeway)?.with_skew(skew)?;
        for audience in &settings.audience {
            rules = rules.with_audience(audience);
        }
        let rules = change_rules(rules);
        if *rules.issuer() != settings.issuer {
            return Err(Error::setting("rules", "the rules must be for the issuer of the sessions"));
        }
        let decoder = Decoder::new(rules, set);
        let decoder = Arc::new(match token_cache {
            Some(limits) => decoder.with_cache(limits),
            None => decoder,
        });
        let kept_keys =
            kept.map(|first| Arc::new(first.follow(Arc::clone(&decoder), Arc::clone(&clock), max_staleness)));

        let log: Arc<dyn RevocationLog> = match &guard {
            Some(guard) => Arc::new(Watched::new(Arc::clone(&store) as _, Arc::clone(guard))),
            None => Arc::clone(&store) as _,
        };
        let log = match limit {
            Some(limit) => Arc::new(Limited { log, limit, clock: Arc::clone(&clock) }),
            None => log,
        };
        // Who follows reads of the keys, too.
        let followed = match &kept_keys {
            Some(keys) => Arc::new(WithKeys { log: Arc::clone(&log), keys: Arc::clone(keys) }),
            None => Arc::clone(&log),
        };
        let index = Arc::new(Index::new(clock.now()));
        let follower = Follower::start(followed, Arc::clone(&index), Arc::clone(&clock), max_staleness);
        let mut verifier =
            Verifier::new(decoder, index, follower.freshness(), Arc::clone(&clock), max_staleness, stale_policy);
        for issuer in issuers {
            verifier = verifier.with_issuer(issuer)?;
        }
        let verifier = Arc::new(verifier);
        let sessions = Sessions::new(store, Arc::clone(&verifier), keys.clone(), settings, Arc::clone(&clock))?;
        follower.ready().await?;
        Ok(Node { sessions: Arc::new(sessions), verifier, log, keys, kept_keys, clock, guard, follower })
    }
}
