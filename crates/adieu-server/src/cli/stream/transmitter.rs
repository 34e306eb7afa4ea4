//! A transmitter of the Shared Signals Framework 1.0 (SSF), and its API for streams (§7, §8.1).
//!
//! A transmitter is not trusted.
//!
//! 1. An answer has at most 256 KiB and takes at most 10 s. Redirects are not followed.
//! 2. The URLs in its metadata lead to its own host or begin with https, and no address is connected to that may not be.
//! 3. Ids are bounded, and other texts are shortened before they are returned. They may have any characters.
//! 4. The access token is sent to the URLs of the metadata only, and no answer that repeats it is used.

use std::{fmt, time::Duration};

use adieu::{Chain, Issuer, MAX_ID_BYTES};
use anyhow::{Context as _, anyhow, bail, ensure};
use reqwest::{Client, Method, RequestBuilder, StatusCode, Url, header::ACCEPT};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::{
    cli::target::read_body,
    config::{one_or_several, written_duration},
    deliveries::destination,
};

/// The delivery method of streams that are pushed (§6.1.1).
pub(super) const PUSH: &str = "urn:ietf:rfc:8935";

const TIMEOUT: Duration = Duration::from_secs(10);
const MAX_ANSWER_KIB: usize = 256;

/// How many characters of a text are kept.
const MAX_CHARACTERS: usize = 200;
const MAX_AUDIENCES: usize = 16;

/// A transmitter, as its metadata describes it.
pub(super) struct Transmitter {
    issuer: Issuer,
    url: Url,
    client: Client,
    allow_private: bool,
    token: Option<SecretString>,
    metadata: Metadata,
}

/// The metadata (§7.1).
#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    delivery_methods_supported: Option<Vec<String>>,
    configuration_endpoint: Option<String>,
    status_endpoint: Option<String>,
    verification_endpoint: Option<String>,
}

/// The configuration of a stream (§8.1.1).
#[derive(Deserialize)]
pub(super) struct Stream {
    pub(super) stream_id: String,
    iss: String,
    #[serde(rename = "aud", deserialize_with = "one_or_several")]
    pub(super) audience: Vec<String>,
    pub(super) delivery: Delivery,
    /// The URIs of the events that it delivers.
    pub(super) events_delivered: Vec<String>,
    /// After how many seconds without a request about the stream it may end.
    pub(super) inactivity_timeout: Option<u64>,
}

/// How events are delivered.
#[derive(Deserialize)]
pub(super) struct Delivery {
    #[serde(deserialize_with = "shortened")]
    pub(super) method: String,
    #[serde(default, deserialize_with = "shortened")]
    pub(super) endpoint_url: String,
}

/// The status of a stream (§8.1.2).
#[derive(Deserialize)]
pub(super) struct StreamStatus {
    pub(super) status: Status,
    #[serde(default, deserialize_with = "shortened")]
    pub(super) reason: String,
}

/// Whether events are delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Status {
    Enabled,
    Paused,
    Disabled,
}

impl fmt::Display for Status {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Enabled => "enabled",
            Self::Paused => "paused",
            Self::Disabled => "disabled",
        })
    }
}

impl Transmitter {
    /// Reads the metadata of the transmitter at the URL of this issuer, without the token. `allow_private` allows other than global
    /// addresses, and HTTP.
    ///
    /// # Errors
    /// If the URL may not be used, or there is no metadata of this issuer.
    pub(super) async fn discover(
        issuer: Issuer,
        token: Option<SecretString>,
        allow_private: bool,
    ) -> anyhow::Result<Self> {
        let url = destination::parse(issuer.as_str(), allow_private).with_context(|| format!("the issuer {issuer}"))?;
        let client = destination::client(allow_private)?;
        let metadata = metadata_url(&url)?;
        let what = format!("the metadata at {metadata}");
        let answer = answer(client.get(metadata), None, &what).await?.expect(&[StatusCode::OK])?;
        let metadata: Metadata = answer.read()?;
        // Otherwise one transmitter could speak for another (§7.2.4).
        ensure!(
            metadata.issuer == issuer.as_str(),
            "{what} is of another issuer: {}; the settings must name the issuer that signs the events",
            short(&metadata.issuer)
        );
        Ok(Self { issuer, url, client, allow_private, token, metadata })
    }

    /// Creates a stream that pushes these events to `endpoint` (§8.1.1.1).
    ///
    /// # Errors
    /// If the transmitter does not push or refuses to create the stream, or its answer is not valid: there may be a stream then.
    pub(super) async fn create(&self, endpoint: &Url, events: &[String]) -> anyhow::Result<Stream> {
        if let Some(methods) = &self.metadata.delivery_methods_supported {
            ensure!(
                methods.iter().any(|method| method == PUSH),
                "the transmitter does not push events ({PUSH}): {}",
                short(&methods.join(", "))
            );
        }
        let delivery = json!({ "method": PUSH, "endpoint_url": endpoint.as_str() });
        let body = json!({ "delivery": delivery, "events_requested": events });
        let request = self.client.post(self.streams_url()?).json(&body);
        let answer = self.send(request, "the request to create a stream").await?;
        ensure!(
            answer.status != StatusCode::CONFLICT,
            "there is a stream already, and the transmitter allows no other: `adieu stream status` shows it, and after \
             `adieu stream delete` another can be created"
        );
        let created = answer.expect(&[StatusCode::CREATED, StatusCode::OK])?;
        let stream = created.read().and_then(|stream| self.checked(stream));
        stream.context("a stream may have been created; look for it with `adieu stream status`")
    }

    /// Returns all streams of this receiver (§8.1.1.2).
    ///
    /// # Errors
    /// If the transmitter refuses, or its answer is not valid.
    pub(super) async fn streams(&self) -> anyhow::Result<Vec<Stream>> {
        let request = self.client.get(self.streams_url()?);
        let answer = self.send(request, "the request for the streams").await?;
        let streams: Vec<Stream> = answer.expect(&[StatusCode::OK])?.read()?;
        streams.into_iter().map(|stream| self.checked(stream)).collect()
    }

    /// Returns one stream.
    ///
    /// # Errors
    /// If there is none with this id, the transmitter refuses, or its answer is not valid.
    pub(super) async fn stream(&self, id: &str) -> anyhow::Result<Stream> {
        let request = self.client.get(about(self.streams_url()?, id));
        let answer = self.send(request, "the request for the stream").await?;
        let stream = self.checked(answer.expect(&[StatusCode::OK])?.read()?)?;
        ensure!(stream.stream_id == id, "the transmitter has answered with another stream");
        Ok(stream)
    }

    /// Returns the status of a stream (§8.1.2.1).
    ///
    /// # Errors
    /// If the transmitter does not tell it, or its answer is not valid.
    pub(super) async fn status(&self, id: &str) -> anyhow::Result<StreamStatus> {
        let url = about(self.endpoint("status_endpoint", self.metadata.status_endpoint.as_deref())?, id);
        let answer = self.send(self.client.get(url), "the request for the status").await?;
        answer.expect(&[StatusCode::OK])?.read()
    }

    /// Enables a stream that is paused or disabled (§8.1.2.2).
    ///
    /// # Errors
    /// If the transmitter refuses, or the stream is not enabled then.
    pub(super) async fn enable(&self, id: &str) -> anyhow::Result<()> {
        let url = self.endpoint("status_endpoint", self.metadata.status_endpoint.as_deref())?;
        let request = self.client.post(url).json(&json!({ "stream_id": id, "status": "enabled" }));
        let answer = self.send(request, "the request to enable the stream").await?;
        let StreamStatus { status, reason } = answer.expect(&[StatusCode::OK])?.read()?;
        ensure!(status == Status::Enabled, "the transmitter has left the stream {status}: {reason}");
        Ok(())
    }

    /// Asks for a verification event with this state (§8.1.4.2).
    ///
    /// # Errors
    /// If the transmitter refuses.
    pub(super) async fn verify(&self, id: &str, state: &str) -> anyhow::Result<()> {
        let url = self.endpoint("verification_endpoint", self.metadata.verification_endpoint.as_deref())?;
        let request = self.client.post(url).json(&json!({ "stream_id": id, "state": state }));
        let answer = self.send(request, "the request for a verification event").await?;
        answer.expect(&[StatusCode::NO_CONTENT, StatusCode::OK, StatusCode::ACCEPTED]).map(drop)
    }

    /// Deletes a stream (§8.1.1.5).
    ///
    /// # Errors
    /// If there is none with this id, or the transmitter refuses.
    pub(super) async fn delete(&self, id: &str) -> anyhow::Result<()> {
        let request = self.client.request(Method::DELETE, about(self.streams_url()?, id));
        let answer = self.send(request, "the request to delete the stream").await?;
        answer.expect(&[StatusCode::NO_CONTENT, StatusCode::OK]).map(drop)
    }

    /// Sends a request with the access token, and returns the answer, whatever its status.
    async fn send<'w>(&self, request: RequestBuilder, what: &'w str) -> anyhow::Result<Answer<'w>> {
        answer(request, self.token.as_ref(), what).await
    }

    fn streams_url(&self) -> anyhow::Result<Url> {
        self.endpoint("configuration_endpoint", self.metadata.configuration_endpoint.as_deref())
    }

    /// Returns the URL of an endpoint in the metadata.
    fn endpoint(&self, name: &str, url: Option<&str>) -> anyhow::Result<Url> {
        let Some(url) = url else {
            bail!("the transmitter has no {name} in its metadata, so this can be done in its own console only");
        };
        let url = destination::parse(url, self.allow_private).with_context(|| name.to_owned())?;
        ensure!(
            url.scheme() == "https" || url.origin() == self.url.origin(),
            "{name} must be at the host of the issuer, or an https URL"
        );
        Ok(url)
    }

    fn checked(&self, stream: Stream) -> anyhow::Result<Stream> {
        let is_id = |text: &String| (1..=MAX_ID_BYTES).contains(&text.len());
        ensure!(is_id(&stream.stream_id), "a stream_id must be a text of 1 to {MAX_ID_BYTES} bytes");
        ensure!(
            (1..=MAX_AUDIENCES).contains(&stream.audience.len()) && stream.audience.iter().all(is_id),
            "the aud of a stream must be 1 to {MAX_AUDIENCES} texts of 1 to {MAX_ID_BYTES} bytes"
        );
        ensure!(
            stream.iss == self.issuer.as_str(),
            "the stream {} is of another issuer: {}",
            stream.stream_id,
            short(&stream.iss)
        );
        Ok(stream)
    }
}

/// Returns the URL of the metadata of an issuer: the well-known part is inserted before its path (§7.2.1).
fn metadata_url(issuer: &Url) -> anyhow::Result<Url> {
    ensure!(issuer.query().is_none() && issuer.fragment().is_none(), "an issuer has neither a query nor a fragment");
    let mut url = issuer.clone();
    url.set_path(&format!("/.well-known/ssf-configuration{}", issuer.path().trim_end_matches('/')));
    Ok(url)
}

/// Adds the id of a stream to the URL of an endpoint.
fn about(mut endpoint: Url, id: &str) -> Url {
    endpoint.query_pairs_mut().append_pair("stream_id", id);
    endpoint
}

/// An answer, and what was requested.
struct Answer<'w> {
    what: &'w str,
    status: StatusCode,
    body: Vec<u8>,
}

/// Sends a request, with a token if there is one, and returns the answer, whatever its status.
async fn answer<'w>(
    request: RequestBuilder,
    token: Option<&SecretString>,
    what: &'w str,
) -> anyhow::Result<Answer<'w>> {
    let request = match token {
        Some(token) => request.bearer_auth(token.expose_secret()),
        None => request,
    };
    let request = request.header(ACCEPT, "application/json").timeout(TIMEOUT);
    let exchange = async {
        let response = request.send().await?;
        Ok((response.status(), read_body(response, MAX_ANSWER_KIB << 10).await?))
    };
    let (status, body) = exchange.await.map_err(|error: reqwest::Error| match error.is_timeout() {
        true => anyhow!("{what}: no answer within {}", written_duration(TIMEOUT)),
        false => anyhow!("{what}: {}", Chain(&error.without_url())),
    })?;
    let body = body.with_context(|| format!("{what}: the answer is longer than {MAX_ANSWER_KIB} KiB"))?;
    let repeats = |token: &SecretString| {
        let token = token.expose_secret().as_bytes();
        body.windows(token.len()).any(|part| part == token)
    };
    ensure!(!token.is_some_and(repeats), "{what}: the answer repeats the access token, so it is not used");
    Ok(Answer { what, status, body })
}

impl Answer<'_> {
    /// Checks the status.
    fn expect(self, expected: &[StatusCode]) -> anyhow::Result<Self> {
        let Self { what, status, body } = &self;
        if expected.contains(status) {
            return Ok(self);
        }
        let advice = match status.as_u16() {
            300..=399 => "; redirects are not followed",
            401 => "; give a valid access token with --token-file",
            403 => "; the access token does not allow this",
            404 => "; check the issuer, and the id of the stream if you gave one",
            202 | 429 => "; try again later",
            _ => "",
        };
        bail!("{what}: status {}{}{advice}", status.as_u16(), said(body))
    }

    fn read<T: DeserializeOwned>(&self) -> anyhow::Result<T> {
        serde_json::from_slice(&self.body)
            .map_err(|error| anyhow!("{}: the answer is not valid: {}", self.what, short(&error.to_string())))
    }
}

/// Returns what the body of an error says, if it is JSON with one of the usual members.
fn said(body: &[u8]) -> String {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let members = ["error_description", "description", "message", "detail", "error", "err"];
    let said = members.iter().find_map(|name| body.get(name)?.as_str());
    said.map(|said| format!(", {:?}", short(said))).unwrap_or_default()
}

/// Returns the beginning of a text.
fn short(text: &str) -> String {
    let mut characters = text.chars();
    let mut short: String = characters.by_ref().take(MAX_CHARACTERS).collect();
    if characters.next().is_some() {
        short.push('…');
    }
    short
}

/// Deserializes the beginning of a text; `null` is an empty one.
fn shortened<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(short(&Option::<String>::deserialize(deserializer)?.unwrap_or_default()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_metadata_is_before_the_path_of_the_issuer() {
        let url = |issuer: &str| metadata_url(&issuer.parse().unwrap()).map(|url| url.to_string());
        for (issuer, expected) in [
            ("https://tr.example.com", "https://tr.example.com/.well-known/ssf-configuration"),
            ("https://tr.example.com/", "https://tr.example.com/.well-known/ssf-configuration"),
            ("https://tr.example.com/issuer1", "https://tr.example.com/.well-known/ssf-configuration/issuer1"),
            ("https://tr.example.com/a%20b/c/", "https://tr.example.com/.well-known/ssf-configuration/a%20b/c"),
        ] {
            assert_eq!(url(issuer).unwrap(), expected);
        }
        for wrong in ["https://tr.example.com/?a", "https://tr.example.com/#a"] {
            assert!(url(wrong).is_err(), "{wrong}");
        }
    }
}
