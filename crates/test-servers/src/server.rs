//! What tests do to a server, whichever engine it runs.

use std::{
    fmt, fs,
    marker::PhantomData,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use rustix::process::Signal;

use crate::{folder::Copy, process::Process};

/// What distinguishes the servers of one engine from those of another.
#[allow(async_fn_in_trait, reason = "it is implemented here only")]
pub trait Engine: Sized {
    /// Asks a server to end, without waiting for clients.
    const STOP: Signal;

    /// Creates the data folder that a server finds when it starts for the first time.
    async fn prepare(data: &Path);

    /// Returns the command that runs a server.
    fn command(server: &Server<Self>) -> Command;

    /// Returns a server's URL, with the password if there is one.
    fn url(server: &Server<Self>) -> String;

    /// Returns whether the server at this URL answers.
    async fn answers(url: &str) -> bool;

    /// Starts a standby of a server, which has all of its data now, and keeps receiving.
    async fn standby(primary: &Server<Self>) -> Server<Self>;

    /// Makes a standby receive nothing more.
    async fn cut_off(standby: &mut Server<Self>);

    /// Makes a standby a primary, also in its files.
    async fn promote(standby: &mut Server<Self>);
}

/// A server for one test; stopped when dropped.
pub struct Server<E> {
    pub(crate) process: Process,
    pub(crate) configuration: Vec<(String, String)>,
    engine: PhantomData<fn() -> E>,
}

impl<E> fmt::Debug for Server<E> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.process.fmt(formatter)
    }
}

impl<E: Engine> Server<E> {
    /// Starts a server.
    ///
    /// # Panics
    /// If the engine is not installed or does not start.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// Starts a server with these settings of its configuration file.
    ///
    /// # Panics
    /// Those of [`Server::start`].
    pub async fn start_with(configuration: &[(&str, &str)]) -> Self {
        let process = shared_process();
        E::prepare(&process.folder().join("data")).await;
        let configuration = configuration.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        let mut server = Self::stopped(process, configuration);
        server.start_again().await;
        server
    }

    /// Creates a data folder for [`with_data`](Self::with_data).
    pub async fn prepare(data: &Path) {
        E::prepare(data).await;
    }

    /// Returns a stopped server with its data in a folder of the caller, which has to stop it before the folder is removed.
    ///
    /// # Panics
    /// If its own folder cannot refer to that.
    #[must_use]
    pub fn with_data(data: &Path) -> Self {
        let process = shared_process();
        symlink(data, process.folder().join("data")).expect("a link to the data");
        Self::stopped(process, Vec::new())
    }

    pub(crate) fn stopped(process: Process, configuration: Vec<(String, String)>) -> Self {
        Self { process, configuration, engine: PhantomData }
    }

    /// Returns its URL, with the password if there is one.
    #[must_use]
    pub fn url(&self) -> String {
        E::url(self)
    }

    /// Returns its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.process.port.number()
    }

    /// Returns its first process; `None` while it is stopped.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.process.pid()
    }

    /// Returns its log.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Stops it cleanly, without waiting for clients.
    pub async fn stop(&mut self) {
        self.process.stop(E::STOP).await;
    }

    /// Kills all its processes by SIGKILL.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Freezes all its processes; its port still accepts connections.
    pub fn freeze(&self) {
        self.process.freeze();
    }

    /// Resumes all its processes.
    pub fn thaw(&self) {
        self.process.thaw();
    }

    /// Starts it on the same port, with its existing data.
    ///
    /// # Panics
    /// If it is running, or does not start.
    pub async fn start_again(&mut self) {
        if let Err(log) = self.try_start_again().await {
            panic!("the server has ended: {log}");
        }
    }

    /// Like [`start_again`](Self::start_again), but accepts that the server ends.
    ///
    /// # Errors
    /// The log of a server that has ended instead.
    pub async fn try_start_again(&mut self) -> Result<(), String> {
        self.process.spawn(E::command(self));
        let url = self.url();
        let ended = self.process.ready_or_ended(async || E::answers(&url).await).await;
        ended.map_or(Ok(()), |status| Err(format!("{status}: {}", self.log())))
    }

    /// Waits until it answers.
    pub(crate) async fn answers(&mut self) {
        let url = self.url();
        self.process.ready(async || E::answers(&url).await).await;
    }

    /// Returns a copy of its data as of one moment, even while it runs: as a power failure would leave it.
    #[must_use]
    pub fn copy_data(&self) -> Copy {
        self.freeze();
        let copy = Copy::of(&self.data());
        self.thaw();
        copy
    }

    /// Replaces its data with a copy.
    ///
    /// # Panics
    /// If it is running.
    pub fn put_back(&mut self, copy: &Copy) {
        assert!(self.pid().is_none(), "the server is running");
        copy.put_back(&self.data());
    }

    /// Starts a standby, which has all of this server's data now, and keeps receiving.
    ///
    /// # Panics
    /// If it does not start, or does not catch up.
    pub async fn standby(&self) -> Self {
        E::standby(self).await
    }

    /// Makes a standby receive nothing more of what its primary writes.
    pub async fn cut_off(&mut self) {
        E::cut_off(self).await;
    }

    /// Kills the server and lets a standby of it take over, under this server's address.
    ///
    /// # Panics
    /// If the standby cannot be promoted, or does not start.
    pub async fn fail_over_to(&mut self, mut standby: Self) {
        self.kill();
        E::promote(&mut standby).await;
        standby.stop().await;
        self.put_back(&standby.copy_data());
        self.start_again().await;
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.process.folder().join("data")
    }
}

/// Returns the place of a server that may run as another user, who has to reach the folder.
pub(crate) fn shared_process() -> Process {
    let process = Process::new();
    fs::set_permissions(process.folder(), fs::Permissions::from_mode(0o755)).expect("the folder's mode");
    process
}
