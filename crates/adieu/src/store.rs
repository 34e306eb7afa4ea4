//! Where things are kept: one engine a module, each behind the same traits.
//!
//! | engine | log | sessions | keys | durable |
//! |---|---|---|---|---|
//! | [`Memory`] | yes | yes | yes | never |
//! | [`Sqlite`] | yes | yes | yes | when a call returns |

mod housekeeping;
mod memory;
pub mod sqlite;

pub use housekeeping::{Housekeeping, tidy_up};
pub use memory::Memory;
pub use sqlite::Sqlite;
