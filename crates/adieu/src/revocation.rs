//! What has ended: the facts, the durable log of them, and the index that every verification asks.

mod fact;
mod follower;
mod index;
mod log;

pub use fact::{InvalidTarget, MAX_LEEWAY, Revocation, Target, TargetKind, TargetParts};
pub use follower::{Follower, Freshness};
pub use index::{Index, IndexStats, RevokedBy, TokenFacts};
pub use log::{Cursor, CursorError, LogId, Page, Position, Pruned, RevocationLog};
