//! The server's processor time per request, divided by that of a bare axum router that answers 204.
//!
//! `cargo bench -p adieu-server --bench request` prints the table. The servers are processes of their own: the real binary, once with its
//! default log level and once without the lines of rejections (`log_level = "warn"`), both logging to a file; and this program again as
//! the bare router on TCP. This process sends the requests: 64 connections that are kept open, each with one request in flight and a token
//! of its own; in the rows with a rate, requests are sent at equal intervals. The rows take turns of [`TURN`], so that other load on the
//! machine slows all of them equally. A ratio compares a turn with the turn of the bare router in the same round, at the same rate; the
//! table has the medians.
//!
//! `ADIEU_BENCH_SECONDS` sets how long each row is measured, and so the number of rounds.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout)]

#[path = "support/load.rs"]
#[allow(dead_code, reason = "other benchmarks use the rest")]
mod load;
#[path = "support/prepared.rs"]
mod prepared;

use std::{
    env,
    io::{BufRead as _, BufReader, Read as _, stdin},
    process::{Child, Command, Stdio},
    time::Duration,
};

use axum::{Router, http::StatusCode, routing::any};
use tokio::net::TcpListener;

use crate::{
    load::{Address, Pace, Repeating, cpu, median, send},
    prepared::{Prepared, hs256_tokens, start},
};

const SECONDS: u64 = 10;
const TURN: Duration = Duration::from_secs(1);
/// The part of a turn before the measurement: another process has just used the processor's cache. It is longer in the rows with a rate,
/// because fewer requests are sent.
const WARM_UP: Duration = Duration::from_millis(100);
const WARM_UP_AT_RATE: Duration = Duration::from_millis(500);
/// The argument with which this program is the bare router.
const BARE: &str = "bare";
/// The rate of the rows with a rate, per second.
const RATE: u32 = 2000;

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

/// A row of the table.
struct Row {
    name: &'static str,
    goal: &'static str,
    pid: u32,
    clients: Vec<Repeating>,
    pace: Pace,
    /// The processor time per request in each turn, in microseconds, and its ratio to that of the bare router.
    costs: Vec<f64>,
    ratios: Vec<f64>,
}

impl Row {
    fn new(name: &'static str, goal: &'static str, pid: u32, clients: Vec<Repeating>) -> Self {
        Self { name, goal, pid, clients, pace: Pace::Closed, costs: Vec::new(), ratios: Vec::new() }
    }

    fn at_rate(self) -> Self {
        Self { pace: Pace::Open(RATE), ..self }
    }

    /// Measures one turn and returns its cost, which is divided by that of the bare router. The row of the bare router has none.
    async fn turn(&mut self, bare: Option<f64>) -> f64 {
        let warm_up = if matches!(self.pace, Pace::Closed) { WARM_UP } else { WARM_UP_AT_RATE };
        send(&mut self.clients, self.pace, warm_up).await;
        let before = cpu(&[self.pid]);
        let requests = send(&mut self.clients, self.pace, TURN).await;
        let cost = (cpu(&[self.pid]) - before) / requests as f64;
        self.costs.push(cost);
        self.ratios.push(cost / bare.unwrap_or(cost));
        cost
    }
}

async fn measure(seconds: u64) {
    let (bare, bare_address) = start_bare();
    let (logging, quiet, hs256) = (start("info").await, start("warn").await, hs256_tokens());
    let (bare_pid, pid, quiet_pid) = (bare.id(), logging.server.pid(), quiet.server.pid());
    let bare_address = Address::Tcp(bare_address);
    let (tcp, unix) = (logging.tcp(), logging.unix());
    let valid = async |address: &Address| Repeating::open(address, "/verify", &logging.valid, 204).await;
    let revoked = async |prepared: &Prepared| Repeating::open(&prepared.tcp(), "/verify", &prepared.revoked, 401).await;
    let hs256 = Repeating::open(&tcp, "/verify", &hs256, 204).await;
    let livez = Repeating::open(&tcp, "/livez", &logging.valid, 200).await;
    // The first row of each group is the bare router.
    let mut groups = [
        vec![
            Row::new("bare axum, 204", "", bare_pid, valid(&bare_address).await),
            Row::new("`/verify`, EdDSA, remembered", "≤ 1.3", pid, valid(&tcp).await),
            Row::new("`/verify`, HS256", "≤ 1.3", pid, hs256),
            Row::new("`/verify`, revoked, logged", "≤ 1.5", pid, revoked(&logging).await),
            Row::new("`/verify`, revoked, not logged", "≤ 1.2", quiet_pid, revoked(&quiet).await),
            Row::new("`/livez`", "≤ 1.6", pid, livez),
            Row::new("`/verify`, EdDSA, remembered, on a Unix socket", "≤ 0.85", pid, valid(&unix).await),
        ],
        vec![
            Row::new("bare axum, 204, 2,000 requests/s", "", bare_pid, valid(&bare_address).await).at_rate(),
            Row::new("`/verify`, EdDSA, remembered, 2,000 requests/s", "≤ 1.3", pid, valid(&tcp).await).at_rate(),
            Row::new("the same on a Unix socket", "", pid, valid(&unix).await).at_rate(),
        ],
    ];
    for _ in 0..seconds.div_ceil(TURN.as_secs()) {
        for rows in &mut groups {
            let mut bare = None;
            for row in rows {
                let cost = row.turn(bare).await;
                bare = bare.or(Some(cost));
            }
        }
    }
    println!("| request | µs CPU | ÷ bare axum | goal |\n|---|---|---|---|");
    for row in groups.iter_mut().flatten() {
        println!("| {} | {:.2} | {:.2} | {} |", row.name, median(&mut row.costs), median(&mut row.ratios), row.goal);
    }
}
