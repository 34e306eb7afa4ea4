//! What has ended: the facts, the durable log of them, and the index that every verification asks.

mod fact;

pub use fact::{Revocation, Target};
