//! The engine on PostgreSQL: the suite that all engines pass, and its further promises.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout)]

mod bloat;
mod encryption;
mod engine;
mod everything;
mod failover;
mod group_commit;
mod order;
mod outages;
mod plans;
mod pool;
mod poolers;
mod put_back;
mod servers;
