//! The only way to believe a token.

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

/// Decides which tokens of one issuer are authentic and in time. Shared between threads; its keys can be replaced while
/// it is used.
#[derive(Debug)]
pub struct Decoder {
    rules: Rules,
    keys: ArcSwap<KeySet>,
    cache: Option<Cache>,
}

/// Where a token is decoded to. Reuse it, and decoding does not allocate.
///
/// Holds the claims of the last token until the next one.
#[derive(Default)]
pub struct Scratch {
    header: Vec<u8>,
    claims: Vec<u8>,
}

/// Whether an authentic token is still in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    /// It is.
    Live,
    /// `exp` has been reached, the leeway included.
    Expired,
    /// `nbf` or `iat` is in the future, by more than the skew.
    NotYetValid,
}

impl fmt::Debug for Scratch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Scratch").finish_non_exhaustive()
    }
}

impl Decoder {
    /// Tokens under these rules, signed with one of these keys.
    #[must_use]
    pub fn new(rules: Rules, keys: impl Into<Arc<KeySet>>) -> Self {
        Self { rules, keys: ArcSwap::new(keys.into()), cache: None }
    }

    /// Remembers access tokens that were found good, for [`Decoder::decode_shared`] and so for a
    /// [`Verifier`](crate::token::Verifier): their signature is checked once.
    ///
    /// What is remembered are the claims, and never a verdict: `exp`, `nbf`, the type and whether a token has been revoked
    /// are judged each time. Nothing outlives the token's `exp`, or its key. Tokens signed with a secret are not
    /// remembered, since to check them takes little longer than to find them.
    ///
    /// The tokens lie in memory for as long as they are remembered, and are overwritten after.
    #[must_use]
    pub fn with_cache(self, limits: CacheLimits) -> Self {
        let cache = Cache::new(limits);
        cache.begin_epoch(&self.keys.load(), || ());
        Self { cache: Some(cache), ..self }
    }

    /// How much is remembered; nothing without [`Decoder::with_cache`].
    #[must_use]
    pub fn cache_stats(&self) -> CacheStats {
        self.cache.as_ref().map(Cache::stats).unwrap_or_default()
    }

    /// The rules.
    #[must_use]
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// The keys as they are now.
    #[must_use]
    pub fn keys(&self) -> Arc<KeySet> {
        self.keys.load_full()
    }

    /// Takes other keys from now on. A token that is being decoded meanwhile is held against the old ones or the new.
    /// Of what is remembered, that stays whose key stays.
    pub fn replace_keys(&self, keys: impl Into<Arc<KeySet>>) {
        let keys = keys.into();
        match &self.cache {
            Some(cache) => cache.begin_epoch(&keys, || self.keys.store(Arc::clone(&keys))),
            None => self.keys.store(keys),
        }
    }

    /// What a token says, if it is authentic and in time.
    ///
    /// # Errors
    /// The first rule that it breaks. [`TokenError::Expired`] comes last: whoever sees it knows that nothing else is wrong.
    pub fn decode(&self, token: &str, now: Timestamp) -> Result<Claims, TokenError> {
        self.decode_in(token, now, &mut Scratch::default())?.into_claims()
    }

    /// The same, remembered if this decoder [remembers](Decoder::with_cache).
    ///
    /// # Errors
    /// As [`Decoder::decode`].
    pub fn decode_shared(&self, token: &str, now: Timestamp) -> Result<Arc<Claims>, TokenError> {
        self.recall(token, now).unwrap_or_else(|| self.decode_and_remember(token, now, |_| ()))
    }

    /// What is remembered of a token, judged anew; `None` when nothing is.
    pub(super) fn recall(&self, token: &str, now: Timestamp) -> Option<Result<Arc<Claims>, TokenError>> {
        let (cache, epoch) = self.remembering(token)?;
        let claims = cache.get(epoch, token, now)?;
        let live = self.rules.require_live(claims.issued_at, claims.not_before, claims.expires_at, now);
        Some(live.map(|()| claims))
    }

    /// Decodes a token, and remembers it if it is good, as `change` leaves it.
    pub(super) fn decode_and_remember(
        &self,
        token: &str,
        now: Timestamp,
        change: impl Fn(&mut Claims),
    ) -> Result<Arc<Claims>, TokenError> {
        // Before the keys are looked at: then its key is one of this epoch, or it is not found.
        let remembering = self.remembering(token);
        let mut scratch = Scratch::default();
        let (parsed, key) = self.authenticate(token, &mut scratch)?;
        self.require_live(&parsed, now)?;
        let mut claims = parsed.into_claims()?;
        change(&mut claims);
        let claims = Arc::new(claims);
        // A refresh token is used once.
        if let (Some((cache, epoch)), Some(key), TokenType::Access) = (remembering, key, claims.token_type) {
            cache.insert(epoch, token, key, &claims, claims.expires_at.plus(self.rules.leeway), now);
        }
        Ok(claims)
    }

    /// Where a token may be remembered, if it may.
    fn remembering(&self, token: &str) -> Option<(&Cache, Epoch)> {
        let cache = self.cache.as_ref().filter(|_| token.len() <= self.rules.max_token_bytes)?;
        Some((cache, cache.epoch()?))
    }

    /// The same without copying: what it returns borrows from `scratch`.
    ///
    /// # Errors
    /// As [`Decoder::decode`].
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

    /// Returns what an authentic token says, at any time: whoever wants to log out may be late, and a clock may have been
    /// set back since the token was issued.
    ///
    /// # Errors
    /// As [`Decoder::decode`], but for [`TokenError::Expired`] and [`TokenError::NotYetValid`].
    pub fn decode_ignoring_expiry(&self, token: &str, now: Timestamp) -> Result<(Claims, Expiry), TokenError> {
        let mut scratch = Scratch::default();
        let (claims, expiry) = self.decode_ignoring_expiry_in(token, now, &mut scratch)?;
        Ok((claims.into_claims()?, expiry))
    }

    /// The same without copying: what it returns borrows from `scratch`.
    ///
    /// # Errors
    /// As [`Decoder::decode_ignoring_expiry`].
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
            // Also one without `iat` that has longer to live than its issuer's tokens do.
            Err(_) => Expiry::NotYetValid,
        };
        Ok((claims, expiry))
    }

    #[inline]
    fn require_live(&self, claims: &ParsedClaims<'_>, now: Timestamp) -> Result<(), TokenError> {
        self.rules.require_live(claims.issued_at(), claims.not_before(), claims.expires_at(), now)
    }

    /// Everything but what time it is, and the public key that signed. What the claims say is not read before the signature is
    /// known to be good.
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
        // Any dot too many is inside of this, and no base64url.
        let claims = base64url::decode_reusing(claims.as_bytes(), &mut scratch.claims).map_err(|_| NOT_BASE64URL)?;

        let keys = self.keys.load();
        let (declares, key) = match keys.recognise(header.as_bytes()) {
            Some((key, token_type)) => {
                with_signature(signature, |signature| check(key, signing_input, signature))?;
                (Declares::Explicit(token_type), key.print())
            }
            None => {
                let header =
                    base64url::decode_reusing(header.as_bytes(), &mut scratch.header).map_err(|_| NOT_BASE64URL)?;
                let header = Header::parse(header)?;
                let candidates = keys.candidates(&header)?;
                let key = with_signature(signature, |signature| {
                    candidates.try_each(|key| check(key, signing_input, signature))
                })?;
                (header.declares, key.print())
            }
        };
        drop(keys);

        Ok((ParsedClaims::check(claims, signing_input.as_bytes(), declares, &self.rules)?, key))
    }
}

pub(super) const NOT_THREE_PARTS: TokenError = TokenError::Malformed("there are not three parts");
pub(super) const NOT_BASE64URL: TokenError = TokenError::Malformed("a part is not canonical base64url");

/// Decodes a signature on the stack; only those of RSA are long.
fn with_signature<T>(text: &str, then: impl Fn(&[u8]) -> Result<T, TokenError>) -> Result<T, TokenError> {
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

fn check(key: &VerifyingKey, signing_input: &str, signature: &[u8]) -> Result<(), TokenError> {
    key.verify(signing_input.as_bytes(), signature).map_err(|_| TokenError::BadSignature)
}
