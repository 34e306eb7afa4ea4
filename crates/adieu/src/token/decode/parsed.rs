//! Parses and checks the claims of a token without copying them.

use std::{borrow::Cow, fmt};

use aws_lc_rs::digest;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Map;

use crate::{
    MAX_ID_BYTES, SessionId, Subject, TokenId,
    id::KeyId,
    revocation::TokenClaims,
    time::Timestamp,
    token::{
        Claims, Fresh, Rules, TokenError, TokenType, base64url,
        claims::{REGISTERED, TYPE_SIBLINGS, Verified},
        json::{Members, Others, Text, Value, once, read_object, unambiguous_json},
        key::header::Declares,
        rules::digits,
        token_type::NamedType,
    },
};

/// The claims of a valid token, borrowed from a [`Scratch`](super::Scratch). [`into_claims`](Self::into_claims) copies
/// them to [`Claims`].
#[derive(Debug, Clone)]
pub struct ParsedClaims<'a> {
    rules: &'a Rules,
    key_id: Option<KeyId>,
    json: &'a [u8],
    subject: Cow<'a, str>,
    audience: Vec<Cow<'a, str>>,
    issued_at: Option<Timestamp>,
    not_before: Option<Timestamp>,
    expires_at: Timestamp,
    token_id: Cow<'a, str>,
    session: Option<Cow<'a, str>>,
    token_type: TokenType,
    fresh: Fresh,
    custom: Others<'a>,
}

impl<'a> ParsedClaims<'a> {
    /// Returns the issuer that signed the token (`iss`).
    #[must_use]
    pub fn issuer(&self) -> &str {
        self.rules.issuer.as_str()
    }

    /// Returns the subject of the token (`sub`, or the [claim of the subject](Rules::with_subject_claim)).
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// Returns the id of the token (`jti`), or the SHA-256 of the signing input if the rules [accept a token without
    /// one](Rules::accept_missing_token_id).
    #[must_use]
    pub fn token_id(&self) -> &str {
        &self.token_id
    }

    /// Returns the session that the token belongs to (`sid`).
    #[must_use]
    pub fn session(&self) -> Option<&str> {
        self.session.as_deref()
    }

    /// Returns the id of the key that verified the token (`kid`), if the key has one.
    #[must_use]
    pub fn key_id(&self) -> Option<&KeyId> {
        self.key_id.as_ref()
    }

    /// Returns the audience of the token (`aud`); empty if the token has none.
    pub fn audience(&self) -> impl Iterator<Item = &str> {
        self.audience.iter().map(|audience| &**audience)
    }

    /// Returns the time at which the token was issued (`iat`).
    #[must_use]
    pub fn issued_at(&self) -> Option<Timestamp> {
        self.issued_at
    }

    /// Returns the time from which the token is valid (`nbf`).
    #[must_use]
    pub fn not_before(&self) -> Option<Timestamp> {
        self.not_before
    }

    /// Returns the time at which the token expires (`exp`). It is no longer valid in that second.
    #[must_use]
    pub fn expires_at(&self) -> Timestamp {
        self.expires_at
    }

    /// Returns the type of the token (`type`).
    #[must_use]
    pub fn token_type(&self) -> TokenType {
        self.token_type
    }

    /// Returns whether the token comes from a login with credentials (`fresh`).
    #[must_use]
    pub fn fresh(&self) -> Fresh {
        self.fresh
    }

    /// Checks the type of the token.
    ///
    /// # Errors
    /// Returns [`TokenError::WrongTokenType`] if the type is not `expected`.
    pub fn require_type(&self, expected: TokenType) -> Result<(), TokenError> {
        self.token_type.require(expected)
    }

    /// Checks that the token is fresh at `now`.
    ///
    /// # Errors
    /// Returns [`TokenError::NotFresh`] if it is not.
    pub fn require_fresh(&self, now: Timestamp) -> Result<(), TokenError> {
        self.fresh.require(now)
    }

    /// Copies the claims to owned [`Claims`].
    ///
    /// # Errors
    /// Returns [`TokenError::Malformed`] if a custom claim cannot be copied. Decoding has already checked the custom
    /// claims.
    pub fn into_claims(self) -> Result<Claims, TokenError> {
        let malformed = |_| TokenError::Malformed(NOT_AN_OBJECT);
        Ok(Claims {
            issuer: self.rules.issuer.clone(),
            subject: Subject::new(&self.subject).map_err(|_| TokenError::InvalidClaim("sub"))?,
            audience: self.audience.into_iter().map(Cow::into_owned).collect(),
            issued_at: self.issued_at,
            not_before: self.not_before,
            expires_at: self.expires_at,
            token_id: TokenId::new(&self.token_id).map_err(|_| TokenError::InvalidClaim("jti"))?,
            session: match &self.session {
                Some(session) => Some(SessionId::new(session).map_err(|_| TokenError::InvalidClaim("sid"))?),
                None => None,
            },
            token_type: self.token_type,
            fresh: self.fresh,
            custom: match self.custom.to_map() {
                Some(custom) => custom,
                None => {
                    serde_json::Deserializer::from_slice(self.json).deserialize_map(CustomClaims).map_err(malformed)?
                }
            },
            verified: Verified { key_id: self.key_id, ..Verified::default() },
        })
    }

    /// Parses the claims of a token whose signature has been verified, and checks all rules except the validity period.
    /// Permanent faults are found before temporary ones.
    #[inline]
    pub(super) fn check(
        json: &'a [u8],
        signing_input: &[u8],
        declares: Declares,
        rules: &'a Rules,
        key_id: Option<KeyId>,
    ) -> Result<Self, TokenError> {
        let mut raw = RawClaims::default();
        read_object(json, NOT_AN_OBJECT, &mut raw)?;

        match raw.iss {
            Some(Value::Text(issuer)) if issuer == rules.issuer.as_str() => {}
            Some(Value::Text(_)) => return Err(TokenError::WrongIssuer),
            Some(_) => return Err(TokenError::InvalidClaim("iss")),
            None if rules.missing_issuer => {}
            None => return Err(TokenError::MissingClaim("iss")),
        }
        let audience = audience(raw.aud, rules)?;
        let token_type = token_type(declares, raw.token_type.as_ref(), raw.siblings, rules)?;
        let subject = match rules.subject_claim.is_empty() {
            true => subject(raw.sub, rules)?,
            false => subject_elsewhere(json, rules)?,
        };
        let session = id("sid", raw.sid)?;
        let token_id = match id("jti", raw.jti)? {
            Some(token_id) => token_id,
            None if rules.missing_token_id => {
                Cow::Owned(base64url::encode(digest::digest(&digest::SHA256, signing_input).as_ref()))
            }
            None => return Err(TokenError::MissingClaim("jti")),
        };
        let fresh = match raw.fresh {
            None | Some(Value::Bool(false)) => Fresh::No,
            Some(Value::Bool(true)) => Fresh::Yes,
            Some(value) => Fresh::Until(numeric_date("fresh", &value)?),
        };
        let date = |name, value: Option<Value<'_>>| value.map(|value| numeric_date(name, &value)).transpose();
        let expires_at = date("exp", raw.exp)?.ok_or(TokenError::MissingClaim("exp"))?;
        let not_before = date("nbf", raw.nbf)?;
        let issued_at = date("iat", raw.iat)?;
        if let Some(issued_at) = issued_at {
            rules.require_short_life(issued_at, expires_at)?;
        }
        Ok(Self {
            rules,
            key_id,
            json,
            subject,
            audience,
            issued_at,
            not_before,
            expires_at,
            token_id,
            session,
            token_type,
            fresh,
            custom: raw.custom,
        })
    }
}

impl TokenClaims for ParsedClaims<'_> {
    /// Parses the claims again, so that a token costs no more while nothing is revoked by a claim.
    fn has(&self, name: &str, test: &mut dyn FnMut(&str) -> bool) -> bool {
        serde_json::Deserializer::from_slice(self.json)
            .deserialize_map(CustomClaims)
            .is_ok_and(|claims| claims.has(name, test))
    }
}

const NOT_AN_OBJECT: &str = "the claims are not a JSON object";

/// The registered claims before any check.
#[derive(Default)]
struct RawClaims<'a> {
    iss: Option<Value<'a>>,
    sub: Option<Value<'a>>,
    aud: Option<Value<'a>>,
    iat: Option<Value<'a>>,
    nbf: Option<Value<'a>>,
    exp: Option<Value<'a>>,
    jti: Option<Value<'a>>,
    sid: Option<Value<'a>>,
    token_type: Option<Value<'a>>,
    fresh: Option<Value<'a>>,
    /// The siblings of `type`, which stay custom claims.
    siblings: TypeClaims,
    custom: Others<'a>,
}

impl<'a> Members<'a> for RawClaims<'a> {
    fn keeps_texts(name: &str) -> bool {
        name == "aud"
    }

    #[inline]
    fn insert(&mut self, name: Cow<'a, str>, value: Value<'a>) -> Result<(), TokenError> {
        match self.slot(&name) {
            Some(slot) => once(slot, value),
            None => {
                if let Some(sibling) = TYPE_SIBLINGS.into_iter().find(|sibling| *sibling == name) {
                    self.siblings.add(sibling, &value);
                }
                self.custom.insert(name, &value)
            }
        }
    }
}

/// The token type according to the claim `type` and its siblings.
#[derive(Debug, Clone, Copy, Default)]
struct TypeClaims {
    token_type: Option<TokenType>,
    /// The first claim that names something else, or another type than those before.
    wrong: Option<&'static str>,
}

impl TypeClaims {
    fn add(&mut self, name: &'static str, value: &Value<'_>) {
        let named = match value {
            Value::Text(text) => NamedType::of(text),
            _ => NamedType::Other,
        };
        match named {
            NamedType::None => {}
            NamedType::One(token_type) if self.token_type.is_none_or(|known| known == token_type) => {
                self.token_type = Some(token_type);
            }
            NamedType::One(_) | NamedType::Other => self.wrong = self.wrong.or(Some(name)),
        }
    }
}

impl<'a> RawClaims<'a> {
    #[inline]
    fn slot(&mut self, name: &str) -> Option<&mut Option<Value<'a>>> {
        match name {
            "iss" => Some(&mut self.iss),
            "sub" => Some(&mut self.sub),
            "aud" => Some(&mut self.aud),
            "iat" => Some(&mut self.iat),
            "nbf" => Some(&mut self.nbf),
            "exp" => Some(&mut self.exp),
            "jti" => Some(&mut self.jti),
            "sid" => Some(&mut self.sid),
            "type" => Some(&mut self.token_type),
            "fresh" => Some(&mut self.fresh),
            _ => None,
        }
    }
}

fn id<'a>(name: &'static str, value: Option<Value<'a>>) -> Result<Option<Cow<'a, str>>, TokenError> {
    match value {
        None => Ok(None),
        Some(Value::Text(id)) if (1..=MAX_ID_BYTES).contains(&id.len()) => Ok(Some(id)),
        Some(_) => Err(TokenError::InvalidClaim(name)),
    }
}

/// Returns the subject: an id, or an integer in decimal digits if the rules accept one.
fn subject<'a>(value: Option<Value<'a>>, rules: &Rules) -> Result<Cow<'a, str>, TokenError> {
    let number = match value {
        Some(Value::Unsigned(number)) if rules.integer_subject => i64::try_from(number).ok(),
        Some(Value::Negative(number)) if rules.integer_subject => Some(number),
        // The conversion is exact within the limit, and a number beyond it stays beyond it.
        Some(Value::Float(number)) if rules.integer_subject && number.fract() == 0.0 => Some(number as i64),
        value => return id("sub", value)?.ok_or(TokenError::MissingClaim("sub")),
    };
    digits(number).map(Cow::Owned).ok_or(TokenError::InvalidClaim("sub"))
}

/// Returns the subject that the rules expect in another claim than `sub`. An ambiguous object is rejected: two parsers could read different
/// subjects.
#[cold]
fn subject_elsewhere<'a>(json: &[u8], rules: &Rules) -> Result<Cow<'a, str>, TokenError> {
    match unambiguous_json(json) {
        Ok(serde_json::Value::Object(claims)) => Ok(Cow::Owned(rules.subject_in(&claims)?.as_str().to_owned())),
        _ => Err(TokenError::Malformed("a name in the claims appears twice")),
    }
}

/// Returns a `NumericDate` (RFC 7519 §2) between 1970 and 9999, rounded down to whole seconds like the time that it is
/// compared with. Later dates are milliseconds by mistake.
fn numeric_date(name: &'static str, value: &Value<'_>) -> Result<Timestamp, TokenError> {
    let latest = Timestamp::MAX.as_unix();
    match *value {
        Value::Unsigned(seconds) if seconds <= latest => Ok(Timestamp::from_unix(seconds)),
        // The conversion is exact: the latest date is far below 2^53.
        Value::Float(seconds) if seconds >= 0.0 && seconds <= latest as f64 => Ok(Timestamp::from_unix(seconds as u64)),
        _ => Err(TokenError::InvalidClaim(name)),
    }
}

fn audience<'a>(value: Option<Value<'a>>, rules: &Rules) -> Result<Vec<Cow<'a, str>>, TokenError> {
    let audience = match value {
        None if rules.audience.is_empty() => return Ok(Vec::new()),
        None => return Err(TokenError::MissingClaim("aud")),
        Some(Value::Text(one)) => vec![one],
        Some(Value::Texts(several)) => several,
        Some(_) => return Err(TokenError::InvalidClaim("aud")),
    };
    if audience.iter().any(|theirs| rules.audience.iter().any(|ours| ours == theirs)) {
        Ok(audience)
    } else {
        Err(TokenError::WrongAudience)
    }
}

/// Returns the token type, on which header and claims must agree. An explicit `typ` in the header is enough, as in a
/// token of RFC 9068.
fn token_type(
    declares: Declares,
    claim: Option<&Value<'_>>,
    siblings: TypeClaims,
    rules: &Rules,
) -> Result<TokenType, TokenError> {
    let mut claims = siblings;
    if let Some(value) = claim {
        claims.add("type", value);
    }
    if let Some(wrong) = claims.wrong {
        return Err(TokenError::InvalidClaim(wrong));
    }
    match (declares, claims.token_type) {
        (Declares::Explicit(declared), Some(claimed)) if declared != claimed => Err(TokenError::InvalidClaim("type")),
        (Declares::Explicit(declared), _) => Ok(declared),
        (Declares::Generic, Some(claimed)) if rules.generic_type => Ok(claimed),
        (Declares::Generic, None) if rules.missing_type => Ok(TokenType::Access),
        (Declares::Generic, None) if rules.generic_type => Err(TokenError::MissingClaim("type")),
        (Declares::Generic | Declares::Other, _) => Err(TokenError::UnknownType),
    }
}

/// Collects the claims that have no field of their own.
struct CustomClaims;

impl<'de> Visitor<'de> for CustomClaims {
    type Value = Map<String, serde_json::Value>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut custom = Map::new();
        while let Some(Text(name)) = members.next_key()? {
            if REGISTERED.contains(&&*name) {
                members.next_value::<IgnoredAny>()?;
            } else {
                custom.insert(name.into_owned(), members.next_value()?);
            }
        }
        Ok(custom)
    }
}
