//! Logout for JSON Web Tokens.
//!
//! A JWT is verified without asking anyone, which is why it is fast and why "log out" usually does nothing until
//! the token expires. This crate keeps both: tokens are verified locally, and a revoked token is refused, durably
//! and within a stated bound.
//!
//! It knows no web framework, and it is not a user database: an application hands in a [`Subject`].

mod error;
mod id;
pub mod revocation;
pub mod time;
pub mod token;

pub use error::Error;
pub use id::{IdError, Issuer, MAX_ID_BYTES, SessionId, Subject, TokenId};
