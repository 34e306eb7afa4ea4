//! A relay: a server without accounts that follows a node, and serves those who follow it in turn.
//!
//! 1. It reads the node's log once for all who follow it, and gives them its positions and its id: they can move between
//!    relays and the node.
//! 2. What it says upwards to be settled is the least of what its own index has and what its live followers say that they
//!    have. So `?wait=everywhere` at the node goes through any number of relays. For as long after its start as followers from
//!    before may be live, it says nothing.
//! 3. It verifies by itself, and refuses when it can't know enough, as every node does.
//! 4. What is revoked here is revoked at the node, and in this relay's own index before it is answered.

use std::{
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use adieu::{
    Error, Issuer,
    revocation::{Cursor, Follower, Index, Page, Position, Pruned, Revocation, RevocationLog},
    time::{Clock, SystemClock, Timestamp},
    token::{Decoder, KeySet, Rules, Verifier},
};
use adieu_client::{
    KeyFollower, KeySource, Remote,
    transport::{Http, Transport},
};
use anyhow::Context as _;
use async_trait::async_trait;
use axum::http::{HeaderValue, Method, Request, Response, Uri, header};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{sleep, timeout},
};

use crate::{
    api::{PREFER, PREFERS_CURSOR},
    clients::Clients,
    config::Settings,
    feed::{Feed, Progress},
    metrics::Metrics,
    node::token_when_stale,
    store::Stores,
};

/// The environment variable with the secret, when it is in no file.
pub const SECRET_VARIABLE: &str = "ADIEU_FOLLOW_SECRET";

/// How often it is looked whose lease has run out.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// The same for how fresh the index is, while a call waits for that.
const CATCH_UP_LOOK: Duration = Duration::from_millis(10);

/// How long followers may go on saying how far they are before the node is told.
const BATCH_WINDOW: Duration = Duration::from_millis(2);

/// Beside the time that a call may wait at the node, what it may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest answer to a forwarded call.
const MAX_ANSWER_BYTES: usize = 1 << 20;

/// A relay, running. What runs in the background ends when it is dropped.
pub struct Relay {
    /// Says which tokens are good.
    pub verifier: Arc<Verifier>,
    /// What those who follow it read, and who they are.
    pub feed: Feed,
    /// Which services may call, and what each may do.
    pub clients: Clients,
    /// The issuer whose tokens it verifies.
    pub issuer: Issuer,
    /// What it counts.
    pub metrics: Arc<Metrics>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Whether it has been told to stop, and should get no more requests.
    pub is_leaving: AtomicBool,
    decoder: Arc<Decoder>,
    keys: KeyFollower,
    remote: Arc<Remote>,
    revocations: Uri,
    authorization: HeaderValue,
    transport: Arc<dyn Transport>,
    stores: Stores,
    settling: JoinHandle<()>,
    follower: Follower,
}

impl std::fmt::Debug for Relay {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Relay").field("remote", &self.remote).finish_non_exhaustive()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.settling.abort();
    }
}

impl Relay {
    /// Starts to follow the node at `url`. It need not be there yet: until it is, everything is refused.
    ///
    /// # Errors
    /// When a setting has no meaning, the secret can't be read, or the store of the relay's own clients can't be used.
    pub async fn open(settings: &Settings, url: &str) -> anyhow::Result<Self> {
        let name = settings.follow_client.clone().context("follow needs follow_client")?;
        let secret = read_secret(settings)?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let (max_staleness, when_stale) = (settings.max_staleness, token_when_stale(settings));
        let issuer = Issuer::new(&settings.issuer)?;
        let transport: Arc<dyn Transport> = Arc::new(Http::new()?);

        let base = format!("{}/", url.trim_end_matches('/'));
        let basic = BASE64_STANDARD.encode(format!("{name}:{}", secret.expose_secret()));
        let mut authorization = HeaderValue::try_from(format!("Basic {basic}")).context("the secret is none")?;
        authorization.set_sensitive(true);
        let remote = Remote::builder(&base, name, secret)
            .max_staleness(max_staleness)
            .when_stale(when_stale)
            .transport(Arc::clone(&transport))
            .clock(Arc::clone(&clock));
        let remote = Arc::new(remote.build().context("follow")?);

        let stores = Stores::open(settings).await?;
        let clients = Clients::new(stores.clients(), Arc::clone(&clock));
        let log = Arc::clone(&remote) as Arc<dyn RevocationLog>;
        let feed = Feed::start(log, Arc::clone(&clock), issuer.clone(), max_staleness);

        let index = Arc::new(Index::new(clock.now()));
        let own = watch::Sender::new(None);
        let settling = tokio::spawn(settle(Arc::clone(&remote), feed.hub.progress(), own.subscribe()));
        let through = Through { feed: feed.clone(), remote: Arc::clone(&remote), own };
        let follower = Follower::start(Arc::new(through), Arc::clone(&index), Arc::clone(&clock), max_staleness);

        let mut rules = Rules::new(issuer.clone()).with_leeway(settings.leeway)?;
        if let Some(audience) = &settings.audience {
            rules = rules.with_audience(audience);
        }
        let decoder = Arc::new(Decoder::new(rules, KeySet::pending()));
        let source = KeySource::new(&format!("{base}.well-known/jwks.json"))?.transport(Arc::clone(&transport));
        let keys = KeyFollower::start(Arc::clone(&decoder), source)?;
        let freshness = follower.freshness();
        let verifier =
            Verifier::new(Arc::clone(&decoder), index, freshness, Arc::clone(&clock), max_staleness, when_stale);
        let revocations = format!("{base}revocations").parse().context("follow")?;
        let verifier = Arc::new(verifier);
        let metrics = Arc::new(Metrics::new(Arc::clone(&verifier), None, None));
        Ok(Self {
            verifier,
            metrics,
            feed,
            clients,
            issuer,
            clock,
            is_leaving: AtomicBool::new(false),
            decoder,
            keys,
            remote,
            revocations,
            authorization,
            transport,
            stores,
            settling,
            follower,
        })
    }

    /// The node's public keys, as they were last read.
    #[must_use]
    pub fn keys(&self) -> Arc<KeySet> {
        self.decoder.keys()
    }

    /// For how long these are good: what the node said, less what has gone by since.
    #[must_use]
    pub fn keys_good_for(&self) -> Duration {
        self.keys.good_for()
    }

    /// Why this relay can't do its work just now, if it can't.
    pub fn not_ready(&self) -> Option<&'static str> {
        if !self.verifier.is_fresh() {
            return Some("The revocations known here are not up to date.");
        }
        if !self.keys.is_ready() {
            return Some("The keys of the node are not known yet.");
        }
        if self.remote.issuer().is_some_and(|issuer| *issuer != self.issuer) {
            return Some("The node issues tokens under another name than the setting issuer says.");
        }
        None
    }

    /// Where its own clients are kept.
    pub(crate) fn stores(&self) -> &Stores {
        &self.stores
    }

    /// Passes a call that revokes on to the node, as the client that this relay is there. `query` begins with `?` or is
    /// empty; the caller would wait as long as it has `preferred` for a cut-off to be over; the call may take `wait` beside
    /// what calls take.
    ///
    /// # Errors
    /// When the node does not answer, or does not let this relay revoke.
    pub async fn forward(
        &self,
        query: &str,
        preferred: Option<Duration>,
        body: Vec<u8>,
        wait: Duration,
    ) -> Result<Response<Vec<u8>>, Error> {
        let prefer = match preferred {
            Some(wait) => format!("{PREFERS_CURSOR}, wait={}", wait.as_secs()),
            None => PREFERS_CURSOR.to_owned(),
        };
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("{}{query}", self.revocations))
            .header(header::AUTHORIZATION, self.authorization.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .header(PREFER, prefer)
            .body(body)
            .map_err(Error::unavailable)?;
        match timeout(REQUEST_TIMEOUT + wait, self.transport.send(request, MAX_ANSWER_BYTES)).await {
            Ok(answer) => answer,
            Err(_) => Err(Error::unavailable("the node does not answer")),
        }
    }

    /// Returns once everything is in this relay's index that the node has answered before the call: when it is as far as
    /// `cursor`, which the node has sent with its answer, or complete as of now.
    ///
    /// # Errors
    /// When neither is so within the bound.
    pub async fn catch_up(&self, cursor: Option<Cursor>) -> Result<(), Error> {
        let answered_at = self.clock.moment();
        let (freshness, mut settled) = (self.follower.freshness(), self.follower.settled());
        loop {
            let is_known = match (&cursor, &*settled.borrow_and_update()) {
                (Some(cursor), Some(settled)) => settled.log == cursor.log && settled.position >= cursor.position,
                _ => false,
            };
            if is_known || freshness.last_complete() >= Some(answered_at) {
                return Ok(());
            }
            if self.clock.moment().since(answered_at) > self.feed.leases.bound() {
                return Err(Error::unavailable("the node has revoked it, and can't be followed"));
            }
            // Both when the follower has ended and when nothing comes, it is looked again.
            let _ = timeout(CATCH_UP_LOOK, settled.changed()).await;
        }
    }
}

/// The node to follow, if this is to be a relay.
///
/// # Errors
/// When something is set that only a relay needs, and no node to follow.
pub fn followed(settings: &Settings) -> anyhow::Result<Option<&str>> {
    let alone = [
        ("follow_client", settings.follow_client.is_some()),
        ("follow_secret_file", settings.follow_secret_file.is_some()),
    ];
    match (&settings.follow, alone.into_iter().find(|(_, is_set)| *is_set)) {
        (None, Some((key, _))) => anyhow::bail!("{key} is set, and follow is not"),
        (url, _) => Ok(url.as_deref()),
    }
}

fn read_secret(settings: &Settings) -> anyhow::Result<SecretString> {
    let text = match &settings.follow_secret_file {
        Some(file) => std::fs::read_to_string(file)
            .with_context(|| format!("follow_secret_file: {} can't be read", file.display()))?,
        None => std::env::var(SECRET_VARIABLE)
            .with_context(|| format!("follow needs follow_secret_file or {SECRET_VARIABLE}"))?,
    };
    // Editors put a mark at the beginning, and an end of line at the end.
    Ok(SecretString::from(text.trim_start_matches('\u{feff}').trim().to_owned()))
}

/// Tells the node how far this relay and all who follow it have got.
async fn settle(remote: Arc<Remote>, mut progress: Progress, mut own: watch::Receiver<Option<Cursor>>) {
    loop {
        let settled = own.borrow_and_update().clone();
        let mut count = 0;
        if let Some(own) = settled {
            let (settled, followers) = progress.settled_with(own);
            remote.acknowledge(&settled);
            count = followers;
        }
        // Leases run out without a word.
        tokio::select! {
            changed = own.changed() => if changed.is_err() { return },
            () = progress.changed() => {}
            () = sleep(POLL_INTERVAL) => {}
        }
        sleep(BATCH_WINDOW + Duration::from_micros(10) * count).await;
    }
}

/// The node's log, read through the hub that reads it for everybody.
struct Through {
    feed: Feed,
    remote: Arc<Remote>,
    own: watch::Sender<Option<Cursor>>,
}

#[async_trait]
impl RevocationLog for Through {
    async fn append(&self, revocations: Vec<Revocation>) -> Result<Position, Error> {
        self.remote.append(revocations).await
    }

    async fn read(&self, after: Option<&Cursor>, wait: Duration) -> Result<Page, Error> {
        let arrived = self.feed.clock.moment();
        Ok(self.feed.hub.read(after, wait, arrived, || ()).await?.page())
    }

    async fn prune(&self, now: Timestamp) -> Result<Pruned, Error> {
        self.remote.prune(now).await
    }

    fn acknowledge(&self, cursor: &Cursor) {
        self.own.send_replace(Some(cursor.clone()));
    }
}
