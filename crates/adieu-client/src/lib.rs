//! Follows an Adieu node over HTTP, for a service that has no store of its own.
//!
//! A [`Service`] keeps an index of everything that a node has revoked, and the keys of the issuers that it trusts, up to date
//! in the background. It verifies tokens locally, and it rejects a token within `max_staleness` after its logout was answered
//! anywhere, or it rejects every token because it cannot know.
//!
//! * [`Service`]: the remote log, the index, the keys and the verifier in one;
//! * [`Remote`]: a [`RevocationLog`](adieu::revocation::RevocationLog) that another node keeps;
//! * [`KeyFollower`]: keeps the keys of an issuer in sync with its JWKS document;
//! * [`transport`]: how requests are sent, for a service that has its own HTTP client.

mod key_follower;
mod remote;
mod service;
pub mod transport;
#[doc(hidden)]
pub mod wire;

pub use key_follower::{KeyFollower, KeySource};
pub use remote::{Remote, RemoteBuilder};
pub use service::{Service, ServiceBuilder};
