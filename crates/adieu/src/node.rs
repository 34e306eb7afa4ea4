//! A node: a store, the index that follows it, the verifier and the sessions.

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
    revocation::{Cursor, Follower, Index, Revocation, RevocationLog},
    session::{SessionSettings, Sessions},
    store::IntoStore,
    time::{Clock, SystemClock, Timestamp},
    token::{
        Algorithm, CacheLimits, DEFAULT_SKEW, Decoder, KeyId, KeySet, KeyStore, RemovedKey, Rules, SigningKey,
        SigningKeys, StalePolicy, StoredKey, Verifier, remove_key, rotate_key,
    },
};

pub use housekeeping::{Housekeeping, run_maintenance};
pub use limited::FreshnessLimit;

use guard::Guard;
use kept_keys::{FirstKeys, KeptKeys, WithKeys};
use limited::Limited;
use watched::{Watched, WatchedKeys};

/// The default of [`NodeBuilder::with_max_staleness`].
pub const DEFAULT_MAX_STALENESS: Duration = Duration::from_secs(2);

/// A process with an index, and everything that login, verification and logout need.
///
/// Background tasks end when the node is dropped.
///
/// ```
/// use adieu::{Issuer, Node, Subject, session::Scope, store::Memory};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let node = Node::builder(Issuer::new("https://example.org")?).start(Memory::new()).await?;
///
/// let tokens = node.sessions().log_in(Subject::new("jose")?).await?;
/// assert!(node.verifier().verify(&tokens.access).is_ok());
///
/// node.sessions().log_out(&tokens.access, Scope::This).await?;
/// assert!(node.verifier().verify(&tokens.access).is_err());
/// # Ok(())
/// # }
/// ```
pub struct Node {
    sessions: Arc<Sessions>,
    verifier: Arc<Verifier>,
    log: Arc<dyn RevocationLog>,
    keys: SigningKeys,
    /// `None` if the node signs with a key that it was given.
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
    /// Returns a builder for a node that issues tokens as `issuer`. All other settings have defaults.
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

    /// Returns the sessions: login, refresh and logout.
    #[must_use]
    pub fn sessions(&self) -> &Arc<Sessions> {
        &self.sessions
    }

    /// Returns the verifier that every path uses.
    #[must_use]
    pub fn verifier(&self) -> &Arc<Verifier> {
        &self.verifier
    }

    /// Returns the revocation log.
    #[must_use]
    pub fn log(&self) -> &Arc<dyn RevocationLog> {
        &self.log
    }

    /// Returns the cursor up to which this node has applied the log, as a watch channel.
    #[must_use]
    pub fn applied(&self) -> watch::Receiver<Option<Cursor>> {
        self.follower.applied()
    }

    /// Returns the key that signs tokens now.
    #[must_use]
    pub fn signing_key(&self) -> SigningKey {
        self.keys.at(self.clock.now())
    }

    /// Returns all signing keys, in the order in which they sign, as last read from the store: no longer ago than
    /// [`Verifier::staleness`].
    #[must_use]
    pub fn signing_keys(&self) -> Vec<SigningKey> {
        self.keys.all()
    }

    /// Creates another signing key, of the same algorithm as the last. Every node of the store publishes it as soon
    /// as it has read it, within its `max_staleness`, and signs with it after `publish_for`.
    ///
    /// [`DEFAULT_PUBLICATION_DELAY`](crate::token::DEFAULT_PUBLICATION_DELAY) is long enough for services that fetch
    /// the keys from the URL of a server. If `publish_for` is less than `max_staleness`, another node may reject
    /// tokens of this node until it knows the key. The old key is kept until every token that it has signed has
    /// expired.
    ///
    /// # Errors
    /// [`Error::Unsupported`] on a node with a [key of its own](NodeBuilder::with_signing_key); otherwise as
    /// [`rotate_key`]. If the key cannot be read back, it may exist nevertheless.
    pub async fn rotate_key(&self, publish_for: Duration) -> Result<StoredKey, Error> {
        let kept = self.kept_keys()?;
        let now = self.clock.now();
        let key = rotate_key(&**kept.store(), None, now, now.plus(publish_for)).await?;
        kept.refresh().await?;
        Ok(key)
    }

    /// Removes a signing key that is no longer trusted. When this returns, this node rejects every access and refresh
    /// token that the key has signed; other nodes of the store do so within their `max_staleness`. If it was the key
    /// that signs now, a new key takes its place and signs at once. Returns `None` if there is no such key.
    ///
    /// The key is also [revoked](crate::revocation::Target::Key) in the log, for services that were given its public key:
    /// they too reject its tokens within their `max_staleness`. If the key cannot be removed after that, its tokens are
    /// rejected nevertheless; repeat the call.
    ///
    /// Sessions are kept, but a client whose tokens were all signed with the removed key has to log in again.
    ///
    /// # Errors
    /// [`Error::Unsupported`] on a node with a [key of its own](NodeBuilder::with_signing_key).
    /// [`Error::Unavailable`] if the store could not be read or written: then nothing is guaranteed.
    pub async fn remove_key(&self, id: &str) -> Result<Option<RemovedKey>, Error> {
        let kept = self.kept_keys()?;
        // Revoked first: a service that was given the key must not accept its tokens any longer than this node, and a removed key
        // could not be named again if the second step failed.
        if kept.store().keys().await?.iter().any(|key| key.id == id) {
            let id = KeyId::new(id).map_err(Error::unavailable)?;
            self.sessions.append(vec![Revocation::of_key(self.sessions.issuer().clone(), id)]).await?;
        }
        let removed = remove_key(&**kept.store(), id, self.clock.now()).await?;
        kept.refresh().await?;
        Ok(removed)
    }

    fn kept_keys(&self) -> Result<&KeptKeys, Error> {
        self.kept_keys.as_deref().ok_or_else(|| {
            Error::Unsupported("this node signs with a key of its own, and not with those of the store".to_owned())
        })
    }

    /// Returns the time of this node's wall clock.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// Returns the high-water mark that the log of the store is compared with; `None` unless a
    /// [file](NodeBuilder::with_high_water) was set.
    #[must_use]
    pub fn high_water(&self) -> Option<&Arc<HighWater>> {
        self.guard.as_deref().map(Guard::high_water)
    }

    /// Returns when a restored backup was detected, until the operator [accepts](Node::accept_restore) it; see
    /// [`restore`](crate::restore). Always `None` without a [high-water mark](NodeBuilder::with_high_water).
    #[must_use]
    pub fn restored_at(&self) -> Option<Timestamp> {
        self.guard.as_ref()?.restored_at()
    }

    /// Accepts that a backup was restored, which ends the warnings. Returns when it was detected, or `None` if there
    /// is nothing to accept. Everything that was revoked stays revoked.
    ///
    /// # Errors
    /// If the store could not be written.
    pub async fn accept_restore(&self) -> Result<Option<Timestamp>, Error> {
        match &self.guard {
            Some(guard) => guard.accept_restore().await,
            None => Ok(None),
        }
    }

    /// Starts a task that deletes expired data and records when sessions were last used. It runs until the returned
    /// value is dropped. One node of a store is enough; several do no harm.
    #[must_use]
    pub fn start_housekeeping(&self) -> Housekeeping {
        let (log, sessions, clock) = (Arc::clone(&self.log), Arc::clone(&self.sessions), Arc::clone(&self.clock));
        match &self.kept_keys {
            Some(keys) => Housekeeping::start_with_keys(log, sessions, Arc::clone(keys.store()), clock),
            None => Housekeeping::start(log, sessions, clock),
        }
    }
}

/// The settings of a [`Node`].
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
    /// Sets the lifetimes and the audience of tokens and sessions. The issuer of the settings becomes that of the
    /// node.
    pub fn with_session_settings(self, settings: SessionSettings) -> Self {
        Self { settings, ..self }
    }

    /// Sets the algorithm of the key that is generated at the first start of a node without a
    /// [`signing_key`](NodeBuilder::with_signing_key); Ed25519 by default. A key that is already in the store is not
    /// changed.
    pub fn with_algorithm(self, algorithm: Algorithm) -> Self {
        Self { algorithm, ..self }
    }

    /// Signs with this key, and verifies with it alone, instead of the keys in the store: for an application that
    /// already has a key, or shares one with another application. The key is not stored, and keys in the store are
    /// ignored.
    ///
    /// Every node that signs for the same sessions needs the same key: a refresh token is accepted only where its key
    /// is known.
    pub fn with_signing_key(self, key: SigningKey) -> Self {
        Self { signing_key: Some(key), ..self }
    }

    /// Changes the rules for tokens, starting from strict rules for the issuer, the audience and the leeway of this
    /// node.
    ///
    /// With a [key](NodeBuilder::with_signing_key) that is shared with an application of Flask-JWT-Extended, these
    /// rules also accept its tokens:
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

    /// Sets how far the clock of the issuer may differ from ours; see [`Rules::with_leeway`].
    pub fn with_leeway(self, leeway: Duration) -> Self {
        Self { leeway, ..self }
    }

    /// Sets how long after a logout on another node this node may still accept the token; [`DEFAULT_MAX_STALENESS`]
    /// by default.
    pub fn with_max_staleness(self, max_staleness: Duration) -> Self {
        Self { max_staleness, ..self }
    }

    /// Sets what this node does while its index is too stale; by default it rejects every token.
    pub fn with_stale_policy(self, stale_policy: StalePolicy) -> Self {
        Self { stale_policy, ..self }
    }

    /// Sets how many verified tokens are cached, so that each signature is checked once; `None` disables the cache.
    /// See [`Decoder::with_cache`] for which tokens are cached.
    pub fn with_token_cache(self, token_cache: Option<CacheLimits>) -> Self {
        Self { token_cache, ..self }
    }

    /// Also accepts the access tokens of another issuer; see [`Verifier::with_issuer`]. They can be logged out here,
    /// but have no sessions, and their subjects are not ours.
    pub fn with_issuer(mut self, decoder: impl Into<Arc<Decoder>>) -> Self {
        self.issuers.push(decoder.into());
        self
    }

    /// Sets the file in which this node remembers the position of the log, to detect a restored backup. If it detects
    /// one, it revokes every token that was issued before and ends every session; see [`restore`](crate::restore). By
    /// default there is no such file.
    ///
    /// Keep the file where a backup of the store does not include it: restored together with the store, it proves
    /// nothing. Each node needs its own file.
    pub fn with_high_water(self, file: impl Into<PathBuf>) -> Self {
        Self { high_water: Some(file.into()), ..self }
    }

    /// Limits the freshness of the log to `limit`: for a node that other nodes wait for only as long as they know of
    /// it, and that must reject tokens once they may have forgotten it. Until the limit is raised, the node rejects
    /// every token.
    pub fn with_freshness_limit(self, limit: FreshnessLimit) -> Self {
        Self { limit: Some(limit), ..self }
    }

    /// Sets a clock other than that of the system, for tests.
    pub fn with_clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self }
    }

    /// Starts the node on a store. Returns when its index contains every revocation in the log.
    ///
    /// # Errors
    /// If the store or a key in it cannot be used, or if settings contradict each other.
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
        // First of all, so that no key and no session of a restored backup is used.
        let guard = match high_water {
            Some(file) => Guard::start(file, &store, &settings, &issuers, algorithm, &clock).await?,
            None => None,
        };
        let key_store: Arc<dyn KeyStore> = match &guard {
            Some(guard) => Arc::new(WatchedKeys::new(Arc::clone(&store) as _, Arc::clone(guard))),
            None => Arc::clone(&store) as _,
        };
        // An application that shares the key issues tokens without a session here, which only a cut-off can end: the
        // leeway then says how far its clock may be ahead. All other tokens of ours have sessions, which end by their ids.
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
        // The follower also keeps the keys fresh.
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
        let sessions = Arc::new(sessions);
        if let Some(guard) = &guard {
            guard.follow(&sessions);
        }
        follower.ready().await?;
        Ok(Node { sessions, verifier, log, keys, kept_keys, clock, guard, follower })
    }
}
