//! Claims by which tokens are revoked: which names and values there are, and when a claim of a token has a value.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{IdError, MAX_ID_BYTES};

/// The maximum length of a [`ClaimName`] in bytes.
pub const MAX_CLAIM_NAME_BYTES: usize = 128;

/// Separates name and value in [`RevokedClaim::id`]; no name contains it.
const SEPARATOR: char = '\u{1f}';

/// Claims that have revocations of their own, or that are about the token itself.
const NOT_REVOCABLE: [&str; 10] = ["iss", "sub", "aud", "exp", "nbf", "iat", "jti", "sid", "type", "fresh"];

/// The largest integer that every JSON parser reads exactly (RFC 8259 §6).
const MAX_SAFE_INTEGER: u64 = (1 << 53) - 1;

/// The name of a claim by which tokens can be revoked: 1 to [`MAX_CLAIM_NAME_BYTES`] visible ASCII characters, and none of
/// `iss`, `sub`, `aud`, `exp`, `nbf`, `iat`, `jti`, `sid`, `type` and `fresh`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClaimName(Arc<str>);

/// A claim, by its name and one value, whose tokens are revoked. Name, value and one more byte take at most
/// [`MAX_ID_BYTES`].
///
/// A claim of a token has the value if it is that text; a boolean or an integer within ±(2⁵³ − 1) with that text (`true`,
/// `-5`; 1.0 is `1`); or a list with such an element.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "Members", into = "Members")]
pub struct RevokedClaim(Arc<Parts>);

/// Behind one pointer, so that a [`Target`](super::Target) stays as small as it is without claims.
#[derive(PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Parts {
    name: ClaimName,
    /// Name, separator and value.
    id: Box<str>,
}

/// The serialized form of a [`RevokedClaim`].
#[derive(Serialize, Deserialize)]
struct Members {
    name: String,
    value: String,
}

/// The claims of a verified token, as far as [`Index::check`](super::Index::check) asks for them: only by names for which there is a
/// revocation.
pub trait TokenClaims: fmt::Debug + Sync {
    /// Returns whether `test` accepts one of the values that the top-level claim `name` has, in the sense of [`RevokedClaim`].
    fn has(&self, name: &str, test: &mut dyn FnMut(&str) -> bool) -> bool;
}

impl ClaimName {
    /// Creates the name of a claim from a text.
    ///
    /// # Errors
    /// [`IdError::ClaimName`] if no token can be revoked by a claim with this name.
    pub fn new(text: impl AsRef<str>) -> Result<Self, IdError> {
        let text = text.as_ref();
        let is_printable = text.bytes().all(|byte| byte.is_ascii_graphic());
        if (1..=MAX_CLAIM_NAME_BYTES).contains(&text.len()) && is_printable && !NOT_REVOCABLE.contains(&text) {
            Ok(Self(Arc::from(text)))
        } else {
            Err(IdError::ClaimName)
        }
    }

    /// Returns the name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ClaimName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for ClaimName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, formatter)
    }
}

impl RevokedClaim {
    /// Creates a claim from its name and value.
    ///
    /// # Errors
    /// If the name is not a [`ClaimName`], or the value is empty or too long.
    pub fn new(name: &str, value: &str) -> Result<Self, IdError> {
        let name = ClaimName::new(name)?;
        if value.is_empty() {
            return Err(IdError::Empty);
        }
        let id = format!("{name}{SEPARATOR}{value}");
        if id.len() > MAX_ID_BYTES { Err(IdError::TooLong) } else { Ok(Self(Arc::new(Parts { name, id: id.into() }))) }
    }

    /// Creates a claim from its [`id`](Self::id).
    ///
    /// # Errors
    /// Like [`new`](Self::new), and if the text is not an id.
    pub fn from_id(id: &str) -> Result<Self, IdError> {
        let (name, value) = id.split_once(SEPARATOR).ok_or(IdError::ClaimName)?;
        Self::new(name, value)
    }

    /// Returns name and value as one text that identifies them: the name, U+001F and the value.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.0.id
    }

    /// Returns the name of the claim.
    #[must_use]
    pub fn name(&self) -> &ClaimName {
        &self.0.name
    }

    /// Returns the value of the claim, as text.
    #[must_use]
    pub fn value(&self) -> &str {
        self.id().get(self.name().as_str().len() + SEPARATOR.len_utf8()..).unwrap_or_default()
    }
}

impl fmt::Debug for RevokedClaim {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} = {:?}", self.name(), self.value())
    }
}

impl TryFrom<Members> for RevokedClaim {
    type Error = IdError;

    fn try_from(members: Members) -> Result<Self, IdError> {
        Self::new(&members.name, &members.value)
    }
}

impl From<RevokedClaim> for Members {
    fn from(claim: RevokedClaim) -> Self {
        Self { name: claim.name().to_string(), value: claim.value().to_owned() }
    }
}

/// Calls `test` with the id of the claim `name` with this value, unless that is longer than an id can be. Does not allocate.
pub(crate) fn id_of_claim<T>(name: &str, value: &str, test: impl FnOnce(&str) -> T) -> Option<T> {
    let mut buffer = [0; MAX_ID_BYTES];
    let mut end = 0;
    for part in [name, SEPARATOR.encode_utf8(&mut [0; 4]), value] {
        buffer.get_mut(end..end + part.len())?.copy_from_slice(part.as_bytes());
        end += part.len();
    }
    str::from_utf8(buffer.get(..end)?).ok().map(test)
}

impl TokenClaims for Map<String, Value> {
    fn has(&self, name: &str, test: &mut dyn FnMut(&str) -> bool) -> bool {
        let mut has_value = |value: &Value| match value {
            Value::String(text) => test(text),
            Value::Bool(true) => test("true"),
            Value::Bool(false) => test("false"),
            Value::Number(number) => integer(number).is_some_and(|number| test(&number.to_string())),
            Value::Null | Value::Array(_) | Value::Object(_) => false,
        };
        match self.get(name) {
            None => false,
            Some(Value::Array(elements)) => elements.iter().any(has_value),
            Some(value) => has_value(value),
        }
    }
}

fn integer(number: &serde_json::Number) -> Option<i64> {
    let integer = match (number.as_i64(), number.as_f64()) {
        (Some(integer), _) => integer,
        // The conversion is exact within the limit, and a number beyond it stays beyond it.
        (None, Some(float)) if float.fract() == 0.0 => float as i64,
        _ => return None,
    };
    (integer.unsigned_abs() <= MAX_SAFE_INTEGER).then_some(integer)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_claim_has_the_values_that_it_states() {
        let cases = [
            (json!("acme"), vec!["acme"]),
            (json!(""), vec![""]),
            (json!(true), vec!["true"]),
            (json!(["a", 1, false, ["b"], null, {"c": "d"}, 0.5]), vec!["a", "1", "false"]),
            (json!(-5), vec!["-5"]),
            (serde_json::from_str("-0").unwrap(), vec!["0"]),
            (serde_json::from_str("1e0").unwrap(), vec!["1"]),
            (json!(1.0), vec!["1"]),
            (json!(9_007_199_254_740_991_u64), vec!["9007199254740991"]),
            (json!(9_007_199_254_740_992_u64), vec![]),
            (json!(-9_007_199_254_740_992_i64), vec![]),
            (json!(u64::MAX), vec![]),
            (json!(1e300), vec![]),
            (json!(1.5), vec![]),
            (json!(null), vec![]),
            (json!({"acme": "acme"}), vec![]),
        ];
        for (value, expected) in cases {
            let claims = Map::from_iter([("x".to_owned(), value.clone())]);
            let mut values = Vec::new();
            claims.has("x", &mut |text| {
                values.push(text.to_owned());
                false
            });
            assert_eq!(values, expected, "{value}");
            assert!(!claims.has("y", &mut |_| true));
        }
    }

    #[test]
    fn name_and_value_have_limits() {
        for name in ["", "a b", "é", "a\u{1f}", "sub", "type", &"n".repeat(129)] {
            assert_eq!(RevokedClaim::new(name, "v"), Err(IdError::ClaimName), "{name}");
        }
        assert_eq!(RevokedClaim::new("tenant", ""), Err(IdError::Empty));
        assert_eq!(RevokedClaim::new("tenant", &"v".repeat(506)), Err(IdError::TooLong));
        let long = "v".repeat(505);
        let claim = RevokedClaim::new("tenant", &long).unwrap();
        assert_eq!((claim.name().as_str(), claim.value(), claim.id().len()), ("tenant", &*long, MAX_ID_BYTES));
        assert_eq!(RevokedClaim::from_id(claim.id()), Ok(claim.clone()));
        assert_eq!(id_of_claim("tenant", &long, str::to_owned).as_deref(), Some(claim.id()));
        assert_eq!(id_of_claim("tenant", &"v".repeat(506), str::to_owned), None);
    }

    #[test]
    fn a_value_may_contain_the_separator() {
        let claim = RevokedClaim::from_id("a\u{1f}b\u{1f}c").unwrap();
        assert_eq!((claim.name().as_str(), claim.value()), ("a", "b\u{1f}c"));
    }
}
