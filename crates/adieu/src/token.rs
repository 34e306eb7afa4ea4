//! Tokens: claims, keys, and decoding with strict rules.
//!
//! 1. A token is accepted only if its signature verifies with a key of the [`KeySet`], using the one algorithm of that
//!    key. The header can only select among these keys. The algorithm `none` is not supported.
//! 2. The bytes that are parsed are the bytes that were signed: exactly three segments of canonical base64url, one JSON
//!    object each in the first two, with unique member names.
//! 3. `exp`, `iss`, `sub` and `jti` are required and must have the right type; `nbf` and `iat` must not be in the
//!    future; `aud`, if present, must name an audience of the verifier. [`Rules`] has a method for each exception that
//!    a foreign issuer may need.
//! 4. A header is rejected if it has `crit` or `b64`, brings its own key (`jwk`) or is encrypted or compressed (`enc`,
//!    `zip`). `jku`, `x5u` and `x5c` are never followed.
//! 5. All input is bounded: the token, its ids, its `kid`, the number and the nesting of its members.
//! 6. No key and no secret appears in a `Debug`, an [`Error`](crate::Error) or a [`TokenError`].
//!
//! A [`Decoder`] does not check for revocation: a token that it accepts is authentic and within its validity period,
//! but may have been revoked. A [`Verifier`] checks both.
//!
//! ```
//! use std::time::Duration;
//! use adieu::{Issuer, Subject, time::{Clock, SystemClock}};
//! use adieu::token::{Algorithm, Claims, Decoder, KeySet, Rules, SigningKey, TokenType, encode};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let now = SystemClock.now();
//! let issuer = Issuer::new("https://api.example.com")?;
//! let key = SigningKey::generate(Algorithm::EdDSA)?;
//! let decoder = Decoder::new(Rules::new(issuer.clone()), KeySet::new([key.verifying_key().clone()])?);
//!
//! let claims = Claims::new(issuer, Subject::new("jose")?, TokenType::Access, now, Duration::from_secs(900));
//! let token = encode(&key, &claims)?;
//!
//! assert_eq!(decoder.decode(&token, now)?, claims);
//! # Ok(())
//! # }
//! ```

mod base64url;
mod claims;
pub mod dangerous;
mod decode;
mod encode;
mod error;
mod issuers;
mod json;
mod jws;
mod key;
mod logout;
mod rules;
mod staleness;
mod token_type;
mod verifier;

pub use crate::{
    algorithm::{Algorithm, UnknownAlgorithm},
    error::KeyError,
};
pub use claims::{Claims, Fresh};
pub use decode::{CacheLimits, CacheStats, Decoder, Expiry, ParsedClaims, Scratch};
pub use encode::{encode, encode_logout, encode_with_header};
pub use error::TokenError;
#[doc(hidden)]
pub use json::unambiguous_json;
pub use jws::SignedMessage;
pub(crate) use key::keep_one;
pub use key::{
    DEFAULT_PUBLICATION_DELAY, Jwk, Jwks, KeyId, KeySet, KeyStore, KeyUpdates, MAX_KEY_ID_BYTES, MAX_KEYS,
    MAX_KEYS_TRIED, PrivateKey, PublicKey, RemovedKey, SigningKey, SigningKeys, StoredKey, VerifyingKey, active_key_at,
    load_or_make_keys, remove_key, rotate_key,
};
pub use logout::{LogoutClaims, LogoutTarget};
pub use rules::{DEFAULT_MAX_TOKEN_BYTES, DEFAULT_SKEW, Rules};
pub use staleness::{StaleDecisions, StalePolicy};
pub use token_type::TokenType;
pub use verifier::Verifier;
