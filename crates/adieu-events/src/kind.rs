//! The kinds of events.

use std::{fmt, str::FromStr};

/// A kind of event, by the last part of its URI. Each is accepted only from a [`Sender`](crate::Sender) that may send it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EventKind {
    /// A logout token (OpenID Connect Back-Channel Logout 1.0).
    BackchannelLogout,
}

/// The error for a name that is not of an [`EventKind`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unknown kind of event")]
pub struct UnknownKind;

impl EventKind {
    /// All kinds.
    pub const ALL: [Self; 1] = [Self::BackchannelLogout];

    /// Returns the name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BackchannelLogout => "backchannel-logout",
        }
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl FromStr for EventKind {
    type Err = UnknownKind;

    fn from_str(name: &str) -> Result<Self, UnknownKind> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name).ok_or(UnknownKind)
    }
}
