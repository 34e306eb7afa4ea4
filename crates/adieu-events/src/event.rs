//! The result of an accepted message.

use std::collections::{BTreeMap, BTreeSet};

use adieu::{
    Issuer, Subject,
    revocation::{Revocation, Target},
    time::Timestamp,
};

use crate::{Alias, EventError, Sender};

/// An accepted message.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Received {
    /// The issuer that signed the message.
    pub issuer: Issuer,
    /// The events in it, for each issuer whose tokens they are about.
    pub events: Vec<Event>,
    /// The other issuers about whose tokens it could be, and why it was rejected for them.
    pub rejections: Vec<(Issuer, EventError)>,
}

/// An event of an accepted message.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Event {
    /// The issuer whose tokens it is about.
    pub issuer: Issuer,
    /// The name of its kind.
    pub kind: &'static str,
    /// What follows from it.
    pub effect: Effect,
    /// The users that it names by aliases, until they have been looked up.
    pub(crate) unresolved: Option<Unresolved>,
}

/// Users that an event names by aliases, and what becomes of their tokens.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Unresolved {
    pub(crate) aliases: Vec<Alias>,
    pub(crate) issued_until: Timestamp,
    pub(crate) lapses_at: Timestamp,
    /// Whether the event names something narrower that is not in tokens.
    pub(crate) is_more: bool,
    /// Whether nothing else in the event names the user.
    pub(crate) is_needed: bool,
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
    /// Nothing can be revoked, since what the subject is named by is not in tokens. If it is an alias, [`Received::resolve`] changes that.
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

impl Event {
    pub(crate) fn new(sender: &Sender, kind: &'static str, effect: Effect) -> Self {
        Self { issuer: sender.issuer().clone(), kind, effect, unresolved: None }
    }

    /// Returns whether the event is about a user that it names by an alias alone, and the alias is not known, or was not looked up.
    #[must_use]
    pub fn has_unknown_alias(&self) -> bool {
        self.unresolved.as_ref().is_some_and(|unresolved| unresolved.is_needed)
    }

    fn resolve(&mut self, subjects_of: impl Fn(&Issuer, &Alias) -> Vec<Subject>) {
        let Some(unresolved) = &self.unresolved else { return };
        let subjects_of = |alias| subjects_of(&self.issuer, alias);
        let subjects: BTreeSet<_> = unresolved.aliases.iter().flat_map(subjects_of).collect();
        if subjects.is_empty() {
            return;
        }
        let Unresolved { issued_until, lapses_at, is_more, .. } = *unresolved;
        let target = |id| Target::Subject { id, issued_until };
        let revoke = |id| Revocation { issuer: self.issuer.clone(), target: target(id), lapses_at };
        let found = subjects.into_iter().map(revoke);
        match &mut self.effect {
            Effect::Revoke(revocations) | Effect::RevokeMore(revocations) => revocations.extend(found),
            effect if is_more => *effect = Effect::RevokeMore(found.collect()),
            effect => *effect = Effect::Revoke(found.collect()),
        }
        self.unresolved = None;
    }
}

impl Received {
    /// Returns the aliases by which the events name users, by the [issuer](Event::issuer) of their tokens. Which of its subjects have them is
    /// for the application to know: see [`Received::resolve`].
    #[must_use]
    pub fn aliases(&self) -> BTreeMap<Issuer, BTreeSet<Alias>> {
        let mut aliases = BTreeMap::<_, BTreeSet<_>>::new();
        for Event { issuer, unresolved, .. } in &self.events {
            if let Some(unresolved) = unresolved {
                aliases.entry(issuer.clone()).or_default().extend(unresolved.aliases.iter().cloned());
            }
        }
        aliases
    }

    /// Adds to each event the revocations for the subjects of an issuer that have its aliases. Without any, the event stays as it is.
    pub fn resolve(&mut self, subjects_of: impl Fn(&Issuer, &Alias) -> Vec<Subject>) {
        for event in &mut self.events {
            event.resolve(&subjects_of);
        }
    }

    /// Returns the revocations of all events, to append in one step.
    #[must_use]
    pub fn revocations(&self) -> Vec<Revocation> {
        self.events.iter().flat_map(|event| event.effect.revocations()).cloned().collect()
    }
}
