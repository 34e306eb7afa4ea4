//! `adieu health`

use std::{fmt, net::SocketAddr, process::ExitCode, time::Duration};

use adieu::Chain;
use anyhow::{Context as _, anyhow, bail, ensure};
use clap::Args;
use reqwest::{Client, ClientBuilder, Response, StatusCode, Url, redirect};
use serde_json::Value;

use super::output::visible;
use crate::config::{Flags, ListenAddress, Settings, parse_duration, redacted, written_duration};

/// A longer response is not that of a node.
const MAX_BODY: usize = 16 * 1024;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The URL of the node, such as https://login.example or unix:/run/adieu/adieu.sock; without it, the first address of
    /// `listen`, whose certificate is not verified
    url: Option<String>,
    /// How long to wait for the response
    #[arg(long, default_value = "5s", value_parser = parse_duration)]
    timeout: Duration,
    #[command(flatten)]
    flags: Flags,
}

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

impl Arguments {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let target = match self.url {
            Some(url) => named(&url)?,
            None => local(&Settings::load(&self.flags, std::env::vars_os())?)?,
        };
        let text = visible(&target.to_string());
        let response = tokio::time::timeout(self.timeout, readiness(&target)).await;
        let response = response.map_err(|_| anyhow!("no response within {}", written_duration(self.timeout)));
        let (status, problem) = response.flatten().with_context(|| format!("{text} is not ready"))?;
        ensure!(status == StatusCode::OK, "{text} is not ready: status {}{problem}", status.as_u16());
        super::print(&format!("{text} is ready\n"))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Parses the URL of a node, to which a path may lead.
pub(super) fn named(text: &str) -> anyhow::Result<Target> {
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

/// Returns the first address that a node with these settings listens on, as its own machine reaches it.
fn local(settings: &Settings) -> anyhow::Result<Target> {
    match settings.listen.first() {
        Some(ListenAddress::Unix(path)) => Ok(Target::Unix(path.clone())),
        Some(ListenAddress::Tcp(address)) => {
            let address = from_here(*address)?;
            Ok(match settings.tls_certificate {
                Some(_) => Target::LocalTls(format!("https://{address}")),
                None => Target::Url(format!("http://{address}")),
            })
        }
        None => bail!("listen names no address"),
    }
}

/// Returns an address that a server listens on, as its own machine reaches it.
pub(super) fn from_here(mut address: SocketAddr) -> anyhow::Result<SocketAddr> {
    ensure!(address.port() != 0, "the system chooses the port of {address}; name the URL");
    if address.ip().is_unspecified() {
        address.set_ip(match address.is_ipv4() {
            true => std::net::Ipv4Addr::LOCALHOST.into(),
            false => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    Ok(address)
}

impl Target {
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
}

/// Returns the status of the response of `/readyz`, and what it names as the problem.
async fn readiness(target: &Target) -> anyhow::Result<(StatusCode, String)> {
    let response = target.get("/readyz").await?;
    let status = response.status();
    let problem = if status == StatusCode::OK { String::new() } else { problem(response).await.unwrap_or_default() };
    Ok((status, problem))
}

#[cfg(unix)]
fn unix(builder: ClientBuilder, path: &std::path::Path) -> anyhow::Result<ClientBuilder> {
    Ok(builder.unix_socket(path))
}

#[cfg(not(unix))]
fn unix(_: ClientBuilder, _: &std::path::Path) -> anyhow::Result<ClientBuilder> {
    bail!("there are no Unix sockets on this system")
}

/// Returns the body of a response; `None` if it is longer than `limit`.
///
/// # Errors
/// If the connection is lost.
pub(super) async fn body(mut response: Response, limit: usize) -> reqwest::Result<Option<Vec<u8>>> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len().saturating_add(chunk.len()) > limit {
            return Ok(None);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Some(body))
}

/// Returns the message in the response of a node.
async fn problem(response: Response) -> Option<String> {
    let body: Value = serde_json::from_slice(&body(response, MAX_BODY).await.ok()??).ok()?;
    body.get("message")?.as_str().map(|message| format!(", {message}"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_address_for_every_interface_is_asked_on_loopback() {
        for (listen, certificate, expected) in [
            ("0.0.0.0:8080", None, Ok("http://127.0.0.1:8080")),
            ("[::]:8443", Some("c.pem"), Ok("https://[::1]:8443")),
            ("10.0.0.7:80,unix:/run/adieu.sock", None, Ok("http://10.0.0.7:80")),
            ("unix:/run/adieu.sock,10.0.0.7:80", Some("c.pem"), Ok("unix:/run/adieu.sock")),
            ("0.0.0.0:0", None, Err("the system chooses the port of 0.0.0.0:0; name the URL")),
        ] {
            let certificate = certificate.map(|file| ("ADIEU_TLS_CERTIFICATE".into(), file.into()));
            let environment = std::iter::once(("ADIEU_LISTEN".into(), listen.into())).chain(certificate);
            let target = local(&Settings::load(&Flags::default(), environment).unwrap());
            let target = target.map(|target| target.to_string()).map_err(|error| error.to_string());
            assert_eq!(target.as_deref().map_err(String::as_str), expected, "{listen}");
        }
    }
}
