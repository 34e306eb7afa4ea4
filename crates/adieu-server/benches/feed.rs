//! The delay until a logout reaches thousands of followers of one node, and its cost.
//!
//! `cargo bench -p adieu-server --bench feed` prints the table. The server is the real binary on a store of its own. This process runs
//! the followers, each on its own persistent connection (they wait 500 ms at a time, as followers with `max_staleness` = 2 s do, and
//! hold a lease), and a client that logs sessions out at an even pace. So both share the machine.
//!
//! A delivery is one logout at one follower: from when the logout was *sent* until that follower has read the page with it.
//! `ADIEU_BENCH_ONLY=2000x100` measures one row, `ADIEU_BENCH_SECONDS` sets for how long.
//!
//! The last row is 10,000 followers behind five relays of one node, as far as one machine can hold them: all five relays follow the
//! node, and the first has its 2,000 followers. So the node has all of its load, and each relay would have that of the first.
//!
//! Then, or with `ADIEU_BENCH_ONLY=snapshot` alone, how long a service takes until it is ready: from when it starts until its
//! index has a million live revocations, read over HTTP from a node that is running.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout)]

use std::{
    collections::HashMap,
    env,
    path::Path,
    sync::{Arc, OnceLock, atomic::AtomicBool, atomic::AtomicUsize, atomic::Ordering},
    time::{Duration, Instant},
};

use adieu::{
    Issuer, SessionId, Subject, TokenId,
    revocation::{Revocation, Target},
};
use adieu_client::Service;
use adieu_server::{
    clients::{Capability, Client, ClientName},
    config::{Flags, Settings},
    listen::raise_descriptor_limit,
    node::Node,
};
use test_servers::adieu::{Adieu, Credentials};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};

/// Followers of the node, or of the first relay; logouts per second; relays.
const ROWS: [(usize, usize, usize); 7] =
    [(10, 100, 0), (500, 100, 0), (1_000, 100, 0), (2_000, 1, 0), (2_000, 10, 0), (2_000, 100, 0), (2_000, 100, 5)];
/// Connections that log out, which is the number of concurrent logouts.
const CALLERS: usize = 8;
/// The kernel counts processor time in this many ticks per second, on every Linux.
const TICKS_A_SECOND: f64 = 100.0;

#[tokio::main]
async fn main() {
    raise_descriptor_limit();
    let only = env::var("ADIEU_BENCH_ONLY").ok();
    let seconds = env::var("ADIEU_BENCH_SECONDS").map_or(15, |seconds| seconds.parse().unwrap());
    println!(
        "| followers | relays | logouts/s | deliveries | p50 | p99 | max | to all, p99 | answers/s | node CPU | relay CPU | clients CPU |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|");
    for (followers, rate, relays) in ROWS {
        if only.as_ref().is_none_or(|only| {
            *only == format!("{followers}x{rate}") || *only == format!("{followers}x{rate}x{relays}")
        }) {
            measure(followers, rate, relays, seconds).await;
        }
    }
    if only.is_none_or(|only| only == "snapshot") {
        measure_snapshot(1_000_000).await;
    }
}

/// Measures how long a service takes until it has this many revocations.
async fn measure_snapshot(entries: usize) {
    const ROUNDS: usize = 5;
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let settings = settings(&folder.path().join("data"));
    let node = Node::open(&settings).await.unwrap();
    let secret = add_client(&node).await;
    let expires_at = node.clock.now().plus(Duration::from_secs(3600));
    for _ in 0..entries / 10_000 {
        let revocations = (0..10_000).map(|number| Revocation {
            issuer: Issuer::new("adieu").unwrap(),
            target: match number % 2 {
                0 => Target::Token { id: TokenId::random(), expires_at: Some(expires_at) },
                _ => Target::Session { id: SessionId::random() },
            },
            lapses_at: Revocation::lapse_for(expires_at),
        });
        node.sessions.append(revocations.collect()).await.unwrap();
    }
    node.close().await;
    drop(node);

    let server = start(&folder.path().join("data")).await;
    let mut took = Vec::new();
    for _ in 0..ROUNDS {
        let started = Instant::now();
        let issuer = Issuer::new("adieu").unwrap();
        let service = Service::builder(issuer, server.url(""), "bench", secret.clone().into()).start().unwrap();
        service.ready().await.unwrap();
        took.push(started.elapsed());
        assert_eq!(service.verifier().index().stats().entries, entries);
    }
    took.sort_unstable();
    println!("\n| live revocations | service ready, median of {ROUNDS} | slowest |");
    println!("|---|---|---|");
    println!("| {entries} | {} ms | {} ms |", took[ROUNDS / 2].as_millis(), took[ROUNDS - 1].as_millis());
    drop(server);
}

fn settings(data: &Path) -> Settings {
    Settings::load(&Flags { data: Some(data.to_str().unwrap().to_owned()), ..Flags::default() }, []).unwrap()
}

/// Adds a client and returns its secret.
async fn add_client(node: &Node) -> String {
    let (client, secret) =
        Client::new(ClientName::new("bench").unwrap(), &[Capability::Follow], node.clock.now()).unwrap();
    assert!(node.clients.store().add_client(client).await.unwrap());
    secret.expose().to_owned()
}

/// The logouts, shared by all tasks.
struct Logouts {
    by_session: HashMap<Vec<u8>, usize>,
    tokens: Vec<String>,
    sent_at: Vec<OnceLock<Instant>>,
}

async fn measure(followers: usize, rate: usize, relays: usize, seconds: usize) {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let (credentials, logouts) = prepare(&folder.path().join("data"), rate * seconds).await;
    let server = start(&folder.path().join("data")).await;
    let (mut following_node, mut followed) = (Vec::new(), credentials.clone());
    for _ in 0..relays {
        let relay = Adieu::new(env!("CARGO_BIN_EXE_adieu")).following(&server.url(""), &credentials);
        let (relay, [at_relay]) = relay.start_with_clients(["bench"]).await;
        if following_node.is_empty() {
            followed = at_relay;
        }
        following_node.push(relay);
    }
    let (first, authorization) = (following_node.first(), followed.basic());
    let address = first.unwrap_or(&server).address();
    let logouts = Arc::new(logouts);
    let (answers, is_over) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));

    let mut following = JoinSet::new();
    let ready = Arc::new(AtomicUsize::new(0));
    for number in 0..followers {
        let follower = Follower {
            stream: BufReader::new(TcpStream::connect(address).await.unwrap()),
            head: format!("Host: adieu\r\nAuthorization: {authorization}\r\n\r\n"),
            lease: format!("follower=bench-{number}&max_staleness=2000"),
        };
        following.spawn(follower.run(
            Arc::clone(&logouts),
            Arc::clone(&ready),
            Arc::clone(&answers),
            Arc::clone(&is_over),
        ));
    }
    while ready.load(Ordering::SeqCst) < followers {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;

    let used = || [server.pid(), first.map_or(0, Adieu::pid), std::process::id()].map(cpu);
    let before = (Instant::now(), used(), answers.load(Ordering::SeqCst));
    let next = Arc::new(AtomicUsize::new(0));
    let pace = Arc::new(tokio::sync::Mutex::new(interval(Duration::from_secs(1) / u32::try_from(rate).unwrap())));
    pace.lock().await.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let (logouts, next, pace, address) = (logouts.clone(), next.clone(), pace.clone(), server.address().to_owned());
        callers.spawn(async move {
            let mut stream = BufReader::new(TcpStream::connect(&address).await.unwrap());
            loop {
                pace.lock().await.tick().await;
                let number = next.fetch_add(1, Ordering::SeqCst);
                let Some(token) = logouts.tokens.get(number) else { return };
                logouts.sent_at[number].set(Instant::now()).unwrap();
                let request = format!(
                    "POST /logout HTTP/1.1\r\nHost: adieu\r\nContent-Length: 0\r\nAuthorization: Bearer {token}\r\n\r\n"
                );
                stream.write_all(request.as_bytes()).await.unwrap();
                let body = answer(&mut stream).await;
                assert!(body.starts_with(br#"{"message":"Successfully"#), "{}", String::from_utf8_lossy(&body));
            }
        });
    }
    callers.join_all().await;
    let (took, after, answered) = (before.0.elapsed(), used(), answers.load(Ordering::SeqCst) - before.2);

    tokio::time::sleep(Duration::from_secs(2)).await;
    is_over.store(true, Ordering::SeqCst);
    let seen = following.join_all().await;
    let mut delays: Vec<Duration> = Vec::with_capacity(followers * logouts.tokens.len());
    let mut to_all = vec![Duration::ZERO; logouts.tokens.len()];
    for deliveries in seen {
        assert_eq!(deliveries.len(), logouts.tokens.len(), "a follower has missed something");
        for (number, at) in deliveries {
            let delay = at.duration_since(*logouts.sent_at[number].get().unwrap());
            delays.push(delay);
            to_all[number] = to_all[number].max(delay);
        }
    }
    delays.sort_unstable();
    to_all.sort_unstable();
    let millis = |sorted: &[Duration], part: f64| {
        let place = ((sorted.len() - 1) as f64 * part).round() as usize;
        format!("{:.0} ms", sorted[place].as_secs_f64() * 1e3)
    };
    let percent = |process: usize| {
        let seconds = (after[process] - before.1[process]) / TICKS_A_SECOND;
        format!("{:.0} %", seconds / took.as_secs_f64() * 100.0)
    };
    println!(
        "| {followers} | {relays} | {:.0} | {} | {} | {} | {} | {} | {:.0} | {} | {} | {} |",
        logouts.tokens.len() as f64 / took.as_secs_f64(),
        delays.len(),
        millis(&delays, 0.5),
        millis(&delays, 0.99),
        millis(&delays, 1.0),
        millis(&to_all, 0.99),
        answered as f64 / took.as_secs_f64(),
        percent(0),
        percent(1),
        percent(2),
    );
    drop((following_node, server));
}

/// Creates a store with a client and sessions, and returns their tokens.
async fn prepare(data: &Path, count: usize) -> (Credentials, Logouts) {
    let node = Node::open(&settings(data)).await.unwrap();
    let secret = add_client(&node).await;
    let mut logouts = Logouts { by_session: HashMap::new(), tokens: Vec::new(), sent_at: Vec::new() };
    for number in 0..count {
        let subject = Subject::new(format!("user-{number}")).unwrap();
        let tokens = node.sessions.log_in(subject).await.unwrap();
        logouts.by_session.insert(tokens.claims.session.unwrap().as_str().as_bytes().to_vec(), number);
        logouts.tokens.push(tokens.access);
        logouts.sent_at.push(OnceLock::new());
    }
    node.close().await;
    (Credentials { name: "bench".to_owned(), secret }, logouts)
}

async fn start(data: &Path) -> Adieu {
    Adieu::new(env!("CARGO_BIN_EXE_adieu")).with_data(data).start().await
}

struct Follower {
    stream: BufReader<TcpStream>,
    head: String,
    lease: String,
}

impl Follower {
    /// Follows until the end; returns which logouts arrived, and when.
    async fn run(
        mut self,
        logouts: Arc<Logouts>,
        ready: Arc<AtomicUsize>,
        answers: Arc<AtomicUsize>,
        is_over: Arc<AtomicBool>,
    ) -> HashMap<usize, Instant> {
        let mut seen = HashMap::with_capacity(logouts.tokens.len());
        let mut place = String::new();
        while !is_over.load(Ordering::Relaxed) {
            let request = format!("GET /revocations?{}{place} HTTP/1.1\r\n{}", self.lease, self.head);
            self.stream.write_all(request.as_bytes()).await.unwrap();
            let body = answer(&mut self.stream).await;
            let read_at = Instant::now();
            if place.is_empty() {
                ready.fetch_add(1, Ordering::SeqCst);
            }
            let cursor = text_after(&body, br#""cursor":""#).expect("a cursor");
            place = format!("&wait=500&after={}", std::str::from_utf8(cursor).unwrap());
            let mut rest = &body[..];
            while let Some(id) = text_after(rest, br#""id":""#) {
                seen.entry(logouts.by_session[id]).or_insert(read_at);
                let end = id.as_ptr() as usize - rest.as_ptr() as usize + id.len();
                rest = &rest[end..];
            }
            answers.fetch_add(1, Ordering::Relaxed);
        }
        seen
    }
}

/// Returns the quoted text that follows `name`.
fn text_after<'a>(body: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let start = body.windows(name.len()).position(|window| window == name)? + name.len();
    let end = body[start..].iter().position(|byte| *byte == b'"')?;
    Some(&body[start..start + end])
}

/// Reads a successful response and returns its body.
async fn answer(stream: &mut BufReader<TcpStream>) -> Vec<u8> {
    let mut length = 0;
    let mut line = Vec::with_capacity(128);
    let mut is_first = true;
    loop {
        line.clear();
        assert!(stream.read_until(b'\n', &mut line).await.unwrap() > 0, "the server hung up");
        if is_first {
            assert!(line.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&line));
            is_first = false;
        } else if line == b"\r\n" {
            break;
        } else if line.len() > 16 && line[..16].eq_ignore_ascii_case(b"content-length: ") {
            length = std::str::from_utf8(&line[16..]).unwrap().trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.unwrap();
    body
}

/// Returns the ticks of processor time that a process has used; none for process 0.
fn cpu(pid: u32) -> f64 {
    if pid == 0 {
        return 0.0;
    }
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()
}
