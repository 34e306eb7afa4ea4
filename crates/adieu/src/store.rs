//! Where things are kept: one engine a module, each behind the same traits.
//!
//! | engine | log | sessions | keys | durable |
//! |---|---|---|---|---|
//! | [`Memory`] | yes | yes | yes | never |
//! | [`Sqlite`] | yes | yes | yes | when a call returns |
//! | `Postgres`, with the feature `postgres` | yes | yes | yes | when a call returns |
//! | `Redis`, with the feature `redis` | yes | yes | yes | when a call returns, on a server that syncs every write |
//! | `Remote`, with the feature `remote` | yes | no | no | when the node that it follows says so |
//!
//! Another one is whatever implements [`RevocationLog`], and for a server also
//! [`SessionStore`] and [`KeyStore`], as those say, and passes the suite
//! in `conformance`, which is there with the feature of that name.

mod membership;
mod memory;

pub use membership::{Members, Membership, Standing};
pub use memory::Memory;

use std::sync::Arc;

use crate::{restore::Restorable, revocation::RevocationLog, session::SessionStore, token::KeyStore};

/// Everything that a [`Node`](crate::Node) keeps, in one place: the log, the sessions and the signing keys.
pub trait Store: RevocationLog + SessionStore + KeyStore {
    /// Returns this store if an older copy of it may be put in its place under the same identity; see
    /// [`restore`](crate::restore). `None`, the default, for a store with which that cannot happen.
    fn restorable(&self) -> Option<Arc<dyn Restorable>> {
        None
    }
}
