//! A Redis or Valkey server.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    folder,
    server::{Engine, Server},
    wait::TEST_TIMEOUT,
};

/// A Redis server for one test (or Valkey, if that is installed); stopped when dropped. It syncs every write to its append-only
/// file.
pub type Redis = Server<RedisEngine>;

/// The program of Redis or Valkey.
#[derive(Debug)]
pub enum RedisEngine {}

impl Engine for RedisEngine {
    const STOP: Signal = Signal::TERM;

    async fn prepare(data: &Path) {
        std::fs::create_dir(data).expect("a folder for data");
    }

    fn command(server: &Redis) -> Command {
        let mut command = Command::new(installed());
        let (port, data) = (server.port().to_string(), server.data());
        let fixed = [
            ("port", port.as_str()),
            ("bind", "127.0.0.1"),
            ("dir", data.to_str().expect("a path that is text")),
            ("appendonly", "yes"),
            ("appendfsync", "always"),
            ("save", ""),
        ];
        let fixed = fixed.map(|(name, value)| (name.to_owned(), value.to_owned()));
        for (name, value) in fixed.iter().chain(&server.configuration) {
            // One argument per word: Redis 6.2 does not split a value.
            command.arg(format!("--{name}")).args(value.split(' '));
        }
        command
    }

    fn url(server: &Redis) -> String {
        match server.setting("requirepass") {
            Some(password) => format!("redis://:{password}@127.0.0.1:{}/", server.port()),
            None => format!("redis://127.0.0.1:{}/", server.port()),
        }
    }

    async fn answers(url: &str) -> bool {
        says(url, "+PONG").await
    }

    async fn standby(primary: &Redis) -> Redis {
        let replica = Redis::start().await;
        replica.command(&["REPLICAOF", "127.0.0.1", &primary.port().to_string()]).await;
        replica.until("replication", &["master_link_status:up"]).await;
        primary.command(&["WAIT", "1", "0"]).await;
        // The received data is in its own file, too.
        replica.until("persistence", &["aof_rewrite_in_progress:0", "aof_rewrite_scheduled:0"]).await;
        replica
    }

    async fn cut_off(standby: &mut Redis) {
        standby.command(&["REPLICAOF", "NO", "ONE"]).await;
    }

    /// Its files do not say what it is.
    async fn promote(_standby: &mut Redis) {}
}

impl Redis {
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
        self.process.spawn(RedisEngine::command(self));
        self.configuration = before;
        let url = self.url();
        self.process.ready(async || says(&url, "-LOADING").await).await;
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

    /// Waits until a section of `INFO` has all of these fields.
    async fn until(&self, section: &str, fields: &[&str]) {
        let started = Instant::now();
        loop {
            let info = self.command(&["INFO", section]).await;
            if fields.iter().all(|field| info.contains(field)) {
                return;
            }
            assert!(started.elapsed() < TEST_TIMEOUT, "never: {fields:?}: {info}");
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

    fn setting(&self, name: &str) -> Option<&str> {
        self.configuration.iter().find(|(setting, _)| setting == name).map(|(_, value)| value.as_str())
    }
}

/// Returns whether the server at this URL answers `PING` like this.
async fn says(url: &str, expected: &str) -> bool {
    let place = url.trim_start_matches("redis://").trim_end_matches('/');
    let (password, address) = match place.rsplit_once('@') {
        Some((password, address)) => (password.strip_prefix(':'), address),
        None => (None, place),
    };
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
