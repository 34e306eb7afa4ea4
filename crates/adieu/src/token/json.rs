//! A strict parser of JSON objects that copies nothing: one pass, no duplicate names, every value checked.
//!
//! `serde_json` keeps the last of two members with the same name, and skips ignored values without checking them. This
//! parser rejects duplicate names of members (RFC 7515 §4, RFC 7519 §4) and checks ignored values, so that a token is valid for
//! every reader or for none. Inside a claim, the last of two members counts, as in all clients, unless the subject is read from there.
//!
//! Most tokens are so simple that the parser in `plain` reads them faster. If it finds anything else, the strict parser
//! reads the object from the start.

use std::{borrow::Cow, fmt};

use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Map;

use super::TokenError;

mod plain;
mod unambiguous;

pub use unambiguous::unambiguous_json;

/// The maximum number of members of a header or a set of claims.
const MAX_MEMBERS: usize = 128;

/// The value of a member, as far as a caller needs it.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value<'a> {
    Text(Cow<'a, str>),
    /// A list of strings only; kept only if [`Members::keeps_texts`] asks for it.
    Texts(Vec<Cow<'a, str>>),
    Bool(bool),
    Unsigned(u64),
    Negative(i64),
    Float(f64),
    /// Null, an object, or a list of other things.
    Other,
}

/// Receives the members of an object, in order.
pub(super) trait Members<'a>: Default {
    /// Whether the elements of a list of texts are wanted under this name.
    fn keeps_texts(name: &str) -> bool;

    /// Takes a member, or says why there must not be one like it.
    fn insert(&mut self, name: Cow<'a, str>, value: Value<'a>) -> Result<(), TokenError>;
}

/// Reads an object into `members`, in place: they are large.
///
/// # Errors
/// [`TokenError::Malformed`] with `reason` when it is not one valid JSON object, and whatever [`Members::insert`] refuses.
#[inline]
pub(super) fn read_object<'a, M: Members<'a>>(
    json: &'a [u8],
    reason: &'static str,
    members: &mut M,
) -> Result<(), TokenError> {
    let json = std::str::from_utf8(json).map_err(|_| TokenError::Malformed(reason))?;
    plain::read_members(json, members).or_else(|plain::NotPlain| {
        *members = M::default();
        read_any_object(json, reason, members)
    })
}

/// Parses any object. This is the only definition of a valid object.
fn read_any_object<'a, M: Members<'a>>(json: &'a str, reason: &'static str, members: &mut M) -> Result<(), TokenError> {
    let mut refusal = None;
    let mut deserializer = serde_json::Deserializer::from_str(json);
    deserializer
        .deserialize_map(Object { members, refusal: &mut refusal })
        .and_then(|()| deserializer.end())
        .map_err(|_| refusal.unwrap_or(TokenError::Malformed(reason)))
}

/// Keeps the first value and refuses a second one.
#[inline]
pub(super) fn once<'a>(slot: &mut Option<Value<'a>>, value: Value<'a>) -> Result<(), TokenError> {
    if slot.is_some() {
        return Err(DUPLICATE);
    }
    *slot = Some(value);
    Ok(())
}

const DUPLICATE: TokenError = TokenError::Malformed("a name appears twice");

/// Members that have no place of their own. Most tokens have few: those cost no allocation.
#[derive(Debug, Clone, Default)]
pub(super) struct Others<'a> {
    few: [(&'a str, Scalar<'a>); 4],
    count: usize,
    more: Vec<Cow<'a, str>>,
}

/// A value that is kept beside its name.
#[derive(Debug, Clone, Copy, Default)]
enum Scalar<'a> {
    Text(&'a str),
    Bool(bool),
    Unsigned(u64),
    /// Any other value; a caller that needs it parses it again.
    #[default]
    Other,
}

impl<'a> Others<'a> {
    /// Remembers a member and refuses one whose name is known.
    pub(super) fn insert(&mut self, name: Cow<'a, str>, value: &Value<'a>) -> Result<(), TokenError> {
        if self.few.iter().take(self.count).any(|(known, _)| *known == name) || self.more.contains(&name) {
            return Err(DUPLICATE);
        }
        match (name, self.few.get_mut(self.count)) {
            (Cow::Borrowed(name), Some(free)) => {
                *free = (name, Scalar::of(value));
                self.count += 1;
            }
            (name, _) => self.more.push(name),
        }
        Ok(())
    }

    /// All members, if they are few and simple enough to have been kept.
    pub(super) fn to_map(&self) -> Option<Map<String, serde_json::Value>> {
        if !self.more.is_empty() {
            return None;
        }
        let mut map = Map::new();
        for (name, value) in self.few.iter().take(self.count) {
            map.insert((*name).to_owned(), value.to_json()?);
        }
        Some(map)
    }
}

impl<'a> Scalar<'a> {
    fn of(value: &Value<'a>) -> Self {
        match *value {
            Value::Text(Cow::Borrowed(text)) => Self::Text(text),
            Value::Bool(value) => Self::Bool(value),
            Value::Unsigned(value) => Self::Unsigned(value),
            _ => Self::Other,
        }
    }

    fn to_json(self) -> Option<serde_json::Value> {
        match self {
            Self::Text(text) => Some(text.into()),
            Self::Bool(value) => Some(value.into()),
            Self::Unsigned(value) => Some(value.into()),
            Self::Other => None,
        }
    }
}

struct Object<'r, M> {
    members: &'r mut M,
    refusal: &'r mut Option<TokenError>,
}

impl<'de, M: Members<'de>> Visitor<'de> for Object<'_, M> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let mut refuse = |refusal| {
            *self.refusal = Some(refusal);
            de::Error::custom("refused")
        };
        let mut count = 0;
        while let Some(Text(name)) = members.next_key()? {
            count += 1;
            if count > MAX_MEMBERS {
                return Err(refuse(TokenError::Malformed("there are too many members")));
            }
            let value = members.next_value_seed(ValueOf { keeps_texts: M::keeps_texts(&name) })?;
            self.members.insert(name, value).map_err(&mut refuse)?;
        }
        Ok(())
    }
}

/// A text, borrowed wherever it has no escape in it.
pub(super) struct Text<'a>(pub(super) Cow<'a, str>);

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;

        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }

        deserializer.deserialize_str(TextVisitor)
    }
}

/// Parses a whole value, also the parts that are not kept: numbers out of range and invalid escapes are errors everywhere.
#[derive(Clone, Copy)]
struct ValueOf {
    keeps_texts: bool,
}

impl<'de> DeserializeSeed<'de> for ValueOf {
    type Value = Value<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value<'de>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ValueOf {
    type Value = Value<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a value")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Value<'de>, E> {
        Ok(Value::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value<'de>, E> {
        Ok(Value::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value<'de>, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value<'de>, E> {
        Ok(Value::Unsigned(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value<'de>, E> {
        Ok(Value::Negative(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value<'de>, E> {
        Ok(Value::Float(value))
    }

    fn visit_unit<E>(self) -> Result<Value<'de>, E> {
        Ok(Value::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value<'de>, A::Error> {
        let mut texts = Vec::new();
        let mut only_texts = true;
        while let Some(element) = elements.next_element_seed(Self { keeps_texts: false })? {
            match element {
                Value::Text(text) if self.keeps_texts => texts.push(text),
                Value::Text(_) => {}
                _ => only_texts = false,
            }
        }
        Ok(if only_texts { Value::Texts(texts) } else { Value::Other })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value<'de>, A::Error> {
        while let Some(Text(_)) = members.next_key()? {
            members.next_value_seed(Self { keeps_texts: false })?;
        }
        Ok(Value::Other)
    }
}
