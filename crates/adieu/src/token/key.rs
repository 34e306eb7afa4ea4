//! Keys: what they are for, how they are encoded, stored and rotated.

mod der;
pub(super) mod header;
mod hmac;
mod jwk;
mod jwks;
mod private;
mod rotation;
mod set;
mod signing;
mod signing_keys;
mod store;
pub(super) mod verifying;

pub use crate::id::{KeyId, MAX_KEY_ID_BYTES};
pub use jwk::{Jwk, PublicKey};
pub use jwks::Jwks;
pub use private::PrivateKey;
pub use rotation::{DEFAULT_PUBLICATION_DELAY, RemovedKey, active_key_at, remove_key, rotate_key};
pub use set::{KeySet, KeyUpdates, MAX_KEYS, MAX_KEYS_TRIED};
pub use signing::SigningKey;
pub use signing_keys::SigningKeys;
pub(crate) use store::keep_one;
pub use store::{KeyStore, StoredKey, load_or_make_keys};
pub use verifying::VerifyingKey;
