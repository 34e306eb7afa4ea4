//! Followers: the pages they get, how they are identified, and waiting until a revocation holds everywhere.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod certificates;
mod conformance;
mod everywhere;
mod hops;
mod hub;
mod proxy;
mod put_back;
mod recorded;
mod relays;
mod served;
mod services;
mod support;

/// Prepares a server with a store and a port of its own.
fn adieu() -> test_servers::adieu::Adieu {
    test_servers::adieu::Adieu::new(env!("CARGO_BIN_EXE_adieu"))
}
