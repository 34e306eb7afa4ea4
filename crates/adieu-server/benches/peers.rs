//! Requests per second of processor time: `/verify`, and the same check with other frameworks and Redis.
//!
//! `cargo bench -p adieu-server --bench peers` installs the other frameworks below `target`, starts all servers and prints the table. It
//! needs `node` with `npm`, `python3` with `venv`, and Redis or Valkey. The applications are in `benches/peers`. Each does what its
//! documentation recommends: it verifies an HS256 token and looks its id up in Redis, for each request. Each has one worker, settings for
//! production and no access log.
//!
//! This process sends the requests: 64 connections that are kept open, each with one request in flight and a token of its own. The servers
//! take turns of [`TURN`]. A ratio compares a turn with that of `/verify` in the same round; the table has the medians.
//!
//! `ADIEU_BENCH_SECONDS` sets how long each server is measured, and so the number of rounds.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout)]

#[path = "support/load.rs"]
#[allow(dead_code, reason = "other benchmarks use the rest")]
mod load;
#[path = "support/prepared.rs"]
#[allow(dead_code, reason = "other benchmarks use the rest")]
mod prepared;

use std::{
    env, fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use test_servers::{Program, Redis};

use crate::{
    load::{Address, Pace, Repeating, cpu, median, send},
    prepared::{SECRET, hs256_token, hs256_tokens, start},
};

const SECONDS: u64 = 10;
const TURN: Duration = Duration::from_secs(1);
/// The part of a turn before the measurement: another process has just used the processor's cache.
const WARM_UP: Duration = Duration::from_millis(200);

fn main() {
    let seconds = env::var("ADIEU_BENCH_SECONDS").map_or(SECONDS, |seconds| seconds.parse().unwrap());
    let installed = Installed::new();
    tokio::runtime::Runtime::new().unwrap().block_on(measure(&installed, seconds));
}

/// The folder with the applications and the packages that they need.
struct Installed(PathBuf);

impl Installed {
    fn new() -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("peers");
        fs::create_dir_all(&folder).unwrap();
        for file in fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peers")).unwrap() {
            let file = file.unwrap();
            fs::copy(file.path(), folder.join(file.file_name())).unwrap();
        }
        let run = |command: &str| {
            let status = Command::new("sh").args(["-c", command]).current_dir(&folder).status().unwrap();
            assert!(status.success(), "{command}: {status}");
        };
        run("npm install --no-audit --no-fund --no-package-lock --loglevel=error >&2");
        run("test -x venv/bin/pip || python3 -m venv venv");
        run("venv/bin/pip install --quiet --disable-pip-version-check --requirement requirements.txt");
        Self(folder)
    }

    /// Starts an application: a program of the folder with these arguments, in which `PORT` is the port.
    async fn start(&self, redis: &Redis, program: &str, arguments: &str, variables: &[(&str, &str)]) -> Program {
        let command = |address: SocketAddr| {
            let mut command = Command::new(program.replace("venv", self.0.join("venv").to_str().unwrap()));
            let arguments = arguments.replace("FOLDER", self.0.to_str().unwrap());
            let port = address.port().to_string();
            command.args(arguments.split_whitespace().map(|argument| argument.replace("PORT", &port)));
            command.envs([
                ("PORT", &*port),
                ("SECRET", SECRET),
                ("REDIS_URL", &redis.url()),
                ("NODE_ENV", "production"),
            ]);
            command.envs(variables.iter().copied());
            command
        };
        Program::start(command).await
    }
}

/// A row of the table.
struct Row {
    name: &'static str,
    pids: Vec<u32>,
    clients: Vec<Repeating>,
    /// The processor time per request in each turn, in microseconds: of the server, and of Redis.
    costs: Vec<[f64; 2]>,
}

impl Row {
    async fn turn(&mut self, redis: u32) {
        send(&mut self.clients, Pace::Closed, WARM_UP).await;
        let used = || [cpu(&self.pids), cpu(&[redis])];
        let before = used();
        let requests = send(&mut self.clients, Pace::Closed, TURN).await as f64;
        let after = used();
        self.costs.push([(after[0] - before[0]) / requests, (after[1] - before[1]) / requests]);
    }
}

async fn measure(installed: &Installed, seconds: u64) {
    let (redis, adieu, tokens) = (Redis::start().await, start("info").await, hs256_tokens());
    let node = async |pipelining| {
        installed.start(&redis, "node", "FOLDER/fastify_app.js", &[("PIPELINING", pipelining)]).await
    };
    let uvicorn =
        "--app-dir FOLDER fastapi_app:app --port PORT --no-access-log --log-level warning --timeout-keep-alive 75";
    let gunicorn =
        "--chdir FOLDER flask_app:app --bind 127.0.0.1:PORT --worker-class gthread --threads 4 --keep-alive 75";
    let peers = [
        ("fastify, @fastify/jwt, ioredis", node("no").await),
        ("the same with `enableAutoPipelining`", node("yes").await),
        ("FastAPI, PyJWT, redis-py, uvicorn", installed.start(&redis, "venv/bin/uvicorn", uvicorn, &[]).await),
        ("Flask-JWT-Extended, redis-py, gunicorn", installed.start(&redis, "venv/bin/gunicorn", gunicorn, &[]).await),
    ];
    let open = async |address: &Address, tokens: &[String]| Repeating::open(address, "/verify", tokens, 204).await;
    let row = |name, pids, clients| Row { name, pids, clients, costs: Vec::new() };
    let mut rows = vec![
        row("Adieu, HS256", vec![adieu.server.pid()], open(&adieu.tcp(), &tokens).await),
        row("Adieu, EdDSA, remembered", vec![adieu.server.pid()], open(&adieu.tcp(), &adieu.valid).await),
    ];
    let (revoked, claims) = hs256_token("logged out");
    redis.command(&["SET", claims.token_id.as_str(), "revoked"]).await;
    for (name, program) in &peers {
        let address = Address::Tcp(program.address().to_string());
        let mut rejected = Repeating::open(&address, "/verify", std::slice::from_ref(&revoked), 401).await;
        send(&mut rejected, Pace::Closed, WARM_UP).await;
        let mut clients = open(&address, &tokens).await;
        // Python and JavaScript compile while they run; gunicorn starts its worker after it listens.
        send(&mut clients, Pace::Closed, TURN).await;
        rows.push(row(name, program.pids(), clients));
    }
    let redis = redis.pid().unwrap();
    for _ in 0..seconds.div_ceil(TURN.as_secs()) {
        for row in &mut rows {
            row.turn(redis).await;
        }
    }
    println!(
        "| token check | µs CPU | of Redis besides | requests per CPU-second | with Redis | Adieu ÷ this | with Redis |"
    );
    println!("|---|---|---|---|---|---|---|");
    let adieu: Vec<f64> = rows[0].costs.iter().map(|cost| cost[0]).collect();
    for row in &rows {
        let of = |value: fn(&[f64; 2]) -> f64| median(&mut row.costs.iter().map(value).collect::<Vec<_>>());
        let ratio = |value: fn(&[f64; 2]) -> f64| {
            median(&mut row.costs.iter().zip(&adieu).map(|(cost, adieu)| value(cost) / adieu).collect::<Vec<_>>())
        };
        let (server, both) = (|cost: &[f64; 2]| cost[0], |cost: &[f64; 2]| cost[0] + cost[1]);
        println!(
            "| {} | {:.1} | {:.1} | {:.0} | {:.0} | {:.2} | {:.2} |",
            row.name,
            of(server),
            of(|cost| cost[1]),
            1e6 / of(server),
            1e6 / of(both),
            ratio(server),
            ratio(both)
        );
    }
}
