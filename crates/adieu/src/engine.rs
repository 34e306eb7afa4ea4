//! Building blocks that several engines need, in addition to the contracts.

mod changes;
mod commit_sizes;
pub mod everything;
pub mod group_commit;
mod poll;
mod search;

pub use changes::{Changes, Key, keys_to_end};
pub use commit_sizes::CommitSizes;
pub use poll::Polling;
pub use search::{Found, Searches, find_owners};
