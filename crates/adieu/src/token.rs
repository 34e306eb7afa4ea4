//! Tokens: what they claim, the keys that sign them, and the only way to believe one.
//!
//! 1. A token is accepted only when its signature is good under a key of the [`KeySet`], with the one algorithm that
//!    the key was made for; the header chooses among those keys and nothing else. `none` is no algorithm here.
//! 2. What is read is what was signed: exactly three segments of canonical base64url, one JSON object each in the first
//!    two, every name in them unique.
//! 3. `exp`, `iss`, `sub` and `jti` are there and have their type; `nbf` and `iat` are not in the future; `aud`, when
//!    present, names us. What a foreign issuer needs loosened has a setting of its own in [`Rules`].
//! 4. A header with `crit` or `b64`, or one that brings its own key (`jwk`) or is encrypted (`enc`, `zip`), is refused;
//!    `jku`, `x5u` and `x5c` are never followed.
//! 5. All input is bounded: the token, its ids, its `kid`, the number and the nesting of its members.
//! 6. No key and no secret appears in a `Debug`, an [`Error`](crate::Error) or a [`TokenError`].
//!
//! Nothing here knows about revocation: a token that decodes is authentic and in time, which is not yet to say that
//! nobody has logged out.
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
mod key;
mod rules;
mod staleness;
mod verifier;

pub use claims::{Claims, Fresh, TokenType};
pub use decode::{CacheLimits, CacheStats, Decoder, Expiry, ParsedClaims, Scratch};
pub use encode::{encode, encode_with_header};
pub use error::TokenError;
pub(crate) use key::keep_one;
pub use key::{
    Algorithm, DEFAULT_PUBLICATION_DELAY, Jwk, Jwks, KeyError, KeyId, KeySet, KeyStore, MAX_KEY_ID_BYTES, MAX_KEYS,
    MAX_KEYS_TRIED, PrivateKey, PublicKey, RemovedKey, SigningKey, SigningKeys, StoredKey, UnknownAlgorithm,
    VerifyingKey, active_key_at, load_or_make_keys, remove_key, rotate_key,
};
pub use rules::{DEFAULT_MAX_TOKEN_BYTES, DEFAULT_SKEW, Rules};
pub use staleness::{StaleDecisions, StalePolicy};
pub use verifier::Verifier;
