//! How requests get to another process: [`Http`], or whatever a test puts in its place.

use std::{error::Error as StdError, fmt, time::Duration};

use async_trait::async_trait;
use http::{Request, Response};
use reqwest::{Client, Url, redirect};

use adieu::Error;

/// How long it may take to reach a host. A lost network is found out by the limit of the whole request; this is for one
/// that is there and has nobody at the address.
const CONNECT: Duration = Duration::from_secs(5);

/// How long a connection is kept that nobody uses.
const IDLE: Duration = Duration::from_secs(60);

/// Brings a request to whoever its URI names, and the whole answer back.
///
/// An implementation gives up when its future is dropped: whoever asks decides how long to wait.
#[async_trait]
pub trait Transport: fmt::Debug + Send + Sync + 'static {
    /// The answer, whatever its status, with a body of at most `max_body` bytes.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when there is none, or a longer one. The request may have been taken in all the same.
    async fn send(&self, request: Request<Vec<u8>>, max_body: usize) -> Result<Response<Vec<u8>>, Error>;
}

/// HTTP and HTTPS, with the certificates that the system trusts. Follows no redirect, which could lead a secret
/// elsewhere, and asks no proxy.
#[derive(Debug, Clone)]
pub struct Http {
    client: Client,
}

impl Http {
    /// A pool of connections.
    ///
    /// # Errors
    /// When TLS can't be set up on this system.
    pub fn new() -> Result<Self, Error> {
        let client = Client::builder()
            .user_agent(concat!("adieu/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            .referer(false)
            .no_proxy()
            .connect_timeout(CONNECT)
            .pool_idle_timeout(IDLE)
            .build()
            .map_err(|error| Error::Setting(format!("HTTP can't be used: {}", Chain(&error))))?;
        Ok(Self { client })
    }
}

#[async_trait]
impl Transport for Http {
    async fn send(&self, request: Request<Vec<u8>>, max_body: usize) -> Result<Response<Vec<u8>>, Error> {
        let (head, body) = request.into_parts();
        let url = parse_url(&head.uri.to_string())?;
        let mut request = self.client.request(head.method, url).headers(head.headers);
        if !body.is_empty() {
            request = request.body(body);
        }
        // Without the address, which is for the caller to name.
        let unavailable = |error: reqwest::Error| Error::unavailable(error.without_url());
        let mut answer = request.send().await.map_err(unavailable)?;
        let mut response = Response::new(Vec::new());
        *response.status_mut() = answer.status();
        *response.headers_mut() = std::mem::take(answer.headers_mut());
        while let Some(chunk) = answer.chunk().await.map_err(unavailable)? {
            if response.body().len().saturating_add(chunk.len()) > max_body {
                return Err(Error::unavailable("the answer is too long"));
            }
            response.body_mut().extend_from_slice(&chunk);
        }
        Ok(response)
    }
}

/// A URL that can be asked.
///
/// # Errors
/// [`Error::Setting`] when it is none, or not one of HTTP, or has a name and password in it, which would end up in logs.
pub(crate) fn parse_url(text: &str) -> Result<Url, Error> {
    let url = Url::parse(text).map_err(|error| Error::Setting(format!("not a URL: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(Error::Setting("a URL must begin with https:// or http:// and name a host".to_owned()));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Error::Setting("a URL must not have a name or password in it".to_owned()));
    }
    Ok(url)
}

/// Answers, or gives up after a while.
pub(crate) async fn send_within(
    transport: &dyn Transport,
    request: Request<Vec<u8>>,
    max_body: usize,
    limit: Duration,
) -> Result<Response<Vec<u8>>, Error> {
    match tokio::time::timeout(limit, transport.send(request, max_body)).await {
        Ok(answer) => answer,
        Err(_) => Err(Error::unavailable(format!("no answer within {} ms", limit.as_millis()))),
    }
}

struct Chain<'a>(&'a dyn StdError);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(formatter, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}
