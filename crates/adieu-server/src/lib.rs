//! The library behind the binary `adieu`, so that tests can reach it.
//!
//! The rules of tokens, sessions and revocations are in the crate `adieu`; this crate adds the parts of a server: settings, passwords,
//! input, limits and sockets.

pub mod accounts;
pub mod address;
pub mod aliases;
pub mod api;
pub mod audit;
mod calendar;
pub mod cli;
mod client_changes;
mod client_name;
pub mod clients;
pub mod config;
pub mod deliveries;
pub mod error;
mod event_fields;
pub mod events;
pub mod exposure;
pub mod feed;
mod files;
mod hang_up;
pub mod high_water;
pub mod input;
mod inspection;
pub mod issuers;
mod keys;
pub mod limit;
pub mod listen;
pub mod logging;
mod measurement;
pub mod metrics;
pub mod node;
#[cfg(unix)]
pub mod notify;
mod pages;
pub mod password;
pub mod relay;
#[cfg(unix)]
mod reload;
mod secret_file;
mod shares;
pub mod store;
pub mod text;
mod traces;
