//! Detection of a restored backup: of a log that went back.
//!
//! A restored copy of a store lacks the revocations made after the copy. The store itself cannot detect this, so a node
//! remembers outside of the store how far its log has been: the [`HighWater`] mark.
//!
//! 1. **Detected.** The log is compared with the mark when a node starts, before it is ready, and then on each read of
//!    the log and in each transaction that appends to it ([`Witness`]). The log went back if it is shorter than the
//!    mark says; if it has another entry at a remembered position, or none, although the remembered entry has not
//!    lapsed; if it was pruned further before; if it has an identity that it had before an earlier restore; or if it is
//!    empty and has an identity that this node does not know.
//! 2. **Handled once.** The store takes one durable step ([`Restorable::reset`]): its log gets another identity, every
//!    token issued until then is revoked, and every session ends. If several nodes detect the restore, the first does
//!    this. If that fails, a starting node does not become ready, and a running node stops reading the log, and so
//!    rejects tokens once it is too stale.
//! 3. **Reported**, at the log targets `adieu::restore` and `adieu::audit`, when it happens and at each start until the
//!    operator [accepts](Restorable::accept_restore) it.
//! 4. **Removed keys stay removed.** The mark remembers which signing keys were removed from the store. A key that a
//!    backup brings back is removed again, at once or whenever it is found later, because an attacker may still have
//!    it. Sessions that a backup restored table by table brings back after the log are ended too.
//! 5. **No false alarm.** The mark contains only what was durable in the store before: no restart, crash, upgrade or
//!    pruning makes the log shorter than that.
//!
//! Not detected: a copy that is restored together with the mark, and a copy that nodes without a mark continued until
//! the entry that the mark remembers had lapsed and was removed. Accounts and clients stay as they were in the copy.

mod high_water;
mod log_state;
mod mark;
mod store;
mod witness;

pub use high_water::HighWater;
pub use log_state::LogState;
#[doc(hidden)]
pub use mark::{Mark, Verdict};
pub use store::{LogReset, Restorable};
pub use witness::Witness;
