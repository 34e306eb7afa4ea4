//! Errors that do not come from a token.

use std::{borrow::Cow, error::Error as StdError, fmt, sync::Arc};

use crate::{IdError, token::KeyError};

/// An error that does not come from a token. Rejected tokens have a [`TokenError`](crate::token::TokenError).
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The store could not read or write, or another node did not answer. Nothing is guaranteed; the caller may retry.
    #[error("the store is unavailable")]
    Unavailable(#[source] Arc<dyn StdError + Send + Sync>),
    /// The log of the store is an older state of itself: a backup was restored, or a standby without the last entries was
    /// promoted. Nothing was done. The node handles it at once; then the caller may retry.
    #[error("the revocation log went back: {0}")]
    RolledBack(RollbackCause),
    /// The store holds something that this version did not write: another program's file, a newer schema, or damage. It is
    /// left unchanged.
    #[error("{0}")]
    IncompatibleStore(String),
    /// The server of a store does not give the guarantees that a store needs, such as durability.
    #[error("{0}")]
    UnsuitableServer(String),
    /// An invalid id.
    #[error(transparent)]
    Id(#[from] IdError),
    /// A key, or a set of keys, that cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Claims or header parameters that a token must not contain, or that make it too long.
    #[error("{0}")]
    Claims(String),
    /// Another node rejected the credentials or the request of this client. A retry fails until the operator has allowed it.
    #[error("{0}")]
    Unauthorized(String),
    /// An operation that this node, or the node it follows, does not support. A retry fails.
    #[error("{0}")]
    Unsupported(String),
    /// A setting that is invalid, or contradicts another.
    #[error(transparent)]
    InvalidSetting(#[from] SettingError),
}

/// An invalid setting.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SettingError {
    setting: &'static str,
    message: Cow<'static, str>,
}

impl SettingError {
    /// Returns the name of the setting, such as `access_lifetime`.
    #[must_use]
    pub fn setting(&self) -> &'static str {
        self.setting
    }
}

impl Error {
    /// Returns an [`Error::Unavailable`] with this cause.
    pub fn unavailable(cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::Unavailable(Arc::from(cause.into()))
    }

    /// Returns an [`Error::InvalidSetting`] for the setting of this name. The message says what was expected.
    pub fn setting(setting: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self::InvalidSetting(SettingError { setting, message: message.into() })
    }
}

/// An error and all its causes, in one line.
#[doc(hidden)]
#[derive(Debug)]
pub struct Chain<'a>(pub &'a (dyn StdError + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.0)?;
        let mut causes = std::iter::successors(self.0.source(), |&error| error.source());
        causes.try_for_each(|cause| write!(formatter, ": {cause}"))
    }
}

/// The evidence that a log went back to an older state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RollbackCause {
    /// The log ends before the position in the high-water mark.
    Shorter,
    /// The log has a different entry at a remembered position.
    OtherEntry,
    /// A remembered entry is missing, although it has not lapsed.
    MissingEntry,
    /// The log was pruned further before.
    LessPruned,
    /// The log has an identity that it had before an earlier restore.
    Former,
    /// The log is empty and has another identity, although entries were seen before: the store was emptied or
    /// replaced by an empty one.
    Emptied,
}

impl fmt::Display for RollbackCause {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Shorter => "the log ends before an entry that was seen in it",
            Self::OtherEntry => "the log has another entry where one was seen",
            Self::MissingEntry => "the log has lost an entry that was seen in it",
            Self::LessPruned => "the log was pruned further before",
            Self::Former => "the log has an identity that it had before it was last put back",
            Self::Emptied => "the log is empty and has another identity, and entries were seen in the one before",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_written_with_its_causes() {
        let error = Error::unavailable(std::io::Error::other("disk full"));
        assert_eq!(Chain(&error).to_string(), "the store is unavailable: disk full");
    }
}
