//! Real servers for tests and benchmarks: Adieu, PostgreSQL and Redis.
//!
//! 1. **Isolated.** Each server has its own folder below the system's temporary folder, a free port of the loopback interface
//!    that no other test gets meanwhile, and no configuration but the one written here.
//! 2. **Durable as in production.** `fsync` stays on in PostgreSQL, and Redis syncs every write, unless a test says
//!    otherwise.
//! 3. **Cleaned up.** Server and folder are removed when the value is dropped, and also when the process ends in another way,
//!    such as kill -9, even while the server is frozen.
//! 4. **Never skipped.** A missing server is a failure that says what to install.
//! 5. **Of any version.** [`POSTGRES_PROGRAMS`] and [`REDIS_PROGRAM`] select other programs than the installed ones.
//!
//! Tests of the `adieu` binary start it as an [`Adieu`](adieu::Adieu), each on a store of its own.
//!
//! Tests that stop, freeze or otherwise disturb an engine start their own ([`Postgres`], [`Redis`]). All others share the one
//! that `scripts/test` has started, or that the process starts on first use: [`postgres_database`] and [`redis_database`]
//! return empty places on it.
//!
//! Every error here panics: it is the failure of a test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

pub mod adieu;
mod certificate;
mod folder;
mod pgbouncer;
mod port;
mod postgres;
mod process;
mod program;
mod redis;
mod server;
mod shared;
pub mod story;
mod wait;

pub use certificate::{Validity, make_authority, make_certificate, make_client_certificate};
pub use folder::Copy;
pub use pgbouncer::PgBouncer;
pub use port::Port;
pub use postgres::{POSTGRES_PROGRAMS, Postgres, PostgresEngine};
pub use program::Program;
pub use redis::{REDIS_PROGRAM, Redis, RedisEngine};
pub use server::{Engine, Server};
pub use shared::{POSTGRES_URL, REDIS_URL, postgres_database, redis_database};
pub use wait::{TEST_TIMEOUT, recovers, until};
