//! How to reach a server, and what to ask of it.

use std::{
    fmt,
    sync::{Arc, Mutex},
};

use redis::{Client, ConnectionInfo, IntoConnectionInfo, TlsCertificates, io::tcp::TcpSettings, parse_redis_url};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::watch;

use super::{Keys, READ_TIMEOUT, Redis, Scripts, Shared, WRITE_TIMEOUT, connection::Connection, watch::watch};
use adieu::Error;

/// What [`Redis::builder`] gives.
#[must_use]
pub struct RedisBuilder {
    url: SecretString,
    prefix: Option<String>,
    root_certificates: Option<Vec<u8>>,
    allow_weaker_durability: bool,
}

impl RedisBuilder {
    pub(super) fn new(url: &str) -> Self {
        Self { url: url.into(), prefix: None, root_certificates: None, allow_weaker_durability: false }
    }

    /// What all keys begin with, in braces; comes before a `prefix` in the URL.
    pub fn with_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = Some(prefix.into());
        self
    }

    /// Whom to believe who the server is, with `rediss://`: certificates as PEM, in place of those that the system knows.
    pub fn with_root_certificates(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.root_certificates = Some(pem.into());
        self
    }

    /// Takes also a server that may lose what it has answered, or does not show whether it may. **A logout that was answered
    /// may then be undone by a crash**; the module's documentation says by which.
    pub fn allow_weaker_durability(mut self) -> Self {
        self.allow_weaker_durability = true;
        self
    }

    /// Connects.
    ///
    /// # Errors
    /// As [`Redis::connect`].
    pub async fn connect(self) -> Result<Redis, Error> {
        let (connection_info, prefix) = self.parse()?;
        let address = connection_info.addr().to_string();
        let keys = Keys::with_prefix(&prefix);
        let client = self.client(connection_info)?;
        let connection = |limit| Arc::new(Connection::new(client.clone(), limit, self.allow_weaker_durability));
        let (reader, writer) = (connection(READ_TIMEOUT), connection(WRITE_TIMEOUT));
        writer.open().await?;

        let woken = watch::Sender::new(());
        let both = [Arc::clone(&reader), Arc::clone(&writer)];
        let watching = tokio::spawn(watch(client, keys.log.clone(), woken.clone(), both)).abort_handle();
        let scripts = Scripts::new();
        let shared = Shared {
            address,
            keys,
            scripts,
            reader,
            writer,
            woken,
            witness: Default::default(),
            watching,
            memory: Mutex::default(),
        };
        Ok(Redis { shared: Arc::new(shared) })
    }

    /// Where the server is, and the prefix.
    fn parse(&self) -> Result<(ConnectionInfo, String), Error> {
        // Nothing of the URL: it may have a password anywhere when it can't be read.
        let wrong = || Error::setting("url", "not the URL of a Redis server: redis://host:port/");
        let mut url = parse_redis_url(self.url.expose_secret()).ok_or_else(wrong)?;
        let (prefixes, others): (Vec<_>, Vec<_>) =
            url.query_pairs().into_owned().partition(|(option, _)| option == "prefix");
        url.set_query(None);
        if others.iter().any(|(option, _)| option != "protocol") {
            return Err(Error::setting(
                "url",
                "the URL of the Redis server has a parameter that is not supported; supported are prefix and protocol",
            ));
        }
        if !others.is_empty() {
            url.query_pairs_mut().extend_pairs(others);
        }
        let of_url = prefixes.into_iter().next_back().map(|(_, prefix)| prefix);
        let prefix = self.prefix.clone().or(of_url).unwrap_or_else(|| "adieu".to_owned());
        if prefix.is_empty() || prefix.contains(['{', '}']) {
            return Err(Error::setting(
                "prefix",
                "the prefix of the keys in Redis must not be empty nor contain braces",
            ));
        }
        let tcp = TcpSettings::default().set_nodelay(true);
        let connection_info = url.into_connection_info().map_err(|_| wrong())?.set_tcp_settings(tcp);
        Ok((connection_info, prefix))
    }

    fn client(&self, connection_info: ConnectionInfo) -> Result<Client, Error> {
        let client = match &self.root_certificates {
            Some(pem) => {
                let root_cert = Some(pem.clone());
                Client::build_with_tls(connection_info, TlsCertificates { client_tls: None, root_cert })
            }
            None => Client::open(connection_info),
        };
        client
            .map_err(|error| Error::setting("url", format!("the settings for the Redis server can't be used: {error}")))
    }
}

impl fmt::Debug for RedisBuilder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("RedisBuilder")
            .field("prefix", &self.prefix)
            .field("allow_weaker_durability", &self.allow_weaker_durability)
            .finish_non_exhaustive()
    }
}
