//! A REST API of stores, items and tags, with users who can log out.
//!
//! It has only what an application adds to [`adieu_axum`]: its users table ([`users`]), its own objects ([`items`], [`stores`], [`tags`]),
//! reading of bodies ([`input`]), and error responses ([`error`]).

mod error;
mod input;
mod items;
mod password;
mod stores;
mod tags;
mod users;

use std::{
    fs::DirBuilder,
    io::{self, Write as _},
    net::SocketAddr,
    os::unix::fs::DirBuilderExt as _,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use adieu::{
    Issuer, Node,
    session::{SessionSettings, Sessions},
    store::Memory,
};
use adieu_axum::Guard;
use adieu_sqlite::Sqlite;
use anyhow::Context as _;
use axum::{
    Router,
    extract::{DefaultBodyLimit, FromRef},
};
use clap::Parser;
use sqlx::{
    SqlSafeStr as _, SqlitePool,
    migrate::{Migration, MigrationType, Migrator},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions},
};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

use error::Error;
use password::Hasher;

/// No valid request has a longer body.
const MAX_BODY: usize = 16 * 1024;

/// A REST API of stores, items and tags.
#[derive(Parser)]
struct Args {
    /// The address to listen on; port 0 selects a free port.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:5000")]
    listen: SocketAddr,
    /// The folder for all data, created if it does not exist, or `:memory:` to keep no data after the end.
    #[arg(long, value_name = "FOLDER", default_value = "stores-data")]
    data: PathBuf,
}

/// The state that handlers and extractors take their parts from.
#[derive(Clone, FromRef)]
struct App {
    database: SqlitePool,
    sessions: Arc<Sessions>,
    guard: Guard,
    hasher: Hasher,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Args { listen, data } = Args::parse();
    tracing_subscriber::fmt().with_writer(io::stderr).init();

    let (database, node) = open(data).await?;
    let _housekeeping = node.start_housekeeping();
    let app = App {
        database,
        sessions: Arc::clone(node.sessions()),
        guard: Guard::from_sessions(node.sessions()).with_custom_claims(users::role),
        hasher: Hasher::new()?,
    };

    let mut terminated = signal(SignalKind::terminate())?;
    let stop = async move {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminated.recv() => {}
        }
    };
    let listener = TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
    writeln!(io::stdout(), "listening on http://{}", listener.local_addr()?)?;
    axum::serve(listener, router(app)).with_graceful_shutdown(stop).await?;
    Ok(())
}

fn router(app: App) -> Router {
    Router::new()
        .merge(users::routes())
        .merge(items::routes())
        .merge(stores::routes())
        .merge(tags::routes())
        .fallback(async || Error::NotFound)
        .method_not_allowed_fallback(async || Error::MethodNotAllowed)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(app)
}

/// Opens the application's database, and Adieu's beside it: sessions and revocations have their own transactions, and can outlive the
/// application's data.
async fn open(data: PathBuf) -> anyhow::Result<(SqlitePool, Node)> {
    let issuer = Issuer::new("stores")?;
    // Without a grace period, every second use of a refresh token counts as theft.
    let settings = SessionSettings::new(issuer.clone()).with_rotation_grace(Duration::ZERO);
    let node = Node::builder(issuer).with_session_settings(settings);

    let (database, node) = if data.as_os_str() == ":memory:" {
        // Each connection would have a database of its own.
        let only_one = SqlitePoolOptions::new().max_connections(1).idle_timeout(None).max_lifetime(None);
        (only_one.connect("sqlite::memory:").await?, node.start(Memory::new()).await?)
    } else {
        // Only the owner may read the password hashes, and the key that signs tokens.
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&data)
            .with_context(|| format!("cannot make the folder {}", data.display()))?;
        let options = SqliteConnectOptions::new()
            .filename(data.join("stores.sqlite"))
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal);
        // Detects a restored backup; leave this file out of backups.
        let node = node.with_high_water(data.join("high-water"));
        (SqlitePool::connect_with(options).await?, node.start(Sqlite::open(data.join("adieu.sqlite")).await?).await?)
    };
    migrations().run(&database).await?;
    Ok((database, node))
}

/// The tables. The macro of sqlx would compile its drivers and TLS a second time, for the compiler.
fn migrations() -> Migrator {
    let tables = include_str!("../migrations/1_tables.sql").into_sql_str();
    Migrator::with_migrations(vec![Migration::new(1, "tables".into(), MigrationType::Simple, tables, false)])
}
