//! The kinds of events.

use std::{fmt, str::FromStr};

/// The error for a name that is not of an [`EventKind`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unknown kind of event")]
pub struct UnknownKind;

/// The prefixes of the URIs of CAEP and RISC.
const CAEP: &str = "https://schemas.openid.net/secevent/caep/event-type/";
const RISC: &str = "https://schemas.openid.net/secevent/risc/event-type/";

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident $name:literal)+) => {
        /// A kind of event, by the last part of its URI. Each is accepted only from a [`Sender`](crate::Sender) that may send it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum EventKind {
            $($(#[$doc])* $variant,)+
        }

        impl EventKind {
            /// All kinds.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// Returns the name.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }
        }
    };
}

kinds! {
    /// A logout token (OpenID Connect Back-Channel Logout 1.0).
    BackchannelLogout "backchannel-logout"
    /// A request to revoke all tokens of a user (Global Token Revocation).
    GlobalTokenRevocation "global-token-revocation"
    /// A session was revoked (CAEP 1.0 §3.1).
    SessionRevoked "session-revoked"
    /// A claim in tokens has changed, so that tokens from before are out of date (CAEP 1.0 §3.2).
    TokenClaimsChange "token-claims-change"
    /// A credential was changed, deleted or revoked; a new one ends nothing (CAEP 1.0 §3.3).
    CredentialChange "credential-change"
    /// A device does not comply any more; one that complies ends nothing (CAEP 1.0 §3.5).
    DeviceComplianceChange "device-compliance-change"
    /// An account was deleted (RISC 1.0 §2.2).
    AccountPurged "account-purged"
    /// An account was disabled (RISC 1.0 §2.3).
    AccountDisabled "account-disabled"
    /// A credential was found to be compromised (RISC 1.0 §2.7).
    CredentialCompromise "credential-compromise"
    /// All sessions of an account were revoked (RISC 1.0 §2.10; deprecated, and still sent).
    SessionsRevoked "sessions-revoked"
}

impl EventKind {
    /// Returns the kind of the security event with this URI.
    pub(crate) fn from_uri(uri: &str) -> Option<Self> {
        match uri.strip_prefix(CAEP) {
            Some(name) => name.parse().ok().filter(|kind: &Self| kind.is_about_session()),
            None => uri.strip_prefix(RISC)?.parse().ok().filter(|kind: &Self| kind.is_about_account()),
        }
    }

    /// Returns the URI of the security events of this kind (CAEP 1.0, RISC 1.0); `None` if they are not security events.
    #[must_use]
    pub fn uri(self) -> Option<String> {
        let prefix = match self {
            _ if self.is_about_session() => CAEP,
            _ if self.is_about_account() => RISC,
            _ => return None,
        };
        Some(format!("{prefix}{self}"))
    }

    /// Returns whether this is a kind of CAEP: something has happened to a session.
    fn is_about_session(self) -> bool {
        matches!(
            self,
            Self::SessionRevoked | Self::TokenClaimsChange | Self::CredentialChange | Self::DeviceComplianceChange
        )
    }

    /// Returns whether this is a kind of RISC: something has happened to an account, with all its sessions.
    pub(crate) fn is_about_account(self) -> bool {
        matches!(self, Self::AccountPurged | Self::AccountDisabled | Self::CredentialCompromise | Self::SessionsRevoked)
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
        Self::ALL.iter().copied().find(|kind| kind.as_str() == name).ok_or(UnknownKind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_that_of_its_uri() {
        for kind in EventKind::ALL.iter().copied() {
            let is_security_event = !matches!(kind, EventKind::BackchannelLogout | EventKind::GlobalTokenRevocation);
            let read = kind.uri().map(|uri| EventKind::from_uri(&uri));
            assert_eq!(read, is_security_event.then_some(Some(kind)), "{kind}");
        }
    }
}
