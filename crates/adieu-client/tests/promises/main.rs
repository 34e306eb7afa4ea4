//! The promises that also hold over a network.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout)]

mod simulation;
mod staleness_is_bounded_over_a_network;
mod support;
