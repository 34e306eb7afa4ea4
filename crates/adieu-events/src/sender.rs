//! The issuers that may send events, and what their events revoke.

use std::sync::Arc;

use adieu::{
    Issuer, SessionId, Subject, TokenId,
    revocation::{Revocation, Target},
    time::Timestamp,
    token::Decoder,
};

use crate::{EventKind, Webhook};

/// An issuer that may send events about its own tokens, itself or through [another issuer](Sender::with_event_issuer).
#[derive(Debug, Clone)]
pub struct Sender {
    pub(crate) decoder: Arc<Decoder>,
    event_decoder: Option<Arc<Decoder>>,
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
        let (audience, accepts, scope) = (Vec::new(), Vec::new(), LogoutScope::Session);
        Self { decoder, event_decoder: None, audience, accepts, scope, webhook: None }
    }

    /// Accepts the events about the tokens of this sender from another issuer, and no longer from that of the tokens. The decoder has the
    /// name and the keys of that other issuer, and the rules about its clock. Webhooks stay as they are.
    ///
    /// For providers that sign events as the organization, and tokens as one of its authorization servers. Several senders may have the
    /// same: a message is then about the tokens of each that accepts it.
    #[must_use]
    pub fn with_event_issuer(self, decoder: Arc<Decoder>) -> Self {
        Self { event_decoder: Some(decoder), ..self }
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

    /// Returns the issuer of the tokens.
    #[must_use]
    pub fn issuer(&self) -> &Issuer {
        self.decoder.rules().issuer()
    }

    /// Returns the issuer that signs the events.
    #[must_use]
    pub fn event_issuer(&self) -> &Issuer {
        self.event_decoder().rules().issuer()
    }

    pub(crate) fn event_decoder(&self) -> &Decoder {
        self.event_decoder.as_deref().unwrap_or(&self.decoder)
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
