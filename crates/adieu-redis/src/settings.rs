//! The builder of a store.

use std::{
    fmt,
    sync::{Arc, Mutex, Weak},
};

use redis::{Client, ConnectionInfo, IntoConnectionInfo, TlsCertificates, io::tcp::TcpSettings, parse_redis_url};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::watch;

use super::{Keys, READ_TIMEOUT, Redis, Scripts, Shared, WRITE_TIMEOUT, connection::Connection, watch::watch};
use adieu::{
    Error,
    engine::group_commit::{GroupCommit, Job},
};

/// A builder of a [`Redis`] store; see [`Redis::builder`].
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

    /// Sets the prefix of all keys, which is put in braces. Takes precedence over `prefix` in the URL.
    pub fn with_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = Some(prefix.into());
        self
    }

    /// Sets the root certificates for `rediss://`, as PEM. They replace those of the system.
    pub fn with_root_certificates(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.root_certificates = Some(pem.into());
        self
    }

    /// Accepts a server that may lose answered writes, or does not show whether it may. **A crash may then undo a
    /// logout that was answered**; `docs/redis.md` lists the settings.
    pub fn allow_weaker_durability(mut self) -> Self {
        self.allow_weaker_durability = true;
        self
    }

    /// Connects to the server.
    ///
    /// # Errors
    /// See [`Redis::connect`].
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
        let shared = Arc::new_cyclic(|shared| Shared {
            address,
            keys,
            scripts,
            reader,
            writer,
            woken,
            witness: Default::default(),
            watching,
            memory: Mutex::default(),
            changes: serve(shared, Redis::apply),
            logins: serve(shared, Redis::apply_logins),
            commit_sizes: Default::default(),
        });
        Ok(Redis { shared })
    }

    /// Returns the address of the server, and the prefix.
    fn parse(&self) -> Result<(ConnectionInfo, String), Error> {
        // The message has no part of the URL: an invalid URL may have a password anywhere.
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

/// Starts the task of a queue. It ends with the store.
fn serve<J: Job, F>(shared: &Weak<Shared>, apply: impl Fn(Redis, Vec<J>) -> F + Send + 'static) -> GroupCommit<J>
where
    F: Future<Output = ()> + Send + 'static,
{
    let shared = Weak::clone(shared);
    GroupCommit::start(move |batch| {
        // Every caller that waits holds the store: without one, none waits.
        let applied = shared.upgrade().map(|shared| apply(Redis { shared }, batch));
        async move {
            if let Some(applied) = applied {
                applied.await;
            }
        }
    })
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
