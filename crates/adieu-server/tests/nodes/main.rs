//! Several nodes, in separate processes, on one PostgreSQL or Redis.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout)]

mod everywhere;
mod frozen;
mod load;
mod monitoring;
mod neighbours;
mod outages;
mod survival;
mod takeovers;
mod three_nodes;
mod what_can_be_seen;
mod what_was_told;

/// Prepares a server with a store and a port of its own.
fn adieu() -> test_servers::adieu::Adieu {
    test_servers::adieu::Adieu::new(env!("CARGO_BIN_EXE_adieu"))
}
