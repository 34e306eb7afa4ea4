//! Revocations, the durable [`RevocationLog`] that stores them, and the in-memory [`Index`] that verifiers query.

mod claim;
mod fact;
mod follower;
mod index;
mod log;

use claim::id_of_claim;
pub use claim::{ClaimName, MAX_CLAIM_NAME_BYTES, RevokedClaim, TokenClaims};
pub use fact::{InvalidTarget, MAX_LEEWAY, Revocation, Target, TargetKind, TargetParts};
pub use follower::{Follower, Freshness};
pub use index::{HashedParts, HashedRevocation, Index, IndexStats, RevocationHasher, RevokedBy, TokenFacts};
pub use log::{Cursor, CursorError, HashedPage, LogId, Page, Position, Pruned, RevocationLog};
