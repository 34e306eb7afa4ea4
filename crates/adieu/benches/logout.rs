//! The cost of a durable logout, compared with one commit per logout and with the disk itself.
//!
//! `cargo bench -p adieu --bench logout` prints the tables that BENCHMARKS.md quotes: acknowledged appends to the log, whole
//! logouts (token verified, session removed, fact appended, index updated), the same by a plain connection that commits
//! each one separately, and the disk's `fdatasync`. Everything runs on one file below the folder for build products, which must
//! be on the disk to measure. `ADIEU_BENCH_ONLY` names a part: `appends`,
//! `logouts`, `random` (in no order that the file knows) or `pruning`.
//!
//! Callers are tasks on a multi-threaded runtime; each waits for its response before its next call. The plain
//! connection is behind a fair lock, so that its latencies are as even as possible. The two sides take turns, so
//! that other load on the machine affects both.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout)]

use std::{
    env,
    fs::File,
    io::Write,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use adieu::{
    Issuer, Subject, TokenId,
    revocation::{Follower, Index, Revocation, RevocationLog, Target},
    run_maintenance,
    session::{Origin, Scope, SessionSettings, Sessions, TokenOptions},
    time::{Clock, SystemClock, Timestamp},
    token::{Algorithm, Decoder, KeySet, Rules, SigningKey, StalePolicy, Verifier},
};
use adieu_sqlite::{
    Sqlite,
    rusqlite::{Connection, params},
};
use tokio::sync::Mutex;

const ISSUER: &str = "https://auth.example.com";
const CALLERS: [usize; 4] = [1, 16, 64, 512];
/// The number of rounds in which the two sides take turns.
const ROUNDS: usize = 3;
/// Operations per round.
const APPENDS: [usize; 4] = [3_000, 20_000, 60_000, 80_000];
const LOGOUTS: [usize; 4] = [2_000, 10_000, 16_000, 16_000];
const SINGLE: usize = 3_000;
/// Expired revocations that are pruned while users log out.
const LAPSED: u64 = 1_000_000;

#[tokio::main]
async fn main() {
    let only = env::var("ADIEU_BENCH_ONLY").ok();
    let wanted = |part: &str| only.as_deref().is_none_or(|only| only == part);
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let node = Node::start(&folder.path().join("adieu.sqlite")).await;

    println!("The disk: {:.0} times a second 4 KiB appended and synced\n", fdatasync(&folder.path().join("synced")));
    println!("| | callers | together, /s | p50 | p99 | one commit each, /s | p50 | p99 | times |");
    println!("|---|---|---|---|---|---|---|---|---|");
    if wanted("appends") {
        for (callers, operations) in CALLERS.into_iter().zip(APPENDS) {
            let (mut together, mut single) = (Samples::default(), Samples::default());
            for _ in 0..ROUNDS {
                together.add(node.appends(callers, operations).await);
                single.add(node.single_appends(callers, SINGLE).await);
            }
            print_row("appends", callers, &together, &single);
        }
    }
    for (part, order, what) in [
        ("logouts", Order::OldestFirst, "whole logouts, oldest session first"),
        ("random", Order::Random, "whole logouts, in random order"),
    ] {
        for (callers, operations) in CALLERS.into_iter().zip(LOGOUTS).filter(|_| wanted(part)) {
            let (mut together, mut single) = (Samples::default(), Samples::default());
            for _ in 0..ROUNDS {
                together.add(node.logouts(callers, node.log_in(operations, order).await).await);
                single.add(node.single_logouts(callers, node.log_in(SINGLE, order).await).await);
            }
            print_row(what, callers, &together, &single);
        }
    }
    if wanted("pruning") {
        print_pruning(&node).await;
    }
}

fn print_row(what: &str, callers: usize, together: &Samples, single: &Samples) {
    println!("| {what} | {callers} | {together} | {single} | {:.1} |", together.rate() / single.rate());
}

/// Measures logouts while a million expired revocations are pruned, and logouts while none are.
async fn print_pruning(node: &Node) {
    const CALLERS: usize = 16;
    println!("\n| {CALLERS} callers log out | /s | p50 | p99 |\n|---|---|---|---|");
    let tokens = node.log_in(20_000, Order::OldestFirst).await;
    println!("| nothing to prune | {} |", node.logouts(CALLERS, tokens).await);

    let now = SystemClock.now();
    let lapsed = now.minus(Duration::from_secs(60));
    for start in (0..LAPSED).step_by(10_000) {
        node.store.append((start..start + 10_000).map(|_| revocation(lapsed)).collect()).await.unwrap();
    }
    let tokens = node.log_in(80_000, Order::OldestFirst).await;
    let store = node.store.clone();
    let pruning = tokio::spawn(async move {
        let start = Instant::now();
        run_maintenance(&store, &store, now).await.unwrap();
        start.elapsed()
    });
    let mut while_pruning = Samples::default();
    for tokens in tokens.chunks(2_000) {
        if pruning.is_finished() {
            break;
        }
        while_pruning.add(node.logouts(CALLERS, tokens.to_vec()).await);
    }
    println!("| {LAPSED} being pruned | {while_pruning} |");
    println!("\nPruned in {:.1} s.", pruning.await.unwrap().as_secs_f64());
}

/// The order in which sessions end. In random order every logout changes different pages, of the sessions and of the index by
/// subject, which no commit can share.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    OldestFirst,
    Random,
}

/// The durations of many operations, and the total time.
#[derive(Default)]
struct Samples {
    latencies: Vec<Duration>,
    elapsed: Duration,
}

impl Samples {
    fn add(&mut self, other: Self) {
        self.latencies.extend(other.latencies);
        self.elapsed += other.elapsed;
    }

    fn rate(&self) -> f64 {
        self.latencies.len() as f64 / self.elapsed.as_secs_f64()
    }
}

impl std::fmt::Display for Samples {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut sorted = self.latencies.clone();
        sorted.sort_unstable();
        let percentile = |hundredth: usize| sorted[(sorted.len() - 1) * hundredth / 100].as_secs_f64() * 1e3;
        write!(formatter, "{:.0} | {:.2} ms | {:.2} ms", self.rate(), percentile(50), percentile(99))
    }
}

/// Runs every caller's share of the work, one piece after the other.
async fn concurrently<T, F>(callers: usize, work: Vec<T>, operation: impl Fn(T) -> F) -> Samples
where
    T: Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let mut shares: Vec<Vec<F>> = (0..callers).map(|_| Vec::new()).collect();
    for (number, piece) in work.into_iter().enumerate() {
        shares[number % callers].push(operation(piece));
    }
    let start = Instant::now();
    let tasks: Vec<_> = shares
        .into_iter()
        .map(|share| {
            tokio::spawn(async move {
                let mut latencies = Vec::with_capacity(share.len());
                for operation in share {
                    let asked = Instant::now();
                    operation.await;
                    latencies.push(asked.elapsed());
                }
                latencies
            })
        })
        .collect();
    let mut samples = Samples::default();
    for task in tasks {
        samples.latencies.extend(task.await.unwrap());
    }
    samples.elapsed = start.elapsed();
    samples
}

/// Returns how many times per second four kilobytes can be appended and synced.
fn fdatasync(path: &Path) -> f64 {
    const TIMES: u32 = 5_000;
    let mut file = File::create(path).unwrap();
    let start = Instant::now();
    for _ in 0..TIMES {
        file.write_all(&[0x5a; 4096]).unwrap();
        file.sync_data().unwrap();
    }
    f64::from(TIMES) / start.elapsed().as_secs_f64()
}

fn revocation(lapses_at: Timestamp) -> Revocation {
    let target = Target::Token { id: TokenId::random(), expires_at: Some(lapses_at) };
    Revocation { issuer: Issuer::new(ISSUER).unwrap(), target, lapses_at }
}

/// All parts of a server except its network, and the plain connection.
struct Node {
    store: Sqlite,
    sessions: Arc<Sessions>,
    plain: Arc<Mutex<Connection>>,
    _follower: Follower,
}

impl Node {
    async fn start(path: &Path) -> Self {
        const STALENESS: Duration = Duration::from_secs(2);
        let store = Sqlite::open(path).await.unwrap();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let index = Arc::new(Index::new(clock.now()));
        let follower = Follower::start(Arc::new(store.clone()), Arc::clone(&index), Arc::clone(&clock), STALENESS);
        follower.ready().await.unwrap();
        let key = SigningKey::generate(Algorithm::HS256).unwrap();
        let issuer = Issuer::new(ISSUER).unwrap();
        let decoder = Decoder::new(Rules::new(issuer.clone()), KeySet::new([key.verifying_key().clone()]).unwrap());
        let verifier =
            Verifier::new(decoder, index, follower.freshness(), Arc::clone(&clock), STALENESS, StalePolicy::Reject);
        let settings = SessionSettings::new(issuer);
        let sessions = Sessions::new(Arc::new(store.clone()), Arc::new(verifier), key, settings, clock).unwrap();
        let plain = Connection::open(path).unwrap();
        plain
            .execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA busy_timeout = 5000")
            .unwrap();
        Self { store, sessions: Arc::new(sessions), plain: Arc::new(Mutex::new(plain)), _follower: follower }
    }

    /// Returns access tokens of new sessions.
    async fn log_in(&self, count: usize, order: Order) -> Vec<String> {
        let tokens = Arc::new(Mutex::new(Vec::with_capacity(count)));
        concurrently(512, (0..count).collect(), |number| {
            let (sessions, tokens) = (Arc::clone(&self.sessions), Arc::clone(&tokens));
            async move {
                let subject = Subject::new(format!("user-{}", number / 2)).unwrap();
                let agent = "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0";
                let origin = Origin { address: "192.0.2.7".parse().ok(), user_agent: Some(agent.to_owned()) };
                let pair = sessions.log_in_with(subject, origin, &TokenOptions::default()).await.unwrap();
                tokens.lock().await.push(pair.access);
            }
        })
        .await;
        let mut tokens = std::mem::take(&mut *tokens.lock().await);
        if order == Order::Random {
            // Sorted by signature: no tree in the file has that order.
            tokens.sort_unstable_by(|one, other| one.rsplit('.').next().cmp(&other.rsplit('.').next()));
        }
        tokens
    }

    async fn appends(&self, callers: usize, count: usize) -> Samples {
        let lapses_at = SystemClock.now().plus(Duration::from_secs(900));
        concurrently(callers, (0..count).map(|_| revocation(lapses_at)).collect(), |revocation| {
            let store = self.store.clone();
            async move { store.append(vec![revocation]).await.map(drop).unwrap() }
        })
        .await
    }

    async fn single_appends(&self, callers: usize, count: usize) -> Samples {
        let lapses_at = SystemClock.now().plus(Duration::from_secs(900));
        concurrently(callers, (0..count).map(|_| revocation(lapses_at)).collect(), |revocation| {
            let plain = Arc::clone(&self.plain);
            async move {
                let plain = plain.lock().await;
                plain.execute_batch("BEGIN IMMEDIATE").unwrap();
                insert(&plain, &revocation);
                plain.execute_batch("COMMIT").unwrap();
            }
        })
        .await
    }

    async fn logouts(&self, callers: usize, tokens: Vec<String>) -> Samples {
        concurrently(callers, tokens, |token| {
            let sessions = Arc::clone(&self.sessions);
            async move { assert_eq!(sessions.log_out(&token, Scope::This).await.unwrap().sessions, 1) }
        })
        .await
    }

    async fn single_logouts(&self, callers: usize, tokens: Vec<String>) -> Samples {
        const DELETE: &str = "DELETE FROM session WHERE subject = $1 AND id = $2 RETURNING access_expires_at";
        concurrently(callers, tokens, |token| {
            let (sessions, plain) = (Arc::clone(&self.sessions), Arc::clone(&self.plain));
            async move {
                let claims = sessions.verifier().verify(&token).unwrap();
                let id = claims.session.clone().unwrap();
                let plain = plain.lock().await;
                plain.execute_batch("BEGIN IMMEDIATE").unwrap();
                let key = [claims.subject.as_str(), id.as_str()];
                let expires_at: i64 = plain.prepare_cached(DELETE).unwrap().query_row(key, |row| row.get(0)).unwrap();
                let lapses_at = Revocation::lapse_for(Timestamp::from_unix(expires_at.unsigned_abs()));
                let revocation =
                    Revocation { issuer: claims.issuer.clone(), target: Target::Session { id }, lapses_at };
                insert(&plain, &revocation);
                plain.execute_batch("COMMIT").unwrap();
                drop(plain);
                sessions.verifier().index().insert(&revocation);
            }
        })
        .await
    }
}

fn insert(connection: &Connection, revocation: &Revocation) {
    const INSERT: &str = "INSERT INTO revocation (kind, issuer, id, moment, lapses_at) VALUES ($1, $2, $3, $4, $5)";
    let (kind, id, moment) = match &revocation.target {
        Target::Token { id, expires_at } => (0, id.as_str(), expires_at.map(Timestamp::as_unix)),
        Target::Session { id } => (1, id.as_str(), None),
        other => panic!("{other:?} is not measured"),
    };
    let values = params![kind, revocation.issuer.as_str(), id, moment, revocation.lapses_at.as_unix()];
    connection.prepare_cached(INSERT).unwrap().execute(values).unwrap();
}
