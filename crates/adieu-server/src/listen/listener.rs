//! The sockets that a server listens on.
//!
//! systemd may pass some of them (`LISTEN_FDS`, see `sd_listen_fds(3)`): while the server restarts, connections to those wait instead of
//! being refused.

use std::{
    future::poll_fn,
    io,
    net::SocketAddr,
    task::{Context, Poll},
};

#[cfg(unix)]
use std::path::PathBuf;

use anyhow::Context as _;
use tokio::net::{TcpListener, TcpStream};
#[cfg(unix)]
use tokio::net::{UnixListener, UnixStream};

use super::tls::Tls;
#[cfg(unix)]
use super::{
    passed::Passed,
    unix::{Access, SocketFile},
};
use crate::{
    address::Peer,
    config::{ListenAddress, Settings},
};

/// The sockets that a server listens on.
#[derive(Debug)]
pub struct Listeners {
    listeners: Vec<Listener>,
    /// The index of the one that is asked first for a connection.
    next: usize,
    /// For the TCP sockets; `None` if they are not encrypted.
    tls: Option<Tls>,
}

#[derive(Debug)]
pub(super) enum Listener {
    Tcp(TcpListener),
    /// The file is removed before the socket is closed, but not that of a passed socket.
    #[cfg(unix)]
    Unix {
        path: PathBuf,
        _file: Option<SocketFile>,
        listener: UnixListener,
    },
}

/// A new connection.
pub(super) enum Accepted {
    Tcp(TcpStream, SocketAddr),
    #[cfg(unix)]
    Unix(UnixStream),
}

impl Accepted {
    pub(super) fn peer(&self) -> Peer {
        match self {
            Self::Tcp(_, address) => Peer::Tcp(*address),
            #[cfg(unix)]
            Self::Unix(_) => Peer::Unix,
        }
    }
}

impl From<TcpListener> for Listeners {
    fn from(listener: TcpListener) -> Self {
        Self { listeners: vec![Listener::Tcp(listener)], next: 0, tls: None }
    }
}

impl Listeners {
    /// Listens on all addresses of the setting `listen`, on the sockets that were passed to the process where there are some.
    ///
    /// # Errors
    /// Fails if one of them cannot be listened on, if a socket was passed for another address, or if the certificate cannot be used.
    pub async fn bind(settings: &Settings) -> anyhow::Result<Self> {
        let tls = Tls::new(settings).await?;
        let mut listeners = Vec::new();
        #[cfg(unix)]
        let mut passed = Passed::take().context("cannot use the sockets that were passed (LISTEN_FDS)")?;
        for address in &settings.listen {
            #[cfg(unix)]
            if let Some(listener) = passed.remove(address) {
                listeners.push(listener);
                continue;
            }
            let listener = Listener::bind(address, settings).await;
            listeners.push(listener.with_context(|| format!("cannot listen on {address}"))?);
        }
        #[cfg(unix)]
        passed.ensure_empty()?;
        Ok(Self { listeners, next: 0, tls })
    }

    /// Returns the certificate for the TCP sockets, if they are encrypted.
    pub(super) fn tls(&self) -> Option<&Tls> {
        self.tls.as_ref()
    }

    /// Returns the addresses. A port that was 0 in the setting is the one that the system has chosen.
    ///
    /// # Errors
    /// Fails if the system does not return an address.
    pub fn addresses(&self) -> io::Result<Vec<ListenAddress>> {
        self.listeners.iter().map(Listener::address).collect()
    }

    /// Accepts a connection. The listeners take turns, so that many connections to one of them do not keep those to another waiting.
    pub(super) async fn accept(&mut self) -> io::Result<Accepted> {
        poll_fn(|context| {
            for _ in 0..self.listeners.len() {
                let accepted = self.listeners.get(self.next).map(|listener| listener.poll_accept(context));
                self.next = (self.next + 1) % self.listeners.len();
                if let Some(Poll::Ready(accepted)) = accepted {
                    return Poll::Ready(accepted);
                }
            }
            Poll::Pending
        })
        .await
    }
}

impl Listener {
    #[cfg_attr(not(unix), allow(unused_variables, reason = "the settings are those of Unix sockets"))]
    async fn bind(address: &ListenAddress, settings: &Settings) -> io::Result<Self> {
        match address {
            ListenAddress::Tcp(address) => TcpListener::bind(address).await.map(Self::Tcp),
            #[cfg(unix)]
            ListenAddress::Unix(path) => {
                let (file, listener) = SocketFile::bind(path, &Access::new(settings)?).await?;
                Ok(Self::Unix { path: path.clone(), _file: Some(file), listener })
            }
            #[cfg(not(unix))]
            ListenAddress::Unix(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    pub(super) fn address(&self) -> io::Result<ListenAddress> {
        match self {
            Self::Tcp(listener) => listener.local_addr().map(ListenAddress::Tcp),
            #[cfg(unix)]
            Self::Unix { path, .. } => Ok(ListenAddress::Unix(path.clone())),
        }
    }

    fn poll_accept(&self, context: &mut Context<'_>) -> Poll<io::Result<Accepted>> {
        match self {
            Self::Tcp(listener) => {
                listener.poll_accept(context).map_ok(|(stream, address)| Accepted::Tcp(stream, address))
            }
            #[cfg(unix)]
            Self::Unix { listener, .. } => listener.poll_accept(context).map_ok(|(stream, _)| Accepted::Unix(stream)),
        }
    }
}
