//! How requests are sent to another process: by [`Http`], or by another transport in a test.

mod renewed;

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
use http::{Request, Response};
use reqwest::{Certificate, Client, ClientBuilder, Identity, Url, redirect};

use adieu::{Chain, Error};

use renewed::Renewed;

/// The timeout of a connection attempt, for a network that works and an address without a host. The timeout of the whole
/// request covers a lost network.
const CONNECT: Duration = Duration::from_secs(5);

/// How long an unused connection is kept.
const IDLE: Duration = Duration::from_secs(60);

/// Sends a request to the host in its URI, and returns the whole response.
///
/// Dropping the future cancels the request: the caller decides how long to wait.
#[async_trait]
pub trait Transport: fmt::Debug + Send + Sync + 'static {
    /// Returns the response, whatever its status, with a body of at most `max_body` bytes.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if there is no response, or a longer one. The server may have processed the request
    /// nevertheless.
    async fn send(&self, request: Request<Vec<u8>>, max_body: usize) -> Result<Response<Vec<u8>>, Error>;
}

/// HTTP and HTTPS, with the system's trusted certificates. It follows no redirects, which could send a secret elsewhere, and
/// uses no proxy.
#[derive(Debug, Clone)]
pub struct Http(Connections);

#[derive(Debug, Clone)]
enum Connections {
    Fixed(Client),
    Renewed(Arc<Renewed>),
}

impl Http {
    /// Creates a connection pool.
    ///
    /// # Errors
    /// If TLS cannot be set up on this system.
    pub fn new() -> Result<Self, Error> {
        pool(Client::builder()).map(|client| Self(Connections::Fixed(client)))
    }

    /// Creates a connection pool that trusts only the certificate authorities in `roots`, and identifies itself with the
    /// certificate and the private key in `identity`, if given. Both are in PEM form.
    ///
    /// # Errors
    /// [`Error::InvalidSetting`] if they cannot be read.
    pub fn with_certificates(roots: &[u8], identity: Option<&[u8]>) -> Result<Self, Error> {
        certified_pool(Some(roots), identity).map(|client| Self(Connections::Fixed(client)))
    }

    /// Like [`with_certificates`](Self::with_certificates), with files, which are read again every ten seconds while requests are sent:
    /// a renewed certificate is used for the connections that are opened afterwards. Files that cannot be used, or that do not belong
    /// together, as between the writes of two files, change nothing; that is logged once.
    ///
    /// Each must be a regular file of at most 1 MiB. Without `roots`, the system's trusted certificates are used. `identity` has one file
    /// with the certificate and its private key, or two; without files, this process has no certificate.
    ///
    /// # Errors
    /// [`Error::InvalidSetting`] if a file cannot be read or used.
    pub fn with_certificate_files(roots: Option<PathBuf>, identity: Vec<PathBuf>) -> Result<Self, Error> {
        Renewed::read(roots, identity).map(|renewed| Self(Connections::Renewed(Arc::new(renewed))))
    }
}

fn pool(builder: ClientBuilder) -> Result<Client, Error> {
    builder
        .user_agent(concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        .referer(false)
        .no_proxy()
        .connect_timeout(CONNECT)
        .pool_idle_timeout(IDLE)
        .build()
        .map_err(|error| Error::Unsupported(format!("HTTP can't be used: {}", Chain(&error))))
}

fn certified_pool(roots: Option<&[u8]>, identity: Option<&[u8]>) -> Result<Client, Error> {
    let unreadable = |setting| move |error: reqwest::Error| Error::setting(setting, Chain(&error).to_string());
    let mut builder = Client::builder();
    if let Some(roots) = roots {
        let roots = Certificate::from_pem_bundle(roots).map_err(unreadable("roots"))?;
        if roots.is_empty() {
            return Err(Error::setting("roots", "there is no certificate"));
        }
        builder = builder.tls_certs_only(roots);
    }
    if let Some(identity) = identity {
        builder = builder.identity(Identity::from_pem(identity).map_err(unreadable("identity"))?);
    }
    pool(builder)
}

#[async_trait]
impl Transport for Http {
    async fn send(&self, request: Request<Vec<u8>>, max_body: usize) -> Result<Response<Vec<u8>>, Error> {
        let (head, body) = request.into_parts();
        let url = parse_url(&head.uri.to_string())?;
        let client = match &self.0 {
            Connections::Fixed(client) => client.clone(),
            Connections::Renewed(renewed) => renewed.client().await,
        };
        let mut request = client.request(head.method, url).headers(head.headers);
        if !body.is_empty() {
            request = request.body(body);
        }
        // Without the URL: the caller adds it.
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

/// Parses the URL of a server.
///
/// # Errors
/// [`Error::InvalidSetting`] if it is not an HTTP or HTTPS URL, or contains a name and password, which would end up in logs.
pub(crate) fn parse_url(text: &str) -> Result<Url, Error> {
    let url = Url::parse(text).map_err(|error| Error::setting("url", format!("not a URL: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(Error::setting("url", "a URL must begin with https:// or http:// and name a host"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Error::setting("url", "a URL must not have a name or password in it"));
    }
    Ok(url)
}

/// Sends a request with a timeout.
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
