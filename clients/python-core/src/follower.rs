//! The follower on a thread of its own, and the look-ups in what it knows.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    thread::{self, JoinHandle},
    time::Duration,
};

use adieu::{
    Issuer,
    revocation::{Follower, Freshness, Revocation, TokenClaims},
    time::{Clock, Moment, SystemClock, Timestamp},
    token::StalePolicy,
};
use adieu_client::{
    Remote,
    transport::{Http, Transport},
};
use arc_swap::ArcSwap;
use pyo3::{
    exceptions::{PyOSError, PyRuntimeError, PyValueError},
    prelude::*,
    types::{PyDict, PyString},
};
use secrecy::{ExposeSecret, SecretSlice, SecretString};
use tokio::{
    runtime,
    sync::oneshot,
    time::{sleep, timeout},
};

use crate::{
    border::guarded,
    feed::{Feed, Recording, Shared},
    payload::AllClaims,
    refused,
    revocations::{Facts, Revocations},
    verifier::Followed,
};

/// How often the thread checks, before it stops, whether a read in flight has ended.
const POLL_INTERVAL: Duration = Duration::from_millis(2);

/// The node and the credentials for it.
struct Settings {
    url: String,
    client_id: String,
    secret: SecretString,
    certificates: Option<Certificates>,
}

/// What the files contained when the settings were made: they may be replaced or gone when the process forks.
struct Certificates {
    roots: Vec<u8>,
    identity: Option<SecretSlice<u8>>,
}

/// A thread that follows.
struct Running {
    /// Takes how long a read in flight may last.
    stop: oneshot::Sender<Duration>,
    thread: JoinHandle<()>,
    runtime: runtime::Handle,
    follower_id: String,
}

/// The revocations of a node, kept up to date by a native thread while it runs.
#[pyclass(frozen, module = "adieu_core")]
pub(crate) struct Core {
    settings: Settings,
    pub(crate) shared: Arc<Shared>,
    freshness: ArcSwap<Freshness>,
    running: Mutex<Option<Running>>,
    /// The verifiers whose keys the thread follows. Locked before `running`.
    verifiers: Mutex<Vec<Weak<Followed>>>,
}

impl Core {
    /// Returns the moment as of which the index is complete. Read it before the index.
    #[inline]
    pub(crate) fn complete_at(&self) -> Option<Moment> {
        self.freshness.load().last_complete()
    }

    /// Returns whether a look-up that began with this moment of completeness is recent enough.
    #[inline]
    pub(crate) fn is_recent(&self, complete_at: Option<Moment>) -> bool {
        complete_at.is_some_and(|complete_at| SystemClock.moment().since(complete_at) <= self.shared.max_staleness)
    }

    /// Returns what a look-up finds; `None` if it finds nothing, and the index is stale.
    #[inline]
    pub(crate) fn look_up(&self, finds: impl FnOnce(&Self) -> bool) -> Option<bool> {
        let complete_at = self.complete_at();
        if finds(self) { Some(true) } else { self.is_recent(complete_at).then_some(false) }
    }

    /// Returns whether a token that matches no revocation has expired as far as its revocation may have been removed.
    pub(crate) fn is_pruned(&self, expires_at: Timestamp) -> bool {
        Revocation::lapse_for(expires_at) <= self.shared.revocations.index.pruned_through()
    }

    fn running(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn verifiers(&self) -> MutexGuard<'_, Vec<Weak<Followed>>> {
        self.verifiers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn transport(&self) -> PyResult<Http> {
        match &self.settings.certificates {
            None => Http::new(),
            Some(Certificates { roots, identity }) => {
                Http::with_certificates(roots, identity.as_ref().map(ExposeSecret::expose_secret))
            }
        }
        .map_err(|error| refused(&error))
    }

    /// Starts the thread. The index counts as complete as of `complete_at` until it is read again. If this fails, nothing runs.
    fn begin(&self, complete_at: Option<Moment>) -> PyResult<()> {
        let mut verifiers = self.verifiers();
        verifiers.retain(|verifier| verifier.strong_count() > 0);
        let policy = if self.shared.accepts_when_stale { StalePolicy::Accept } else { StalePolicy::Reject };
        let transport: Arc<dyn Transport> =
            Arc::new(Recording { inner: self.transport()?, shared: Arc::clone(&self.shared) });
        let remote = Remote::builder(&self.settings.url, &self.settings.client_id, self.settings.secret.clone())
            .with_max_staleness(self.shared.max_staleness)
            .with_stale_policy(policy)
            .with_transport(transport)
            .build()
            .map_err(|error| refused(&error))?;
        let follower_id = remote.follower_id().to_owned();
        let failed = |error: std::io::Error| PyRuntimeError::new_err(format!("the thread can't be started: {error}"));
        let runtime = runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel();
        let follower = {
            let _entered = handle.enter();
            let log = Arc::new(Feed { remote, shared: Arc::clone(&self.shared) });
            let index = Arc::clone(&self.shared.revocations.index);
            Follower::start(log, index, Arc::new(SystemClock), self.shared.max_staleness)
        };
        if let Some(complete_at) = complete_at {
            follower.freshness().complete_at(complete_at);
        }
        let freshness = follower.freshness();
        let progress = freshness.clone();
        for verifier in verifiers.iter().filter_map(Weak::upgrade) {
            self.follow_keys(&verifier, &handle)?;
        }
        let thread = thread::Builder::new()
            .name("adieu-follower".to_owned())
            .spawn(move || {
                // Ends when the sender is dropped, too.
                if let Ok(patience) = runtime.block_on(stopped) {
                    runtime.block_on(next_read(&progress, patience));
                }
                drop(follower);
                runtime.shutdown_background();
            })
            .map_err(failed)?;
        self.freshness.store(Arc::new(freshness));
        *self.running() = Some(Running { stop, thread, runtime: handle, follower_id });
        Ok(())
    }

    /// Follows the keys of a verifier in this runtime.
    fn follow_keys(&self, verifier: &Followed, runtime: &runtime::Handle) -> PyResult<()> {
        // Another issuer neither needs the certificate of this client nor has one of the node's authorities.
        let transport = match verifier.is_of_node() {
            true => self.transport()?,
            false => Http::new().map_err(|error| refused(&error))?,
        };
        let _entered = runtime.enter();
        verifier.follow(Arc::new(transport)).map_err(|error| refused(&error))
    }

    /// Adds a verifier whose keys are followed from now on.
    pub(crate) fn add_verifier(&self, verifier: &Arc<Followed>) -> PyResult<()> {
        let mut verifiers = self.verifiers();
        if let Some(running) = &*self.running() {
            self.follow_keys(verifier, &running.runtime)?;
        }
        verifiers.push(Arc::downgrade(verifier));
        Ok(())
    }

    /// Returns whether the index will soon be stale, and the last read has not failed: a read in flight is then worth waiting for.
    fn needs_news(&self) -> bool {
        let bound = self.shared.max_staleness;
        let is_old = |complete_at| SystemClock.moment().since(complete_at) > bound * 3 / 4;
        self.shared.failure().is_none() && self.complete_at().is_none_or(is_old)
    }

    /// Returns the URL where the node publishes its keys.
    pub(crate) fn keys_url(&self) -> String {
        format!("{}/.well-known/jwks.json", self.settings.url.trim_end_matches('/'))
    }
}

/// Waits until a read has ended and the index is complete as of a later moment, for at most `patience`.
async fn next_read(freshness: &Freshness, patience: Duration) {
    let before = freshness.last_complete();
    let news = async {
        while freshness.last_complete() == before {
            sleep(POLL_INTERVAL).await;
        }
    };
    let _ = timeout(patience, news).await;
}

#[pymethods]
impl Core {
    /// Creates an empty index. `start` begins to follow.
    #[new]
    #[pyo3(signature = (url, client_id, secret, *, issuer, max_staleness, accepts_when_stale, ca_file, certificate_file))]
    #[expect(clippy::too_many_arguments, reason = "they have names, and one caller")]
    fn new(
        url: String,
        client_id: String,
        secret: String,
        issuer: Option<String>,
        max_staleness: f64,
        accepts_when_stale: bool,
        ca_file: Option<PathBuf>,
        certificate_file: Option<PathBuf>,
    ) -> PyResult<Self> {
        let invalid =
            |error: &dyn std::fmt::Display| PyValueError::new_err(format!("this setting must be another: {error}"));
        let issuer = issuer.map(Issuer::new).transpose().map_err(|error| invalid(&error))?;
        let max_staleness = Duration::try_from_secs_f64(max_staleness).map_err(|error| invalid(&error))?;
        let read = |path: PathBuf| {
            std::fs::read(&path).map_err(|error| PyOSError::new_err(format!("{}: {error}", path.display())))
        };
        let identity = certificate_file.map(read).transpose()?.map(SecretSlice::from);
        let certificates = ca_file.map(read).transpose()?.map(|roots| Certificates { roots, identity });
        Ok(Self {
            settings: Settings { url, client_id, secret: secret.into(), certificates },
            shared: Arc::new(Shared::new(Revocations::new(issuer), max_staleness, accepts_when_stale)),
            freshness: ArcSwap::from_pointee(Freshness::never()),
            running: Mutex::new(None),
            verifiers: Mutex::default(),
        })
    }

    /// Starts a thread that follows, with the known revocations and without their freshness.
    fn start(&self, py: Python<'_>) -> PyResult<()> {
        self.shared.forget_failure();
        py.detach(|| guarded(|| self.begin(None)))
    }

    /// Stops the thread and waits for its end, so that none runs while the process forks. If the index will soon be stale, a read
    /// in flight may end first, within `patience` seconds: a process that forks all the time would otherwise never end one.
    fn pause(&self, py: Python<'_>, patience: f64) {
        let patience = if self.needs_news() { patience } else { 0.0 };
        let patience = Duration::try_from_secs_f64(patience).unwrap_or_default();
        py.detach(|| {
            let running = self.running().take();
            if let Some(Running { stop, thread, .. }) = running {
                let _ = stop.send(patience);
                let _ = thread.join();
            }
        });
    }

    /// Starts a thread again, in the process that has forked: it keeps its freshness.
    fn resume(&self, py: Python<'_>) -> PyResult<()> {
        let complete_at = self.complete_at();
        py.detach(|| guarded(|| self.begin(complete_at)))
    }

    /// Forgets the freshness: from now on the index counts as never read.
    fn forget_freshness(&self) {
        self.freshness.store(Arc::new(Freshness::never()));
    }

    /// Returns whether the token with this id was revoked by its id, however old the index is.
    fn contains(&self, jti: &Bound<'_, PyString>) -> PyResult<bool> {
        guarded(|| Ok(jti.to_str().is_ok_and(|jti| self.shared.revocations.contains(jti))))
    }

    /// Returns whether a revocation matches these claims, however old the index is.
    #[expect(clippy::too_many_arguments, reason = "the claims of a token, in the order of the Python package")]
    fn matches(
        &self,
        issuer: Option<&str>,
        token_id: &str,
        session: Option<&str>,
        subject: Option<&str>,
        issued_at: Option<u64>,
        key_id: Option<&str>,
        payload: &Bound<'_, PyDict>,
    ) -> PyResult<bool> {
        let issued_at = issued_at.map(Timestamp::from_unix);
        let claims = AllClaims::new(payload);
        let claims: Option<&dyn TokenClaims> = Some(&claims);
        let facts = Facts { issuer, token_id, session, subject, issued_at, key_id, claims };
        guarded(|| Ok(self.shared.revocations.matches(&facts)))
    }

    /// Keeps the revocation of a token until a time.
    fn add_token(&self, issuer: Option<&str>, id: &str, lapses_at: u64) -> PyResult<()> {
        guarded(|| {
            self.shared.revocations.add_token(issuer, id, Timestamp::from_unix(lapses_at));
            Ok(())
        })
    }

    /// Keeps the revocation of a session until a time.
    fn add_session(&self, issuer: Option<&str>, id: &str, lapses_at: u64) -> PyResult<()> {
        guarded(|| {
            self.shared.revocations.add_session(issuer, id, Timestamp::from_unix(lapses_at));
            Ok(())
        })
    }

    /// The moment as of which the index is complete, in nanoseconds of the steady clock; `None` if it never was.
    #[getter(complete_at)]
    fn complete_at_nanos(&self) -> Option<u64> {
        self.complete_at().map(Moment::as_nanos)
    }

    /// The status and the message of the last read, if it failed.
    #[getter]
    fn failure(&self) -> Option<(Option<u16>, String)> {
        self.shared.failure().map(|failure| (failure.status, failure.message))
    }

    /// How often the index has changed.
    #[getter]
    fn changes(&self) -> u64 {
        self.shared.changes()
    }

    /// The position up to which the feed is in the index.
    #[getter]
    fn cursor(&self) -> Option<String> {
        self.shared.cursor().map(|cursor| cursor.to_string())
    }

    /// The node's own issuer, once it is known.
    #[getter]
    fn node_issuer(&self) -> Option<String> {
        self.shared.revocations.node_issuer().map(|issuer| issuer.as_str().to_owned())
    }

    /// The time up to which lapsed revocations may have been removed.
    #[getter]
    fn pruned_through(&self) -> u64 {
        self.shared.revocations.index.pruned_through().as_unix()
    }

    /// The name of this follower at the node; `None` while it does not run.
    #[getter]
    fn follower_id(&self) -> Option<String> {
        self.running().as_ref().map(|running| running.follower_id.clone())
    }

    /// The number of revocations, and the bytes that they take.
    #[getter]
    fn size(&self) -> (usize, usize) {
        let stats = self.shared.revocations.index.stats();
        (stats.entries, stats.bytes)
    }

    /// Returns the messages to be logged, as pairs of a level and a text, and forgets them.
    fn take_messages(&self) -> Vec<(u8, String)> {
        for verifier in self.verifiers().iter().filter_map(Weak::upgrade) {
            verifier.tell_outages(&self.shared);
        }
        self.shared.take_messages().into_iter().map(|(level, text)| (level as u8, text)).collect()
    }

    fn __repr__(&self) -> String {
        format!("<adieu_core.Core of {}>", self.settings.client_id)
    }
}
