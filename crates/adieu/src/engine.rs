//! Building blocks for engines: what more than one of them needs, beside the contracts.

pub mod everything;
mod poll;
mod search;

pub use poll::Polling;
pub use search::{Found, Searches, find_owners};
