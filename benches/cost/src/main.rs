//! The cost of a protected handler: processor time of the server per request at a fixed rate, compared with the same handler without a
//! token.
//!
//! `cargo run --release --manifest-path benches/cost/Cargo.toml` prints the tables; `-- SECONDS` sets the duration of each measurement.
//! One handler returns a prepared text, so that only the token costs anything. The other does the work of an application: it reads some rows
//! from SQLite, through sqlx, and returns JSON.
//!
//! Every variant is a process of its own with one thread. It takes turns with the variant without a token, so that other load on the
//! machine slows both equally. A turn begins with each token once, which is not counted: the processor has just run another process. The
//! time is the run time of the process according to the kernel. The tables have the median over all turns, and the median of the ratios of
//! a turn to the one before it.
//!
//! The sender of the requests has a processor of its own, if there are two. On the same processor, a request would be a switch from one
//! process to the other, without the cost of a wake-up that a request from another machine has. axum-jwt-auth is measured as its users get
//! it, with its own cryptography.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use adieu::{
    Issuer, Node, SessionId, Subject, TokenId,
    revocation::{Revocation, RevocationLog as _, Target},
    session::SessionSettings,
    store::Memory,
    time::{Clock as _, SystemClock},
    token::{Algorithm, CacheLimits, Claims, SigningKey, TokenType, encode},
};
use adieu_axum::{AccessToken, Guard};
use axum::{
    Json, Router,
    extract::{FromRef, FromRequestParts, State},
    http::{StatusCode, header, request::Parts},
    routing::get,
};
use axum_jwt_auth::{Decoder, LocalDecoder};
use jsonwebtoken::{DecodingKey, Validation};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use sqlx::{FromRow, SqlitePool, sqlite::SqlitePoolOptions};

/// Requests per second, at equal intervals, each on the next connection: few enough that a server sleeps between them.
const RATE: u32 = 4_000;
/// Requests per second, nearly as many as the slowest server of the text can answer.
const HIGH_RATE: u32 = 10_000;
const CONNECTIONS: usize = 16;
/// The duration of one turn, after each token was sent once.
const TURN: Duration = Duration::from_millis(250);
/// The number of different tokens, each of another user.
const TOKENS: usize = 1_000;
/// The number of revoked tokens and sessions, none of them among the measured tokens.
const REVOKED: usize = 10_000;

const AUDIENCE: &str = "cost";
/// The subject of every token, and the text that every handler returns.
const SUBJECT: &str = "0197f3f2-6d5c-7c43-9c3a-2f1d0f6b7a11";

const TEXT: [(&str, &str); 8] = [
    ("none", "no token"),
    ("ed25519-cache", "AccessToken, Ed25519, remembered"),
    ("hs256", "AccessToken, HS256, not remembered"),
    ("ed25519", "AccessToken, Ed25519, not remembered"),
    ("hs256-jsonwebtoken", "extractor on jsonwebtoken, HS256, no revocation"),
    ("ed25519-jsonwebtoken", "extractor on jsonwebtoken, Ed25519, no revocation"),
    ("hs256-axum-jwt-auth", "axum-jwt-auth, HS256, no revocation"),
    ("ed25519-axum-jwt-auth", "axum-jwt-auth, Ed25519, no revocation"),
];

const ROWS: [(&str, &str); 7] = [
    ("rows-none", "no token"),
    ("rows-ed25519-cache", "AccessToken, Ed25519, remembered"),
    ("rows-hs256", "AccessToken, HS256, not remembered"),
    ("rows-ed25519", "AccessToken, Ed25519, not remembered"),
    ("rows-hs256-jsonwebtoken", "extractor on jsonwebtoken, HS256, no revocation"),
    ("rows-hs256-axum-jwt-auth", "axum-jwt-auth, HS256, no revocation"),
    ("rows-ed25519-axum-jwt-auth", "axum-jwt-auth, Ed25519, no revocation"),
];

/// A row that the handler reads.
#[derive(Serialize, FromRow)]
struct Item {
    id: i64,
    name: String,
    price: f64,
    store_id: i64,
}

/// Returns ten of a thousand items.
async fn items(State(items): State<SqlitePool>) -> Json<Vec<Item>> {
    const ITEMS: &str = "SELECT id, name, price, store_id FROM item WHERE store_id = 7 ORDER BY id";
    Json(sqlx::query_as(ITEMS).fetch_all(&items).await.unwrap())
}

/// Opens one connection: there is one thread, and a database in memory belongs to its connection.
async fn stock() -> SqlitePool {
    const MAKE: &str = "CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT NOT NULL, price REAL NOT NULL, store_id INTEGER NOT NULL);
        CREATE INDEX item_by_store ON item (store_id);
        WITH RECURSIVE number (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < 1000)
        INSERT INTO item SELECT n, 'item ' || n, n / 4.0, n % 100 FROM number";
    let pool = SqlitePoolOptions::new().max_connections(1).connect("sqlite::memory:").await.unwrap();
    sqlx::raw_sql(MAKE).execute(&pool).await.unwrap();
    pool
}

/// An extractor as in the documentation of axum.
struct PlainToken(TheirClaims);

#[derive(Deserialize)]
#[expect(dead_code, reason = "read, as ours are")]
struct TheirClaims {
    iss: String,
    aud: String,
    sub: String,
    iat: u64,
    nbf: u64,
    exp: u64,
    jti: String,
    sid: String,
    #[serde(rename = "type")]
    token_type: String,
    fresh: bool,
    is_admin: bool,
}

#[derive(Clone)]
struct App {
    guard: Guard,
    plain: Arc<(DecodingKey, Validation)>,
    theirs: Decoder<TheirClaims>,
    items: SqlitePool,
}

impl FromRef<App> for SqlitePool {
    fn from_ref(app: &App) -> Self {
        app.items.clone()
    }
}

impl FromRef<App> for Decoder<TheirClaims> {
    fn from_ref(app: &App) -> Self {
        Arc::clone(&app.theirs)
    }
}

impl FromRef<App> for Guard {
    fn from_ref(app: &App) -> Self {
        app.guard.clone()
    }
}

impl FromRequestParts<App> for PlainToken {
    type Rejection = StatusCode;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, StatusCode> {
        let header = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = header.and_then(|value| value.strip_prefix("Bearer ")).ok_or(StatusCode::UNAUTHORIZED)?;
        let (key, validation) = &*app.plain;
        let data = jsonwebtoken::decode(token, key, validation).map_err(|_| StatusCode::UNAUTHORIZED)?;
        Ok(Self(data.claims))
    }
}

/// Serves one variant until the end of standard input; prints its address and its tokens.
async fn serve(variant: &str) {
    let algorithm = if variant.contains("hs256") { Algorithm::HS256 } else { Algorithm::EdDSA };
    let key = SigningKey::generate(algorithm).unwrap();
    let key = match key.key_id() {
        Some(_) => key,
        None => key.with_key_id(adieu::token::KeyId::new("k").unwrap()),
    };
    let issuer = Issuer::new("https://api.example.com").unwrap();
    let log = Memory::new();
    log.append(revocations(&issuer)).await.unwrap();
    let mut settings = SessionSettings::new(issuer.clone());
    settings.audience.push(AUDIENCE.to_owned());
    let node = Node::builder(issuer.clone())
        .with_session_settings(settings)
        .with_signing_key(key.clone())
        .with_token_cache(variant.ends_with("ed25519-cache").then(CacheLimits::default))
        .start(log)
        .await
        .unwrap();
    let mut validation = Validation::new(algorithm.as_str().parse().unwrap());
    validation.leeway = 0;
    validation.validate_nbf = true;
    validation.set_issuer(&[issuer.as_str()]);
    validation.set_audience(&[AUDIENCE]);
    validation.set_required_spec_claims(&["exp", "iss", "sub"]);
    let jwk = key.verifying_key().to_jwk().map(|jwk| serde_json::to_value(jwk).unwrap());
    let secret = key.to_secret_bytes();
    let secret = secret.as_ref().map(|secret| secret.expose_secret());
    let decoding = match &jwk {
        Some(jwk) => DecodingKey::from_jwk(&serde_json::from_value(jwk.clone()).unwrap()).unwrap(),
        None => DecodingKey::from_secret(secret.unwrap()),
    };
    let mut their_validation = jsonwebtoken_10::Validation::new(algorithm.as_str().parse().unwrap());
    their_validation.leeway = 0;
    their_validation.validate_nbf = true;
    their_validation.set_issuer(&[issuer.as_str()]);
    their_validation.set_audience(&[AUDIENCE]);
    their_validation.set_required_spec_claims(&["exp", "iss", "sub"]);
    let their_key = match &jwk {
        Some(jwk) => jsonwebtoken_10::DecodingKey::from_jwk(&serde_json::from_value(jwk.clone()).unwrap()).unwrap(),
        None => jsonwebtoken_10::DecodingKey::from_secret(secret.unwrap()),
    };
    let theirs = LocalDecoder::new(vec![their_key], their_validation).unwrap();

    let router = Router::new();
    let router = match variant {
        "none" => router.route("/", get(async || SUBJECT.to_owned())),
        "rows-none" => router.route("/", get(items)),
        "rows-hs256-jsonwebtoken" => {
            router.route("/", get(async |_: PlainToken, stock: State<SqlitePool>| items(stock).await))
        }
        _ if variant.starts_with("rows") && variant.ends_with("axum-jwt-auth") => {
            type Token = axum_jwt_auth::Claims<TheirClaims>;
            router.route("/", get(async |_: Token, stock: State<SqlitePool>| items(stock).await))
        }
        _ if variant.starts_with("rows") => {
            router.route("/", get(async |_: AccessToken, stock: State<SqlitePool>| items(stock).await))
        }
        _ if variant.ends_with("axum-jwt-auth") => {
            router.route("/", get(async |token: axum_jwt_auth::Claims<TheirClaims>| token.claims.sub))
        }
        _ if variant.ends_with("jsonwebtoken") => router.route("/", get(async |token: PlainToken| token.0.sub)),
        _ => router.route("/", get(async |token: AccessToken| token.subject().as_str().to_owned())),
    };
    let router = router.with_state(App {
        guard: Guard::from_sessions(node.sessions()),
        plain: Arc::new((decoding, validation)),
        theirs: Arc::new(theirs),
        items: stock().await,
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut lines = format!("{}\n", listener.local_addr().unwrap());
    for _ in 0..TOKENS {
        let subject = Subject::new(SUBJECT).unwrap();
        let now = SystemClock.now();
        let mut claims = Claims::new(issuer.clone(), subject, TokenType::Access, now, Duration::from_secs(3600));
        claims.session = Some(SessionId::random());
        claims.audience.push(AUDIENCE.to_owned());
        claims.custom.insert("is_admin".to_owned(), false.into());
        lines.push_str(&encode(&key, &claims).unwrap());
        lines.push('\n');
    }
    std::io::stdout().write_all(lines.as_bytes()).unwrap();
    std::io::stdout().flush().unwrap();
    axum::serve(listener, router).await.unwrap();
}

/// Returns revocations, half of them of tokens, half of sessions.
fn revocations(issuer: &Issuer) -> Vec<Revocation> {
    let lapses_at = SystemClock.now().plus(Duration::from_secs(3600));
    let target = |number| match number % 2 {
        0 => Target::Token { id: TokenId::random(), expires_at: Some(lapses_at) },
        _ => Target::Session { id: SessionId::random() },
    };
    (0..REVOKED).map(|number| Revocation { issuer: issuer.clone(), target: target(number), lapses_at }).collect()
}

struct Server {
    process: Child,
    connections: Vec<BufReader<TcpStream>>,
    requests: Vec<String>,
    next: usize,
    /// The number of requests that are not answered yet.
    open: usize,
    /// The cost of each turn, and its ratio to the turn without a token just before.
    nanos_a_request: Vec<f64>,
    against_none: Vec<f64>,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Server {
    fn start(variant: &str, processor: usize) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["serve", variant, &processor.to_string()])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines().map(Result::unwrap);
        let address = lines.next().unwrap();
        let request = |token| format!("GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n");
        let requests = lines.by_ref().take(TOKENS).map(request).collect();
        let connect = || {
            let stream = TcpStream::connect(&address).unwrap();
            stream.set_nodelay(true).unwrap();
            BufReader::new(stream)
        };
        let connections = (0..CONNECTIONS).map(|_| connect()).collect();
        Self { process, connections, requests, next: 0, open: 0, nanos_a_request: Vec::new(), against_none: Vec::new() }
    }

    /// Returns the run time of all its threads so far.
    fn cpu(&self) -> u64 {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.process.id())).unwrap();
        let ran = |task: std::io::Result<std::fs::DirEntry>| {
            let text = std::fs::read_to_string(task.unwrap().path().join("schedstat")).unwrap();
            text.split(' ').next().unwrap().parse::<u64>().unwrap()
        };
        tasks.map(ran).sum()
    }

    /// Returns the cost of a request at a fixed rate, in nanoseconds.
    fn turn(&mut self, rate: u32) -> f64 {
        self.drive(rate, TOKENS as u32);
        let before = self.cpu();
        let requests = (TURN.as_secs_f64() * f64::from(rate)) as u32;
        self.drive(rate, requests);
        (self.cpu() - before) as f64 / f64::from(requests)
    }

    /// Sends requests at their scheduled times, whether or not the earlier ones have been answered.
    fn drive(&mut self, rate: u32, requests: u32) {
        let start = Instant::now();
        for sent in 0..requests {
            if self.open == CONNECTIONS {
                self.read_oldest();
            }
            let due = start + Duration::from_secs(1) / rate * sent;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let connection = &mut self.connections[self.next % CONNECTIONS];
            connection.get_mut().write_all(self.requests[self.next % TOKENS].as_bytes()).unwrap();
            self.next += 1;
            self.open += 1;
        }
        while self.open > 0 {
            self.read_oldest();
        }
    }

    fn read_oldest(&mut self) {
        read_answer(&mut self.connections[(self.next - self.open) % CONNECTIONS]);
        self.open -= 1;
    }
}

fn median(numbers: &[f64]) -> f64 {
    let mut numbers = numbers.to_vec();
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

fn read_answer(connection: &mut BufReader<TcpStream>) {
    let (mut length, mut line) = (0, String::new());
    connection.read_line(&mut line).unwrap();
    assert!(line.starts_with("HTTP/1.1 200"), "{line}");
    while line != "\r\n" {
        line.clear();
        connection.read_line(&mut line).unwrap();
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    connection.read_exact(&mut body).unwrap();
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [serve_it, variant, processor] = arguments.as_slice()
        && serve_it == "serve"
    {
        run_on(processor.parse().unwrap());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        return runtime.block_on(serve(variant));
    }
    let seconds: f64 = arguments.iter().find_map(|argument| argument.parse().ok()).unwrap_or(5.0);
    let [of_sender, of_servers] = processors();
    run_on(of_sender);
    let start = |(variant, _)| Server::start(variant, of_servers);
    compare("A text that is there", TEXT, TEXT.map(start), &[RATE, HIGH_RATE], seconds);
    compare("Ten rows by sqlx as JSON", ROWS, ROWS.map(start), &[RATE], seconds);
}

fn compare<const N: usize>(
    handler: &str,
    variants: [(&str, &str); N],
    mut servers: [Server; N],
    rates: &[u32],
    seconds: f64,
) {
    for &rate in rates {
        for server in &mut servers {
            (server.nanos_a_request, server.against_none) = (Vec::new(), vec![1.0]);
        }
        let Some((none, others)) = servers.split_first_mut() else { return };
        for _ in 0..(seconds / TURN.as_secs_f64()).ceil() as usize {
            for other in &mut *others {
                let (without, with) = (none.turn(rate), other.turn(rate));
                none.nanos_a_request.push(without);
                other.nanos_a_request.push(with);
                other.against_none.push(with / without);
            }
        }
        println!("| {handler}, {rate} requests a second | µs CPU a request | against no token |");
        println!("|---|---|---|");
        for ((_, name), server) in variants.iter().zip(&servers) {
            let micros = median(&server.nanos_a_request) / 1000.0;
            println!("| {name} | {micros:.2} | {:.3} |", median(&server.against_none));
        }
        println!();
    }
}

/// Returns the first and the last processor that this process may use.
fn processors() -> [usize; 2] {
    let ours = sched_getaffinity(None).unwrap();
    let mut usable = (0..CpuSet::MAX_CPU).filter(|&number| ours.is_set(number));
    let first = usable.next().unwrap();
    [first, usable.last().unwrap_or(first)]
}

/// Restricts this thread to that processor.
fn run_on(processor: usize) {
    let mut only = CpuSet::new();
    only.set(processor);
    sched_setaffinity(None, &only).unwrap();
}
