//! What it takes to follow a node.

use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

use base64::prelude::{BASE64_STANDARD, Engine};
use http::HeaderValue;
use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::watch;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::Remote;
use adieu::{
    DEFAULT_MAX_STALENESS, Error,
    time::{Clock, SystemClock},
    token::StalePolicy,
};

use crate::transport::{Http, Transport, parse_url};

/// With less, asking would be all that is done.
const MIN_STALENESS: Duration = Duration::from_millis(100);

/// Which node is followed, and as whom.
#[must_use]
pub struct RemoteBuilder {
    url: String,
    name: String,
    secret: SecretString,
    max_staleness: Duration,
    when_stale: StalePolicy,
    transport: Option<Arc<dyn Transport>>,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for RemoteBuilder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("RemoteBuilder")
            .field("url", &self.url)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Remote {
    /// The log of the node at `url`, asked as the client `name` with its secret; a byte order mark and the end of a line, as
    /// files have them, are not part of it. Everything else has a default.
    pub fn builder(url: impl Into<String>, name: impl Into<String>, secret: SecretString) -> RemoteBuilder {
        RemoteBuilder {
            url: url.into(),
            name: name.into(),
            secret,
            max_staleness: DEFAULT_MAX_STALENESS,
            when_stale: StalePolicy::default(),
            transport: None,
            clock: Arc::new(SystemClock),
        }
    }
}

impl RemoteBuilder {
    /// For how long the verifiers here believe what they know. The node forgets this follower that long after its last
    /// request, so it must not be less than it is; nor may it be more than the node's own bound.
    pub fn max_staleness(self, max_staleness: Duration) -> Self {
        Self { max_staleness, ..self }
    }

    /// What they do then. The node can't count on one that accepts.
    pub fn when_stale(self, when_stale: StalePolicy) -> Self {
        Self { when_stale, ..self }
    }

    /// Another way to the node than a pool of connections of its own.
    pub fn transport(self, transport: Arc<dyn Transport>) -> Self {
        Self { transport: Some(transport), ..self }
    }

    /// A clock other than the system's, for tests.
    pub fn clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self }
    }

    /// The log. Nothing is sent yet.
    ///
    /// # Errors
    /// [`Error::Setting`] when the URL or the name is none, or the bound is not a time.
    pub fn build(self) -> Result<Remote, Error> {
        if self.name.is_empty()
            || self.name.contains(|character: char| character == ':' || !character.is_ascii_graphic())
        {
            return Err(Error::Setting("a client's name has no colon and no space in it".to_owned()));
        }
        if self.max_staleness < MIN_STALENESS {
            return Err(Error::Setting("`max_staleness` must not be shorter than 100 ms over a network".to_owned()));
        }
        let transport = match self.transport {
            Some(transport) => transport,
            None => Arc::new(Http::new()?),
        };
        Ok(Remote {
            transport,
            base: base(&self.url)?,
            authorization: basic(&self.name, &self.secret)?,
            name: self.name,
            follower: Uuid::new_v4().simple().to_string(),
            max_staleness: self.max_staleness,
            accepts_when_stale: self.when_stale == StalePolicy::Accept,
            clock: self.clock,
            settled: watch::Sender::new(None),
            issuer: OnceLock::new(),
            refused: false.into(),
        })
    }
}

/// With a slash at its end, so that paths are put after it rather than in place of its last part.
pub(crate) fn base(url: &str) -> Result<Url, Error> {
    let mut url = parse_url(url)?;
    url.set_query(None);
    url.set_fragment(None);
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    Ok(url)
}

/// RFC 7617.
fn basic(name: &str, secret: &SecretString) -> Result<HeaderValue, Error> {
    // As a file has it: with a byte order mark before it, and the end of the line after it.
    let secret = secret.expose_secret().trim_start_matches('\u{feff}').trim_end_matches(['\r', '\n']);
    let pair = Zeroizing::new(format!("{name}:{secret}"));
    let value = Zeroizing::new(format!("Basic {}", BASE64_STANDARD.encode(pair.as_bytes())));
    let mut value = HeaderValue::from_str(&value).map_err(|_| Error::Setting("the secret is none".to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}
