//! Which issuer's keys a token is held against, when there are several.
//!
//! The token says whose it is (`iss`), and is then held against the keys and the rules of that issuer alone, which ask
//! for the same `iss` again once the signature is known to be good. So a key of one issuer never vouches for another,
//! and a token costs the check of one issuer's signature, whoever sends it. What names nobody is tried with each issuer
//! whose rules allow that.

use std::{borrow::Cow, sync::Arc};

use crate::{
    Error,
    time::Timestamp,
    token::{
        Claims, Decoder, Expiry, TokenError, base64url,
        decode::{NOT_BASE64URL, NOT_THREE_PARTS},
        json::{Members, Value, read_object},
    },
};

/// The most issuers that may leave out their name: a token without one is tried with each.
const MAX_NAMELESS: usize = 4;

/// Our own decoder, and those of the other issuers whose tokens are accepted beside.
#[derive(Debug)]
pub(super) struct Issuers {
    own: Arc<Decoder>,
    others: Vec<Arc<Decoder>>,
}

impl Issuers {
    pub(super) fn new(own: Arc<Decoder>) -> Self {
        Self { own, others: Vec::new() }
    }

    /// # Errors
    /// [`Error::InvalidSetting`] when the issuer is there already, or too many may leave out their name.
    pub(super) fn add(&mut self, other: Arc<Decoder>) -> Result<(), Error> {
        let issuer = other.rules().issuer();
        if self.all().any(|known| known.rules().issuer() == issuer) {
            return Err(Error::setting("issuer", format!("duplicate issuer `{issuer}`")));
        }
        self.others.push(other);
        if self.nameless().count() > MAX_NAMELESS {
            return Err(Error::setting(
                "issuer",
                format!("no more than {MAX_NAMELESS} issuers may accept tokens without an issuer, as each is tried"),
            ));
        }
        Ok(())
    }

    pub(super) fn own(&self) -> &Arc<Decoder> {
        &self.own
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Decoder>> {
        std::iter::once(&self.own).chain(&self.others)
    }

    /// As [`Decoder::decode_shared`], by the rules of the issuer that the token names.
    pub(super) fn decode_shared(&self, token: &str, now: Timestamp) -> Result<Arc<Claims>, TokenError> {
        if self.others.is_empty() {
            return self.own.decode_shared(token, now);
        }
        // What is remembered was found good by the issuer that remembers it: no need to read whose it is.
        let remembered = self.all().find_map(|decoder| decoder.recall(token, now));
        remembered.unwrap_or_else(|| {
            self.with_named(token, |decoder| {
                decoder.decode_and_remember(token, now, |claims| self.restrict(decoder, claims))
            })
        })
    }

    /// As [`Decoder::decode_ignoring_expiry`], by the rules of the issuer that the token names.
    pub(super) fn decode_ignoring_expiry(&self, token: &str, now: Timestamp) -> Result<(Claims, Expiry), TokenError> {
        if self.others.is_empty() {
            return self.own.decode_ignoring_expiry(token, now);
        }
        self.with_named(token, |decoder| {
            let (mut claims, expiry) = decoder.decode_ignoring_expiry(token, now)?;
            self.restrict(decoder, &mut claims);
            Ok((claims, expiry))
        })
    }

    /// Leaves what counts as ours of what another issuer says.
    fn restrict(&self, decoder: &Decoder, claims: &mut Claims) {
        if !std::ptr::eq(decoder, &*self.own) {
            decoder.rules().restrict(claims);
        }
    }

    fn nameless(&self) -> impl Iterator<Item = &Arc<Decoder>> {
        self.all().filter(|decoder| decoder.rules().missing_issuer)
    }

    fn with_named<T>(&self, token: &str, decode: impl Fn(&Decoder) -> Result<T, TokenError>) -> Result<T, TokenError> {
        let most_bytes = self.all().map(|decoder| decoder.rules().max_token_bytes).max().unwrap_or(0);
        if token.is_empty() {
            return Err(TokenError::Missing);
        }
        if token.len() > most_bytes {
            return Err(TokenError::TooLong);
        }
        let mut buffer = Vec::new();
        if let Some(name) = name(token, &mut buffer)? {
            let named = self.all().find(|decoder| decoder.rules().issuer().as_str() == name);
            return decode(named.ok_or(TokenError::WrongIssuer)?);
        }
        let mut result = Err(TokenError::MissingClaim("iss"));
        for decoder in self.nameless() {
            result = decode(decoder);
            match &result {
                // Not signed by them; perhaps by the next.
                Err(TokenError::BadSignature | TokenError::AlgorithmMismatch | TokenError::UnknownKey) => {}
                _ => break,
            }
        }
        result
    }
}

/// Whose a token says that it is. Nothing is known about it yet but that.
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

/// The first `iss`. A second one is refused by whoever reads all claims.
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
