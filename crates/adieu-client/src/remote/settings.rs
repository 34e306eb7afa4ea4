//! The settings of a [`Remote`].

use std::{fmt, sync::Arc, time::Duration};

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
    retry::Outage,
    time::{Clock, SystemClock},
    token::StalePolicy,
};

use crate::transport::{Http, Transport, parse_url};

/// A shorter bound would leave time for nothing but requests.
const MIN_STALENESS: Duration = Duration::from_millis(100);

/// The node to follow, and the client's credentials.
#[must_use]
pub struct RemoteBuilder {
    url: String,
    name: String,
    secret: SecretString,
    max_staleness: Duration,
    stale_policy: StalePolicy,
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
    /// Returns a builder of the log of the node at `url`, requested as the client `name` with its secret. A byte order mark
    /// and a line end, as files have them, are removed from the secret. Everything else has a default.
    pub fn builder(url: impl Into<String>, name: impl Into<String>, secret: SecretString) -> RemoteBuilder {
        RemoteBuilder {
            url: url.into(),
            name: name.into(),
            secret,
            max_staleness: DEFAULT_MAX_STALENESS,
            stale_policy: StalePolicy::default(),
            transport: None,
            clock: Arc::new(SystemClock),
        }
    }
}

impl RemoteBuilder {
    /// Sets the `max_staleness` of the local verifiers. The node forgets this follower that long after its last request, so
    /// it must not be less than theirs, nor more than the node's own bound.
    pub fn with_max_staleness(self, max_staleness: Duration) -> Self {
        Self { max_staleness, ..self }
    }

    /// Sets what the verifiers do when they are stale. The node cannot rely on a follower that accepts.
    pub fn with_stale_policy(self, stale_policy: StalePolicy) -> Self {
        Self { stale_policy, ..self }
    }

    /// Sets a transport to the node, in place of a connection pool of its own.
    pub fn with_transport(self, transport: Arc<dyn Transport>) -> Self {
        Self { transport: Some(transport), ..self }
    }

    /// Sets a clock other than the system's, for tests.
    pub fn with_clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self }
    }

    /// Creates the log. No request is sent yet.
    ///
    /// # Errors
    /// [`Error::InvalidSetting`] if the URL, the name or the bound is invalid.
    pub fn build(self) -> Result<Remote, Error> {
        if self.name.is_empty()
            || self.name.contains(|character: char| character == ':' || !character.is_ascii_graphic())
        {
            return Err(Error::setting("name", "a client's name has no colon and no space in it"));
        }
        if self.max_staleness < MIN_STALENESS {
            return Err(Error::setting(
                "max_staleness",
                "`max_staleness` must not be shorter than 100 ms over a network",
            ));
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
            accepts_when_stale: self.stale_policy == StalePolicy::Accept,
            clock: self.clock,
            applied: watch::Sender::new(None),
            issuer: watch::Sender::new(None),
            outage: Outage::default(),
        })
    }
}

/// Parses a base URL, with a slash at its end, so that paths are appended to it and do not replace its last part.
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
    // As read from a file: with a byte order mark at the start, and a line end.
    let secret = secret.expose_secret().trim_start_matches('\u{feff}').trim_end_matches(['\r', '\n']);
    let pair = Zeroizing::new(format!("{name}:{secret}"));
    let value = Zeroizing::new(format!("Basic {}", BASE64_STANDARD.encode(pair.as_bytes())));
    let mut value = HeaderValue::from_str(&value).map_err(|_| Error::setting("secret", "invalid client secret"))?;
    value.set_sensitive(true);
    Ok(value)
}
