//! The feed: what followers of this node read, how they are known, and waiting until a revocation holds everywhere.
//!
//! 1. A [`Hub`] reads the log once for all who follow. Thousands wait on it at the cost of a task each: none of them reads
//!    the log, and what they are sent is put together once.
//! 2. What it says of its [age](Answer::age) is never too little, also when it answers from memory.
//! 3. [`Leases`] know each follower that said who it is, and forget it when it must have begun to refuse.
//! 4. [`Leases::everywhere`] returns when no live follower accepts any more what was revoked before: each has said so, or
//!    has been silent for so long that it refuses. Never later than the bound, plus what it takes to read the log once.
//!
//! Followers are known to the node that they follow. Of followers of *another* node on the same store this one knows
//! nothing; they keep the bound, but are not waited for.

mod hub;
mod lease;
mod tail;

pub use hub::{Answer, Hub};
pub use lease::{Everywhere, Follower, Lease, Leases, TooManyFollowers};
