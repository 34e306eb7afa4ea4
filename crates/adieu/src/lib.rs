//! Logout for JSON Web Tokens.
//!
//! A JWT is verified without asking anyone, which is why it is fast and why "log out" usually does nothing until
//! the token expires. This crate keeps both: tokens are verified locally, and a revoked token is refused, durably
//! and within a stated bound.
//!
//! * [`token`]: what a token is, how it is signed and how it is verified;
//! * [`revocation`]: what has ended, the durable [log](revocation::RevocationLog) of it, and the in-memory
//!   [index](revocation::Index) that every verification asks;
//! * [`restore`]: noticing that a backup was put back, which has forgotten what was revoked after it was made;
//! * [`session`]: log in, refresh with rotation and reuse detection, log out;
//! * [`store`]: where the log and the sessions are kept;
//! * [`Node`]: all of it, put together;
//! * `Service`, with the feature `remote`: a process that has no store and follows a node;
//! * `conformance`, with the feature of that name: the tests that every engine passes, for whoever writes one.
//!
//! It knows no web framework, and it is not a user database: an application hands in a [`Subject`].

pub mod engine;
mod error;
mod id;
mod node;
pub mod restore;
pub mod revocation;
pub mod session;
pub mod store;
pub mod time;
pub mod token;

pub use error::{Error, WentBack};
pub use id::{IdError, Issuer, MAX_ID_BYTES, SessionId, Subject, TokenId};
pub use node::{DEFAULT_MAX_STALENESS, Housekeeping, Limit, Node, NodeBuilder, tidy_up};
