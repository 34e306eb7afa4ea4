//! Sockets: taking connections, and letting go of them.
//!
//! 1. A client that sends the head of its request slowly, or nothing at all, is disconnected after
//!    [`Bounds::header_timeout`]; so is a connection that is idle between two requests for
//!    [`Bounds::keep_alive_timeout`], and one that takes nothing of its answer for [`Bounds::write_timeout`]. (How long a
//!    request may take is the router's to say.)
//! 2. A head over 32 KiB is answered 431.
//! 3. At most [`Bounds::max_connections`] are open. An idle connection costs a file descriptor and a few KiB, and holds
//!    nobody else up: when there are no more, it is closed for another. One party ([`party`](crate::address::party)) gets
//!    a quarter of them, so that no stranger has them all, and a quarter is kept for trusted proxies, who speak for many,
//!    and for this machine. Who gets none is hung up on; when they are all taken, further clients wait until one is free.
//! 4. When it is told to stop, it accepts nothing more, answers every request that it has begun to read, and is done;
//!    after [`Bounds::drain_timeout`] it gives up on the rest.
//!
//! HTTP/1.1 only: it is what proxies speak to what is behind them, and hyper can't yet give a client that has not said
//! which version it speaks a time limit. `axum::serve` sets no time limits at all.

mod activity;
mod room;
mod stream;

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    net::{Ipv4Addr, Ipv6Addr},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::ConnectInfo,
    http::{Request, Response, StatusCode, header},
};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use ipnet::IpNet;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};
use tower::Service as _;

use self::{
    room::{Room, Seated},
    stream::Impatient,
};
use crate::config::Settings;

/// Enough for cookies and a token or two of the largest size that is verified.
const MAX_HEAD_BYTES: usize = 32 * 1024;

/// For how long a connection that has not sent a whole head yet is kept after the end was announced.
const LAST_CALL: Duration = Duration::from_secs(1);

/// How long to wait when the system has no descriptor or memory for another connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What a client may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounds {
    /// For the head of a request, from when the connection was opened or the first of it came.
    pub header_timeout: Duration,
    /// For the next request, from when the answer before was sent.
    pub keep_alive_timeout: Duration,
    /// For taking some more of an answer.
    pub write_timeout: Duration,
    /// For the requests that are under way when the server is told to stop.
    pub drain_timeout: Duration,
    /// How many connections are open at once.
    pub max_connections: usize,
    /// The networks of those who may have more than a share of them.
    pub trusted_proxies: Vec<IpNet>,
    /// Others for whom a part of them is kept.
    pub reserved_for: Vec<IpNet>,
}

/// Descriptors that are needed for other things than connections: the store, its readers, the runtime.
const OTHER_DESCRIPTORS: usize = 64;

impl Bounds {
    /// With no more connections than a process that may open so many files can have.
    #[must_use]
    pub fn within(mut self, descriptors: Option<u64>) -> Self {
        let most = descriptors.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX));
        let most = most.saturating_sub(OTHER_DESCRIPTORS).max(1);
        if self.max_connections > most {
            tracing::warn!(
                max_connections = self.max_connections,
                possible = most,
                "the limit on open files (RLIMIT_NOFILE) allows fewer connections than max_connections"
            );
            self.max_connections = most;
        }
        self
    }
}

impl From<&Settings> for Bounds {
    fn from(settings: &Settings) -> Self {
        Self {
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

/// How a server ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// How many connections were cut off because they took longer than [`Bounds::drain_timeout`].
    pub abandoned: usize,
}

/// Serves `router` on `listener` until `stop` is ready, and then until what was begun is answered. Handlers get the
/// peer's address as [`ConnectInfo<SocketAddr>`].
pub async fn serve(listener: TcpListener, router: Router, bounds: Bounds, stop: impl Future<Output = ()>) -> Drained {
    let room = Room::new(bounds.max_connections, bounds.trusted_proxies.clone(), bounds.reserved_for.clone());
    let (announce_end, end) = watch::channel(());
    let mut connections = JoinSet::new();
    let mut stop = pin!(stop);
    loop {
        let next = async {
            room.wait().await;
            listener.accept().await
        };
        tokio::select! {
            // Stopping comes first, or a busy server would go on accepting.
            biased;
            () = &mut stop => break,
            Some(_) = connections.join_next() => {}
            accepted = next => match accepted {
                Ok((stream, peer)) => {
                    let Some(seated) = room.admit(peer.ip()) else {
                        tracing::debug!(%peer, "hung up on a client that there is no room for");
                        continue;
                    };
                    connections.spawn(connection(stream, peer, seated, router.clone(), bounds.clone(), end.clone()));
                }
                Err(error) => refused_by_system(&error).await,
            },
        }
    }
    drop((listener, end));
    let _told = announce_end.send(());

    let all_ended = async { while connections.join_next().await.is_some() {} };
    let abandoned = match timeout(bounds.drain_timeout, all_ended).await {
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

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    seated: Seated,
    router: Router,
    bounds: Bounds,
    mut end: watch::Receiver<()>,
) {
    // Answers are small and written whole; waiting for more of them would only delay them.
    let _set = stream.set_nodelay(true);
    let (has_begun, activity) = (AtomicBool::new(false), seated.activity());
    let service = service_fn(|request: Request<Incoming>| {
        has_begun.store(true, Ordering::Relaxed);
        activity.begin();
        let answering = answer(request, peer, router.clone());
        async {
            let answered = answering.await;
            activity.end();
            answered
        }
    });
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            // It knows one limit for a head and for the pause before it, and does not keep it after a request without a body.
            .header_read_timeout(None)
            .max_buf_size(MAX_HEAD_BYTES)
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
            // A request may have come meanwhile.
            connection.as_mut().graceful_shutdown();
            if activity.idle_for().is_none() { connection.as_mut().await } else { Ok(()) }
        }
        _ = end.changed() => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                outcome = connection.as_mut() => outcome,
                // hyper closes what is idle between two requests, and waits for what has not sent its first.
                () = sleep(LAST_CALL.min(bounds.drain_timeout)), if !has_begun.load(Ordering::Relaxed) => {
                    if has_begun.load(Ordering::Relaxed) { connection.as_mut().await } else { Ok(()) }
                }
            }
        }
    };
    if let Err(error) = outcome {
        // Clients that hang up or dawdle are everyday life.
        tracing::debug!(%peer, %error, "connection ended early");
    }
}

async fn answer(
    request: Request<Incoming>,
    peer: SocketAddr,
    mut router: Router,
) -> Result<Response<Body>, Infallible> {
    if head_bytes(&request) > MAX_HEAD_BYTES {
        // hyper counts what it has buffered, and takes a head that comes in one piece.
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        return Ok(response);
    }
    let mut request = request.map(Body::new);
    request.extensions_mut().insert(ConnectInfo(peer));
    let mut response = router.call(request).await?;
    if response.status() == StatusCode::NO_CONTENT {
        // axum sets it, and hyper leaves it in an answer to HEAD; there must be none with this status (RFC 9110 §8.6).
        response.headers_mut().remove(header::CONTENT_LENGTH);
    }
    Ok(response)
}

/// About as many bytes as it was on the wire.
fn head_bytes<B>(request: &Request<B>) -> usize {
    let target = request.uri().path_and_query().map_or(1, |target| target.as_str().len());
    let headers = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + ": \r\n".len());
    request.method().as_str().len() + target + "  HTTP/1.1\r\n\r\n".len() + headers.sum::<usize>()
}

/// Ready when the process is asked to end: SIGTERM, or Ctrl-C. From this call on, not from when it is first awaited,
/// these no longer end the process by themselves.
///
/// # Errors
/// When the system does not let us listen for it.
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

/// Ready when the process is asked to end, by Ctrl-C.
///
/// # Errors
/// When the system does not let us listen for it.
#[cfg(windows)]
pub fn asked_to_stop() -> io::Result<impl Future<Output = ()>> {
    let mut interrupt = tokio::signal::windows::ctrl_c()?;
    Ok(async move {
        let _received = interrupt.recv().await;
    })
}

/// Raises the number of files that this process may open as far as it may by itself, and returns it when there is one:
/// the customary 1024 is less than the connections that a server holds.
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

/// Makes a write beyond the limit on the size of files (`RLIMIT_FSIZE`) an error like a full disk, which is answered 503,
/// instead of the end of the process, which is what SIGXFSZ means unless somebody listens for it. From this call on.
///
/// # Errors
/// When the system does not let us listen for it.
pub fn outlive_file_size_limit() -> io::Result<()> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        // Once listened for, a signal never gets its default meaning back.
        signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw())).map(drop)
    }
    #[cfg(not(unix))]
    Ok(())
}
