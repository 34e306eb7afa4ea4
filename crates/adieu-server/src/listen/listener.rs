//! A socket that a server listens on.

use std::{
    io,
    net::SocketAddr,
    task::{Context, Poll},
};

#[cfg(unix)]
use std::path::PathBuf;

use tokio::net::{TcpListener, TcpStream};
#[cfg(unix)]
use tokio::net::{UnixListener, UnixStream};

#[cfg(unix)]
use super::unix::{Access, SocketFile};
use crate::{
    address::Peer,
    config::{ListenAddress, Settings},
};

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

impl Listener {
    #[cfg_attr(not(unix), allow(unused_variables, reason = "the settings are those of Unix sockets"))]
    pub(super) async fn bind(address: &ListenAddress, settings: &Settings) -> io::Result<Self> {
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

    pub(super) fn poll_accept(&self, context: &mut Context<'_>) -> Poll<io::Result<Accepted>> {
        match self {
            Self::Tcp(listener) => {
                listener.poll_accept(context).map_ok(|(stream, address)| Accepted::Tcp(stream, address))
            }
            #[cfg(unix)]
            Self::Unix { listener, .. } => listener.poll_accept(context).map_ok(|(stream, _)| Accepted::Unix(stream)),
        }
    }
}
