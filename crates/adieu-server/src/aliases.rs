//! Aliases of the users of trusted issuers: e-mail addresses and other identifiers by which events name a user.
//!
//! 1. Several subjects may have the same alias, and an event about it ends all of them: an address that has moved to another account
//!    must not leave the old one logged in.
//! 2. An alias is of one issuer. An event of another issuer never finds it.
//! 3. What tokens say is recorded beside the requests that have them: a request leaves its aliases in a bounded queue in memory, and a task
//!    writes them. If the queue is full, that is counted, and the next token with the alias is tried again.
//! 4. A lookup finds what is in the queue too.

mod store;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    hash::{BuildHasher as _, Hash as _, Hasher as _, RandomState},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use adieu::{
    Error, Issuer, Subject,
    retry::{Backoff, Outage},
    revocation::TokenClaims as _,
    time::{Clock, Timestamp},
    token::Claims,
};
use adieu_events::{Alias, AliasKind, Received};
use arc_swap::ArcSwap;
use prometheus_client::metrics::counter::Counter;
use tokio::{sync::Notify, task::JoinHandle, time::sleep};

pub use store::{
    AliasFilter, AliasStore, KnownAlias, MAX_SUBJECTS, Named, Removal, is_migrated, is_migrated_postgres, migrate,
    migrate_postgres,
};

/// The maximum number of aliases that wait to be written.
const MAX_PENDING: usize = 16_384;

/// The number of aliases in one commit, during which other writes wait.
const STEP: usize = 256;

/// The time before each commit, in which aliases gather: logouts have the store for themselves.
const PAUSE: Duration = Duration::from_millis(100);

/// The delay before a failed commit is repeated.
const MAX_RETRY_DELAY: Duration = Duration::from_secs(5);

/// How long what was recorded is not recorded again, in seconds.
const RECORD_AGAIN_AFTER: u64 = 24 * 60 * 60;

/// How many tokens' aliases are remembered as recorded: 8 MiB.
const MEMORY: usize = 1 << 20;

/// The places in which one fingerprint may be.
const PLACES: usize = 4;

/// A claim from which aliases are recorded (OpenID Connect Core 1.0 §5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AliasClaim {
    /// `email`, in a token with a true `email_verified`.
    Email,
    /// `phone_number`, in a token with a true `phone_number_verified`.
    PhoneNumber,
}

impl AliasClaim {
    /// All claims.
    pub const ALL: [Self; 2] = [Self::Email, Self::PhoneNumber];

    /// Returns the name of the claim.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::PhoneNumber => "phone_number",
        }
    }

    const fn verified(self) -> &'static str {
        match self {
            Self::Email => "email_verified",
            Self::PhoneNumber => "phone_number_verified",
        }
    }

    const fn kind(self) -> AliasKind {
        match self {
            Self::Email => AliasKind::Email,
            Self::PhoneNumber => AliasKind::PhoneNumber,
        }
    }

    /// Calls `each` with every value of the claim that the issuer has verified.
    fn values(self, claims: &Claims, mut each: impl FnMut(&str)) {
        let (mut is_said, mut is_verified) = (false, true);
        claims.has(self.verified(), &mut |text| {
            is_said = true;
            is_verified &= text == "true";
            false
        });
        if is_said && is_verified {
            claims.has(self.as_str(), &mut |text| {
                each(text);
                false
            });
        }
    }
}

/// The aliases of a server. Recording ends when it is dropped.
#[derive(Debug)]
pub struct Aliases {
    shared: Arc<Shared>,
    recording: JoinHandle<()>,
}

struct Shared {
    store: Arc<dyn AliasStore>,
    clock: Arc<dyn Clock>,
    /// The claims of each issuer from which aliases are recorded.
    claims: ArcSwap<RecordedClaims>,
    recorded: Recorded,
    /// Until they are on stable storage.
    pending: Mutex<HashMap<Named, Timestamp>>,
    /// Held while some of them are written, so that none is written after it was removed.
    writing: tokio::sync::Mutex<()>,
    wake: Notify,
    counters: Counters,
}

type RecordedClaims = HashMap<Issuer, Vec<AliasClaim>>;

/// What became of the aliases in tokens.
#[derive(Debug, Clone, Default)]
pub(crate) struct Counters {
    pub(crate) recorded: Counter,
    pub(crate) dropped: Counter,
}

impl fmt::Debug for Shared {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Aliases").field("claims", &self.claims.load()).finish_non_exhaustive()
    }
}

impl Aliases {
    /// Uses the aliases of this store, and records those in these claims of issuers.
    #[must_use]
    pub fn start(
        store: Arc<dyn AliasStore>,
        clock: Arc<dyn Clock>,
        claims: impl IntoIterator<Item = (Issuer, Vec<AliasClaim>)>,
    ) -> Self {
        let claims = ArcSwap::from_pointee(not_empty(claims));
        let recorded = Recorded::default();
        let (pending, writing, wake) = (Mutex::default(), tokio::sync::Mutex::default(), Notify::new());
        let counters = Counters::default();
        let shared = Arc::new(Shared { store, clock, claims, recorded, pending, writing, wake, counters });
        let recording = tokio::spawn(record(Arc::clone(&shared)));
        Self { shared, recording }
    }

    /// Records from now on the aliases in these claims of issuers, and no others.
    pub(crate) fn replace(&self, claims: impl IntoIterator<Item = (Issuer, Vec<AliasClaim>)>) {
        self.shared.claims.store(Arc::new(not_empty(claims)));
    }

    /// Returns the store.
    #[must_use]
    pub fn store(&self) -> &dyn AliasStore {
        &*self.shared.store
    }

    pub(crate) fn counters(&self) -> Counters {
        self.shared.counters.clone()
    }

    /// Records the aliases in a token that was verified. Returns at once.
    pub(crate) fn note(&self, claims: &Claims) {
        if let Some(wanted) = self.shared.claims.load().get(&claims.issuer) {
            self.shared.note(claims, wanted);
        }
    }

    /// Looks up the users that the events of a message name by aliases.
    ///
    /// # Errors
    /// Fails if the store cannot be read.
    pub(crate) async fn resolve(&self, received: &mut Received) -> Result<(), Error> {
        let mut all_known = BTreeMap::new();
        for (issuer, aliases) in received.aliases() {
            // First those in the queue, which leave it once they are in the store.
            let here = self.shared.pending_of(&issuer, &aliases);
            let mut known = self.shared.store.subjects_with(&issuer, aliases.into_iter().collect()).await?;
            for (alias, subject) in here {
                known.entry(alias).or_default().push(subject);
            }
            all_known.insert(issuer, known);
        }
        received.resolve(|issuer, alias| {
            all_known.get(issuer).and_then(|known| known.get(alias)).cloned().unwrap_or_default()
        });
        Ok(())
    }

    /// Removes aliases of an issuer, also those that wait to be written. Returns how many there were.
    ///
    /// # Errors
    /// Fails if the store cannot be written.
    pub(crate) async fn remove(&self, issuer: &Issuer, which: &Removal) -> Result<u64, Error> {
        self.flush().await?;
        self.shared.store.remove_aliases(issuer, which).await
    }

    /// Writes all aliases that wait.
    ///
    /// # Errors
    /// Fails if the store cannot be written.
    pub(crate) async fn flush(&self) -> Result<(), Error> {
        while self.shared.write_step().await? {}
        Ok(())
    }
}

impl Drop for Aliases {
    fn drop(&mut self) {
        self.recording.abort();
    }
}

fn not_empty(claims: impl IntoIterator<Item = (Issuer, Vec<AliasClaim>)>) -> RecordedClaims {
    claims.into_iter().filter(|(_, claims)| !claims.is_empty()).collect()
}

impl Shared {
    fn note(&self, claims: &Claims, wanted: &[AliasClaim]) {
        let now = self.clock.now();
        let fingerprint = self.recorded.fingerprint(claims, wanted, now);
        if self.recorded.contains(fingerprint) {
            return;
        }
        let mut is_whole = true;
        for claim in wanted {
            claim.values(claims, |text| {
                // An event with this text finds no alias either.
                let Ok(alias) = Alias::new(claim.kind(), text) else { return };
                let (issuer, subject) = (claims.issuer.clone(), claims.subject.clone());
                is_whole &= self.enqueue(Named { issuer, alias, subject }, now);
            });
        }
        if is_whole {
            self.recorded.insert(fingerprint);
        }
    }

    fn enqueue(&self, named: Named, now: Timestamp) -> bool {
        let mut pending = self.pending();
        if pending.len() >= MAX_PENDING && !pending.contains_key(&named) {
            self.counters.dropped.inc();
            return false;
        }
        pending.insert(named, now);
        drop(pending);
        self.wake.notify_one();
        true
    }

    /// Returns those of these aliases that wait to be written.
    fn pending_of(&self, issuer: &Issuer, aliases: &BTreeSet<Alias>) -> Vec<(Alias, Subject)> {
        let pending = self.pending();
        let wanted = pending.keys().filter(|named| named.issuer == *issuer && aliases.contains(&named.alias));
        wanted.map(|named| (named.alias.clone(), named.subject.clone())).collect()
    }

    /// Writes some aliases that wait. Returns whether there were any.
    async fn write_step(&self) -> Result<bool, Error> {
        let _writing = self.writing.lock().await;
        let step: Vec<_> = self.pending().iter().take(STEP).map(|(named, at)| (named.clone(), *at)).collect();
        if step.is_empty() {
            return Ok(false);
        }
        let aliases = step.iter().cloned().map(|(named, seen_at)| KnownAlias { named, seen_at });
        let dropped = self.store.add_aliases(aliases.collect()).await?;
        warn_of_dropped(dropped);
        self.counters.recorded.inc_by(step.len() as u64);
        let mut pending = self.pending();
        for (named, _) in &step {
            pending.remove(named);
        }
        Ok(true)
    }

    fn pending(&self) -> MutexGuard<'_, HashMap<Named, Timestamp>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Warns that aliases have lost their place to others.
pub(crate) fn warn_of_dropped(dropped: u64) {
    if dropped > 0 {
        tracing::warn!(
            dropped,
            "an alias has more than {MAX_SUBJECTS} subjects: events about it end those that were seen last"
        );
    }
}

/// Writes what waits, until the task is aborted.
async fn record(shared: Arc<Shared>) {
    let (mut backoff, outage) = (Backoff::new(PAUSE, MAX_RETRY_DELAY), Outage::default());
    loop {
        shared.wake.notified().await;
        sleep(PAUSE).await;
        loop {
            let written = shared.write_step().await;
            if let Some(error) = outage.begins_with(&written) {
                tracing::warn!(error = error as &dyn std::error::Error, "aliases can't be recorded; trying again");
            }
            match written {
                Ok(false) => break,
                Ok(true) => {
                    backoff.reset();
                    sleep(PAUSE).await;
                }
                Err(_) => sleep(backoff.next_delay()).await,
            }
        }
    }
}

/// The fingerprints of what was recorded, in a table of fixed size. A new one takes the place of another, which is then recorded again. Two
/// tokens have the same one with a probability of 2⁻⁶⁴.
#[derive(Default)]
struct Recorded {
    /// Allocated for the first of them.
    places: OnceLock<Box<[AtomicU64]>>,
    random: RandomState,
}

impl Recorded {
    /// Returns the fingerprint of the aliases in a token, and of the day.
    fn fingerprint(&self, claims: &Claims, wanted: &[AliasClaim], now: Timestamp) -> u64 {
        let mut hasher = self.random.build_hasher();
        (&claims.issuer, &claims.subject, now.as_unix() / RECORD_AGAIN_AFTER).hash(&mut hasher);
        for claim in wanted {
            claim.values(claims, |text| (claim.as_str(), text).hash(&mut hasher));
        }
        hasher.finish().max(1)
    }

    fn contains(&self, fingerprint: u64) -> bool {
        self.places
            .get()
            .is_some_and(|places| group(places, fingerprint).iter().any(|place| place.load(Relaxed) == fingerprint))
    }

    fn insert(&self, fingerprint: u64) {
        let places = self.places.get_or_init(|| (0..MEMORY).map(|_| AtomicU64::new(0)).collect());
        let places = group(places, fingerprint);
        let any = usize::try_from(fingerprint >> 60).unwrap_or(0) % PLACES;
        let free = places.iter().find(|place| place.load(Relaxed) == 0).or_else(|| places.get(any));
        if let Some(place) = free {
            place.store(fingerprint, Relaxed);
        }
    }
}

/// Returns the places in which a fingerprint may be.
fn group(places: &[AtomicU64], fingerprint: u64) -> &[AtomicU64] {
    let start = usize::try_from(fingerprint).unwrap_or(0) % (MEMORY / PLACES) * PLACES;
    places.get(start..start + PLACES).unwrap_or_default()
}

/// Adds one alias, as an administrator or a client says.
///
/// # Errors
/// Fails if the store cannot be written.
pub async fn add(store: &dyn AliasStore, named: Named, now: Timestamp) -> Result<(), Error> {
    warn_of_dropped(store.add_aliases(vec![KnownAlias { named, seen_at: now }]).await?);
    Ok(())
}
