//! What can go wrong that is nobody's token's fault.

use std::{error::Error as StdError, fmt, sync::Arc};

use crate::IdError;

/// Why something could not be done. Why a *token* is refused is a [`TokenError`](crate::token::TokenError).
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The store could not read or write. Nothing was promised; the caller may try again.
    #[error("the store is unavailable")]
    Unavailable(#[source] Arc<dyn StdError + Send + Sync>),
    /// The log of the store is an older state of itself: a backup was put back, or a standby took over without the last
    /// entries. Nothing was done. The node acts upon it at once; the caller may try again then.
    #[error("the revocation log went back: {0}")]
    RolledBack(RollbackCause),
    /// What the store holds is not what this version wrote: another program's file, a newer schema, or damage.
    #[error("{0}")]
    Foreign(String),
    /// An id that can't be one.
    #[error(transparent)]
    Id(#[from] IdError),
    /// A key that must not be used: the wrong kind for its algorithm, or too weak.
    #[error("{0}")]
    Key(String),
    /// Another node does not know us, or does not let us do this. Trying again changes nothing before somebody gives leave.
    #[error("{0}")]
    Refused(String),
    /// A setting that contradicts another or has no meaning.
    #[error("{0}")]
    Setting(String),
}

impl Error {
    /// An [`Error::Unavailable`] with its cause.
    pub fn unavailable(cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::Unavailable(Arc::from(cause.into()))
    }
}

/// How it shows that a log went back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RollbackCause {
    /// It ends before the mark.
    Shorter,
    /// At the place of an entry that is remembered there is another.
    OtherEntry,
    /// An entry that is remembered is not there, and has not lapsed.
    MissingEntry,
    /// It was pruned further before.
    LessPruned,
    /// It has an identity that was left behind.
    Former,
    /// It is empty and has another identity, and entries were seen before: the store was emptied, or an empty one is in its place.
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
