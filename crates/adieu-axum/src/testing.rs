//! A node in memory, for an application's own tests.
//!
//! ```
//! use adieu_axum::{AccessToken, testing::TestNode};
//! use axum::{Router, body::Body, http::Request, routing::get};
//! use tower::ServiceExt as _;
//!
//! # async fn test() -> Result<(), Box<dyn std::error::Error>> {
//! let node = TestNode::new();
//! let router = Router::new()
//!     .route("/profile", get(|token: AccessToken| async move { token.subject().to_string() }))
//!     .with_state(node.sessions().clone());
//! let status = async |token: &str| {
//!     let request = Request::get("/profile").header("authorization", format!("Bearer {token}"));
//!     router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap().status()
//! };
//!
//! assert_eq!(status(&node.login_as("jose").await.access).await, 200);
//! assert_eq!(status(&node.revoked_token("jose").await).await, 401);
//! assert_eq!(status(&node.expired_token("jose").await).await, 401);
//! node.fall_behind();
//! assert_eq!(status(&node.login_as("jose").await.access).await, 503);
//! # Ok(())
//! # }
//! # tokio::runtime::Runtime::new().unwrap().block_on(test()).unwrap();
//! ```

#![allow(clippy::expect_used, clippy::missing_panics_doc, reason = "a test that cannot go on has failed")]

use std::{sync::Arc, time::Duration};

use adieu::{
    Issuer, Subject,
    revocation::{Freshness, Index},
    session::{Scope, SessionSettings, SessionStore, Sessions, TokenOptions, TokenPair},
    store::Memory,
    time::{Clock as _, ManualClock, SystemClock, Timestamp},
    token::{Algorithm, Decoder, KeySet, Rules, SigningKey, StalePolicy, Verifier},
};

/// The bound of a [`TestNode`], as of a node by default.
const MAX_STALENESS: Duration = Duration::from_secs(2);

/// How long before it is asked for an expired token was issued.
const LONG_AGO: Duration = Duration::from_secs(3_600);

/// Sessions that judge tokens as a node's do, with a store in memory, a new EdDSA key, and a clock that the test advances.
///
/// Methods panic where a test has failed anyway: with a name that is no [`Subject`], or settings that contradict each other.
#[derive(Debug)]
pub struct TestNode {
    sessions: Arc<Sessions>,
    /// The same sessions, [`LONG_AGO`].
    earlier: Sessions,
    clock: ManualClock,
    freshness: Freshness,
}

impl Default for TestNode {
    fn default() -> Self {
        Self::new()
    }
}

impl TestNode {
    /// Creates a node with the issuer `https://adieu.test` and default settings. Its clock starts at the current time.
    #[must_use]
    pub fn new() -> Self {
        let settings = SessionSettings::new(Issuer::new("https://adieu.test").expect("an issuer"));
        Self::on(Memory::new(), settings, SystemClock.now())
    }

    /// Creates a node on a store, with the settings of an application. Its clock starts at `now`.
    #[must_use]
    pub fn on(store: impl SessionStore, settings: SessionSettings, now: Timestamp) -> Self {
        let clock = ManualClock::at(now);
        let key = SigningKey::generate(Algorithm::EdDSA).expect("a key");
        let keys = KeySet::new([key.verifying_key().clone()]).expect("keys");
        let rules =
            settings.audience.iter().fold(Rules::new(settings.issuer.clone()), |rules, one| rules.with_audience(one));
        let freshness = Freshness::never();
        let verifier = Arc::new(Verifier::new(
            Decoder::new(rules, keys),
            Arc::new(Index::new(now)),
            freshness.clone(),
            Arc::new(clock.clone()),
            MAX_STALENESS,
            StalePolicy::Reject,
        ));
        let store: Arc<dyn SessionStore> = Arc::new(store);
        let sessions = |clock: ManualClock| {
            let verifier = Arc::clone(&verifier);
            Sessions::new(Arc::clone(&store), verifier, key.clone(), settings.clone(), Arc::new(clock))
                .expect("settings that do not contradict each other")
        };
        let earlier = sessions(ManualClock::at(now.minus(LONG_AGO)));
        let node = Self { sessions: Arc::new(sessions(clock.clone())), earlier, clock, freshness };
        node.catch_up();
        node
    }

    /// Returns the sessions: the state of a router, or a part of it.
    #[must_use]
    pub fn sessions(&self) -> &Arc<Sessions> {
        &self.sessions
    }

    /// Returns the clock. Setting it does not make the node fresh.
    #[must_use]
    pub fn clock(&self) -> &ManualClock {
        &self.clock
    }

    /// Logs a user in and returns the tokens.
    pub async fn login_as(&self, name: &str) -> TokenPair {
        self.sessions.log_in(subject(name)).await.expect("a login")
    }

    /// Returns an access token that expired long ago and whose session goes on.
    pub async fn expired_token(&self, name: &str) -> String {
        let short = TokenOptions::new().with_access_lifetime(Duration::from_secs(1));
        self.earlier.log_in_with(subject(name), Default::default(), &short).await.expect("a login").access
    }

    /// Returns an access token that has not expired and whose session has been logged out.
    pub async fn revoked_token(&self, name: &str) -> String {
        let token = self.login_as(name).await.access;
        self.sessions.log_out(&token, Scope::This).await.expect("a logout");
        token
    }

    /// Lets time pass while the node learns of every logout.
    pub fn advance(&self, time: Duration) {
        self.clock.advance(time);
        self.catch_up();
    }

    /// Lets time pass until the node is stale: it rejects every token with 503, until [`TestNode::catch_up`].
    pub fn fall_behind(&self) {
        self.clock.advance(MAX_STALENESS + Duration::from_secs(1));
    }

    /// Makes the node fresh: it knows of every logout until now.
    pub fn catch_up(&self) {
        self.freshness.complete_at(self.clock.moment());
    }
}

fn subject(name: &str) -> Subject {
    Subject::new(name).expect("a subject")
}
