//! Global Token Revocation (draft-parecki-oauth-global-token-revocation-06), which Okta calls Universal Logout.

use adieu::{time::Timestamp, token::unambiguous_json};
use serde_json::Value;

use crate::{
    Effect, Event, EventError, EventKind, Received, Receiver, Sender,
    message::{is_named, text},
    subject::Named,
};

/// The end of the URL of the endpoint.
const ENDPOINT: &str = "/global-token-revocation";

impl Receiver {
    /// Verifies a request to revoke all tokens of a user: the token of the provider, and the body with `sub_id`, or as in drafts up to -02
    /// `subject`. All tokens of the user issued until the `iat` of the token are revoked.
    ///
    /// The `aud` of the token must be the URL of the endpoint: an [audience](crate::Sender::with_audience) that ends in
    /// `/global-token-revocation`. Identity tokens, which users have, name the client instead.
    ///
    /// If the user is named by an alias, the effect is [`Effect::UnknownSubject`] until [`Received::resolve`] has found it: answer 404 if it
    /// still is.
    ///
    /// # Errors
    /// Returns the first rule that the request breaks. Only [`EventError::Message`] is about the token.
    pub fn global_token_revocation(&self, token: &str, body: &[u8], now: Timestamp) -> Result<Received, EventError> {
        self.receive(token, |sender| sender.all_tokens(token, body, now))
    }
}

impl Sender {
    fn all_tokens(&self, token: &str, body: &[u8], now: Timestamp) -> Result<Vec<Event>, EventError> {
        let message = self.open(token, |typ| is_named(typ, "global-token-revocation+jwt"), now)?;
        let endpoints: Vec<_> = self.audience.iter().filter(|audience| audience.ends_with(ENDPOINT)).cloned().collect();
        message.require_audience(&endpoints)?;
        text(&message.claims, "sub")?;
        message.require_live(now)?;
        if !self.accepts(EventKind::GlobalTokenRevocation) {
            return Err(EventError::NotAccepted);
        }
        let Ok(Value::Object(members)) = unambiguous_json(body) else {
            return Err(EventError::Body("the body is not a JSON object"));
        };
        let subject = match (members.get("sub_id"), members.get("subject")) {
            (Some(subject), None) | (None, Some(subject)) => subject,
            _ => return Err(EventError::Body("the body must have the member sub_id")),
        };
        let named = Named::read(subject, self).map_err(|_| EventError::Body("the subject identifier is not valid"))?;
        let unresolved = named.unresolved(self, message.issued_at, now);
        if named.subjects.is_empty() && unresolved.is_none() {
            return Err(match () {
                () if named.is_unknown_format => {
                    EventError::Body("the format of the subject identifier is not supported")
                }
                () if named.is_nothing() => EventError::UnknownSubject,
                () => EventError::NotAUser,
            });
        }
        let subjects = named.subjects.into_iter().map(|id| self.end_subject(id, message.issued_at, now));
        let effect = match subjects.collect::<Vec<_>>() {
            none if none.is_empty() => Effect::UnknownSubject,
            revocations => Effect::Revoke(revocations),
        };
        Ok(vec![Event { unresolved, ..Event::new(self, EventKind::GlobalTokenRevocation.as_str(), effect) }])
    }
}
