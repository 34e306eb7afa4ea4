//! The name of a client.

use std::{borrow::Borrow, fmt, str::FromStr};

/// Maximum length in bytes.
const MAX_BYTES: usize = 64;

/// A client's name: 1 to 64 ASCII letters, digits, `.`, `_` and `-`. A colon is not allowed, since it ends the name
/// in Basic credentials (RFC 7617 §2), nor is any character that a log or a URL would have to escape.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientName(String);

/// An error for a text that is not a [`ClientName`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a client's name is 1 to {MAX_BYTES} letters, digits, `.`, `_` and `-`")]
pub struct NameError;

impl ClientName {
    /// Creates a name from a text, unchanged.
    ///
    /// # Errors
    /// Fails if the text is not a valid name.
    pub fn new(text: &str) -> Result<Self, NameError> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if (1..=MAX_BYTES).contains(&text.len()) && text.bytes().all(fits) {
            Ok(Self(text.to_owned()))
        } else {
            Err(NameError)
        }
    }

    /// Returns the name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ClientName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::new(text)
    }
}

impl Borrow<str> for ClientName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ClientName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_name_needs_no_escaping_anywhere() {
        for name in ["shop", "a", "eu-1.shop_web", &"x".repeat(64)] {
            assert_eq!(ClientName::new(name).unwrap().as_str(), name);
        }
        for name in ["", "a b", "a:b", "a/b", "é", "a\n", &"x".repeat(65)] {
            assert_eq!(ClientName::new(name), Err(NameError), "{name:?}");
        }
    }
}
