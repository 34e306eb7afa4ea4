//! Sockets of TCP and Unix: accepts connections and closes them. Several listeners share all limits.
//!
//! 1. A client that sends the head of its request slowly, or sends nothing, is disconnected after [`Bounds::header_timeout`]. So is a
//!    connection that is idle between two requests for [`Bounds::keep_alive_timeout`], and one that reads nothing of its response for
//!    [`Bounds::write_timeout`]. (The router limits how long a request may take.)
//! 2. A head over [`Bounds::max_head_bytes`] gets 431.
//! 3. At most [`Bounds::max_connections`] are open. An idle connection costs a file descriptor and a few KiB; when the limit is reached,
//!    it is closed in favour of a new one. One party ([`party`](crate::address::party)) gets at most a quarter of the connections, so
//!    that a stranger can't hold them all. A quarter is reserved for trusted proxies, which act for many clients, and for this machine.
//!    A client over its share is disconnected; when all connections are in use, further clients wait until one is free.
//! 4. On shutdown, the server accepts no more connections, answers every request that it has begun to read, and returns; after
//!    [`Bounds::drain_timeout`] it closes the remaining connections.
//!
//! With a certificate (`tls`), the TCP sockets speak only TLS.
//!
//! HTTP/1.1 only: proxies speak it to the servers behind them, and hyper does not yet support a timeout for a client that has not shown
//! which version it speaks. `axum::serve` sets no timeouts at all.

mod activity;
mod certificate;
mod listener;
mod listeners;
#[cfg(unix)]
mod passed;
mod room;
mod stream;
mod tls;
#[cfg(unix)]
mod unix;

use std::{
    convert::Infallible,
    io,
    net::{Ipv4Addr, Ipv6Addr},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use axum::{
    body::Body,
    extract::ConnectInfo,
    http::{Request, Response, StatusCode, header},
};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use ipnet::IpNet;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_rustls::Accept;
use tower::Service;

pub(crate) use self::tls::chain_valid_until;
use self::{
    listener::Accepted,
    room::{Room, Seated},
    stream::Impatient,
};
pub use self::{
    listeners::Listeners,
    tls::{Certificate, LacksCertificate, Tls, certificate_valid_until},
};
use crate::{
    address::Peer,
    config::{Settings, TrustedProxy},
};
#[cfg(unix)]
pub(crate) use unix::{Access, check as check_socket};

/// After shutdown begins, how long a connection is kept that has not sent a complete head.
const LAST_CALL: Duration = Duration::from_secs(1);

/// How long to wait if the system has no descriptor or memory for another connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The limits for clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounds {
    /// Maximum length of the head of a request, in bytes; at least 8 KiB.
    pub max_head_bytes: usize,
    /// For the head of a request, from the opening of the connection or the first byte of the head.
    pub header_timeout: Duration,
    /// For the next request, from the end of the previous response.
    pub keep_alive_timeout: Duration,
    /// For reading another part of a response.
    pub write_timeout: Duration,
    /// For the requests in progress when the server shuts down.
    pub drain_timeout: Duration,
    /// Maximum number of open connections.
    pub max_connections: usize,
    /// Trusted proxies, which may have more than one party's share.
    pub trusted_proxies: Vec<TrustedProxy>,
    /// Other networks for which connections are reserved.
    pub reserved_for: Vec<IpNet>,
}

/// Descriptors needed for purposes other than connections: the store, its readers, the runtime.
const OTHER_DESCRIPTORS: usize = 64;

impl Bounds {
    /// Limits the connections to the number that a process with this many open files can have.
    #[must_use]
    pub fn within(mut self, descriptors: Option<u64>) -> Self {
        let most = connections_within(descriptors);
        if self.max_connections > most {
            tracing::warn!(
                max_connections = self.max_connections,
                allowed = most,
                "the limit on open files (RLIMIT_NOFILE) allows fewer connections than max_connections"
            );
            self.max_connections = most;
        }
        self
    }
}

/// Returns how many connections a process with this many open files can have.
#[must_use]
pub fn connections_within(descriptors: Option<u64>) -> usize {
    let most = descriptors.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX));
    most.saturating_sub(OTHER_DESCRIPTORS).max(1)
}

impl From<&Settings> for Bounds {
    fn from(settings: &Settings) -> Self {
        Self {
            max_head_bytes: settings.max_head_bytes(),
            header_timeout: settings.header_timeout,
            keep_alive_timeout: settings.keep_alive_timeout,
            write_timeout: settings.request_timeout,
            drain_timeout: settings.drain_timeout,
            max_connections: settings.max_connections.get(),
            trusted_proxies: settings.trusted_proxies.clone(),
            reserved_for: vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]
                .into_iter()
                .map(|address: std::net::IpAddr| address.into())
                .collect(),
        }
    }
}

/// Bounds that can be replaced. A connection keeps those that it was opened with.
pub type LiveBounds = Arc<ArcSwap<Bounds>>;

/// What can be served: a [`Router`](axum::Router), for example. It is always ready.
pub trait HttpService:
    Service<Request<Incoming>, Response = Response<Body>, Error = Infallible, Future: Send> + Clone + Send + Sync + 'static
{
}

impl<S> HttpService for S where
    S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible, Future: Send>
        + Clone
        + Send
        + Sync
        + 'static
{
}

/// The outcome of a shutdown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Connections closed because they took longer than [`Bounds::drain_timeout`].
    pub abandoned: usize,
}

/// Serves `service` on all `listeners` until `stop` is ready, and then until the requests in progress are answered. The service gets the
/// [`Peer`] as [`ConnectInfo`].
pub async fn serve<S: HttpService>(
    listeners: impl Into<Listeners>,
    service: S,
    bounds: LiveBounds,
    stop: impl Future<Output = ()>,
) -> Drained {
    let mut listeners = listeners.into();
    let room = Room::new(Arc::clone(&bounds));
    let (announce_end, end) = watch::channel(());
    let mut connections = JoinSet::new();
    let mut stop = pin!(stop);
    loop {
        let next = async {
            room.wait().await;
            listeners.accept().await
        };
        tokio::select! {
            // `stop` is polled first; otherwise a busy server would go on accepting.
            biased;
            () = &mut stop => break,
            Some(_) = connections.join_next() => {}
            accepted = next => match accepted {
                Ok(accepted) => {
                    let peer = accepted.peer();
                    let Some(seated) = room.admit(peer) else {
                        tracing::debug!(%peer, "closed a connection: too many connections");
                        continue;
                    };
                    let (service, bounds, end) = (service.clone(), bounds.load_full(), end.clone());
                    match accepted {
                        Accepted::Tcp(stream, _) => {
                            // Responses are small and written whole; waiting for more data would only delay them.
                            let _set = stream.set_nodelay(true);
                            match listeners.tls() {
                                None => connections.spawn(connection(stream, peer, None, seated, service, bounds, end)),
                                Some(tls) => {
                                    let (asked, handshake) = (tls.asks(), tls.accept(stream));
                                    connections.spawn(encrypted(handshake, asked, peer, seated, service, bounds, end))
                                }
                            };
                        }
                        #[cfg(unix)]
                        Accepted::Unix(stream) => {
                            connections.spawn(connection(stream, peer, None, seated, service, bounds, end));
                        }
                    }
                }
                Err(error) => refused_by_system(&error).await,
            },
        }
    }
    drop((listeners, end));
    let _told = announce_end.send(());

    let all_ended = async { while connections.join_next().await.is_some() {} };
    let abandoned = match timeout(bounds.load().drain_timeout, all_ended).await {
        Ok(()) => 0,
        Err(_) => connections.len(),
    };
    connections.shutdown().await;
    Drained { abandoned }
}

async fn refused_by_system(error: &io::Error) {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    if !matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset) {
        tracing::warn!(%error, "could not accept a connection");
        sleep(ACCEPT_PAUSE).await;
    }
}

/// Serves a connection once its handshake is over.
async fn encrypted<S: HttpService>(
    handshake: Accept<TcpStream>,
    is_asked: bool,
    peer: Peer,
    seated: Seated,
    service: S,
    bounds: Arc<Bounds>,
    mut end: watch::Receiver<()>,
) {
    let shaken = tokio::select! {
        shaken = timeout(bounds.header_timeout, handshake) => shaken,
        () = seated.evicted() => return,
        _ = end.changed() => return,
    };
    match shaken {
        Ok(Ok(stream)) => {
            let lack = LacksCertificate::of(&stream, is_asked);
            connection(stream, peer, lack, seated, service, bounds, end).await;
        }
        // Strangers try all kinds of things.
        Ok(Err(error)) => tracing::debug!(%peer, %error, "TLS handshake failed"),
        Err(_) => tracing::debug!(%peer, "TLS handshake took too long"),
    }
}

async fn connection<S: HttpService>(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: Peer,
    lack: Option<LacksCertificate>,
    seated: Seated,
    service: S,
    bounds: Arc<Bounds>,
    mut end: watch::Receiver<()>,
) {
    let (has_begun, activity) = (AtomicBool::new(false), seated.activity());
    let service = service_fn(|request: Request<Incoming>| {
        has_begun.store(true, Ordering::Relaxed);
        activity.begin();
        let answering = answer(request, peer, lack, bounds.max_head_bytes, service.clone());
        async {
            let answered = answering.await;
            activity.end();
            answered
        }
    });
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            // hyper has one timeout for both the head and the pause before it, and does not apply it after a request without a body.
            .header_read_timeout(None)
            .max_buf_size(bounds.max_head_bytes)
            .serve_connection(
                TokioIo::new(Impatient::new(stream, Arc::clone(activity), bounds.write_timeout)),
                service
            )
    );
    let outcome = tokio::select! {
        biased;
        outcome = connection.as_mut() => outcome,
        () = activity.silence(bounds.header_timeout, bounds.keep_alive_timeout) => Ok(()),
        () = seated.evicted() => {
            // A request may have arrived in the meantime.
            connection.as_mut().graceful_shutdown();
            if activity.idle_for().is_none() { connection.as_mut().await } else { Ok(()) }
        }
        _ = end.changed() => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                outcome = connection.as_mut() => outcome,
                // hyper closes connections that are idle between two requests, but waits for those that have not sent their first.
                () = sleep(LAST_CALL.min(bounds.drain_timeout)), if !has_begun.load(Ordering::Relaxed) => {
                    if has_begun.load(Ordering::Relaxed) { connection.as_mut().await } else { Ok(()) }
                }
            }
        }
    };
    if let Err(error) = outcome {
        // Clients that hang up or are slow are normal.
        tracing::debug!(%peer, %error, "connection ended early");
    }
}

async fn answer<S: HttpService>(
    mut request: Request<Incoming>,
    peer: Peer,
    lack: Option<LacksCertificate>,
    max_head_bytes: usize,
    mut service: S,
) -> Result<Response<Body>, Infallible> {
    if head_bytes(&request) > max_head_bytes {
        // hyper counts the bytes that it has buffered, and accepts a head that arrives in one piece.
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        return Ok(response);
    }
    request.extensions_mut().insert(ConnectInfo(peer));
    if let Some(lack) = lack {
        request.extensions_mut().insert(lack);
    }
    let mut response = service.call(request).await?;
    if response.status() == StatusCode::NO_CONTENT {
        // axum sets it, and hyper leaves it in a response to HEAD; this status must not have it (RFC 9110 §8.6).
        response.headers_mut().remove(header::CONTENT_LENGTH);
    }
    Ok(response)
}

/// Estimates the size of the head on the wire, in bytes.
fn head_bytes<B>(request: &Request<B>) -> usize {
    let target = request.uri().path_and_query().map_or(1, |target| target.as_str().len());
    let headers = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + ": \r\n".len());
    request.method().as_str().len() + target + "  HTTP/1.1\r\n\r\n".len() + headers.sum::<usize>()
}

/// Returns a future that is ready when the process is asked to stop, by SIGTERM or Ctrl-C. From this call on, not from the first poll,
/// these signals no longer end the process by themselves.
///
/// # Errors
/// Fails if the system does not allow listening for the signals.
#[cfg(unix)]
pub fn asked_to_stop() -> io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Returns the SIGHUPs of this process. From this call on, the signal no longer ends the process.
///
/// # Errors
/// Fails if the system does not allow listening for the signal.
#[cfg(unix)]
pub fn asked_to_reload() -> io::Result<tokio::signal::unix::Signal> {
    use tokio::signal::unix::{SignalKind, signal};
    signal(SignalKind::hangup())
}

/// Returns a future that is ready when the process is asked to stop, by Ctrl-C.
///
/// # Errors
/// Fails if the system does not allow listening for it.
#[cfg(windows)]
pub fn asked_to_stop() -> io::Result<impl Future<Output = ()>> {
    let mut interrupt = tokio::signal::windows::ctrl_c()?;
    Ok(async move {
        let _received = interrupt.recv().await;
    })
}

/// Raises the limit of open files of this process as far as it may, and returns the limit if there is one: the usual 1024 is fewer than
/// the connections that a server holds.
pub fn raise_descriptor_limit() -> Option<u64> {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let limit = getrlimit(Resource::Nofile);
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        match setrlimit(Resource::Nofile, raised) {
            Ok(()) => limit.maximum,
            Err(_) => limit.current,
        }
    }
    #[cfg(not(unix))]
    None
}

/// Turns a write beyond the limit on file size (`RLIMIT_FSIZE`) into an error, which is answered 503 like a full disk. Without a
/// listener, SIGXFSZ ends the process. Takes effect from this call on.
///
/// # Errors
/// Fails if the system does not allow listening for the signal.
pub fn outlive_file_size_limit() -> io::Result<()> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        // After the first listener, a signal never returns to its default action.
        signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw())).map(drop)
    }
    #[cfg(not(unix))]
    Ok(())
}
