//! The issuers that may send events, and what their events revoke.

use std::sync::Arc;

use adieu::{
    Issuer, SessionId, Subject, TokenId,
    revocation::{Revocation, Target},
    time::Timestamp,
    token::Decoder,
};

use crate::{EventKind, Webhook};

/// An issuer that may send events about its own tokens.
#[derive(Debug, Clone)]
pub struct Sender {
    pub(crate) decoder: Arc<Decoder>,
    pub(crate) audience: Vec<String>,
    accepts: Vec<EventKind>,
    scope: LogoutScope,
    webhook: Option<(String, Webhook)>,
}

/// What an event about one session ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogoutScope {
    /// That session.
    #[default]
    Session,
    /// All tokens of its subject issued until the event, and that session. For providers that name one session and mean all, and for those
    /// whose access tokens have no `sid`. An event that names no subject ends the session only.
    Subject,
}

impl Sender {
    /// Creates a sender that may send nothing yet. The decoder has the keys and the rules of its tokens: keep the keys in sync with the
    /// issuer.
    #[must_use]
    pub fn new(decoder: Arc<Decoder>) -> Self {
        Self { decoder, audience: Vec::new(), accepts: Vec::new(), scope: LogoutScope::Session, webhook: None }
    }

    /// Adds an audience of this receiver, such as the client id that it has at the provider. A message must have at least one in its `aud`.
    #[must_use]
    pub fn with_audience(mut self, audience: impl Into<String>) -> Self {
        self.audience.push(audience.into());
        self
    }

    /// Accepts events of these kinds.
    #[must_use]
    pub fn accepting(mut self, kinds: impl IntoIterator<Item = EventKind>) -> Self {
        self.accepts.extend(kinds);
        self
    }

    /// Sets what an event about one session ends.
    #[must_use]
    pub fn with_logout_scope(self, scope: LogoutScope) -> Self {
        Self { scope, ..self }
    }

    /// Accepts these webhooks, which are addressed by this name. Of two senders with webhooks of the same name, the first counts.
    #[must_use]
    pub fn with_webhook(self, name: impl Into<String>, webhook: Webhook) -> Self {
        Self { webhook: Some((name.into(), webhook)), ..self }
    }

    pub(crate) fn webhook_named(&self, name: &str) -> Option<&Webhook> {
        self.webhook.as_ref().filter(|(own, _)| own == name).map(|(_, webhook)| webhook)
    }

    /// Returns the issuer.
    #[must_use]
    pub fn issuer(&self) -> &Issuer {
        self.decoder.rules().issuer()
    }

    pub(crate) fn accepts(&self, kind: EventKind) -> bool {
        self.accepts.contains(&kind)
    }

    /// Returns whether an event about one session ends the whole subject.
    pub(crate) fn ends_subjects(&self) -> bool {
        self.scope == LogoutScope::Subject
    }

    /// Revokes a session.
    pub(crate) fn end_session(&self, id: SessionId, now: Timestamp) -> Revocation {
        self.revoke(Target::Session { id }, now)
    }

    /// Revokes the tokens of a subject that were issued until `happened_at`, by the clock of the issuer.
    pub(crate) fn end_subject(&self, id: Subject, happened_at: Timestamp, now: Timestamp) -> Revocation {
        self.revoke(Target::Subject { id, issued_until: happened_at }, now)
    }

    /// Revokes a token, whatever its `exp` is.
    pub(crate) fn end_token(&self, id: TokenId, now: Timestamp) -> Revocation {
        self.revoke(Target::Token { id, expires_at: None }, now)
    }

    fn revoke(&self, target: Target, now: Timestamp) -> Revocation {
        Revocation { issuer: self.issuer().clone(), target, lapses_at: self.lapses_at(now) }
    }

    /// Returns until when a revocation is kept: for as long as any token that the issuer has issued until now can live, by its clock.
    pub(crate) fn lapses_at(&self, now: Timestamp) -> Timestamp {
        let rules = self.decoder.rules();
        Revocation::lapse_for(now.plus(rules.skew()).plus(rules.max_lifetime()))
    }
}
