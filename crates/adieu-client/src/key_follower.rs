//! Keeps a set of keys in sync with the keys that an issuer publishes.
//!
//! 1. **Public keys only.** A symmetric key from a URL could sign, so it is not accepted.
//! 2. **The issuer's latest answer counts**, even an empty set. While the issuer is down or its answer is invalid, the last
//!    valid set is used for a day and then no longer trusted. A key that the issuer has removed is therefore trusted for as
//!    long as the last answer is valid, and while no new answer can be read. The nodes on the issuer's store do not follow
//!    this rule; their own bound applies.
//! 3. **Few requests.** An answer is used for as long as it says, between a minute and an hour, and then requested again with
//!    its `ETag`. A token with an unknown key causes an earlier request, but at most one every few seconds, so that invented
//!    key ids cannot cause more.
//! 4. **Metadata counts as keys do.** With [`KeySource::discover`], the issuer's metadata is read before each request for its keys.

mod discovery;

use std::{fmt, sync::Arc, time::Duration};

use http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use reqwest::Url;
use tokio::{sync::watch, task::JoinHandle, time::Instant};

use adieu::{
    Error, Issuer,
    retry::{Backoff, Outage},
    token::{Algorithm, Decoder, Jwks, KeySet, KeyUpdates},
};

use self::discovery::{Published, discover, metadata_url};
use crate::transport::{Http, Transport, parse_url, send_within};

/// How long a set is used before the next request: by default, at least, and at most.
const USUAL_AGE: Duration = Duration::from_secs(5 * 60);
const MIN_AGE: Duration = Duration::from_secs(60);
const MAX_AGE: Duration = Duration::from_secs(60 * 60);

/// How long a set is used while no other can be read.
const MAX_UNCONFIRMED: Duration = Duration::from_secs(24 * 60 * 60);

/// The minimum time between two requests for an unknown key.
const MIN_REQUEST_INTERVAL: Duration = Duration::from_secs(5);

/// The delay after a failed request; doubled up to [`MAX_RETRY_DELAY`].
const MIN_RETRY_DELAY: Duration = Duration::from_millis(250);
const MAX_RETRY_DELAY: Duration = Duration::from_secs(30);

const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

const MAX_DOCUMENT_BYTES: usize = 256 << 10;

/// Where an issuer publishes its keys.
#[derive(Clone)]
pub struct KeySource {
    url: Url,
    /// The issuer whose metadata names the URL of the keys; `url` is then that of the metadata.
    discovered: Option<Issuer>,
    rsa: Option<Algorithm>,
    transport: Option<Arc<dyn Transport>>,
}

impl fmt::Debug for KeySource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("KeySource")
            .field("url", &self.url.as_str())
            .field("rsa", &self.rsa)
            .finish_non_exhaustive()
    }
}

impl KeySource {
    /// Creates a source from the URL of a JWK set (RFC 7517 §5), such as `https://auth.example.com/.well-known/jwks.json`.
    /// Use HTTPS unless the network is trusted: an attacker who can change the keys can sign tokens.
    ///
    /// # Errors
    /// [`Error::InvalidSetting`] if it is not such a URL.
    pub fn new(url: &str) -> Result<Self, Error> {
        Ok(Self { url: parse_url(url)?, discovered: None, rsa: None, transport: None })
    }

    /// Creates a source from the metadata of an issuer (OpenID Connect Discovery 1.0), whose name is a URL. The metadata must name the same
    /// issuer, and keys at its own host, or at an HTTPS URL with a host name.
    ///
    /// # Errors
    /// [`Error::InvalidSetting`] if the issuer is not such a URL.
    pub fn discover(issuer: Issuer) -> Result<Self, Error> {
        let url = metadata_url(issuer.as_str())?;
        Ok(Self { url, discovered: Some(issuer), rsa: None, transport: None })
    }

    /// Sets the algorithm of RSA keys that name none. By default, it is the only one that the metadata lists, or RS256.
    #[must_use]
    pub fn with_rsa_algorithm(self, algorithm: Algorithm) -> Self {
        Self { rsa: Some(algorithm), ..self }
    }

    /// Sets a transport in place of a connection pool of its own.
    #[must_use]
    pub fn with_transport(self, transport: Arc<dyn Transport>) -> Self {
        Self { transport: Some(transport), ..self }
    }
}

/// A task that keeps the keys of a decoder in sync; dropping it ends the task.
#[derive(Debug)]
pub struct KeyFollower {
    task: JoinHandle<()>,
    progress: watch::Receiver<Progress>,
}

/// The progress of a follower of keys.
#[derive(Debug, Clone, Default)]
struct Progress {
    /// The last successful read; `None` if the keys are not known.
    read: Option<Read>,
    /// Why the last attempt failed.
    failure: Option<Error>,
}

/// A successful read.
#[derive(Debug, Clone, Copy)]
struct Read {
    asked_at: Instant,
    /// When the keys are read again.
    due: Instant,
}

impl KeyFollower {
    /// Starts to follow. Until the first set arrives, the decoder keeps its initial keys: start it with [`KeySet::pending`],
    /// which reports that the keys are not known yet.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if HTTP cannot be used on this system.
    pub fn start(decoder: Arc<Decoder>, source: KeySource) -> Result<Self, Error> {
        Self::start_with(decoder, source, Progress::default())
    }

    /// Starts to follow again, with the same decoder: for a process that has forked, where the runtime of this follower does
    /// not run. Its keys stay known, and count as read when this follower read them last.
    ///
    /// # Errors
    /// Those of [`start`](Self::start).
    pub fn restart(&self, decoder: Arc<Decoder>, source: KeySource) -> Result<Self, Error> {
        let known = self.progress.borrow().clone();
        Self::start_with(decoder, source, known)
    }

    fn start_with(decoder: Arc<Decoder>, source: KeySource, known: Progress) -> Result<Self, Error> {
        let transport = match source.transport {
            Some(transport) => transport,
            None => Arc::new(Http::new()?),
        };
        let (announce, progress) = watch::channel(known);
        let following = Following {
            decoder,
            url: source.url,
            discovered: source.discovered,
            rsa: source.rsa,
            transport,
            updates: Arc::default(),
            read: None,
        };
        Ok(Self { task: tokio::spawn(following.run(announce)), progress })
    }

    /// Returns whether the issuer's keys have been read at least once.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.progress.borrow().read.is_some()
    }

    /// Returns how long the set is valid before the next request; zero if no set has been read, or a newer one should have
    /// been read by now. A caller that passes the set on must not promise a longer validity.
    #[must_use]
    pub fn keys_valid_for(&self) -> Duration {
        let read = self.progress.borrow().read;
        read.map_or(Duration::ZERO, |read| read.due.saturating_duration_since(Instant::now()))
    }

    /// Waits until the issuer's keys have been read once.
    pub async fn ready(&self) {
        let mut progress = self.progress.clone();
        let _ = progress.wait_for(|progress| progress.read.is_some()).await;
    }

    /// Waits for the next time that the issuer's keys are read. A token or message with an unknown key makes that happen within seconds,
    /// unless the issuer is down.
    pub async fn read_again(&self) {
        let mut progress = self.progress.clone();
        progress.mark_unchanged();
        while progress.changed().await.is_ok() {
            if progress.borrow_and_update().failure.is_none() {
                return;
            }
        }
    }

    /// Returns why the keys could not be read; `None` if the last attempt succeeded, or the first one has not ended.
    #[must_use]
    pub fn failure(&self) -> Option<Error> {
        self.progress.borrow().failure.clone()
    }
}

impl Drop for KeyFollower {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Following {
    decoder: Arc<Decoder>,
    url: Url,
    discovered: Option<Issuer>,
    rsa: Option<Algorithm>,
    transport: Arc<dyn Transport>,
    updates: Arc<KeyUpdates>,
    /// What was read last: where, with which algorithm for RSA keys that name none, and its `ETag`.
    read: Option<(Url, Algorithm, HeaderValue)>,
}

impl Following {
    async fn run(mut self, progress: watch::Sender<Progress>) {
        let mut backoff = Backoff::new(MIN_RETRY_DELAY, MAX_RETRY_DELAY);
        let outage = Outage::default();
        loop {
            let asked_at = Instant::now();
            match self.fetch().await {
                Ok(age) => {
                    if outage.ends() {
                        tracing::info!(url = %self.url, "the issuer's keys can be read again");
                    }
                    backoff.reset();
                    let due = asked_at + age;
                    self.updates.were_read();
                    progress.send_replace(Progress { read: Some(Read { asked_at, due }), failure: None });
                    tokio::select! {
                        () = tokio::time::sleep_until(due) => {}
                        () = self.updates.wanted() => tokio::time::sleep_until(due.min(asked_at + MIN_REQUEST_INTERVAL)).await,
                    }
                }
                Err(error) => {
                    if outage.begins() {
                        tracing::warn!(
                            url = %self.url, error = &error as &dyn std::error::Error,
                            "the issuer's keys can't be read; known keys stay valid"
                        );
                    }
                    let mut read = progress.borrow().read;
                    if read.is_some_and(|read| read.asked_at.elapsed() > MAX_UNCONFIRMED) {
                        read = None;
                        tracing::error!(url = %self.url, "the issuer's keys were not read for a day and are not used any more");
                        self.read = None;
                        self.decoder.replace_keys(KeySet::pending());
                    }
                    progress.send_replace(Progress { read, failure: Some(error) });
                    tokio::time::sleep(backoff.next_delay()).await;
                }
            }
        }
    }

    /// Reads the keys once, and returns how long they are valid.
    async fn fetch(&mut self) -> Result<Duration, Error> {
        let published = match &self.discovered {
            None => Published { keys: self.url.clone(), rsa: Algorithm::RS256 },
            Some(issuer) => discover(&*self.transport, issuer.as_str()).await?,
        };
        let mut request = Request::builder()
            .uri(published.keys.as_str())
            .header(header::ACCEPT, "application/jwk-set+json, application/json")
            .body(Vec::new())
            .map_err(|error| Error::setting("url", error.to_string()))?;
        let rsa = self.rsa.unwrap_or(published.rsa);
        // "Not modified" is about the same document, read in the same way.
        let etag = self.read.as_ref().filter(|(keys, read_with, _)| *keys == published.keys && *read_with == rsa);
        let is_conditional = etag.is_some();
        if let Some((_, _, etag)) = etag {
            request.headers_mut().insert(header::IF_NONE_MATCH, etag.clone());
        }
        let answer = send_within(&*self.transport, request, MAX_DOCUMENT_BYTES, REQUEST_TIMEOUT).await?;
        match answer.status() {
            StatusCode::NOT_MODIFIED if is_conditional => {}
            StatusCode::OK => {
                let keys: KeySet = Jwks::key_set(answer.body(), Some(rsa))?;
                self.decoder.replace_keys(keys.followed(Arc::clone(&self.updates)));
                self.read = answer.headers().get(header::ETAG).cloned().map(|etag| (published.keys, rsa, etag));
            }
            status => return Err(Error::unavailable(format!("the issuer answered with status {}", status.as_u16()))),
        }
        Ok(age(answer.headers()))
    }
}

/// Returns `max-age` (RFC 9111 §5.2.2.1), within limits.
fn age(headers: &HeaderMap) -> Duration {
    let said = headers.get(header::CACHE_CONTROL).and_then(|value| value.to_str().ok()).and_then(|directives| {
        let mut directives = directives.split(',').map(str::trim);
        directives.find_map(|directive| directive.strip_prefix("max-age=")?.parse().ok())
    });
    said.map_or(USUAL_AGE, Duration::from_secs).clamp(MIN_AGE, MAX_AGE)
}
