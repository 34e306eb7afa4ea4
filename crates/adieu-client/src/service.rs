//! A process that verifies tokens of a node elsewhere: no store, no sessions, and no request to anybody for a check.
//!
//! ```no_run
//! use adieu::Issuer;
//! use adieu_client::Service;
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let secret = std::env::var("ADIEU_SECRET")?.into();
//! let service = Service::builder(Issuer::new("adieu")?, "https://auth.example.org", "orders", secret).start()?;
//! service.ready().await?;
//!
//! // In every request; what is revoked anywhere is refused here within two seconds.
//! # let token = "";
//! match service.verifier().verify(token) {
//!     Ok(claims) => println!("{} may order", claims.subject),
//!     Err(refusal) => println!("{}", refusal.code()),
//! }
//! # Ok(())
//! # }
//! ```

use std::{fmt, sync::Arc, time::Duration};

use secrecy::SecretString;

use adieu::{
    DEFAULT_MAX_STALENESS, Error, Issuer,
    revocation::{Follower, Freshness, Index, Revocation, RevocationLog, Target},
    time::{Clock, SystemClock},
    token::{Algorithm, Claims, Decoder, KeySet, Rules, StalePolicy, Verifier},
};

use crate::{
    KeyFollower, KeySource, Remote,
    transport::{Http, Transport},
};

/// How often somebody who waits for a service looks why it is not ready.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// A verifier that follows a node: its keys and its revocations.
///
/// 1. Until both are known, and whenever it can't prove that it knows recent revocations, it refuses with
///    [`TokenError::Stale`](adieu::token::TokenError::Stale); a process that has just started accepts nothing by mistake.
/// 2. No token is accepted later than `max_staleness` after its logout was answered anywhere.
/// 3. It accepts access tokens only: which refresh tokens have been rotated, the node alone knows.
///
/// What runs in the background ends when it is dropped.
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
    /// A service that accepts tokens of `issuer`, and follows the node at `url` as the client `name`, whose secret
    /// `adieu client add --can follow,revoke` has printed. Everything else has a default.
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
            max_staleness: DEFAULT_MAX_STALENESS,
            when_stale: StalePolicy::default(),
            transport: None,
            clock: Arc::new(SystemClock),
        }
    }

    /// What to ask whether a token is good.
    #[must_use]
    pub fn verifier(&self) -> &Arc<Verifier> {
        &self.verifier
    }

    /// The node's log.
    #[must_use]
    pub fn log(&self) -> &Arc<Remote> {
        &self.remote
    }

    /// How recent what is known of revocations is.
    #[must_use]
    pub fn freshness(&self) -> Freshness {
        self.follower.freshness()
    }

    /// Whether a good token would be accepted now: the keys are known, and what is known of revocations is recent enough. For
    /// a readiness probe.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.keys.is_ready() && self.verifier.is_fresh()
    }

    /// Returns when the keys and all revocations are known for the first time. A node that is away is waited for.
    ///
    /// # Errors
    /// When waiting would not help: [`Error::Refused`] for wrong credentials, [`Error::Setting`] for what the node does not
    /// allow. The service goes on trying; once somebody has put that right, it becomes ready all the same.
    pub async fn ready(&self) -> Result<(), Error> {
        let known = async { tokio::join!(self.follower.caught_up(), self.keys.ready()) };
        let refused = async {
            loop {
                if let Some(error @ (Error::Refused(_) | Error::Setting(_))) = self.follower.failure() {
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

    /// Revokes on the node, durably, and here at once.
    ///
    /// # Errors
    /// As [`Remote`]'s append.
    pub async fn revoke(&self, revocations: Vec<Revocation>) -> Result<(), Error> {
        self.remote.append(revocations.clone()).await?;
        self.index.extend(&revocations);
        Ok(())
    }

    /// Logs out whoever has shown a token: ends its session, or the token alone when it has none.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the node did not say that it is done.
    pub async fn log_out(&self, claims: &Claims) -> Result<(), Error> {
        let lapses_at = Revocation::lapse_for(claims.expires_at);
        let revocation = |target| Revocation { issuer: claims.issuer.clone(), target, lapses_at };
        let Some(id) = claims.session.clone() else {
            let id = claims.token_id.clone();
            return self.revoke(vec![revocation(Target::Token { id, expires_at: Some(claims.expires_at) })]).await;
        };
        self.remote.end_session_of(&claims.issuer, &id).await?;
        // The node knows until when tokens of the session live. This is until the next page brings what it knows.
        self.index.extend(&[revocation(Target::Session { id })]);
        Ok(())
    }

    /// What time it is here.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }
}

/// What a service is to be like.
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
    max_staleness: Duration,
    when_stale: StalePolicy,
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
    /// We are this audience (once more: this one as well); see [`Rules::with_audience`].
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.audience.push(audience.into());
        self
    }

    /// How far the issuer's clock may be from ours; see [`Rules::with_leeway`].
    pub fn leeway(self, leeway: Duration) -> Self {
        Self { leeway, ..self }
    }

    /// Changes what a token must be like, starting from rules as strict as they are made for the issuer, the audience and
    /// the leeway of this service: for tokens of an issuer that came before RFC 9068.
    pub fn rules(self, rules: fn(Rules) -> Rules) -> Self {
        Self { rules, ..self }
    }

    /// How long after a logout was answered the token may still be accepted here: [`DEFAULT_MAX_STALENESS`] unless something
    /// else is set. Not more than the node's own.
    pub fn max_staleness(self, max_staleness: Duration) -> Self {
        Self { max_staleness, ..self }
    }

    /// What happens when this can't be known: it refuses, unless something else is set.
    pub fn when_stale(self, when_stale: StalePolicy) -> Self {
        Self { when_stale, ..self }
    }

    /// Where the issuer publishes its keys, when not at `/.well-known/jwks.json` of the node: the node may be no more than
    /// where tokens of another issuer are revoked.
    pub fn keys_url(self, url: impl Into<String>) -> Self {
        Self { keys_url: Some(url.into()), ..self }
    }

    /// See [`KeySource::assume_for_rsa`].
    pub fn assume_for_rsa(self, algorithm: Algorithm) -> Self {
        Self { rsa: Some(algorithm), ..self }
    }

    /// Another way to the node than a pool of connections of its own.
    pub fn transport(self, transport: Arc<dyn Transport>) -> Self {
        Self { transport: Some(transport), ..self }
    }

    /// A clock other than the system's, for tests.
    pub fn clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self }
    }

    /// Starts to follow, and returns at once: see [`Service::ready`]. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`Error::Setting`] when a setting has no meaning.
    pub fn start(self) -> Result<Service, Error> {
        let mut rules = Rules::new(self.issuer).with_leeway(self.leeway)?;
        for audience in self.audience {
            rules = rules.with_audience(audience);
        }
        let issuer = rules.issuer().clone();
        let rules = (self.rules)(rules);
        if *rules.issuer() != issuer {
            return Err(Error::Setting("the rules must be for the issuer of the service".to_owned()));
        }
        let transport = match self.transport {
            Some(transport) => transport,
            None => Arc::new(Http::new()?),
        };
        let remote = Remote::builder(self.url, self.name, self.secret)
            .max_staleness(self.max_staleness)
            .when_stale(self.when_stale)
            .transport(Arc::clone(&transport))
            .clock(Arc::clone(&self.clock))
            .build()?;
        let remote = Arc::new(remote);
        let mut keys = KeySource::new(&match self.keys_url {
            Some(url) => url,
            None => remote.keys_url()?,
        })?
        .transport(transport);
        if let Some(algorithm) = self.rsa {
            keys = keys.assume_for_rsa(algorithm);
        }
        let decoder = Arc::new(Decoder::new(rules, KeySet::pending()));
        let keys = KeyFollower::start(Arc::clone(&decoder), keys)?;

        let clock = self.clock;
        let index = Arc::new(Index::new(clock.now()));
        let log: Arc<dyn RevocationLog> = remote.clone();
        let follower = Follower::start(log, Arc::clone(&index), Arc::clone(&clock), self.max_staleness);
        let verifier = Verifier::new(
            decoder,
            Arc::clone(&index),
            follower.freshness(),
            Arc::clone(&clock),
            self.max_staleness,
            self.when_stale,
        );
        Ok(Service { verifier: Arc::new(verifier), remote, index, clock, follower, keys })
    }
}
