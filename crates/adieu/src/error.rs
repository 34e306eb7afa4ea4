//! What can go wrong that is nobody's token's fault.

use std::{error::Error as StdError, sync::Arc};

use crate::{IdError, restore::WentBack};

/// Why something could not be done. Why a *token* is refused is a [`Refusal`](crate::token::Refusal).
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The store could not read or write. Nothing was promised; the caller may try again.
    #[error("the store is unavailable")]
    Unavailable(#[source] Arc<dyn StdError + Send + Sync>),
    /// The log of the store is an older state of itself: a backup was put back, or a standby took over without the last
    /// entries. Nothing was done. The node acts upon it at once; the caller may try again then.
    #[error("the revocation log went back: {0}")]
    WentBack(WentBack),
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
