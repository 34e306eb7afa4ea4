//! The header of a token (RFC 7515 §4): what it may say, and what it makes us do, which is to choose a key.

use std::{borrow::Cow, sync::Arc};

use serde_json::Map;

use crate::token::{
    Algorithm, TokenError, TokenType, VerifyingKey, base64url,
    json::{Members, Others, Value, once, read_object},
};

/// What a header says that matters.
#[derive(Debug, PartialEq)]
pub(in crate::token) struct Header<'a> {
    pub(in crate::token) algorithm: Algorithm,
    pub(in crate::token) key_id: Option<Cow<'a, str>>,
    pub(in crate::token) declares: Declares,
    pub(in crate::token) typ: Option<Cow<'a, str>>,
}

/// Which kind of token the header's `typ` says that this is (RFC 8725 §3.11).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::token) enum Declares {
    /// One of our explicit types.
    Explicit(TokenType),
    /// `JWT` or nothing, which could be anything.
    Generic,
    /// Something else altogether: an identity token's, a logout token's.
    Other,
}

impl Declares {
    fn from_typ(typ: &str) -> Self {
        // A media type, so in any case, and with or without its prefix (RFC 7515 §4.1.9, RFC 9068 §4).
        const PREFIX: &str = "application/";
        let typ = match typ.split_at_checked(PREFIX.len()) {
            Some((prefix, rest)) if prefix.eq_ignore_ascii_case(PREFIX) => rest,
            _ => typ,
        };
        let names = |token_type: TokenType| typ.eq_ignore_ascii_case(token_type.header_type());
        match typ {
            _ if names(TokenType::Access) => Self::Explicit(TokenType::Access),
            _ if names(TokenType::Refresh) => Self::Explicit(TokenType::Refresh),
            _ if typ.eq_ignore_ascii_case("JWT") => Self::Generic,
            _ => Self::Other,
        }
    }
}

impl<'a> Header<'a> {
    /// Reads a decoded header.
    pub(in crate::token) fn parse(json: &'a [u8]) -> Result<Self, TokenError> {
        let mut raw = RawHeader::default();
        read_object(json, "the header is not a JSON object", &mut raw)?;
        let RawHeader { alg, kid, typ, others: _ } = raw;

        let algorithm = match alg {
            Some(Value::Text(name)) => name.parse().map_err(|_| TokenError::AlgorithmMismatch)?,
            Some(_) => return Err(TokenError::Malformed("a header parameter has the wrong type")),
            None => return Err(TokenError::Malformed("the header names no algorithm")),
        };
        let key_id = match kid {
            Some(Value::Text(id)) => Some(id),
            Some(_) => return Err(TokenError::Malformed("a header parameter has the wrong type")),
            None => None,
        };
        let typ = match typ {
            Some(Value::Text(typ)) => Some(typ),
            Some(_) => return Err(TokenError::Malformed("a header parameter has the wrong type")),
            None => None,
        };
        let declares = typ.as_deref().map_or(Declares::Generic, Declares::from_typ);
        Ok(Self { algorithm, key_id, declares, typ })
    }
}

/// The parameters as they come, before anything is known about them.
#[derive(Default)]
struct RawHeader<'a> {
    alg: Option<Value<'a>>,
    kid: Option<Value<'a>>,
    typ: Option<Value<'a>>,
    others: Others<'a>,
}

impl<'a> Members<'a> for RawHeader<'a> {
    fn keeps_texts(_: &str) -> bool {
        false
    }

    fn insert(&mut self, name: Cow<'a, str>, value: Value<'a>) -> Result<(), TokenError> {
        match &*name {
            "alg" => once(&mut self.alg, value),
            "kid" => once(&mut self.kid, value),
            "typ" => once(&mut self.typ, value),
            "crit" | "b64" => Err(TokenError::UnsupportedCritical),
            "jwk" => Err(TokenError::Malformed("the header brings its own key")),
            "enc" | "zip" => Err(TokenError::Malformed("the header is that of an encrypted token")),
            "cty" | "jku" | "nonce" | "url" | "x5t" | "x5t#S256" | "x5u" if !matches!(value, Value::Text(_)) => {
                Err(TokenError::Malformed("a header parameter has the wrong type"))
            }
            "x5c" if !matches!(value, Value::Texts(_)) => {
                Err(TokenError::Malformed("a header parameter has the wrong type"))
            }
            _ => self.others.insert(name, &value),
        }
    }
}

/// The two headers that a key's tokens have, ready to be written and to be recognised without being read.
#[derive(Debug, Clone)]
pub(in crate::token) struct EncodedHeaders {
    access: Arc<str>,
    refresh: Arc<str>,
}

impl EncodedHeaders {
    pub(in crate::token) fn of(key: &VerifyingKey) -> Self {
        let header = |token_type: TokenType| -> Arc<str> { Arc::from(Self::of_typ(key, token_type.header_type())) };
        Self { access: header(TokenType::Access), refresh: header(TokenType::Refresh) }
    }

    /// A header with this `typ`.
    pub(in crate::token) fn of_typ(key: &VerifyingKey, typ: &str) -> String {
        let json = serde_json::Value::from(Self::parameters(key, typ));
        base64url::encode(json.to_string().as_bytes())
    }

    /// A header of this type with more parameters.
    pub(in crate::token) fn with(
        key: &VerifyingKey,
        token_type: TokenType,
        more: &Map<String, serde_json::Value>,
    ) -> String {
        let mut parameters = Self::parameters(key, token_type.header_type());
        parameters.extend(more.clone());
        base64url::encode(serde_json::Value::from(parameters).to_string().as_bytes())
    }

    fn parameters(key: &VerifyingKey, typ: &str) -> Map<String, serde_json::Value> {
        let mut parameters = Map::new();
        parameters.insert("alg".to_owned(), key.algorithm().as_str().into());
        if let Some(kid) = key.key_id() {
            parameters.insert("kid".to_owned(), kid.as_str().into());
        }
        parameters.insert("typ".to_owned(), typ.into());
        parameters
    }

    pub(in crate::token) fn of_type(&self, token_type: TokenType) -> &Arc<str> {
        match token_type {
            TokenType::Access => &self.access,
            TokenType::Refresh => &self.refresh,
        }
    }
}
