//! Any other program that is a server.

use std::{net::SocketAddr, process::Command};

use tokio::net::TcpStream;

use crate::process::Process;

/// A program that listens on a port of its own; stopped when dropped, with its child processes.
#[derive(Debug)]
pub struct Program {
    process: Process,
}

impl Program {
    /// Starts the command for this address, and waits until it accepts connections there.
    ///
    /// # Panics
    /// If it does not.
    pub async fn start(command: impl FnOnce(SocketAddr) -> Command) -> Self {
        let mut process = Process::new();
        let address = process.address();
        let mut command = command(address);
        command.current_dir(process.folder());
        process.spawn(command);
        process.ready(async || TcpStream::connect(address).await.is_ok()).await;
        Self { process }
    }

    /// Returns the address that it listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.process.address()
    }

    /// Returns the ids of its processes.
    #[must_use]
    pub fn pids(&self) -> Vec<u32> {
        self.process.pids()
    }
}
