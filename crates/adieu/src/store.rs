//! The contract of a store, and the in-memory store.
//!
//! | store | crate | shared by | durable |
//! |---|---|---|---|
//! | [`Memory`] | this one | one process | never |
//! | `Sqlite` | `adieu-sqlite` | the processes of one machine | when a call returns |
//! | `Postgres` | `adieu-postgres` | several nodes | when a call returns |
//! | `Redis` | `adieu-redis` | several nodes | when a call returns, on a server that syncs every write |
//!
//! An engine implements [`RevocationLog`], [`SessionStore`], [`KeyStore`] and [`Store`], whose documentation states
//! what they guarantee, and passes the test suite in `adieu-conformance`.

mod membership;
mod memory;

pub use membership::{Members, Membership, NodeStatus};
pub use memory::Memory;

use std::sync::Arc;

use crate::{restore::Restorable, revocation::RevocationLog, session::SessionStore, token::KeyStore};

/// A store of everything that a [`Node`](crate::Node) needs: the log, the sessions and the signing keys.
pub trait Store: RevocationLog + SessionStore + KeyStore {
    /// Returns this store if an older copy of it may be put in its place under the same identity; see
    /// [`restore`](crate::restore). `None`, the default, for a store with which that cannot happen.
    fn restorable(&self) -> Option<Arc<dyn Restorable>> {
        None
    }
}

/// A [`Store`], or a shared one: the argument of [`NodeBuilder::start`](crate::NodeBuilder::start).
pub trait IntoStore {
    /// Returns the store, shared.
    fn into_store(self) -> Arc<dyn Store>;
}

impl<S: Store> IntoStore for S {
    fn into_store(self) -> Arc<dyn Store> {
        Arc::new(self)
    }
}

impl IntoStore for Arc<dyn Store> {
    fn into_store(self) -> Arc<dyn Store> {
        self
    }
}

impl<S: Store> IntoStore for Arc<S> {
    fn into_store(self) -> Arc<dyn Store> {
        self
    }
}
