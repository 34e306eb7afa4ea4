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

mod housekeeping;
mod membership;
mod memory;

pub use housekeeping::{Housekeeping, tidy_up};
pub use membership::{Members, Membership, Standing};
pub use memory::Memory;

use crate::{revocation::RevocationLog, session::SessionStore, token::KeyStore};

/// All that a [`Node`](crate::Node) keeps, in one place; whatever keeps the three is one.
pub trait Store: RevocationLog + SessionStore + KeyStore {}

impl<S: RevocationLog + SessionStore + KeyStore> Store for S {}
