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
//! * [`store`]: what a store keeps, and the [one in memory](store::Memory);
//! * [`engine`]: what more than one engine needs, for those who write another;
//! * [`Node`]: all of it, put together.
//!
//! ```
//! use adieu::{Issuer, Node, Subject, session::Scope, store::Memory};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let node = Node::builder(Issuer::new("https://example.org")?).start(Memory::new()).await?;
//!
//! let tokens = node.sessions().log_in(Subject::new("jose")?).await?;
//! assert!(node.verifier().verify(&tokens.access).is_ok());
//!
//! node.sessions().log_out(&tokens.access, Scope::This).await?;
//! assert!(node.verifier().verify(&tokens.access).is_err());
//! # Ok(())
//! # }
//! ```
//!
//! It has no SQL, no HTTP and no web framework, and it is not a user database: an application hands in a [`Subject`].
//!
//! | crate | adds |
//! |---|---|
//! | `adieu-axum` | extractors, layers, cookies and CSRF protection for axum |
//! | `adieu-sqlite`, `adieu-postgres`, `adieu-redis` | a store each, durable and shared by several processes or nodes |
//! | `adieu-client` | a service without a store, which follows a node over HTTP |
//! | `adieu-conformance` | the tests that every store passes |

pub mod engine;
mod error;
mod id;
mod node;
pub mod restore;
#[doc(hidden)]
pub mod retry;
pub mod revocation;
pub mod session;
pub mod store;
pub mod time;
pub mod token;

#[doc(hidden)]
pub use error::Chain;
pub use error::{Error, RollbackCause, SettingError};
pub use id::{IdError, Issuer, MAX_ID_BYTES, SessionId, Subject, TokenId};
pub use node::{DEFAULT_MAX_STALENESS, FreshnessLimit, Housekeeping, Node, NodeBuilder, run_maintenance};
