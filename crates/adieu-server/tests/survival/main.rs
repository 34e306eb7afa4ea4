//! Failures of real processes: the binary is started, killed, and starved.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout)]

mod kill_9;
mod lost_files;
mod server;
mod stores_that_cannot_write;
