//! Messages of webhooks, for providers that send none of the standard events.

use adieu::{
    SessionId, Subject,
    time::Timestamp,
    token::{TokenError, unambiguous_json},
};
use serde_json::Value;

use crate::{
    Effect, Event, EventError, Received, Receiver, Sender, Webhook,
    message::{Message, is_named, issued_at, text},
    webhook::Signature,
    webhook_signature::recent,
};

/// The kind of all events in webhooks. A sender's own name would be a label that a stranger has chosen.
const KIND: &str = "webhook";

/// The `sub` of the tokens in webhooks of Hanko. That of a session is the id of a user, and is signed with the same key.
const HANKO_SUBJECT: &str = "hanko webhooks";

const NOT_AN_OBJECT: EventError = EventError::Body("the body is not a JSON object");

impl Receiver {
    /// Verifies a webhook of the sender with this [name](Sender::with_webhook), and returns what its event revokes. `header` returns the value
    /// of a header that the message has once.
    ///
    /// With a shared secret, the time and the signature are verified before the body is parsed; a message may be five minutes old, and its
    /// sender's clock five minutes ahead. Unknown events are [`Effect::Ignored`] and not an error, which would stop the webhooks.
    ///
    /// # Errors
    /// [`EventError::UnknownWebhook`] if no sender has webhooks of this name; otherwise the first rule that the message breaks.
    pub fn webhook<'h>(
        &self,
        name: &str,
        header: impl Fn(&'static str) -> Option<&'h str>,
        body: &[u8],
        now: Timestamp,
    ) -> Result<Received, EventError> {
        let (sender, webhook) = self.webhook_named(name).ok_or(EventError::UnknownWebhook)?;
        let (content, signed_at) = open(webhook, sender, header, body, now)?;
        let event = Event::new(sender, KIND, effect(webhook, sender, &content, signed_at, now));
        Ok(Received { issuer: sender.issuer().clone(), events: vec![event], rejections: Vec::new() })
    }
}

/// Returns the authentic content of a message, and when it was signed.
fn open<'h>(
    webhook: &Webhook,
    sender: &Sender,
    header: impl Fn(&'static str) -> Option<&'h str>,
    body: &[u8],
    now: Timestamp,
) -> Result<(Value, Timestamp), EventError> {
    let signed_at = match &webhook.signature {
        Signature::Standard(secrets) => secrets.verify(header, body, now)?,
        Signature::WorkOs(secrets) => secrets.verify(header, body, now)?,
        Signature::Hanko => return hanko_token(sender, body, now),
    };
    match unambiguous_json(body) {
        Ok(content @ Value::Object(_)) => Ok((content, signed_at)),
        _ => Err(NOT_AN_OBJECT),
    }
}

/// Returns what follows from an event. Its time is no later than that of the signature, nor than the clock of the issuer can be, so that no
/// later login ends.
fn effect(webhook: &Webhook, sender: &Sender, content: &Value, signed_at: Timestamp, now: Timestamp) -> Effect {
    let targets = webhook.targets_of(content);
    if targets.is_empty() {
        return Effect::Ignored;
    }
    let latest = signed_at.min(now.plus(sender.decoder.rules().skew()));
    let happened_at = webhook.happened_at(content).map_or(latest, |at| at.min(latest));
    let mut revocations = Vec::new();
    for target in targets {
        let session = target.session.as_ref().and_then(|place| place.id(content, |id| SessionId::new(id).ok()));
        let subject = target.subject.as_ref().and_then(|place| place.id(content, |id| Subject::new(id).ok()));
        let subject = subject.filter(|_| session.is_none() || sender.ends_subjects());
        revocations.extend(session.map(|id| sender.end_session(id, now)));
        revocations.extend(subject.map(|id| sender.end_subject(id, happened_at, now)));
    }
    if revocations.is_empty() { Effect::UnknownSubject } else { Effect::Revoke(revocations) }
}

/// Verifies the token in the body, and returns its claims and its `iat`.
fn hanko_token(sender: &Sender, body: &[u8], now: Timestamp) -> Result<(Value, Timestamp), EventError> {
    let Ok(Value::Object(members)) = unambiguous_json(body) else { return Err(NOT_AN_OBJECT) };
    let Some(Value::String(token)) = members.get("token") else {
        return Err(EventError::Body("the body must have the member token"));
    };
    let signed = sender.decoder.keys().verify_message(token)?;
    if !is_named(signed.typ.as_deref(), "JWT") {
        return Err(TokenError::UnknownType.into());
    }
    // Its tokens name no issuer unless it is configured to.
    if signed.claims.get("iss").is_some_and(|name| name != sender.issuer().as_str()) {
        return Err(TokenError::WrongIssuer.into());
    }
    let issued_at = recent(issued_at(&signed.claims, &sender.decoder, now)?.as_unix(), now)?;
    let message = Message { sender, claims: signed.claims, issued_at };
    message.require_audience(&sender.audience)?;
    message.require_live(now)?;
    if text(&message.claims, "sub")? != HANKO_SUBJECT {
        return Err(TokenError::InvalidClaim("sub").into());
    }
    Ok((Value::Object(message.claims), issued_at))
}
