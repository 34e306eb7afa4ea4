//! Several nodes, in separate processes, on one PostgreSQL or Redis.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout)]

mod everywhere;
mod frozen;
mod load;
mod outages;
#[path = "../feed/processes.rs"]
#[allow(dead_code, reason = "what this binary does not need, the tests of the feed do")]
mod processes;
mod survival;
mod takeovers;
mod three_nodes;
mod what_can_be_seen;
mod what_was_told;
