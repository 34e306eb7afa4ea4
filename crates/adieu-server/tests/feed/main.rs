//! Followers: what they are given, how they are known, and waiting until a revocation holds everywhere.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod conformance;
mod everywhere;
mod hops;
mod hub;
mod processes;
mod proxy;
mod services;
mod support;
