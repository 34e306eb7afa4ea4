//! Logout events of identity providers, verified and turned into revocations.
//!
//! Bytes in, [`Revocation`](adieu::revocation::Revocation)s out: no HTTP and no store. The application receives the request, passes the
//! message to a [`Receiver`], appends the revocations, and answers with success only then.
//!
//! | specification | method |
//! |---|---|
//! | OpenID Connect Back-Channel Logout 1.0 | [`Receiver::backchannel_logout`] |
//! | Security event tokens (RFC 8417) of OpenID CAEP 1.0, RISC 1.0 and SSF 1.0 | [`Receiver::security_event`] |
//! | Global Token Revocation (draft -06), which Okta calls Universal Logout | [`Receiver::global_token_revocation`] |
//! | Standard Webhooks, and the webhooks of Clerk, WorkOS and Hanko | [`Receiver::webhook`] |
//!
//! ```
//! # use std::sync::Arc;
//! use adieu::{Issuer, Node, store::Memory, token::{Decoder, KeySet, Rules}};
//! use adieu_events::{EventKind, Receiver, Sender};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // The keys come from a `KeyFollower` of `adieu-client`, which keeps this decoder in sync with the provider.
//! let provider = Arc::new(Decoder::new(Rules::new(Issuer::new("https://login.example")?), KeySet::pending()));
//! let node = Node::builder(Issuer::new("adieu")?).with_issuer(Arc::clone(&provider)).start(Memory::new()).await?;
//! let sender = Sender::new(provider).with_audience("client-id").accepting([EventKind::BackchannelLogout]);
//! let receiver = Receiver::new([sender]);
//!
//! # let logout_token = "";
//! match receiver.backchannel_logout(logout_token, node.clock().now()) {
//!     // Answer 200 after this, and 503 if it fails.
//!     Ok(received) => node.sessions().append(received.revocations()).await?,
//!     // Answer 503 if `error.is_temporary()`, otherwise 400.
//!     Err(error) => println!("{error}"),
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Aliases
//!
//! An event may name a user by an e-mail address or another identifier that is not in tokens. [`Received::aliases`] returns them; an
//! application that knows whose they are calls [`Received::resolve`] before it appends the revocations. Otherwise such an event is
//! [`Effect::UnknownSubject`].
//!
//! # Guarantees
//!
//! 1. **Only the right key ends a session.** A message is verified with the keys of the issuer that it names, and each key has one
//!    algorithm; a webhook with the secrets of the one issuer whose it is. It ends tokens of that issuer only.
//! 2. **One message is not taken for another.** The type of the header, the audience and the members of each kind are required. No access
//!    token, refresh token or identity token is accepted as an event.
//! 3. **Repetition is harmless.** A revocation of a subject ends the tokens issued until the time at which the event happened, by the
//!    clock of the issuer, and never those issued later. A message that arrives twice, or late, therefore ends no later login, and no list
//!    of seen messages is needed: a list could name a message whose revocation was never stored.
//! 4. **Whether a subject exists is not known here**, so no answer can depend on it.

mod alias;
mod backchannel;
mod error;
mod event;
mod global_token_revocation;
mod kind;
mod message;
mod security_event;
mod sender;
mod subject;
mod webhook;
mod webhook_message;
mod webhook_signature;

pub use alias::{Alias, AliasError, AliasKind, MAX_ALIAS_BYTES, UnknownAliasKind};
pub use error::EventError;
pub use event::{Effect, Event, Received};
pub use kind::{EventKind, UnknownKind};
pub use message::Receiver;
pub use sender::{LogoutScope, Sender};
pub use webhook::{JsonPointer, PointerError, Webhook, WebhookTarget};
pub use webhook_signature::{SecretsError, WebhookSecrets};
