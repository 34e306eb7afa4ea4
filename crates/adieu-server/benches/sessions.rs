//! The server's processor time for a request that begins, continues or ends a session: `/login`, `/refresh` and `/logout`, on SQLite.
//!
//! `cargo bench -p adieu-server --bench sessions` prints the table. The server is the real binary; this process sends the requests: 64
//! connections that are kept open, each with one request in flight. Every logout and every refresh has a token that the server has not seen
//! before. The rows take turns; the table has the medians.
//!
//! The table also has the part that no server can save: what the threads that hash passwords take, and the signatures, measured alone with
//! the library that makes them. A login makes two signatures, one for each token; a refresh verifies one and makes two; a logout verifies one.
//!
//! `ADIEU_BENCH_SECONDS` sets how long each row is measured.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout)]

#[path = "support/load.rs"]
#[allow(dead_code, reason = "other benchmarks use the rest")]
mod load;

use std::{env, hint::black_box, process, sync::Arc, time::Duration};

use adieu::Subject;
use adieu_server::{
    accounts::Role,
    config::{Flags, Settings},
    node::Node,
    text::{Password, Username},
};
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use serde_json::Value;
use test_servers::adieu::{ADIEU_PASSWORD, Adieu};
use tokio::task::JoinSet;

use crate::load::{Address, Client, Connection, Pace, cpu, cpu_of, median, send};

const CONNECTIONS: usize = 64;
const SECONDS: u64 = 10;
/// Short, so that the prepared sessions last.
const TURN: Duration = Duration::from_millis(500);
/// The part of a turn before the measurement.
const WARM_UP: Duration = Duration::from_millis(50);
/// The sessions that each connection can end in a turn.
const LOGOUTS: usize = 60;
/// How the names of the threads that hash passwords begin.
const HASHER: &str = "adieu-hasher";
/// The length of the signed part of a token of the server.
const SIGNED_BYTES: usize = 230;

fn main() {
    let seconds = env::var("ADIEU_BENCH_SECONDS").map_or(SECONDS, |seconds| seconds.parse().unwrap());
    tokio::runtime::Runtime::new().unwrap().block_on(measure(seconds));
}

fn request(path: &str, headers: &str, body: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: adieu\r\n{headers}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}")
}

/// Logs in again and again, as a client behind a trusted proxy.
struct LogIn {
    connection: Connection,
    request: String,
}

impl Client for LogIn {
    async fn ask(&mut self) -> bool {
        let response = self.connection.ask(&self.request).await;
        assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
        true
    }
}

/// Refreshes its session again and again.
struct Refresh {
    connection: Connection,
    token: String,
}

impl Client for Refresh {
    async fn ask(&mut self) -> bool {
        let response = self.connection.ask(&request("/refresh", &bearer(&self.token), "")).await;
        let (_, body) = response.split_once("\r\n\r\n").unwrap();
        let body: Value = serde_json::from_str(body).unwrap();
        self.token = body["refresh_token"].as_str().unwrap_or_else(|| panic!("{response}")).to_owned();
        true
    }
}

/// Ends one session after the other.
struct LogOut {
    connection: Connection,
    tokens: Vec<String>,
}

impl Client for LogOut {
    async fn ask(&mut self) -> bool {
        let Some(token) = self.tokens.pop() else { return false };
        let response = self.connection.ask(&request("/logout", &bearer(&token), "")).await;
        assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
        true
    }
}

/// A row of the table.
struct Row<C> {
    clients: Vec<C>,
    /// The processor time per request in each turn, in microseconds: of the threads that hash passwords, and of the others.
    costs: Vec<[f64; 2]>,
}

impl<C: Client> Row<C> {
    fn new(clients: Vec<C>) -> Self {
        Self { clients, costs: Vec::new() }
    }

    async fn turn(&mut self, pid: u32) {
        send(&mut self.clients, Pace::Closed, WARM_UP).await;
        let used = || {
            let hashing = cpu_of(&[pid], |thread| thread.starts_with(HASHER));
            [hashing, cpu_of(&[pid], |thread| !thread.starts_with(HASHER))]
        };
        let before = used();
        let requests = send(&mut self.clients, Pace::Closed, TURN).await as f64;
        let after = used();
        if requests > 0.0 {
            self.costs.push([(after[0] - before[0]) / requests, (after[1] - before[1]) / requests]);
        }
    }

    /// Prints the row. `signatures` is the processor time of its signatures alone.
    fn print(&self, name: &str, goal: &str, signatures: f64) {
        let of = |value: &dyn Fn(&[f64; 2]) -> f64| median(&mut self.costs.iter().map(value).collect::<Vec<_>>());
        let (total, hashing, other) = (of(&|cost| cost[0] + cost[1]), of(&|cost| cost[0]), of(&|cost| cost[1]));
        println!("| {name} | {total:.1} | {hashing:.1} | {signatures:.1} | {:.1} | {goal} |", other - signatures);
    }
}

/// Returns the processor time of one call, in microseconds. Nothing else runs in this process meanwhile.
fn alone(call: impl Fn()) -> f64 {
    let mut costs = Vec::new();
    for _ in 0..20 {
        let before = cpu(&[process::id()]);
        for _ in 0..500 {
            call();
        }
        costs.push((cpu(&[process::id()]) - before) / 500.0);
    }
    median(&mut costs)
}

/// Returns the processor time of making and of verifying a signature.
fn signatures() -> [f64; 2] {
    let key = Ed25519KeyPair::generate().unwrap();
    let message = [b'x'; SIGNED_BYTES];
    let signature = key.sign(&message);
    let public = UnparsedPublicKey::new(&ED25519, key.public_key());
    [
        alone(|| {
            black_box(key.sign(black_box(&message)));
        }),
        alone(|| public.verify(black_box(&message), signature.as_ref()).unwrap()),
    ]
}

async fn measure(seconds: u64) {
    let [signing, verifying] = signatures();
    let rounds = Duration::from_secs(seconds).as_millis().div_ceil(TURN.as_millis()) as usize;
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let data = folder.path().join("data");
    let flags = Flags { data: Some(data.to_str().unwrap().to_owned()), ..Flags::default() };
    let node = Arc::new(Node::open(&Settings::load(&flags, []).unwrap()).await.unwrap());
    let mut preparing = JoinSet::new();
    for number in 0..CONNECTIONS {
        let node = Arc::clone(&node);
        preparing.spawn(async move {
            let username = Username::new(&format!("user-{number}")).unwrap();
            let password = Password::typed(ADIEU_PASSWORD.to_owned().into()).unwrap();
            let account = node.accounts.add(username, &password, Role::User, None).await.unwrap();
            let refresh = node.sessions.log_in(account.id).await.unwrap().refresh;
            let mut tokens = Vec::new();
            for login in 0..rounds * LOGOUTS {
                let subject = Subject::new(format!("user-{number}-{login}")).unwrap();
                tokens.push(node.sessions.log_in(subject).await.unwrap().access);
            }
            (number, refresh, tokens)
        });
    }
    let prepared = preparing.join_all().await;
    node.close().await;
    drop(node);
    let server = Adieu::new(env!("CARGO_BIN_EXE_adieu")).with_data(&data);
    // Otherwise one address would have a quarter of the places to wait for hashing.
    let server = server.with("ADIEU_LOG_LEVEL", "info").with("ADIEU_TRUSTED_PROXIES", "127.0.0.1/32").start().await;
    let address = Address::Tcp(server.address().to_owned());
    let (mut log_in, mut refresh, mut log_out) = (Vec::new(), Vec::new(), Vec::new());
    for (number, token, tokens) in prepared {
        let headers = format!("Content-Type: application/json\r\nX-Forwarded-For: 192.0.2.{number}");
        let body = format!(r#"{{"username":"user-{number}","password":"{ADIEU_PASSWORD}"}}"#);
        let request = request("/login", &headers, &body);
        log_in.push(LogIn { connection: Connection::open(&address).await, request });
        refresh.push(Refresh { connection: Connection::open(&address).await, token });
        log_out.push(LogOut { connection: Connection::open(&address).await, tokens });
    }
    let (mut log_in, mut refresh, mut log_out) = (Row::new(log_in), Row::new(refresh), Row::new(log_out));
    for _ in 0..rounds {
        log_in.turn(server.pid()).await;
        refresh.turn(server.pid()).await;
        log_out.turn(server.pid()).await;
    }
    println!("| request | µs CPU | of hashing | of signatures | of the rest | goal |\n|---|---|---|---|---|---|");
    log_in.print("`/login`", "rest ≤ 40", 2.0 * signing);
    refresh.print("`/refresh`", "rest ≤ 40", verifying + 2.0 * signing);
    log_out.print("`/logout`", "all ≤ 110", verifying);
}
