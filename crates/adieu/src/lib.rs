//! Logout for JSON Web Tokens.
//!
//! Services verify a JWT locally, without a lookup; this makes it fast, and is why a logout usually has no effect
//! before the token expires. This crate keeps verification local and still rejects revoked tokens, durably and within
//! a stated time.
//!
//! * [`token`]: issues tokens and verifies them;
//! * [`revocation`]: revocations, the durable [log](revocation::RevocationLog) of them, and the in-memory
//!   [index](revocation::Index) that every verification checks;
//! * [`restore`]: detects that a backup was restored, which lacks the revocations made since;
//! * [`session`]: login, refresh with rotation and reuse detection, logout;
//! * [`store`]: the contract of a store, and the [in-memory store](store::Memory);
//! * [`engine`]: building blocks for those who write an engine;
//! * [`Node`]: all of these, assembled;
//! * [`guide`]: how a logout takes effect, and what an application decides.
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
//! This crate contains no SQL, no HTTP and no web framework. It is not a user database: the application passes in a
//! [`Subject`].
//!
//! | crate | adds |
//! |---|---|
//! | [`adieu-axum`](https://docs.rs/adieu-axum) | extractors, layers, cookies and CSRF protection for axum |
//! | [`adieu-sqlite`](https://docs.rs/adieu-sqlite), [`adieu-postgres`](https://docs.rs/adieu-postgres), [`adieu-redis`](https://docs.rs/adieu-redis) | one durable store each, shared by several processes or nodes |
//! | [`adieu-client`](https://docs.rs/adieu-client) | a service without a store that follows a node over HTTP |
//! | [`adieu-events`](https://docs.rs/adieu-events) | logout events of identity providers |
//! | [`adieu-conformance`](https://docs.rs/adieu-conformance) | the test suite that every store passes |

mod algorithm;
pub mod engine;
mod error;
pub mod guide;
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
