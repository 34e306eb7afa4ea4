//! `adieu health`

use std::{process::ExitCode, time::Duration};

use anyhow::{Context as _, anyhow, bail, ensure};
use clap::Args;
use reqwest::{Response, StatusCode};
use serde_json::Value;

use super::{
    output::visible,
    target::{Target, loopback, read_body},
};
use crate::config::{Flags, ListenAddress, Settings, parse_duration, written_duration};

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

impl Arguments {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let target = match self.url {
            Some(url) => Target::parse(&url)?,
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

/// Returns the first address that a node with these settings listens on, as its own machine reaches it.
fn local(settings: &Settings) -> anyhow::Result<Target> {
    match settings.listen.first() {
        Some(ListenAddress::Unix(path)) => Ok(Target::Unix(path.clone())),
        Some(ListenAddress::Tcp(address)) => {
            let address = loopback(*address)?;
            Ok(match settings.tls_certificate {
                Some(_) => Target::LocalTls(format!("https://{address}")),
                None => Target::Url(format!("http://{address}")),
            })
        }
        None => bail!("listen names no address"),
    }
}

/// Returns the status of the response of `/readyz`, and what it names as the problem.
async fn readiness(target: &Target) -> anyhow::Result<(StatusCode, String)> {
    let response = target.get("/readyz").await?;
    let status = response.status();
    let problem = if status == StatusCode::OK { String::new() } else { problem(response).await.unwrap_or_default() };
    Ok((status, problem))
}

/// Returns the message in the response of a node.
async fn problem(response: Response) -> Option<String> {
    let body: Value = serde_json::from_slice(&read_body(response, MAX_BODY).await.ok()??).ok()?;
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
