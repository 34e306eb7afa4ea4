//! What has ended: the facts, the durable log of them, and the index that every verification asks.

mod fact;
mod index;

pub use fact::{Revocation, Target};
pub use index::{Index, IndexStats, RevokedBy, TokenFacts};
