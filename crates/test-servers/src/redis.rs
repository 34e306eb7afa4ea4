//! A Redis or Valkey server.

use std::{
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    folder::{self, Copy},
    process::Process,
};

/// Only reached by a test that hangs.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A Redis server for one test (or Valkey, if that is installed); stopped when dropped.
#[derive(Debug)]
pub struct Redis {
    process: Process,
    configuration: Vec<(String, String)>,
}

impl Redis {
    /// Starts a server that syncs every write to its append-only file.
    ///
    /// # Panics
    /// If neither Redis nor Valkey is installed, or it does not start.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// Starts a server with these settings of `redis.conf`, after those that make it durable.
    ///
    /// # Panics
    /// Those of [`Redis::start`].
    pub async fn start_with(configuration: &[(&str, &str)]) -> Self {
        let process = Process::new();
        std::fs::create_dir(process.folder().join("data")).expect("a folder for data");
        let configuration = configuration.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        let mut redis = Self { process, configuration };
        redis.start_again().await;
        redis
    }

    /// Returns its URL, with the password if `requirepass` was set.
    #[must_use]
    pub fn url(&self) -> String {
        match self.setting("requirepass") {
            Some(password) => format!("redis://:{password}@127.0.0.1:{}/", self.port()),
            None => format!("redis://127.0.0.1:{}/", self.port()),
        }
    }

    /// Returns its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.process.port.number()
    }

    /// Returns its process; `None` while it is stopped.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.process.pid()
    }

    /// Returns its log.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Stops it cleanly.
    pub async fn stop(&mut self) {
        self.process.stop(Signal::TERM).await;
    }

    /// Kills it by SIGKILL.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Freezes it; its port still accepts connections.
    pub fn freeze(&self) {
        self.process.freeze();
    }

    /// Resumes it.
    pub fn thaw(&self) {
        self.process.thaw();
    }

    /// Starts it on the same port, with its existing data.
    ///
    /// # Panics
    /// If it is running, or does not start.
    pub async fn start_again(&mut self) {
        self.spawn();
        self.answers().await;
    }

    fn spawn(&mut self) {
        let mut command = Command::new(installed());
        let (port, data) = (self.port().to_string(), self.data());
        let fixed = [
            ("port", port.as_str()),
            ("bind", "127.0.0.1"),
            ("dir", data.to_str().expect("a path that is text")),
            ("appendonly", "yes"),
            ("appendfsync", "always"),
            ("save", ""),
        ];
        let fixed = fixed.map(|(name, value)| (name.to_owned(), value.to_owned()));
        for (name, value) in fixed.iter().chain(&self.configuration) {
            // One argument per word: Redis 6.2 does not split a value.
            command.arg(format!("--{name}")).args(value.split(' '));
        }
        self.process.spawn(command);
    }

    async fn answers(&mut self) {
        let address = self.process.address();
        let password = self.setting("requirepass").map(str::to_owned);
        self.process.ready(async || says(address, password.as_deref(), "+PONG").await).await;
    }

    /// Starts it on the same port, with its existing data, and returns while it is loading: for a minute per thousand keys,
    /// or until [`loads_at_once`](Self::loads_at_once).
    ///
    /// # Panics
    /// If it is running, or does not start.
    pub async fn start_loading(&mut self) {
        let before = self.configuration.clone();
        // Microseconds per key; and requests are answered after each kilobyte.
        for (name, value) in [("key-load-delay", "60000"), ("loading-process-events-interval-bytes", "1024")] {
            self.configuration.push((name.to_owned(), value.to_owned()));
        }
        self.spawn();
        self.configuration = before;
        let address = self.process.address();
        self.process.ready(async || says(address, None, "-LOADING").await).await;
    }

    /// Makes it rewrite its data as a snapshot that is loaded key by key.
    ///
    /// # Panics
    /// If that takes too long.
    pub async fn write_snapshot(&self) {
        self.command(&["CONFIG", "SET", "rdbcompression", "no"]).await;
        self.command(&["BGREWRITEAOF"]).await;
        self.until("persistence", &["aof_rewrite_in_progress:0", "aof_rewrite_scheduled:0"]).await;
    }

    /// Ends the delay of [`start_loading`](Self::start_loading), and returns when everything is loaded.
    pub async fn loads_at_once(&mut self) {
        self.command(&["CONFIG", "SET", "key-load-delay", "0"]).await;
        self.answers().await;
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

    /// Starts a replica of this server that has all of its data now, and keeps receiving.
    ///
    /// # Panics
    /// If it does not start, or does not catch up.
    pub async fn replica(&self) -> Self {
        let replica = Self::start().await;
        replica.command(&["REPLICAOF", "127.0.0.1", &self.port().to_string()]).await;
        replica.until("replication", &["master_link_status:up"]).await;
        self.command(&["WAIT", "1", "0"]).await;
        // The received data is in its own file, too.
        replica.until("persistence", &["aof_rewrite_in_progress:0", "aof_rewrite_scheduled:0"]).await;
        replica
    }

    /// Cuts a replica's link: it no longer receives its primary's writes.
    pub async fn leave(&self) {
        self.command(&["REPLICAOF", "NO", "ONE"]).await;
    }

    /// Kills the server and lets a replica of it take over, under this server's address.
    ///
    /// # Panics
    /// If the replica cannot be stopped, or does not start.
    pub async fn fail_over_to(&mut self, mut replica: Self) {
        self.kill();
        replica.stop().await;
        self.put_back(&replica.copy_data());
        self.start_again().await;
    }

    /// Waits until a section of `INFO` has all of these fields.
    async fn until(&self, section: &str, fields: &[&str]) {
        let started = Instant::now();
        loop {
            let info = self.command(&["INFO", section]).await;
            if fields.iter().all(|field| info.contains(field)) {
                return;
            }
            assert!(started.elapsed() < TIMEOUT, "never: {fields:?}: {info}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Returns the response to a command in protocol form; a short one without its line end.
    pub async fn command(&self, words: &[&str]) -> String {
        let mut lines = String::new();
        if let Some(password) = self.setting("requirepass") {
            lines.push_str(&format!("AUTH {password}\r\n"));
        }
        lines.push_str(&format!("*{}\r\n", words.len()));
        for word in words {
            lines.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        // An error, after everything else, shows that nothing more will come.
        lines.push_str("QUIT\r\n");
        let mut stream = TcpStream::connect(self.process.address()).await.expect("a connection");
        stream.write_all(lines.as_bytes()).await.expect("a command");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer");
        let answer = answer.strip_suffix("+OK\r\n").expect("an answer to the last command");
        let answer = if self.setting("requirepass").is_some() {
            answer.strip_prefix("+OK\r\n").expect("a password that is right")
        } else {
            answer
        };
        answer.trim_end().to_owned()
    }

    fn data(&self) -> PathBuf {
        self.process.folder().join("data")
    }

    fn setting(&self, name: &str) -> Option<&str> {
        self.configuration.iter().find(|(setting, _)| setting == name).map(|(_, value)| value.as_str())
    }
}

async fn says(address: std::net::SocketAddr, password: Option<&str>, expected: &str) -> bool {
    let ask = async {
        let mut stream = TcpStream::connect(address).await?;
        let mut answer = [0; 64];
        if let Some(password) = password {
            stream.write_all(format!("AUTH {password}\r\n").as_bytes()).await?;
            let _ = stream.read(&mut answer).await?;
        }
        stream.write_all(b"PING\r\n").await?;
        // While it is loading its data, it answers with an error.
        let length = stream.read(&mut answer).await?;
        std::io::Result::Ok(answer[..length].starts_with(expected.as_bytes()))
    };
    matches!(tokio::time::timeout(Duration::from_secs(10), ask).await, Ok(Ok(true)))
}

/// The variable that names the program to use, a `redis-server` or `valkey-server` of another version than the installed one.
pub const REDIS_PROGRAM: &str = "ADIEU_TEST_REDIS_PROGRAM";

fn installed() -> PathBuf {
    if let Some(program) = std::env::var_os(REDIS_PROGRAM).map(PathBuf::from) {
        assert!(program.is_file(), "{REDIS_PROGRAM} names no program");
        return program;
    }
    folder::program("redis-server", vec![]).or_else(|| folder::program("valkey-server", vec![])).unwrap_or_else(|| {
        panic!("Redis or Valkey is needed and neither is installed: run scripts/test, or apt-get install redis-server")
    })
}
