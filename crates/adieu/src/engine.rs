//! Building blocks that several engines need, in addition to the contracts.

mod changes;
pub mod everything;
pub mod group_commit;
mod poll;
mod search;

pub use changes::{Changes, Key, keys_to_end};
pub use poll::Polling;
pub use search::{Found, Searches, find_owners};
