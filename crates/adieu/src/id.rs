//! Ids as types that cannot be confused with each other.

use std::{borrow::Borrow, fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The maximum length of an id, in bytes of UTF-8.
///
/// RFC 7519 sets no limit. Without one, the token of a stranger would decide how much a store has to keep.
pub const MAX_ID_BYTES: usize = 512;

/// The reason why a text is not a valid id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdError {
    /// The text is empty.
    #[error("an id must not be empty")]
    Empty,
    /// The text is longer than [`MAX_ID_BYTES`].
    #[error("an id must not be longer than {MAX_ID_BYTES} bytes")]
    TooLong,
    /// The text is not the name of a claim by which tokens can be revoked.
    #[error("the name of a revocable claim is 1 to 128 visible ASCII characters, and not a registered claim")]
    ClaimName,
}

fn parse(text: &str) -> Result<Arc<str>, IdError> {
    match text.len() {
        0 => Err(IdError::Empty),
        length if length > MAX_ID_BYTES => Err(IdError::TooLong),
        _ => Ok(Arc::from(text)),
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        ///
        /// Cheap to clone; between 1 and [`MAX_ID_BYTES`] bytes, compared byte by byte (RFC 7519 §2).
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Creates an id from a text, unchanged.
            ///
            /// # Errors
            /// If the text is empty or longer than [`MAX_ID_BYTES`].
            pub fn new(text: impl AsRef<str>) -> Result<Self, IdError> {
                parse(text.as_ref()).map(Self)
            }

            /// Returns the id as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.as_str().to_owned()
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, formatter)
            }
        }
    };
}

id! {
    /// The id of the user or client that a token is issued for (`sub`, RFC 7519 §4.1.2).
    Subject
}
id! {
    /// The id of the party that signed a token (`iss`, RFC 7519 §4.1.1).
    Issuer
}
id! {
    /// The id of a token (`jti`, RFC 7519 §4.1.7).
    TokenId
}
id! {
    /// The id of a session: one login on one device (`sid`, OpenID Connect Front-Channel Logout 1.0 §3).
    SessionId
}

impl From<Uuid> for Subject {
    fn from(uuid: Uuid) -> Self {
        Self(Arc::from(uuid.hyphenated().encode_lower(&mut Uuid::encode_buffer()) as &str))
    }
}

impl TokenId {
    /// Returns a new, unguessable id (UUID version 4).
    #[must_use]
    pub fn random() -> Self {
        Self(Arc::from(Uuid::new_v4().hyphenated().encode_lower(&mut Uuid::encode_buffer()) as &str))
    }
}

impl SessionId {
    /// Returns a new id that sorts by the time of login (UUID version 7).
    #[must_use]
    pub fn random() -> Self {
        Self(Arc::from(Uuid::now_v7().hyphenated().encode_lower(&mut Uuid::encode_buffer()) as &str))
    }
}

/// The longest `kid` that is accepted, in bytes of UTF-8.
pub const MAX_KEY_ID_BYTES: usize = 256;

/// The public name of a key (`kid`, RFC 7515 §4.1.4).
///
/// In a token it is a stranger's text: it is bounded, compared byte by byte with the ids of known keys, and used for
/// nothing else.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyId(Arc<str>);

impl KeyId {
    /// Takes a text as it is.
    ///
    /// # Errors
    /// When it is empty or longer than [`MAX_KEY_ID_BYTES`].
    pub fn new(text: impl AsRef<str>) -> Result<Self, IdError> {
        match text.as_ref() {
            "" => Err(IdError::Empty),
            text if text.len() > MAX_KEY_ID_BYTES => Err(IdError::TooLong),
            text => Ok(Self(Arc::from(text))),
        }
    }

    /// For texts that are made here and known to be short.
    pub(crate) fn of_thumbprint(thumbprint: &str) -> Self {
        Self(Arc::from(thumbprint))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for KeyId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        Self::new(text)
    }
}

impl TryFrom<String> for KeyId {
    type Error = IdError;

    fn try_from(text: String) -> Result<Self, IdError> {
        Self::new(text)
    }
}

impl From<KeyId> for String {
    fn from(id: KeyId) -> Self {
        id.as_str().to_owned()
    }
}

impl Borrow<str> for KeyId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, formatter)
    }
}
