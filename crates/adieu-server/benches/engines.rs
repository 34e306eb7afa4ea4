//! The cost of a durable logout on each engine, the delay until a second node rejects the token, and the cost of `/verify`; beside the two
//! recipes of Flask-JWT-Extended's documentation on the same servers.
//!
//! `cargo bench -p adieu-server --bench engines` prints two tables; with `-- redis`, only the rows of Redis in the first (also `sqlite`,
//! `postgresql`). It starts a PostgreSQL and a Redis of its own, with files that are synced before an answer, beside each other and
//! the SQLite file on the same disk.
//!
//! * *Logouts*: this many concurrent callers log out on one node (of this process), each waiting for the response: the token is
//!   verified (EdDSA, as in the whole table), the session ended, the revocation applied to the node's index. The delay is measured for
//!   one in a hundred, or fewer: from the response to its logout until the second node, which follows the same store, rejects
//!   the token.
//! * *Ending a session* and *rotating a refresh token*: the store's part alone, without tokens; also with three nodes that share the
//!   callers, each with connections of its own.
//! * *The recipes*: a row inserted and committed for each logout, with as many connections as there are callers, at most 64;
//!   and `SET jti "" EX 900` on a connection that all callers share. They end one token, and not the session.
//! * */verify*: the whole router without a socket, asked by two tasks; and the recipes' check on every request: the signature,
//!   and then a lookup in PostgreSQL or Redis, by 64 tasks at once, since they wait.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout)]

use std::{
    collections::VecDeque,
    ffi::OsString,
    future::Future,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use adieu::{
    Issuer, Subject, TokenId,
    session::{EndSessions, Rotated, Rotation, Scope, Selection, Session, SessionSettings},
    store::Store,
    token::Verifier,
};
use adieu_conformance::sample::{after, session};
use adieu_postgres::Postgres;
use adieu_redis::Redis;
use adieu_server::{
    api::{self, ApiService},
    config::{Flags, Settings},
    node::Node,
};
use adieu_sqlite::Sqlite;
use axum::{
    body::Body,
    http::{Request, StatusCode, header},
};
use sqlx::{PgPool, postgres::PgPoolOptions};
use tokio::task::JoinSet;
use tower::util::ServiceExt as _;

const CALLERS: [usize; 3] = [1, 64, 512];
/// Maximum number of logouts in one row, and maximum duration of a row.
const MAX_LOGOUTS: usize = 20_000;
const SECONDS: u64 = 5;
/// Sessions to end in one row without tokens.
const MAX_ENDED: usize = 60_000;
const DAY: Duration = Duration::from_secs(86_400);
const SUBJECTS: usize = 1_000;

#[tokio::main]
async fn main() {
    let seconds = std::env::var("ADIEU_BENCH_SECONDS").map_or(SECONDS, |seconds| seconds.parse().unwrap());
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let postgres = test_servers::Postgres::start_with(&[("max_connections", "200")]).await;
    let redis = test_servers::Redis::start().await;
    let file = folder.path().join("adieu.sqlite");
    let [sqlite_url, postgres_url, redis_url] = [format!("sqlite:{}", file.display()), postgres.url(), redis.url()];

    let only = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let includes = |engine: &str| only.as_ref().is_none_or(|only| engine.eq_ignore_ascii_case(only));
    println!("| engine | callers | logouts/s | answered p50 | p99 | rejected by a second node p50 | p99 |");
    println!("|---|---|---|---|---|---|---|");
    if includes("SQLite") {
        measure("SQLite", seconds, async || Arc::new(Sqlite::open(&file).await.unwrap()) as _).await;
    }
    if includes("PostgreSQL") {
        measure("PostgreSQL", seconds, async || Arc::new(Postgres::connect(&postgres_url).await.unwrap()) as _).await;
    }
    if includes("Redis") {
        measure("Redis", seconds, async || Arc::new(Redis::connect(&redis_url).await.unwrap()) as _).await;
    }

    let pool = PgPoolOptions::new().max_connections(64).connect(&postgres_url).await.unwrap();
    if includes("PostgreSQL") {
        sqlx::raw_sql("CREATE TABLE token_blocklist (id BIGSERIAL PRIMARY KEY, jti VARCHAR(36) NOT NULL, created_at TIMESTAMP NOT NULL); \
                       CREATE INDEX ON token_blocklist (jti)").execute(&pool).await.unwrap();
        for callers in CALLERS {
            let pool = pool.clone();
            row("a row committed per logout (PostgreSQL)", callers, seconds, move || insert(pool.clone())).await;
        }
    }
    let connection = redis::Client::open(redis_url.as_str()).unwrap().get_multiplexed_async_connection().await.unwrap();
    if includes("Redis") {
        for callers in CALLERS {
            let connection = connection.clone();
            row("`SET jti \"\" EX` (Redis)", callers, seconds, move || set(connection.clone())).await;
        }
    }
    if only.is_some() {
        return;
    }

    println!("\n| check | requests/s |\n|---|---|");
    for (name, settings) in [
        ("`/verify`, SQLite", vec![("ADIEU_STORE", sqlite_url.clone())]),
        ("`/verify`, PostgreSQL", vec![("ADIEU_STORE", postgres_url.clone())]),
        ("`/verify`, Redis", vec![("ADIEU_STORE", sqlite_url.clone()), ("ADIEU_REVOCATIONS", redis_url.clone())]),
    ] {
        let (router, token, _node) = served(settings).await;
        let rate = rate(2, seconds, move || verify(router.clone(), token.clone())).await;
        println!("| {name} | {rate:.0} |");
    }
    let (_, token, node) = served(vec![("ADIEU_STORE", sqlite_url)]).await;
    let verifier = Arc::clone(node.core.verifier());
    let rate_of_rows = {
        let (verifier, token, pool) = (Arc::clone(&verifier), token.clone(), pool.clone());
        rate(64, seconds, move || look_up_row(Arc::clone(&verifier), token.clone(), pool.clone())).await
    };
    println!("| a lookup in PostgreSQL for each request | {rate_of_rows:.0} |");
    let rate_of_keys =
        rate(64, seconds, move || look_up_key(Arc::clone(&verifier), token.clone(), connection.clone())).await;
    println!("| a lookup in Redis for each request | {rate_of_keys:.0} |");
}

/// Prints the rows of an engine.
async fn measure(engine: &str, seconds: u64, open: impl AsyncFn() -> Arc<dyn Store>) {
    measure_logouts(engine, seconds, &open).await;
    let stores = [open().await, open().await, open().await];
    for (nodes, callers) in CALLERS.map(|callers| (1, callers)).into_iter().chain([(3, 64), (3, 512)]) {
        let sessions = create(&stores, MAX_ENDED).await;
        let (sessions, stores) = (Arc::new(Mutex::new(sessions)), Arc::new(stores[..nodes].to_vec()));
        let name = |what: &str| {
            if nodes == 1 { format!("{engine}, {what}") } else { format!("{engine}, {what} on {nodes} nodes") }
        };
        let rotate = {
            let (sessions, stores) = (Arc::clone(&sessions), Arc::clone(&stores));
            move || rotate(Arc::clone(&sessions), Arc::clone(&stores))
        };
        row(&name("rotating a refresh token"), callers, seconds, rotate).await;
        row(&name("ending a session"), callers, seconds, move || end(Arc::clone(&sessions), Arc::clone(&stores))).await;
    }
}

/// Prints one row for each number of callers.
async fn measure_logouts(engine: &str, seconds: u64, open: impl AsyncFn() -> Arc<dyn Store>) {
    let start = async || {
        let settings = SessionSettings::new(Issuer::new("adieu").unwrap())
            .with_sessions_per_subject(std::num::NonZeroUsize::new(1_000).unwrap());
        let issuer = settings.issuer.clone();
        Arc::new(adieu::Node::builder(issuer).with_session_settings(settings).start(open().await).await.unwrap())
    };
    let (here, there) = (start().await, start().await);
    for callers in CALLERS {
        let tokens = Arc::new(log_in(&here, MAX_LOGOUTS).await);
        let next = Arc::new(AtomicUsize::new(0));
        let started = Instant::now();
        let mut working = JoinSet::new();
        for _ in 0..callers {
            let (here, there) = (Arc::clone(&here), Arc::clone(&there));
            let (tokens, next) = (Arc::clone(&tokens), Arc::clone(&next));
            working.spawn(async move {
                let (mut answered, mut refused) = (Vec::new(), Vec::new());
                while started.elapsed() < Duration::from_secs(seconds) {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(token) = tokens.get(number) else { break };
                    let asked_at = Instant::now();
                    here.sessions().log_out(token, Scope::This).await.unwrap();
                    answered.push(asked_at.elapsed());
                    if number % 100 == 0 || callers == 1 && number % 10 == 0 {
                        // Concurrently with the next logouts.
                        let (verifier, token) = (Arc::clone(there.verifier()), token.clone());
                        refused.push(tokio::spawn(async move { until_refused(&verifier, &token).await }));
                    }
                }
                (answered, refused)
            });
        }
        let (mut answered, mut awaited, mut refused) = (Vec::new(), Vec::new(), Vec::new());
        while let Some(done) = working.join_next().await {
            let (one, other) = done.unwrap();
            answered.extend(one);
            awaited.extend(other);
        }
        let rate = answered.len() as f64 / started.elapsed().as_secs_f64();
        for one in awaited {
            refused.push(one.await.unwrap());
        }
        let (answered, refused) = (Sorted::new(answered), Sorted::new(refused));
        println!(
            "| {engine} | {callers} | {rate:.0} | {} | {} | {} | {} |",
            answered.at(50),
            answered.at(99),
            refused.at(50),
            refused.at(99)
        );
    }
}

async fn until_refused(verifier: &Verifier, token: &str) -> Duration {
    let answered_at = Instant::now();
    while verifier.verify(token).is_ok() {
        tokio::time::sleep(Duration::from_micros(200)).await;
    }
    answered_at.elapsed()
}

/// Returns access tokens of new sessions.
async fn log_in(node: &Arc<adieu::Node>, count: usize) -> Vec<String> {
    let mut working = JoinSet::new();
    for worker in 0..64 {
        let node = Arc::clone(node);
        working.spawn(async move {
            let mut tokens = Vec::new();
            for number in (worker..count).step_by(64) {
                let subject = Subject::new(format!("subject-{}", number % SUBJECTS)).unwrap();
                let pair = node.sessions().log_in(subject).await.unwrap();
                tokens.push(pair.access);
            }
            tokens
        });
    }
    let mut tokens = Vec::new();
    while let Some(some) = working.join_next().await {
        tokens.extend(some.unwrap());
    }
    tokens
}

/// Creates sessions on one store.
async fn create(stores: &[Arc<dyn Store>], count: usize) -> VecDeque<Session> {
    let mut working = JoinSet::new();
    for worker in 0..512 {
        let store = Arc::clone(&stores[0]);
        working.spawn(async move {
            let mut sessions = Vec::new();
            for number in (worker..count).step_by(512) {
                let session = session(&format!("subject-{}", number % SUBJECTS));
                store.create(session.clone()).await.unwrap();
                sessions.push(session);
            }
            sessions
        });
    }
    working.join_all().await.into_iter().flatten().collect()
}

/// Returns the next session, and the store to use for it.
fn take(sessions: &Mutex<VecDeque<Session>>, stores: &[Arc<dyn Store>]) -> Option<(Session, Arc<dyn Store>)> {
    let mut sessions = sessions.lock().unwrap();
    let session = sessions.pop_front()?;
    let store = &stores[sessions.len() % stores.len()];
    Some((session, Arc::clone(store)))
}

async fn end(sessions: Arc<Mutex<VecDeque<Session>>>, stores: Arc<Vec<Arc<dyn Store>>>) -> bool {
    let Some((Session { id, subject, .. }, store)) = take(&sessions, &stores) else { return false };
    let ending = EndSessions {
        issuer: Issuer::new("adieu").unwrap(),
        only_if: Some((id.clone(), subject.clone())),
        selection: Selection::Owned(id, subject),
        extra_revocations: vec![],
    };
    assert_eq!(store.end(ending).await.unwrap().unwrap().sessions, 1);
    true
}

async fn rotate(sessions: Arc<Mutex<VecDeque<Session>>>, stores: Arc<Vec<Arc<dyn Store>>>) -> bool {
    let Some((session, store)) = take(&sessions, &stores) else { return false };
    let now = after(60);
    let rotation = Rotation {
        issuer: Issuer::new("adieu").unwrap(),
        subject: session.subject,
        session: session.id,
        presented: session.refresh_id.into(),
        successor: TokenId::random(),
        now,
        forgiven_since: Some(now),
        access_expires_at: now.plus(DAY / 96),
        refresh_expires_at: now.plus(DAY),
    };
    let Rotated::Fresh(session) = store.rotate(rotation).await.unwrap() else { panic!("not rotated") };
    sessions.lock().unwrap().push_back(session);
    true
}

/// Prints a row: callers that each repeat an operation, for a time or until it returns false.
async fn row<F: Future<Output = bool> + Send + 'static>(
    name: &str,
    callers: usize,
    seconds: u64,
    operation: impl Fn() -> F + Clone + Send + 'static,
) {
    let started = Instant::now();
    let mut working = JoinSet::new();
    for _ in 0..callers {
        let operation = operation.clone();
        working.spawn(async move {
            let mut answered = Vec::new();
            while started.elapsed() < Duration::from_secs(seconds) {
                let asked_at = Instant::now();
                if !operation().await {
                    break;
                }
                answered.push(asked_at.elapsed());
            }
            answered
        });
    }
    let answered: Vec<_> = working.join_all().await.into_iter().flatten().collect();
    let rate = answered.len() as f64 / started.elapsed().as_secs_f64();
    let answered = Sorted::new(answered);
    println!("| {name} | {callers} | {rate:.0} | {} | {} | | |", answered.at(50), answered.at(99));
}

async fn insert(pool: PgPool) -> bool {
    let row = sqlx::query("INSERT INTO token_blocklist (jti, created_at) VALUES ($1, now())");
    row.bind(TokenId::random().as_str().to_owned()).execute(&pool).await.unwrap();
    true
}

async fn set(mut connection: redis::aio::MultiplexedConnection) -> bool {
    let id = TokenId::random();
    redis::cmd("SET").arg(id.as_str()).arg("").arg("EX").arg(900).query_async::<()>(&mut connection).await.unwrap();
    true
}

/// Returns a node with its router, and the token of a logged-in user.
async fn served(mut settings: Vec<(&str, String)>) -> (ApiService, String, Arc<Node>) {
    let data = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap().keep().join("data");
    settings.push(("ADIEU_DATA", data.to_str().unwrap().to_owned()));
    let environment = settings.into_iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
    let settings = Settings::load(&Flags::default(), environment).unwrap();
    let node = Arc::new(Node::open(&settings).await.unwrap());
    let subject = Subject::new("alice").unwrap();
    let pair = node.sessions.log_in(subject).await.unwrap();
    (api::router(Arc::clone(&node), settings).unwrap(), pair.access, node)
}

/// Returns the operations per second of this many concurrent tasks.
async fn rate<F: Future<Output = ()> + Send + 'static>(
    tasks: usize,
    seconds: u64,
    request: impl Fn() -> F + Clone + Send + 'static,
) -> f64 {
    let started = Instant::now();
    let mut working = JoinSet::new();
    for _ in 0..tasks {
        let request = request.clone();
        working.spawn(async move {
            let mut count = 0_u32;
            while started.elapsed() < Duration::from_secs(seconds) {
                request().await;
                count += 1;
                // A task that never waits would starve the followers.
                if count.is_multiple_of(32) {
                    tokio::task::yield_now().await;
                }
            }
            count
        });
    }
    let count: u32 = working.join_all().await.into_iter().sum();
    f64::from(count) / started.elapsed().as_secs_f64()
}

async fn verify(router: ApiService, token: String) {
    let request =
        Request::get("/verify").header(header::HOST, "adieu").header(header::AUTHORIZATION, format!("Bearer {token}"));
    let response = router.oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(response.status(), StatusCode::NO_CONTENT);
}

async fn look_up_row(verifier: Arc<Verifier>, token: String, pool: PgPool) {
    let claims = verifier.verify(&token).unwrap();
    let row = sqlx::query("SELECT id FROM token_blocklist WHERE jti = $1").bind(claims.token_id.as_str().to_owned());
    assert!(row.fetch_optional(&pool).await.unwrap().is_none());
}

async fn look_up_key(verifier: Arc<Verifier>, token: String, mut connection: redis::aio::MultiplexedConnection) {
    let claims = verifier.verify(&token).unwrap();
    let mut command = redis::cmd("GET");
    command.arg(claims.token_id.as_str());
    assert!(command.query_async::<Option<String>>(&mut connection).await.unwrap().is_none());
}

struct Sorted(Vec<Duration>);

impl Sorted {
    fn new(mut durations: Vec<Duration>) -> Self {
        durations.sort();
        Self(durations)
    }

    fn at(&self, percent: usize) -> String {
        let found = self.0.get((self.0.len().saturating_sub(1)) * percent / 100);
        found.map_or_else(String::new, |found| format!("{:.2} ms", found.as_secs_f64() * 1_000.0))
    }
}
