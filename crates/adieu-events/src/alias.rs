//! Aliases of users: identifiers that are not the `sub` of their tokens (RFC 9493 §3.2).

use std::{fmt, str::FromStr};

/// The maximum length of an alias, in bytes of UTF-8.
pub const MAX_ALIAS_BYTES: usize = 512;

/// The error for a name that is not of an [`AliasKind`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an alias is an email, a phone_number, an account, a did or a uri")]
pub struct UnknownAliasKind;

/// The reason why a text is not an alias.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AliasError {
    /// The text is empty.
    #[error("an alias must not be empty")]
    Empty,
    /// The text is longer than [`MAX_ALIAS_BYTES`].
    #[error("an alias must not be longer than {MAX_ALIAS_BYTES} bytes")]
    TooLong,
    /// The text has a control character.
    #[error("an alias must not have control characters")]
    ControlCharacter,
}

/// The kind of an alias: the format of its subject identifier (RFC 9493 §3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum AliasKind {
    /// An e-mail address (§3.2.2).
    Email,
    /// A telephone number, as in E.164 (§3.2.5).
    PhoneNumber,
    /// An account at a service provider: an `acct` URI (§3.2.1, RFC 7565).
    Account,
    /// A decentralized identifier (§3.2.6).
    Did,
    /// A URI (§3.2.7).
    Uri,
}

impl AliasKind {
    /// All kinds.
    pub const ALL: [Self; 5] = [Self::Email, Self::PhoneNumber, Self::Account, Self::Did, Self::Uri];

    /// Returns the name of the format.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::PhoneNumber => "phone_number",
            Self::Account => "account",
            Self::Did => "did",
            Self::Uri => "uri",
        }
    }

    /// Returns the member of a subject identifier that has the value.
    pub(crate) const fn member(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::PhoneNumber => "phone_number",
            Self::Account | Self::Uri => "uri",
            Self::Did => "url",
        }
    }
}

impl fmt::Display for AliasKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl FromStr for AliasKind {
    type Err = UnknownAliasKind;

    fn from_str(name: &str) -> Result<Self, UnknownAliasKind> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name).ok_or(UnknownAliasKind)
    }
}

/// An alias of a user at its issuer, in a canonical form: two that are equal there name the same user.
///
/// E-mail addresses and accounts are in lower case, as far as they are ASCII, and phone numbers without the separators of RFC 3966 §5.1.1
/// and without spaces (RFC 9493 §3.2.2.1 leaves the canonical form to the recipient). Any other alias is compared byte by byte.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Alias {
    kind: AliasKind,
    value: String,
}

impl Alias {
    /// Returns the alias that a text stands for.
    ///
    /// # Errors
    /// If its canonical form is empty or longer than [`MAX_ALIAS_BYTES`], or if the text has control characters.
    pub fn new(kind: AliasKind, text: &str) -> Result<Self, AliasError> {
        if text.len() > MAX_ALIAS_BYTES {
            return Err(AliasError::TooLong);
        }
        if text.chars().any(char::is_control) {
            return Err(AliasError::ControlCharacter);
        }
        let value = match kind {
            AliasKind::Email | AliasKind::Account => text.to_ascii_lowercase(),
            AliasKind::PhoneNumber => text.replace(['-', '.', '(', ')', ' '], ""),
            AliasKind::Did | AliasKind::Uri => text.to_owned(),
        };
        if value.is_empty() { Err(AliasError::Empty) } else { Ok(Self { kind, value }) }
    }

    /// Returns the kind.
    #[must_use]
    pub const fn kind(&self) -> AliasKind {
        self.kind
    }

    /// Returns the value in its canonical form.
    #[must_use]
    pub fn value(&self) -> &str {
        &self.value
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_for_the_same_alias_is_equal() {
        for (kind, text, value) in [
            (AliasKind::Email, "User.Name@Example.COM", "user.name@example.com"),
            (AliasKind::Email, "user+qualifier@example.com", "user+qualifier@example.com"),
            (AliasKind::Email, "JOSÉ@example.com", "josÉ@example.com"),
            (AliasKind::Account, "acct:Example.User@Service.example.com", "acct:example.user@service.example.com"),
            (AliasKind::PhoneNumber, "+12065550100", "+12065550100"),
            (AliasKind::PhoneNumber, "+1 (206) 555-0100", "+12065550100"),
            (
                AliasKind::Did,
                "did:example:123456/did/url/path?versionId=A",
                "did:example:123456/did/url/path?versionId=A",
            ),
            (AliasKind::Uri, "https://User.example.com/", "https://User.example.com/"),
        ] {
            let alias = Alias::new(kind, text).unwrap();
            assert_eq!((alias.kind(), alias.value()), (kind, value));
            assert_eq!(Alias::new(kind, value), Ok(alias), "the canonical form is its own");
        }
    }

    #[test]
    fn a_text_that_can_not_be_kept_is_no_alias() {
        for (kind, text, error) in [
            (AliasKind::Email, String::new(), AliasError::Empty),
            (AliasKind::PhoneNumber, "()".to_owned(), AliasError::Empty),
            (AliasKind::Uri, "x".repeat(MAX_ALIAS_BYTES + 1), AliasError::TooLong),
            (AliasKind::Email, "jose\0@example.com".to_owned(), AliasError::ControlCharacter),
        ] {
            assert_eq!(Alias::new(kind, &text), Err(error));
        }
        assert!(Alias::new(AliasKind::Uri, &"x".repeat(MAX_ALIAS_BYTES)).is_ok());
    }

    #[test]
    fn each_kind_has_a_name() {
        for kind in AliasKind::ALL {
            assert_eq!(kind.as_str().parse(), Ok(kind));
        }
        assert_eq!("iss_sub".parse::<AliasKind>(), Err(UnknownAliasKind));
    }
}
