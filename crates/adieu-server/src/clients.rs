//! Clients: services with credentials, and what each of them may do.
//!
//! 1. A secret is 256 random bits, shown once; the store keeps its SHA-256. A fast hash is enough, since the secret
//!    cannot be guessed; slow hashes are for passwords.
//! 2. Secrets are compared in constant time. The response is the same for an unknown name, a wrong secret and missing
//!    credentials.
//! 3. A request is checked against a copy in memory that was read at most [`MAX_AGE`] ago. A removed client is
//!    therefore rejected by then, whichever process removed it. If the store cannot be read, known clients are
//!    accepted until they are known to have been removed: the followers of this node need no accounts, and would
//!    otherwise have to stop. Other requests are neither accepted nor rejected as unknown; they fail.
//! 4. A request is never rejected by a copy older than the request, so an added client can call at once. Requests
//!    with wrong credentials cause at most one read of the store per [`MIN_READ_INTERVAL`].

mod secret;
mod store;

use std::{
    collections::BTreeMap,
    fmt,
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use adieu::{
    Error,
    time::{Clock, Moment, Timestamp},
};
use arc_swap::ArcSwap;
use tokio::{
    sync::Mutex,
    task::JoinHandle,
    time::{sleep, timeout},
};

pub use crate::client_name::{ClientName, NameError};
pub use secret::{Secret, SecretHash};
pub use store::{ClientStore, is_migrated, is_migrated_postgres, migrate, migrate_postgres};

use crate::{
    audit::{self, Event},
    config::{MAX_SESSION, Rate, Settings, parse_duration, written_duration},
};

/// The maximum age of a copy that accepts a client.
pub const MAX_AGE: Duration = Duration::from_millis(500);

/// The minimum time between two reads of the store.
pub const MIN_READ_INTERVAL: Duration = Duration::from_millis(50);

/// How long a known client waits for a store that does not answer.
const READ_TIMEOUT: Duration = Duration::from_millis(250);

/// A permission of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Capability {
    /// Read the feed of revocations.
    Follow,
    /// Revoke tokens, sessions, and all tokens of a subject.
    Revoke,
    /// Introspect tokens.
    Introspect,
    /// Introspect access tokens only: for a service that protects resources, which has no business with refresh tokens.
    IntrospectAccess,
    /// Issue tokens that reset the passwords of users who are no administrators.
    ResetPassword,
}

impl Capability {
    /// All capabilities.
    pub const ALL: [Self; 5] =
        [Self::Follow, Self::Revoke, Self::Introspect, Self::IntrospectAccess, Self::ResetPassword];

    /// Returns the name of the capability.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Follow => "follow",
            Self::Revoke => "revoke",
            Self::Introspect => "introspect",
            Self::IntrospectAccess => "introspect-access",
            Self::ResetPassword => "reset-password",
        }
    }

    /// Returns these capabilities, each once, in the order of [`Capability::ALL`].
    #[must_use]
    pub fn ordered(these: &[Self]) -> Vec<Self> {
        Self::ALL.into_iter().filter(|capability| these.contains(capability)).collect()
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// An error for a text that names no [`Capability`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a client can follow, revoke, introspect, introspect-access or reset-password")]
pub struct CapabilityError;

impl FromStr for Capability {
    type Err = CapabilityError;

    fn from_str(text: &str) -> Result<Self, CapabilityError> {
        Self::ALL.into_iter().find(|capability| capability.as_str() == text).ok_or(CapabilityError)
    }
}

/// A service with credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// The name that it authenticates with.
    pub name: ClientName,
    /// The hash of its secret.
    pub secret: SecretHash,
    /// Its capabilities, each once, in the order of [`Capability::ALL`].
    pub can: Vec<Capability>,
    /// Its limits on revocations, where they differ from the settings.
    pub limits: Limits,
    /// Where a relying party receives logout tokens.
    pub backchannel_logout: Option<BackchannelLogout>,
    /// When the client was added.
    pub created_at: Timestamp,
}

/// Where a relying party gets logout tokens (OpenID Connect Back-Channel Logout 1.0 §2.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackchannelLogout {
    /// The URL to send them to (`backchannel_logout_uri`).
    pub uri: String,
    /// Allows private, loopback and link-local addresses, and HTTP without TLS.
    pub allow_private: bool,
}

/// Limits on the revocations of a client. `None` stands for the value in the settings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// How many revocations it may append; by default `client_revocation_quota`.
    pub quota: Option<Rate>,
    /// How long its revocations may be kept; by default `client_revocation_horizon`.
    pub horizon: Option<Duration>,
}

impl Limits {
    /// Returns the quota of the client and the longest time for which its revocations may be kept, with defaults from
    /// `settings`.
    #[must_use]
    pub fn or_else(&self, settings: &Settings) -> (Rate, Duration) {
        let Self { quota, horizon } = *self;
        (quota.unwrap_or(settings.client_revocation_quota), horizon.unwrap_or_else(|| settings.client_horizon()))
    }
}

/// Parses the longest time for which revocations of a client are kept.
///
/// # Errors
/// Fails if the text is no duration, or one that is not possible.
pub(crate) fn parse_horizon(text: &str) -> Result<Duration, String> {
    let horizon = parse_duration(text)?;
    match (Duration::from_secs(1)..=MAX_SESSION).contains(&horizon) {
        true => Ok(horizon),
        false => Err(format!("must be between 1s and {}", written_duration(MAX_SESSION))),
    }
}

impl Client {
    /// Creates a client and its secret, without storing them.
    ///
    /// # Errors
    /// Fails if the system provides no randomness.
    pub fn new(name: ClientName, can: &[Capability], now: Timestamp) -> Result<(Self, Secret), Error> {
        let secret = Secret::random()?;
        let (can, hash, limits) = (Capability::ordered(can), secret.hash(), Limits::default());
        Ok((Self { name, secret: hash, can, limits, backchannel_logout: None, created_at: now }, secret))
    }

    /// Returns whether the client has this capability.
    #[must_use]
    pub fn can(&self, capability: Capability) -> bool {
        self.can.contains(&capability)
    }
}

/// The reason why a client was not authenticated.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// No client has this name and secret.
    #[error("invalid client credentials")]
    Wrong,
    /// The store could not be read, so the client may exist or not.
    #[error(transparent)]
    Failed(#[from] Error),
}

/// All clients, from a copy of the store in memory. Clones share the copy.
#[derive(Clone)]
pub struct Clients(Arc<Shared>);

struct Shared {
    store: Arc<dyn ClientStore>,
    clock: Arc<dyn Clock>,
    copy: ArcSwap<Copy>,
    reading: Mutex<()>,
    /// Whether the last read of the store failed.
    is_failing: AtomicBool,
}

/// The clients in the store at one moment.
struct Copy {
    /// Taken before the store was read; `None` before the first read.
    asked_at: Option<Moment>,
    clients: BTreeMap<ClientName, Arc<Client>>,
}

impl fmt::Debug for Clients {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Clients").finish_non_exhaustive()
    }
}

impl Clients {
    /// Returns the clients of this store, without reading it yet.
    #[must_use]
    pub fn new(store: Arc<dyn ClientStore>, clock: Arc<dyn Clock>) -> Self {
        let copy = ArcSwap::from_pointee(Copy { asked_at: None, clients: BTreeMap::new() });
        Self(Arc::new(Shared { store, clock, copy, reading: Mutex::new(()), is_failing: AtomicBool::new(false) }))
    }

    /// Returns the store of the clients.
    #[must_use]
    pub fn store(&self) -> &dyn ClientStore {
        &*self.0.store
    }

    /// Returns the clients as of the last read of the store.
    #[must_use]
    pub fn known(&self) -> Vec<Arc<Client>> {
        self.0.copy.load().clients.values().cloned().collect()
    }

    /// Returns the client with this name and secret.
    ///
    /// # Errors
    /// [`ClientError::Wrong`] if there is none; [`ClientError::Failed`] if the store could not be read.
    pub async fn authenticate(&self, name: &str, secret: &str) -> Result<Arc<Client>, ClientError> {
        let arrived_at = self.0.clock.moment();
        let secret = SecretHash::of(secret);
        let recent = match self.0.copy.load().find(name, &secret) {
            Some(known) => match self.0.read_in_time(arrived_at.minus(MAX_AGE)).await {
                Some(recent) => recent,
                None => return Ok(known),
            },
            None => self.0.read_since(arrived_at.minus(MAX_AGE)).await?,
        };
        if let Some(client) = recent.find(name, &secret) {
            return Ok(client);
        }
        self.0.read_since(arrived_at).await?.find(name, &secret).ok_or(ClientError::Wrong)
    }

    /// Starts to read the store regularly, even if no client calls, so that additions and removals are logged soon.
    /// Ends when the result is dropped.
    #[must_use]
    pub fn start_watching(&self) -> Watching {
        let shared = Arc::clone(&self.0);
        Watching(tokio::spawn(async move {
            loop {
                if let Err(error) = shared.read_since(shared.clock.moment()).await {
                    tracing::debug!(error = &error as &dyn std::error::Error, "the clients can't be read");
                }
                // Also syncs lines that were written without a request, here and by the core.
                audit::durable().await;
                sleep(MAX_AGE).await;
            }
        }))
    }
}

impl Shared {
    /// Like [`Shared::read_since`], but returns `None` if the store cannot be read in time. The read then continues
    /// without its caller.
    async fn read_in_time(self: &Arc<Self>, moment: Moment) -> Option<Arc<Copy>> {
        let copy = self.copy.load_full();
        if copy.is_of(moment) {
            return Some(copy);
        }
        if !self.is_failing.load(Relaxed)
            && let Ok(read) = timeout(READ_TIMEOUT, self.read_since(moment)).await
        {
            return read.ok();
        }
        self.is_failing.store(true, Relaxed);
        // One attempt at a time is enough.
        if self.reading.try_lock().is_ok() {
            let shared = Arc::clone(self);
            tokio::spawn(async move { drop(shared.read_since(shared.clock.moment()).await) });
        }
        None
    }

    /// Returns a copy whose read started at this moment or later.
    async fn read_since(&self, moment: Moment) -> Result<Arc<Copy>, Error> {
        let copy = self.copy.load_full();
        if copy.is_of(moment) {
            return Ok(copy);
        }
        let _one_at_a_time = self.reading.lock().await;
        // Another caller may have read it meanwhile.
        let copy = self.copy.load_full();
        if copy.is_of(moment) {
            return Ok(copy);
        }
        if let Some(asked_at) = copy.asked_at {
            sleep(MIN_READ_INTERVAL.saturating_sub(self.clock.moment().since(asked_at))).await;
        }
        let asked_at = Some(self.clock.moment());
        let clients = self.store.clients().await;
        self.is_failing.store(clients.is_err(), Relaxed);
        let clients = clients?;
        let clients = clients.into_iter().map(|client| (client.name.clone(), Arc::new(client))).collect();
        let new = Arc::new(Copy { asked_at, clients });
        if copy.asked_at.is_some() {
            new.record_changes_since(&copy);
        }
        self.copy.store(Arc::clone(&new));
        Ok(new)
    }
}

impl Copy {
    /// Whether it was asked for at this moment or later.
    fn is_of(&self, moment: Moment) -> bool {
        self.asked_at.is_some_and(|asked_at| asked_at >= moment)
    }

    fn find(&self, name: &str, secret: &SecretHash) -> Option<Arc<Client>> {
        let client = self.clients.get(name)?;
        client.secret.is(secret).then(|| Arc::clone(client))
    }

    /// A client that was removed and added again under the same name was created at another time.
    fn record_changes_since(&self, before: &Self) {
        let record = |event, client: &Client| {
            audit::Entry { client: Some(client.name.clone()), ..audit::Entry::default() }.note(event, None);
        };
        let same_in = |other: &Self, client: &Client| {
            let same = other.clients.get(&client.name);
            same.filter(|same| same.created_at == client.created_at).cloned()
        };
        for (event, here, there) in [(Event::ClientRemoved, before, self), (Event::ClientAdded, self, before)] {
            for client in here.clients.values().filter(|client| same_in(there, client).is_none()) {
                record(event, client);
            }
        }
        for client in self.clients.values() {
            let Some(last) = same_in(before, client) else { continue };
            if (&last.can, last.limits) != (&client.can, client.limits) {
                record(Event::ClientChanged, client);
            }
            if last.secret != client.secret {
                record(Event::ClientSecretChanged, client);
            }
        }
    }
}

/// Looks for changes until it is dropped.
#[derive(Debug)]
pub struct Watching(JoinHandle<()>);

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.abort();
    }
}
