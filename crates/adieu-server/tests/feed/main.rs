//! Followers: the pages they get, how they are identified, and waiting until a revocation holds everywhere.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod conformance;
mod everywhere;
mod hops;
mod hub;
#[allow(dead_code, reason = "what this binary does not need, the tests of several nodes do")]
mod processes;
mod proxy;
mod put_back;
mod relays;
mod served;
mod services;
mod support;
