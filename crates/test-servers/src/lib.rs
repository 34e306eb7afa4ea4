//! Real PostgreSQL and Redis servers, for tests and benchmarks.
//!
//! 1. **Alone.** Each server has a folder of its own under the system's temporary one, a free port of the loopback
//!    interface that no other test is given meanwhile, and no configuration but what is written here.
//! 2. **Durable as in production.** `fsync` stays on in PostgreSQL, and Redis syncs every write, unless a test says
//!    otherwise.
//! 3. **Gone afterwards.** Server and folder are gone when the value is dropped, and also when the process ends in another
//!    way, by kill -9 for one, even while the server is frozen.
//! 4. **Never skipped.** A server that is not installed is a failure that says what to install.
//! 5. **Of any version.** [`POSTGRES_PROGRAMS`] and [`REDIS_PROGRAM`] name other programs than the installed ones.
//!
//! Tests that stop, freeze or otherwise mistreat a server start one for themselves ([`Postgres`], [`Redis`]). All others share
//! the one that `scripts/test` has started, or that the process starts when it is asked for the first time:
//! [`postgres_database`] and [`redis_database`] are empty places on it.
//!
//! Whatever goes wrong here panics: it is the failure of a test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod folder;
mod pgbouncer;
mod port;
mod postgres;
mod process;
mod redis;
mod shared;

pub use folder::Copy;
pub use pgbouncer::PgBouncer;
pub use postgres::{POSTGRES_PROGRAMS, Postgres};
pub use redis::{REDIS_PROGRAM, Redis};
pub use shared::{POSTGRES_URL, REDIS_URL, postgres_database, redis_database};
