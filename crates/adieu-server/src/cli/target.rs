//! A running node that a command asks.

use std::{fmt, net::SocketAddr, time::Duration};

use adieu::Chain;
use anyhow::{Context as _, anyhow, ensure};
use reqwest::{Client, ClientBuilder, Response, StatusCode, Url, redirect};
use tokio::time::timeout;

use crate::config::{redacted, written_duration};

/// Longer metrics, in bytes, are not those of a node.
const MAX_METRICS: usize = 8 << 20;

/// Where the node is asked.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Target {
    Url(String),
    /// This machine's node. Its certificate names another host; the request contains no secret.
    LocalTls(String),
    Unix(std::path::PathBuf),
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(url) | Self::LocalTls(url) => formatter.write_str(&redacted(url)),
            Self::Unix(path) => write!(formatter, "unix:{}", path.display()),
        }
    }
}

impl Target {
    /// Parses the URL of a node, to which a path may lead.
    pub(super) fn parse(text: &str) -> anyhow::Result<Self> {
        if let Some(path) = text.strip_prefix("unix:") {
            ensure!(cfg!(unix) && path.starts_with('/'), "unix: must be followed by an absolute path");
            return Ok(Target::Unix(path.into()));
        }
        let url = Url::parse(text).map_err(|error| anyhow!("{}: not a URL: {error}", redacted(text)))?;
        ensure!(
            matches!(url.scheme(), "http" | "https"),
            "{}: a URL must begin with https:// or http://, or unix: and a path",
            redacted(text)
        );
        Ok(Target::Url(text.trim_end_matches('/').to_owned()))
    }

    /// Requests a path.
    pub(super) async fn get(&self, path: &str) -> anyhow::Result<Response> {
        let builder = Client::builder().no_proxy().redirect(redirect::Policy::none());
        let (builder, url) = match self {
            Self::Url(url) if url.starts_with("https:") => (builder, url.as_str()),
            // The system may have no trusted certificates, and none are needed.
            Self::Url(url) => (builder.tls_certs_only([]), url.as_str()),
            Self::LocalTls(url) => (builder.tls_danger_accept_invalid_certs(true), url.as_str()),
            Self::Unix(path) => (unix(builder.tls_certs_only([]), path)?, "http://localhost"),
        };
        let sent = builder.build()?.get(format!("{url}{path}")).send().await;
        sent.map_err(|error| anyhow!("{}", Chain(&error.without_url())))
    }

    /// Requests the metrics of a node.
    ///
    /// # Errors
    /// If there is no whole response with status 200 within `limit`.
    pub(super) async fn metrics(&self, limit: Duration) -> anyhow::Result<String> {
        let read = async {
            let response = self.get("/metrics").await?;
            ensure!(response.status() == StatusCode::OK, "status {}", response.status().as_u16());
            let body =
                read_body(response, MAX_METRICS).await.map_err(|error| anyhow!("{}", Chain(&error.without_url())));
            let body = body?.context("the response is too long")?;
            Ok(String::from_utf8_lossy(&body).into_owned())
        };
        let read = timeout(limit, read).await;
        read.map_err(|_| anyhow!("no response within {}", written_duration(limit))).flatten()
    }
}

/// Returns an address that a server listens on, as its own machine reaches it.
pub(super) fn loopback(mut address: SocketAddr) -> anyhow::Result<SocketAddr> {
    ensure!(address.port() != 0, "the system chooses the port of {address}; name the URL");
    if address.ip().is_unspecified() {
        address.set_ip(match address.is_ipv4() {
            true => std::net::Ipv4Addr::LOCALHOST.into(),
            false => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    Ok(address)
}

#[cfg(unix)]
fn unix(builder: ClientBuilder, path: &std::path::Path) -> anyhow::Result<ClientBuilder> {
    Ok(builder.unix_socket(path))
}

#[cfg(not(unix))]
fn unix(_: ClientBuilder, _: &std::path::Path) -> anyhow::Result<ClientBuilder> {
    anyhow::bail!("there are no Unix sockets on this system")
}

/// Returns the body of a response; `None` if it is longer than `limit`.
///
/// # Errors
/// If the connection is lost.
pub(super) async fn read_body(mut response: Response, limit: usize) -> reqwest::Result<Option<Vec<u8>>> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len().saturating_add(chunk.len()) > limit {
            return Ok(None);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Some(body))
}
