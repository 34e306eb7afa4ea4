//! The result of an accepted message.

use adieu::{Issuer, revocation::Revocation};

/// An accepted message.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Received {
    /// The issuer that signed the message.
    pub issuer: Issuer,
    /// The events in it.
    pub events: Vec<Event>,
}

/// An event of an accepted message.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Event {
    /// The name of its kind.
    pub kind: &'static str,
    /// What follows from it.
    pub effect: Effect,
}

/// What follows from an event.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Effect {
    /// Tokens are revoked. Append these revocations before you answer.
    Revoke(Vec<Revocation>),
    /// Like [`Effect::Revoke`], but more is revoked than the event names, because what it names is not in tokens: all sessions of a user
    /// in place of those on one device.
    RevokeMore(Vec<Revocation>),
    /// The event ends no session.
    Nothing,
    /// The sender has paused or disabled the stream of its events.
    StreamStopped,
    /// The kind is unknown, or not accepted from this issuer.
    Ignored,
    /// Nothing can be revoked, since the subject is of a form that is not in tokens.
    UnknownSubject,
}

impl Effect {
    /// Returns a short name, for logs and metrics.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Revoke(_) => "revoked",
            Self::RevokeMore(_) => "revoked_more",
            Self::Nothing => "nothing",
            Self::StreamStopped => "stream_stopped",
            Self::Ignored => "ignored",
            Self::UnknownSubject => "unknown_subject",
        }
    }

    /// Returns the revocations to append.
    #[must_use]
    pub fn revocations(&self) -> &[Revocation] {
        match self {
            Self::Revoke(revocations) | Self::RevokeMore(revocations) => revocations,
            Self::Nothing | Self::StreamStopped | Self::Ignored | Self::UnknownSubject => &[],
        }
    }
}

impl Received {
    /// Returns the revocations of all events, to append in one step.
    #[must_use]
    pub fn revocations(&self) -> Vec<Revocation> {
        self.events.iter().flat_map(|event| event.effect.revocations()).cloned().collect()
    }
}
