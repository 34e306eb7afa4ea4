//! Noticing that a backup was put back: that the log of a store went back.
//!
//! A copy of a store that is put back has forgotten what was revoked after it was made. The store itself can't know; so a node
//! remembers outside of it how far its log has been: the [`HighWater`] mark.
//!
//! 1. **Noticed.** When a node starts, before it is ready, and while it runs, in each read of the log and in each transaction that
//!    appends to it ([`Witness`]), the log is held against the mark. It went back if it is shorter than the mark says, if another entry is at the place of one that the mark remembers (or none, though it has not
//!    lapsed), if it has forgotten how far it was pruned, if it has an identity that this node has already left behind, or if it is
//!    empty and has an identity that this node does not know.
//! 2. **Acted upon, once.** Then the store takes one durable step ([`Restorable::reset`]): its log gets another identity, every
//!    token that was issued until then is revoked, and every session ends. Of several nodes that notice, the first does it. A
//!    node that can't do it does not become ready, or, when it runs, does not go on reading, and so refuses when it is stale.
//! 3. **Told**, in the log at the targets `adieu::restore` and `adieu::audit`, when it happens and at each start until somebody
//!    [accepts](Restorable::accept_restore) it.
//! 4. **A key that was removed stays removed.** The mark remembers which signing keys were taken out of the store; those that a
//!    backup brings back are removed again in the same procedure, and whenever they are found later, since whoever they were
//!    removed for may still have them. So are sessions that come later than the log, as with a backup that is put back table by
//!    table.
//! 5. **No false alarm.** The mark only says what was durable in the store before: no restart, crash, upgrade or pruning makes
//!    the log shorter than that.
//!
//! What is not noticed: a copy that is put back together with the mark; and one that others, without a mark, went on with until
//! the entry that the mark remembers has lapsed and been forgotten. Accounts and clients are as they were in the copy.

mod high_water;
mod mark;
mod store;
mod witness;

pub use high_water::HighWater;
#[doc(hidden)]
pub use mark::{Mark, Verdict};
pub use store::{LogReset, LogState, Restorable};
pub use witness::Witness;
