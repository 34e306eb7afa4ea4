//! Decodes tokens: checks the signature and the claims.

mod cache;
mod parsed;

use std::{fmt, sync::Arc};

use arc_swap::ArcSwap;

use crate::{
    time::Timestamp,
    token::{
        Claims, KeySet, Rules, TokenError, TokenType, VerifyingKey, base64url,
        key::{
            header::{Declares, Header},
            verifying::{KeyPrint, MAX_SIGNATURE_BYTES},
        },
    },
};

pub use cache::{CacheLimits, CacheStats};
pub use parsed::ParsedClaims;

use cache::{Cache, Epoch};

/// Decodes the tokens of one issuer: checks the signature, the claims and the validity period.
///
/// A decoder can be shared between threads, and its keys can be replaced while it is in use.
#[derive(Debug)]
pub struct Decoder {
    rules: Rules,
    keys: ArcSwap<KeySet>,
    cache: Option<Cache>,
}

/// Buffers for decoding a token. Reuse them to decode without allocating.
///
/// The buffers hold the claims of the last token until they are reused or dropped.
#[derive(Default)]
pub struct Scratch {
    header: Vec<u8>,
    claims: Vec<u8>,
}

/// Whether an authentic token is within its validity period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    /// The token is within its validity period.
    Live,
    /// `exp` plus the leeway has been reached.
    Expired,
    /// `nbf` or `iat` is in the future by more than the skew.
    NotYetValid,
}

impl fmt::Debug for Scratch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Scratch").finish_non_exhaustive()
    }
}

impl Decoder {
    /// Creates a decoder for tokens that satisfy `rules` and are signed with one of `keys`.
    #[must_use]
    pub fn new(rules: Rules, keys: impl Into<Arc<KeySet>>) -> Self {
        Self { rules, keys: ArcSwap::new(keys.into()), cache: None }
    }

    /// Caches valid access tokens, so that [`Decoder::decode_shared`], and so a [`Verifier`](crate::token::Verifier),
    /// checks the signature of each only once.
    ///
    /// The cache holds claims, not results: `exp`, `nbf`, the type and revocation are checked each time. An entry ends
    /// with the token's `exp` plus the leeway, or when its key is removed. Tokens signed with a secret are not cached,
    /// since checking them takes little longer than finding them.
    ///
    /// Cached tokens are kept in memory and overwritten when they are removed.
    #[must_use]
    pub fn with_cache(self, limits: CacheLimits) -> Self {
        let cache = Cache::new(limits);
        cache.begin_epoch(&self.keys.load(), || ());
        Self { cache: Some(cache), ..self }
    }

    /// Returns the size and the hits of the cache: zeros without [`Decoder::with_cache`].
    #[must_use]
    pub fn cache_stats(&self) -> CacheStats {
        self.cache.as_ref().map(Cache::stats).unwrap_or_default()
    }

    /// Returns the rules.
    #[must_use]
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Returns the current keys.
    #[must_use]
    pub fn keys(&self) -> Arc<KeySet> {
        self.keys.load_full()
    }

    /// Replaces the keys. A token that is being decoded meanwhile is checked with either the old or the new keys.
    /// Cached tokens stay cached if their key is among the new keys.
    pub fn replace_keys(&self, keys: impl Into<Arc<KeySet>>) {
        let keys = keys.into();
        match &self.cache {
            Some(cache) => cache.begin_epoch(&keys, || self.keys.store(Arc::clone(&keys))),
            None => self.keys.store(keys),
        }
    }

    /// Decodes a token and returns its claims, if it is authentic and within its validity period.
    ///
    /// # Errors
    /// Returns the first rule that the token breaks. [`TokenError::Expired`] comes last: it means that nothing else is
    /// wrong with the token.
    pub fn decode(&self, token: &str, now: Timestamp) -> Result<Claims, TokenError> {
        self.decode_in(token, now, &mut Scratch::default())?.into_claims()
    }

    /// Like [`decode`](Self::decode), but uses the [cache](Decoder::with_cache), if there is one, and returns shared
    /// claims.
    ///
    /// # Errors
    /// Returns the same errors as [`Decoder::decode`].
    pub fn decode_shared(&self, token: &str, now: Timestamp) -> Result<Arc<Claims>, TokenError> {
        self.recall(token, now, false).unwrap_or_else(|| self.decode_and_remember(token, now, |_| ()))
    }

    /// Returns the cached claims of a token after checking its validity period again, or `None` if it is not cached. Another verifier,
    /// to which the issuer is its own or another one, may have cached it with more or fewer claims: then it is decoded again.
    pub(super) fn recall(
        &self,
        token: &str,
        now: Timestamp,
        is_restricted: bool,
    ) -> Option<Result<Arc<Claims>, TokenError>> {
        let (cache, epoch) = self.remembering(token)?;
        let claims = cache.get(epoch, token, now).filter(|claims| claims.verified.is_restricted == is_restricted)?;
        let live = self.rules.require_live(claims.issued_at, claims.not_before, claims.expires_at, now);
        Some(live.map(|()| claims))
    }

    /// Decodes a token and caches its claims, as modified by `change`, if it is valid.
    pub(super) fn decode_and_remember(
        &self,
        token: &str,
        now: Timestamp,
        change: impl Fn(&mut Claims),
    ) -> Result<Arc<Claims>, TokenError> {
        // The epoch is read before the keys. If the keys are replaced in between, the entry belongs to the old epoch
        // and is not found under the new one.
        let remembering = self.remembering(token);
        let mut scratch = Scratch::default();
        let (parsed, key) = self.authenticate(token, &mut scratch)?;
        self.require_live(&parsed, now)?;
        let mut claims = parsed.into_claims()?;
        change(&mut claims);
        let claims = Arc::new(claims);
        // A refresh token is used only once, so it is not cached.
        if let (Some((cache, epoch)), Some(key), TokenType::Access) = (remembering, key, claims.token_type) {
            cache.insert(epoch, token, key, &claims, claims.expires_at.plus(self.rules.leeway), now);
        }
        Ok(claims)
    }

    /// Returns the cache and its epoch, if the token may be cached.
    fn remembering(&self, token: &str) -> Option<(&Cache, Epoch)> {
        let cache = self.cache.as_ref().filter(|_| token.len() <= self.rules.max_token_bytes)?;
        Some((cache, cache.epoch()?))
    }

    /// Like [`decode`](Self::decode), but does not copy: the claims borrow from `scratch`.
    ///
    /// # Errors
    /// Returns the same errors as [`Decoder::decode`].
    pub fn decode_in<'a>(
        &'a self,
        token: &str,
        now: Timestamp,
        scratch: &'a mut Scratch,
    ) -> Result<ParsedClaims<'a>, TokenError> {
        let (claims, _) = self.authenticate(token, scratch)?;
        self.require_live(&claims, now)?;
        Ok(claims)
    }

    /// Decodes an authentic token at any time of its life. Logging out must be possible after a token has expired, and
    /// after a clock was set back since the token was issued.
    ///
    /// # Errors
    /// Returns the same errors as [`Decoder::decode`], except [`TokenError::Expired`] and [`TokenError::NotYetValid`].
    pub fn decode_ignoring_expiry(&self, token: &str, now: Timestamp) -> Result<(Claims, Expiry), TokenError> {
        let mut scratch = Scratch::default();
        let (claims, expiry) = self.decode_ignoring_expiry_in(token, now, &mut scratch)?;
        Ok((claims.into_claims()?, expiry))
    }

    /// Like [`decode_ignoring_expiry`](Self::decode_ignoring_expiry), but does not copy: the claims borrow from `scratch`.
    ///
    /// # Errors
    /// Returns the same errors as [`Decoder::decode_ignoring_expiry`].
    pub fn decode_ignoring_expiry_in<'a>(
        &'a self,
        token: &str,
        now: Timestamp,
        scratch: &'a mut Scratch,
    ) -> Result<(ParsedClaims<'a>, Expiry), TokenError> {
        let (claims, _) = self.authenticate(token, scratch)?;
        let expiry = match self.require_live(&claims, now) {
            Ok(()) => Expiry::Live,
            Err(TokenError::Expired) => Expiry::Expired,
            // This includes a token without `iat` whose remaining lifetime exceeds the maximum lifetime.
            Err(_) => Expiry::NotYetValid,
        };
        Ok((claims, expiry))
    }

    #[inline]
    fn require_live(&self, claims: &ParsedClaims<'_>, now: Timestamp) -> Result<(), TokenError> {
        self.rules.require_live(claims.issued_at(), claims.not_before(), claims.expires_at(), now)
    }

    /// Checks everything but the validity period, and returns the claims and the public key that signed them. The
    /// claims are not parsed before the signature has been verified.
    #[inline]
    fn authenticate<'a>(
        &'a self,
        token: &str,
        scratch: &'a mut Scratch,
    ) -> Result<(ParsedClaims<'a>, Option<KeyPrint>), TokenError> {
        if token.is_empty() {
            return Err(TokenError::Missing);
        }
        if token.len() > self.rules.max_token_bytes {
            return Err(TokenError::TooLong);
        }
        let (signing_input, signature) = token.rsplit_once('.').ok_or(NOT_THREE_PARTS)?;
        let (header, claims) = signing_input.split_once('.').ok_or(NOT_THREE_PARTS)?;
        // A surplus dot ends up in this part, where it is invalid base64url.
        let claims = base64url::decode_reusing(claims.as_bytes(), &mut scratch.claims).map_err(|_| NOT_BASE64URL)?;

        let keys = self.keys.load();
        let (declares, key, key_id) = match keys.recognise(header.as_bytes()) {
            Some((key, token_type)) => {
                with_signature(signature, |signature| check(key, signing_input, signature))?;
                (Declares::Explicit(token_type), key.print(), key.key_id().cloned())
            }
            None => {
                let header =
                    base64url::decode_reusing(header.as_bytes(), &mut scratch.header).map_err(|_| NOT_BASE64URL)?;
                let header = Header::parse(header)?;
                let candidates = keys.candidates(&header)?;
                let key = with_signature(signature, |signature| {
                    candidates.try_each(|key| check(key, signing_input, signature))
                })?;
                (header.declares, key.print(), key.key_id().cloned())
            }
        };
        drop(keys);

        Ok((ParsedClaims::check(claims, signing_input.as_bytes(), declares, &self.rules, key_id)?, key))
    }
}

pub(super) const NOT_THREE_PARTS: TokenError = TokenError::Malformed("there are not three parts");
pub(super) const NOT_BASE64URL: TokenError = TokenError::Malformed("a part is not canonical base64url");

/// Decodes a signature on the stack. Only RSA signatures are long.
pub(super) fn with_signature<T>(text: &str, then: impl Fn(&[u8]) -> Result<T, TokenError>) -> Result<T, TokenError> {
    const SHORT: usize = 96;
    let length = base64url::decoded_len(text.len()).ok_or(NOT_BASE64URL)?;
    let decode = |buffer: &mut [u8]| match base64url::decode_into(text.as_bytes(), buffer) {
        Ok(signature) => then(signature),
        Err(_) => Err(NOT_BASE64URL),
    };
    if length <= SHORT {
        decode(&mut [0; SHORT])
    } else if length <= MAX_SIGNATURE_BYTES {
        decode(&mut [0; MAX_SIGNATURE_BYTES])
    } else {
        Err(TokenError::BadSignature)
    }
}

pub(super) fn check(key: &VerifyingKey, signing_input: &str, signature: &[u8]) -> Result<(), TokenError> {
    key.verify(signing_input.as_bytes(), signature).map_err(|_| TokenError::BadSignature)
}
