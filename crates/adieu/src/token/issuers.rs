//! Selects the decoder for a token if several issuers are accepted.
//!
//! The token names its issuer (`iss`). It is then checked only with the keys and the rules of that issuer, which check
//! `iss` again after the signature. So a key of one issuer cannot sign for another, and a token that names its issuer
//! costs at most the signature check of one issuer. A token without `iss` is tried with each issuer whose rules allow
//! that.

use std::{borrow::Cow, collections::HashSet, sync::Arc};

use arc_swap::ArcSwap;
use tokio::sync::watch;

use crate::{
    Error,
    time::Timestamp,
    token::{
        Claims, Decoder, Expiry, TokenError, base64url,
        decode::{NOT_BASE64URL, NOT_THREE_PARTS},
        json::{Members, Value, read_object},
    },
};

/// The maximum number of issuers that accept tokens without `iss`, since such a token is tried with each of them.
const MAX_NAMELESS: usize = 4;

/// The decoder of the verifier's own issuer, and the decoders of the other accepted issuers.
#[derive(Debug)]
pub(super) struct Issuers {
    own: Arc<Decoder>,
    others: ArcSwap<Vec<Arc<Decoder>>>,
}

impl Issuers {
    pub(super) fn new(own: Arc<Decoder>) -> Self {
        Self { own, others: ArcSwap::default() }
    }

    /// Replaces the decoders of the other issuers.
    ///
    /// # Errors
    /// Returns [`Error::InvalidSetting`] if an issuer has two decoders, or if too many issuers accept tokens without
    /// `iss`; nothing is changed then.
    pub(super) fn replace(&self, others: Vec<Arc<Decoder>>) -> Result<(), Error> {
        let mut names = HashSet::new();
        for decoder in all(&self.own, &others) {
            let issuer = decoder.rules().issuer();
            if !names.insert(issuer) {
                return Err(Error::setting("issuer", format!("duplicate issuer `{issuer}`")));
            }
        }
        if nameless(&self.own, &others).count() > MAX_NAMELESS {
            return Err(Error::setting(
                "issuer",
                format!("no more than {MAX_NAMELESS} issuers may accept tokens without an issuer, as each is tried"),
            ));
        }
        self.others.store(Arc::new(others));
        Ok(())
    }

    pub(super) fn own(&self) -> &Arc<Decoder> {
        &self.own
    }

    /// Returns the decoders of the other issuers.
    pub(super) fn others(&self) -> Arc<Vec<Arc<Decoder>>> {
        self.others.load_full()
    }

    /// Like [`Decoder::decode_shared`], by the rules of the issuer that the token names.
    pub(super) fn decode_shared(&self, token: &str, now: Timestamp) -> Result<Arc<Claims>, TokenError> {
        let others = self.others.load();
        if others.is_empty() {
            return self.own.decode_shared(token, now);
        }
        // A cached token was accepted by the decoder that caches it, so its issuer need not be read.
        let remembered = all(&self.own, &others).find_map(|decoder| decoder.recall(token, now, self.is_other(decoder)));
        remembered.unwrap_or_else(|| {
            self.with_named(&others, token, |decoder| {
                decoder.decode_and_remember(token, now, |claims| self.restrict(decoder, claims))
            })
        })
    }

    /// Like [`Decoder::decode_ignoring_expiry`], by the rules of the issuer that the token names.
    pub(super) fn decode_ignoring_expiry(&self, token: &str, now: Timestamp) -> Result<(Claims, Expiry), TokenError> {
        let others = self.others.load();
        if others.is_empty() {
            return self.own.decode_ignoring_expiry(token, now);
        }
        self.with_named(&others, token, |decoder| {
            let (mut claims, expiry) = decoder.decode_ignoring_expiry(token, now)?;
            self.restrict(decoder, &mut claims);
            Ok((claims, expiry))
        })
    }

    /// Returns what changes when the keys of the issuer that a token names, or may be of, are read again.
    pub(super) fn key_reads(&self, token: &str) -> Vec<watch::Receiver<u64>> {
        let others = self.others.load();
        let mut buffer = Vec::new();
        let Ok(name) = name(token, &mut buffer) else { return Vec::new() };
        let reads = |decoder: &Arc<Decoder>| decoder.keys().updates().map(|updates| updates.reads());
        match name {
            Some(name) => named(&self.own, &others, &name).and_then(reads).into_iter().collect(),
            None => nameless(&self.own, &others).filter_map(reads).collect(),
        }
    }

    /// Drops the untrusted claims of another issuer.
    fn restrict(&self, decoder: &Decoder, claims: &mut Claims) {
        if self.is_other(decoder) {
            decoder.rules().restrict(claims);
        }
    }

    fn is_other(&self, decoder: &Decoder) -> bool {
        !std::ptr::eq(decoder, &*self.own)
    }

    fn with_named<T>(
        &self,
        others: &[Arc<Decoder>],
        token: &str,
        decode: impl Fn(&Decoder) -> Result<T, TokenError>,
    ) -> Result<T, TokenError> {
        let most_bytes = all(&self.own, others).map(|decoder| decoder.rules().max_token_bytes).max().unwrap_or(0);
        if token.is_empty() {
            return Err(TokenError::Missing);
        }
        if token.len() > most_bytes {
            return Err(TokenError::TooLong);
        }
        let mut buffer = Vec::new();
        if let Some(name) = name(token, &mut buffer)? {
            return decode(named(&self.own, others, &name).ok_or(TokenError::WrongIssuer)?);
        }
        let mut refusal = TokenError::MissingClaim("iss");
        for decoder in nameless(&self.own, others) {
            match decode(decoder) {
                // The keys of this issuer are not known yet: another one may have signed it.
                Err(TokenError::Stale) => refusal = TokenError::Stale,
                // Not signed by this issuer: try the next.
                Err(reason @ (TokenError::BadSignature | TokenError::AlgorithmMismatch | TokenError::UnknownKey)) => {
                    if refusal != TokenError::Stale {
                        refusal = reason;
                    }
                }
                decided => return decided,
            }
        }
        Err(refusal)
    }
}

fn all<'d>(own: &'d Arc<Decoder>, others: &'d [Arc<Decoder>]) -> impl Iterator<Item = &'d Arc<Decoder>> {
    std::iter::once(own).chain(others)
}

/// Returns the decoder of the issuer with this name.
fn named<'d>(own: &'d Arc<Decoder>, others: &'d [Arc<Decoder>], name: &str) -> Option<&'d Arc<Decoder>> {
    all(own, others).find(|decoder| decoder.rules().issuer().as_str() == name)
}

/// Returns the decoders that accept tokens without `iss`.
fn nameless<'d>(own: &'d Arc<Decoder>, others: &'d [Arc<Decoder>]) -> impl Iterator<Item = &'d Arc<Decoder>> {
    all(own, others).filter(|decoder| decoder.rules().missing_issuer)
}

/// Returns the issuer that a token names. The signature is not verified yet.
fn name<'b>(token: &str, buffer: &'b mut Vec<u8>) -> Result<Option<Cow<'b, str>>, TokenError> {
    let claims = token.split('.').nth(1).ok_or(NOT_THREE_PARTS)?;
    let claims = base64url::decode_reusing(claims.as_bytes(), buffer).map_err(|_| NOT_BASE64URL)?;
    let mut found = Name::default();
    read_object(claims, "the claims are not a JSON object", &mut found)?;
    match found.0 {
        None => Ok(None),
        Some(Value::Text(name)) => Ok(Some(name)),
        Some(_) => Err(TokenError::InvalidClaim("iss")),
    }
}

/// The first `iss`. The decoder rejects a second one when it reads all claims.
#[derive(Default)]
struct Name<'a>(Option<Value<'a>>);

impl<'a> Members<'a> for Name<'a> {
    fn keeps_texts(_: &str) -> bool {
        false
    }

    fn insert(&mut self, name: Cow<'a, str>, value: Value<'a>) -> Result<(), TokenError> {
        if name == "iss" && self.0.is_none() {
            self.0 = Some(value);
        }
        Ok(())
    }
}
