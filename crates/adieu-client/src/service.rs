//! A process that verifies tokens of a node elsewhere: no store, no sessions, and no request per check.

use std::{fmt, sync::Arc, time::Duration};

use secrecy::SecretString;
use tokio::sync::watch;

use adieu::{
    DEFAULT_MAX_STALENESS, Error, Issuer,
    revocation::{Cursor, Follower, Freshness, Index, Revocation, RevocationLog, Target},
    time::{Clock, SystemClock},
    token::{Algorithm, CacheLimits, Claims, Decoder, KeySet, Rules, StalePolicy, Verifier},
};

use crate::{KeyFollower, KeySource, Remote, transport::Transport};

/// How often a caller that waits for a service checks why it is not ready.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// A verifier that follows a node: its keys and its revocations.
///
/// 1. Until both are known, and whenever it cannot prove that it knows recent revocations, it rejects every token with
///    [`TokenError::Stale`](adieu::token::TokenError::Stale); a process that has just started accepts nothing by mistake.
/// 2. No token is accepted later than `max_staleness` after its logout was answered anywhere.
/// 3. It accepts access tokens only: only the node knows which refresh tokens have been rotated.
///
/// Dropping the service ends its background tasks.
///
/// ```no_run
/// use adieu::Issuer;
/// use adieu_client::Service;
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let secret = std::env::var("ADIEU_SECRET")?.into();
/// let service = Service::builder(Issuer::new("adieu")?, "https://auth.example.org", "orders", secret).start()?;
/// service.ready().await?;
///
/// // In every request: a token that was revoked anywhere is rejected here within two seconds.
/// # let token = "";
/// match service.verifier().verify(token) {
///     Ok(claims) => println!("{} may order", claims.subject),
///     Err(refusal) => println!("{}", refusal.code()),
/// }
/// # Ok(())
/// # }
/// ```
pub struct Service {
    verifier: Arc<Verifier>,
    remote: Arc<Remote>,
    index: Arc<Index>,
    clock: Arc<dyn Clock>,
    follower: Follower,
    keys: KeyFollower,
}

impl fmt::Debug for Service {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Service").field("remote", &self.remote).finish_non_exhaustive()
    }
}

impl Service {
    /// Returns a builder of a service that accepts tokens of `issuer`, and follows the node at `url` as the client `name`,
    /// with the secret that `adieu client add --capabilities follow,revoke` has printed. Everything else has a default.
    pub fn builder(
        issuer: Issuer,
        url: impl Into<String>,
        name: impl Into<String>,
        secret: SecretString,
    ) -> ServiceBuilder {
        ServiceBuilder {
            issuer,
            url: url.into(),
            name: name.into(),
            secret,
            keys_url: None,
            rsa: None,
            audience: Vec::new(),
            leeway: Duration::ZERO,
            rules: |rules| rules,
            issuers: Vec::new(),
            token_cache: Some(CacheLimits::default()),
            max_staleness: DEFAULT_MAX_STALENESS,
            stale_policy: StalePolicy::default(),
            transport: None,
            clock: Arc::new(SystemClock),
        }
    }

    /// Returns the verifier.
    #[must_use]
    pub fn verifier(&self) -> &Arc<Verifier> {
        &self.verifier
    }

    /// Returns the node's log.
    #[must_use]
    pub fn log(&self) -> &Arc<Remote> {
        &self.remote
    }

    /// Returns the follower of the keys.
    #[must_use]
    pub fn keys(&self) -> &KeyFollower {
        &self.keys
    }

    /// Returns the position up to which the node's log is known here, and reports when it changes.
    #[must_use]
    pub fn applied(&self) -> watch::Receiver<Option<Cursor>> {
        self.follower.applied()
    }

    /// Returns how recent the known revocations are.
    #[must_use]
    pub fn freshness(&self) -> Freshness {
        self.follower.freshness()
    }

    /// Returns whether a valid token would be accepted now: the keys are known, and the known revocations are recent enough.
    /// For a readiness probe.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.keys.is_ready() && self.verifier.is_fresh()
    }

    /// Waits until the keys and all revocations are known for the first time. It also waits for a node that is not reachable.
    ///
    /// # Errors
    /// If waiting would not help: [`Error::Unauthorized`] for wrong credentials, [`Error::Unsupported`] for settings that the node
    /// does not allow. The service keeps retrying, and still becomes ready once the operator has fixed the cause.
    pub async fn ready(&self) -> Result<(), Error> {
        let known = async { tokio::join!(self.follower.caught_up(), self.keys.ready()) };
        let refused = async {
            loop {
                if let Some(error @ (Error::Unauthorized(_) | Error::Unsupported(_))) = self.follower.failure() {
                    return error;
                }
                tokio::time::sleep(POLL_INTERVAL).await;
            }
        };
        tokio::select! {
            biased;
            _ = known => Ok(()),
            error = refused => Err(error),
        }
    }

    /// Revokes durably on the node, and locally at once.
    ///
    /// # Errors
    /// Those of [`Remote`]'s append.
    pub async fn revoke(&self, revocations: Vec<Revocation>) -> Result<(), Error> {
        self.remote.append(revocations.clone()).await?;
        self.index.extend(&revocations);
        Ok(())
    }

    /// Logs out with a verified token: ends its session, or revokes the token alone if it has none.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the node did not confirm the logout.
    pub async fn log_out(&self, claims: &Claims) -> Result<(), Error> {
        let lapses_at = Revocation::lapse_for(claims.expires_at);
        let revocation = |target| Revocation { issuer: claims.issuer.clone(), target, lapses_at };
        let Some(id) = claims.session.clone() else {
            let id = claims.token_id.clone();
            return self.revoke(vec![revocation(Target::Token { id, expires_at: Some(claims.expires_at) })]).await;
        };
        self.remote.end_session_of(&claims.issuer, &id).await?;
        // The node knows how long tokens of the session live. This entry covers the time until the next page arrives.
        self.index.extend(&[revocation(Target::Session { id })]);
        Ok(())
    }

    /// Returns the current time of the service's clock.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }
}

/// The settings of a [`Service`].
#[must_use]
pub struct ServiceBuilder {
    issuer: Issuer,
    url: String,
    name: String,
    secret: SecretString,
    keys_url: Option<String>,
    rsa: Option<Algorithm>,
    audience: Vec<String>,
    leeway: Duration,
    rules: fn(Rules) -> Rules,
    issuers: Vec<Arc<Decoder>>,
    token_cache: Option<CacheLimits>,
    max_staleness: Duration,
    stale_policy: StalePolicy,
    transport: Option<Arc<dyn Transport>>,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for ServiceBuilder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ServiceBuilder")
            .field("url", &self.url)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl ServiceBuilder {
    /// Adds an audience of this service; see [`Rules::with_audience`].
    pub fn with_audience(mut self, audience: impl Into<String>) -> Self {
        self.audience.push(audience.into());
        self
    }

    /// Sets the accepted difference between the issuer's clock and this one; see [`Rules::with_leeway`].
    pub fn with_leeway(self, leeway: Duration) -> Self {
        Self { leeway, ..self }
    }

    /// Changes the rules for tokens, for an issuer that predates RFC 9068. `rules` receives the strict rules made from the
    /// issuer, the audience and the leeway of this service.
    pub fn with_rules(self, rules: fn(Rules) -> Rules) -> Self {
        Self { rules, ..self }
    }

    /// Sets how many verified tokens are cached, so that each signature is checked once; `None` disables the cache. See
    /// [`Decoder::with_cache`] for which tokens are cached.
    pub fn with_token_cache(self, token_cache: Option<CacheLimits>) -> Self {
        Self { token_cache, ..self }
    }

    /// Also accepts the access tokens of another issuer whose revocations the node keeps; see [`Verifier::with_issuer`].
    pub fn with_issuer(mut self, decoder: impl Into<Arc<Decoder>>) -> Self {
        self.issuers.push(decoder.into());
        self
    }

    /// Sets how long after an answered logout this service may still accept the token; the default is
    /// [`DEFAULT_MAX_STALENESS`]. It must not exceed the node's own.
    pub fn with_max_staleness(self, max_staleness: Duration) -> Self {
        Self { max_staleness, ..self }
    }

    /// Sets how to decide when this bound cannot be guaranteed; by default every token is rejected.
    pub fn with_stale_policy(self, stale_policy: StalePolicy) -> Self {
        Self { stale_policy, ..self }
    }

    /// Sets the URL of the issuer's keys, if it is not `/.well-known/jwks.json` of the node: the node may only keep the
    /// revocations of another issuer's tokens.
    pub fn with_keys_url(self, url: impl Into<String>) -> Self {
        Self { keys_url: Some(url.into()), ..self }
    }

    /// Sets the algorithm of RSA keys that name none; see [`KeySource::with_rsa_algorithm`].
    pub fn with_rsa_algorithm(self, algorithm: Algorithm) -> Self {
        Self { rsa: Some(algorithm), ..self }
    }

    /// Sets a transport to the node, in place of a connection pool of its own.
    pub fn with_transport(self, transport: Arc<dyn Transport>) -> Self {
        Self { transport: Some(transport), ..self }
    }

    /// Sets a clock other than the system's, for tests.
    pub fn with_clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self }
    }

    /// Starts to follow, and returns at once: see [`Service::ready`]. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`Error::InvalidSetting`] if a setting is invalid.
    pub fn start(self) -> Result<Service, Error> {
        let remote = self.remote()?;
        let log = Arc::clone(&remote);
        self.start_reading(log, remote)
    }

    /// Returns the log of the node, for [`start_reading`](Self::start_reading). No request is sent yet.
    ///
    /// # Errors
    /// Those of [`start`](Self::start).
    #[doc(hidden)]
    pub fn remote(&self) -> Result<Arc<Remote>, Error> {
        let mut remote = Remote::builder(&self.url, &self.name, self.secret.clone())
            .with_max_staleness(self.max_staleness)
            .with_stale_policy(self.stale_policy)
            .with_clock(Arc::clone(&self.clock));
        if let Some(transport) = &self.transport {
            remote = remote.with_transport(Arc::clone(transport));
        }
        remote.build().map(Arc::new)
    }

    /// Like [`start`](Self::start), but the revocations come from `log`, which reads `remote` for others too.
    ///
    /// # Errors
    /// Those of [`start`](Self::start).
    #[doc(hidden)]
    pub fn start_reading(self, log: Arc<dyn RevocationLog>, remote: Arc<Remote>) -> Result<Service, Error> {
        let mut rules = Rules::new(self.issuer).with_leeway(self.leeway)?;
        for audience in self.audience {
            rules = rules.with_audience(audience);
        }
        let issuer = rules.issuer().clone();
        let rules = (self.rules)(rules);
        if *rules.issuer() != issuer {
            return Err(Error::setting("rules", "the rules must be for the issuer of the service"));
        }
        let mut keys = KeySource::new(&match self.keys_url {
            Some(url) => url,
            None => remote.keys_url()?,
        })?
        .with_transport(Arc::clone(remote.transport()));
        if let Some(algorithm) = self.rsa {
            keys = keys.with_rsa_algorithm(algorithm);
        }
        let decoder = Decoder::new(rules, KeySet::pending());
        let decoder = Arc::new(match self.token_cache {
            Some(limits) => decoder.with_cache(limits),
            None => decoder,
        });
        let keys = KeyFollower::start(Arc::clone(&decoder), keys)?;

        let clock = self.clock;
        let index = Arc::new(Index::new(clock.now()).expecting(&issuer));
        let follower = Follower::start(log, Arc::clone(&index), Arc::clone(&clock), self.max_staleness);
        let mut verifier = Verifier::new(
            decoder,
            Arc::clone(&index),
            follower.freshness(),
            Arc::clone(&clock),
            self.max_staleness,
            self.stale_policy,
        );
        for issuer in self.issuers {
            verifier = verifier.with_issuer(issuer)?;
        }
        Ok(Service { verifier: Arc::new(verifier), remote, index, clock, follower, keys })
    }
}
