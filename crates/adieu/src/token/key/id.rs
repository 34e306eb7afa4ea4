//! The names of keys (`kid`, RFC 7515 §4.1.4).

use std::{borrow::Borrow, fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::IdError;

/// The longest `kid` that is accepted, in bytes of UTF-8.
pub const MAX_KEY_ID_BYTES: usize = 256;

/// The public name of a key.
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
    pub(super) fn of_thumbprint(thumbprint: &str) -> Self {
        Self(Arc::from(thumbprint))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
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
