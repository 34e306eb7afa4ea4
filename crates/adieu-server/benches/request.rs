//! The server's processor time per request, divided by that of a bare axum router that answers 204.
//!
//! `cargo bench -p adieu-server --bench request` prints the table. The servers are processes of their own: the real binary, once with its
//! default log level and once without the lines of rejections (`log_level = "warn"`), both logging to a file; and this program again as
//! the bare router. This process sends the requests: 64 connections that are kept open, each with one request in flight and a token of
//! its own. The rows take turns of [`TURN`], so that other load on the machine slows all of them equally. A ratio compares a turn with
//! the turn of the bare router in the same round; the table has the medians.
//!
//! `ADIEU_BENCH_SECONDS` sets how long each row is measured, and so the number of rounds.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout)]

use std::{
    env,
    io::{BufRead as _, BufReader, Read as _, stdin},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use adieu::{
    Issuer, Subject,
    session::Scope,
    time::{Clock as _, SystemClock},
    token::{Algorithm, Claims, SigningKey, TokenType, encode},
};
use adieu_server::{
    config::{Flags, Settings},
    node::Node,
};
use axum::{Router, http::StatusCode, routing::any};
use test_servers::adieu::Adieu;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

const CONNECTIONS: usize = 64;
const SECONDS: u64 = 10;
const TURN: Duration = Duration::from_secs(1);
/// The part of a turn before the measurement: another process has just used the processor's cache.
const WARM_UP: Duration = Duration::from_millis(100);
/// The argument with which this program is the bare router.
const BARE: &str = "bare";
/// The kernel counts processor time in this many ticks per second, on every Linux.
const TICKS_PER_SECOND: f64 = 100.0;
/// The issuer that signs with a shared secret. The server's own tokens have a public key.
const SHOP: &str = "shop";
const SECRET: &[u8] = b"a secret of the length that HS256 requires";

fn main() {
    if env::args().any(|argument| argument == BARE) {
        return serve_bare();
    }
    let seconds = env::var("ADIEU_BENCH_SECONDS").map_or(SECONDS, |seconds| seconds.parse().unwrap());
    tokio::runtime::Runtime::new().unwrap().block_on(measure(seconds));
}

/// Answers every request to `/verify` with 204, until the end of standard input.
#[tokio::main]
async fn serve_bare() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("{}", listener.local_addr().unwrap());
    std::thread::spawn(|| {
        let _ended = stdin().read(&mut [0]);
        std::process::exit(0);
    });
    axum::serve(listener, Router::new().route("/verify", any(async || StatusCode::NO_CONTENT))).await.unwrap();
}

/// Starts the program again as the bare router; returns its address too.
fn start_bare() -> (Child, String) {
    let mut command = Command::new(env::current_exe().unwrap());
    let mut process = command.arg(BARE).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut address = String::new();
    BufReader::new(process.stdout.as_mut().unwrap()).read_line(&mut address).unwrap();
    (process, address.trim().to_owned())
}

/// A server with tokens that it accepts, and tokens of sessions that have been logged out.
struct Prepared {
    server: Adieu,
    valid: Vec<String>,
    revoked: Vec<String>,
    _folder: tempfile::TempDir,
}

async fn start(log_level: &str) -> Prepared {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let (data, secret) = (folder.path().join("data"), folder.path().join("secret"));
    std::fs::write(&secret, SECRET).unwrap();
    let flags = Flags { data: Some(data.to_str().unwrap().to_owned()), ..Flags::default() };
    let node = Node::open(&Settings::load(&flags, []).unwrap()).await.unwrap();
    let (mut valid, mut revoked) = (Vec::new(), Vec::new());
    for number in 0..CONNECTIONS {
        let subject = Subject::new(format!("user-{number}")).unwrap();
        valid.push(node.sessions.log_in(subject.clone()).await.unwrap().access);
        let ended = node.sessions.log_in(subject).await.unwrap().access;
        node.sessions.log_out(&ended, Scope::This).await.unwrap();
        revoked.push(ended);
    }
    node.close().await;
    drop(node);
    let issuers = format!("[{{ name = \"{SHOP}\", secret_file = \"{}\" }}]", secret.display());
    let server = Adieu::new(env!("CARGO_BIN_EXE_adieu")).with_data(&data);
    let server = server.with("ADIEU_LOG_LEVEL", log_level).with("ADIEU_TRUSTED_ISSUER", issuers).start().await;
    Prepared { server, valid, revoked, _folder: folder }
}

/// Returns tokens that are signed with the shared secret.
fn hs256_tokens() -> Vec<String> {
    let key = SigningKey::from_secret(Algorithm::HS256, SECRET).unwrap();
    let token = |number| {
        let (issuer, subject) = (Issuer::new(SHOP).unwrap(), Subject::new(format!("user-{number}")).unwrap());
        let lifetime = Duration::from_secs(3600);
        encode(&key, &Claims::new(issuer, subject, TokenType::Access, SystemClock.now(), lifetime)).unwrap()
    };
    (0..CONNECTIONS).map(token).collect()
}

/// A row of the table.
struct Row {
    name: &'static str,
    pid: u32,
    connections: Vec<Connection>,
    /// The processor time per request in each turn, in microseconds, and its ratio to that of the bare router.
    costs: Vec<f64>,
    ratios: Vec<f64>,
}

impl Row {
    async fn new(name: &'static str, (pid, address): (u32, &str), path: &str, tokens: &[String], status: u16) -> Self {
        let mut connections = Vec::new();
        for token in tokens {
            let stream = TcpStream::connect(address).await.unwrap();
            stream.set_nodelay(true).unwrap();
            let request = format!("GET {path} HTTP/1.1\r\nHost: adieu\r\nAuthorization: Bearer {token}\r\n\r\n");
            connections.push(Connection { stream, request, status: format!("HTTP/1.1 {status} ") });
        }
        Self { name, pid, connections, costs: Vec::new(), ratios: Vec::new() }
    }

    /// Measures one turn and returns its cost. The first row is the bare router, whose cost the others are divided by.
    async fn turn(&mut self, bare: Option<f64>) -> f64 {
        self.send(WARM_UP).await;
        let before = cpu(self.pid);
        let requests = self.send(TURN).await;
        let cost = (cpu(self.pid) - before) / TICKS_PER_SECOND * 1e6 / requests as f64;
        self.costs.push(cost);
        self.ratios.push(cost / bare.unwrap_or(cost));
        cost
    }

    /// Sends requests on all connections for this long, and returns how many were answered.
    async fn send(&mut self, time: Duration) -> usize {
        let (until, mut sending) = (Instant::now() + time, JoinSet::new());
        for mut connection in self.connections.drain(..) {
            sending.spawn(async move {
                let mut count = 0;
                while Instant::now() < until {
                    connection.ask().await;
                    count += 1;
                }
                (connection, count)
            });
        }
        let (connections, counts): (Vec<_>, Vec<usize>) = sending.join_all().await.into_iter().unzip();
        self.connections = connections;
        counts.iter().sum()
    }
}

struct Connection {
    stream: TcpStream,
    request: String,
    /// What the response begins with.
    status: String,
}

impl Connection {
    async fn ask(&mut self) {
        self.stream.write_all(self.request.as_bytes()).await.unwrap();
        let (mut buffer, mut filled) = ([0; 2048], 0);
        loop {
            let count = self.stream.read(&mut buffer[filled..]).await.unwrap();
            assert!(count > 0, "the server hung up");
            filled += count;
            if is_whole(&buffer[..filled]) {
                break;
            }
        }
        let response = String::from_utf8_lossy(&buffer[..filled]);
        assert!(response.starts_with(&self.status), "{response}");
    }
}

/// Returns whether this is a whole response.
fn is_whole(response: &[u8]) -> bool {
    const LENGTH: &[u8] = b"\r\ncontent-length: ";
    let Some(head) = response.windows(4).rposition(|end| end == b"\r\n\r\n") else { return false };
    let length = response.windows(LENGTH.len()).position(|name| name == LENGTH).map_or(0, |start| {
        let digits = response[start + LENGTH.len()..].iter().take_while(|byte| byte.is_ascii_digit());
        digits.fold(0, |number, digit| number * 10 + usize::from(digit - b'0'))
    });
    response.len() == head + 4 + length
}

/// Returns the ticks of processor time that a process has used.
fn cpu(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

async fn measure(seconds: u64) {
    let (bare, bare_address) = start_bare();
    let (logging, quiet, hs256) = (start("info").await, start("warn").await, hs256_tokens());
    let at = |prepared: &Prepared| (prepared.server.pid(), prepared.server.address().to_owned());
    let ((pid, address), (quiet_pid, quiet_address)) = (at(&logging), at(&quiet));
    let (server, silent) = ((pid, &*address), (quiet_pid, &*quiet_address));
    let mut rows = vec![
        Row::new("bare axum, 204", (bare.id(), &bare_address), "/verify", &logging.valid, 204).await,
        Row::new("`/verify`, EdDSA, remembered", server, "/verify", &logging.valid, 204).await,
        Row::new("`/verify`, HS256", server, "/verify", &hs256, 204).await,
        Row::new("`/verify`, revoked, logged", server, "/verify", &logging.revoked, 401).await,
        Row::new("`/verify`, revoked, not logged", silent, "/verify", &quiet.revoked, 401).await,
        Row::new("`/livez`", server, "/livez", &logging.valid, 200).await,
    ];
    for _ in 0..seconds.div_ceil(TURN.as_secs()) {
        let mut bare = None;
        for row in &mut rows {
            let cost = row.turn(bare).await;
            bare = bare.or(Some(cost));
        }
    }
    println!("| request | µs CPU | ÷ bare axum |\n|---|---|---|");
    for row in &mut rows {
        println!("| {} | {:.2} | {:.2} |", row.name, median(&mut row.costs), median(&mut row.ratios));
    }
}
