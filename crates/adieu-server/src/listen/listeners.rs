//! The sockets that a server listens on.
//!
//! systemd may pass some of them (`LISTEN_FDS`, see `sd_listen_fds(3)`): while the server restarts, connections to those wait instead of
//! being refused.

use std::{future::poll_fn, io, task::Poll};

use anyhow::Context as _;
use tokio::net::TcpListener;

#[cfg(unix)]
use super::passed::Passed;
use super::{
    listener::{Accepted, Listener},
    tls::Tls,
};
use crate::config::{ListenAddress, Settings};

/// The sockets that a server listens on.
#[derive(Debug)]
pub struct Listeners {
    listeners: Vec<Listener>,
    /// The index of the one that is asked first for a connection.
    next: usize,
    /// For the TCP sockets; `None` if they are not encrypted.
    tls: Option<Tls>,
}

impl From<TcpListener> for Listeners {
    fn from(listener: TcpListener) -> Self {
        Self::new(listener, None)
    }
}

impl Listeners {
    /// Accepts connections of this socket, encrypted if there is a certificate.
    #[must_use]
    pub fn new(listener: TcpListener, tls: Option<Tls>) -> Self {
        Self { listeners: vec![Listener::Tcp(listener)], next: 0, tls }
    }

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
    #[must_use]
    pub fn tls(&self) -> Option<&Tls> {
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
