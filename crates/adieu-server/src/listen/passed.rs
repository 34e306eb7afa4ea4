//! The sockets that systemd passes to the process.

use std::{
    io::{self, ErrorKind},
    os::unix::net::UnixListener as StdUnixListener,
};

use anyhow::bail;
use listenfd::ListenFd;
use tokio::net::{TcpListener, UnixListener};

use super::listener::Listener;
use crate::config::ListenAddress;

/// Sockets, each with its address.
#[derive(Debug)]
pub(super) struct Passed(Vec<(ListenAddress, Listener)>);

impl Passed {
    /// Takes what was passed to this process (`LISTEN_PID`); nothing a second time.
    ///
    /// # Errors
    /// Fails if something was passed that is not a listening TCP or Unix socket with an address.
    pub(super) fn take() -> io::Result<Self> {
        let mut descriptors = ListenFd::from_env();
        let mut sockets = Vec::new();
        for index in 0..descriptors.len() {
            let listener = match descriptors.take_tcp_listener(index) {
                Ok(socket) => socket.map(tcp),
                // It is a socket of another kind, and was not taken.
                Err(_) => descriptors.take_unix_listener(index)?.map(unix),
            };
            if let Some(listener) = listener.transpose()? {
                sockets.push((listener.address()?, listener));
            }
        }
        Ok(Self(sockets))
    }

    /// Returns the socket with this address.
    pub(super) fn remove(&mut self, address: &ListenAddress) -> Option<Listener> {
        let index = self.0.iter().position(|(of_socket, _)| of_socket == address)?;
        Some(self.0.swap_remove(index).1)
    }

    /// Fails if a socket remains: its clients would wait for ever.
    pub(super) fn ensure_empty(&self) -> anyhow::Result<()> {
        if let Some((address, _)) = self.0.first() {
            bail!("a socket for {address} was passed (LISTEN_FDS), which listen does not name");
        }
        Ok(())
    }
}

fn tcp(socket: std::net::TcpListener) -> io::Result<Listener> {
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket).map(Listener::Tcp)
}

fn unix(socket: StdUnixListener) -> io::Result<Listener> {
    let address = socket.local_addr()?;
    let unnamed = || io::Error::new(ErrorKind::InvalidInput, "a Unix socket has no path");
    let path = address.as_pathname().ok_or_else(unnamed)?.to_owned();
    socket.set_nonblocking(true)?;
    Ok(Listener::Unix { path, _file: None, listener: UnixListener::from_std(socket)? })
}
