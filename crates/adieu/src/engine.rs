//! Building blocks that several engines need, in addition to the contracts.

pub mod everything;
mod poll;
mod search;

pub use poll::Polling;
pub use search::{Found, Searches, find_owners};
