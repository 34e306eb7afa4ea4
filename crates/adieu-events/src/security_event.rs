//! Security event tokens (RFC 8417) of OpenID CAEP 1.0, RISC 1.0 and the Shared Signals Framework 1.0.

use adieu::{revocation::Revocation, time::Timestamp, token::TokenError};
use serde_json::{Map, Value};

use crate::{
    Effect, Event, EventError, EventKind, Received, Receiver, Sender, event::Unresolved, message::Message,
    subject::Named, webhook::time_of,
};

/// The prefix of the events about the stream itself.
const SSF: &str = "https://schemas.openid.net/secevent/ssf/event-type/";

/// The name of an event whose kind is unknown. A sender's own name for it would be a label that a stranger has chosen.
const UNKNOWN: &str = "unknown";

impl Receiver {
    /// Verifies a security event token, and returns what each of its events revokes.
    ///
    /// Unknown events, and those that the sender may not send, are [`Effect::Ignored`] and not an error, which would stop the stream.
    ///
    /// # Errors
    /// Returns the first rule that the token breaks.
    pub fn security_event(&self, token: &str, now: Timestamp) -> Result<Received, EventError> {
        self.receive(token, |sender| sender.security_events(token, now))
    }
}

impl Sender {
    fn security_events(&self, token: &str, now: Timestamp) -> Result<Vec<Event>, EventError> {
        let message = self.open(token, |typ| typ.is_some_and(|typ| typ.eq_ignore_ascii_case("secevent+jwt")), now)?;
        let events = match message.claims.get("events") {
            Some(Value::Object(events)) if !events.is_empty() => events,
            Some(_) => return Err(TokenError::InvalidClaim("events").into()),
            None => return Err(TokenError::MissingClaim("events").into()),
        };
        events.iter().map(|(uri, payload)| event(&message, uri, payload, now)).collect()
    }
}

fn event(message: &Message<'_>, uri: &str, payload: &Value, now: Timestamp) -> Result<Event, EventError> {
    let Value::Object(payload) = payload else { return Err(TokenError::InvalidClaim("events").into()) };
    let sender = message.sender;
    let Some(kind) = EventKind::from_uri(uri) else { return Ok(about_the_stream(sender, uri, payload)) };
    match () {
        () if !sender.accepts(kind) => Ok(Event::new(sender, kind.as_str(), Effect::Ignored)),
        () if !ends_sessions(kind, payload) => Ok(Event::new(sender, kind.as_str(), Effect::Nothing)),
        () => {
            // In events from before the final specifications, each event has its own subject.
            let subject = message.claims.get("sub_id").or_else(|| payload.get("subject"));
            let named = Named::read(subject.ok_or(TokenError::MissingClaim("sub_id"))?, sender)?;
            // No later than the token was issued, by the same clock. Some senders write milliseconds.
            let happened_at = payload.get("event_timestamp").and_then(time_of);
            let happened_at = happened_at.map_or(message.issued_at, |at| at.min(message.issued_at));
            Ok(end(kind, &named, sender, happened_at, now))
        }
    }
}

fn about_the_stream(sender: &Sender, uri: &str, payload: &Map<String, Value>) -> Event {
    let (kind, effect) = match uri.strip_prefix(SSF) {
        Some("verification") => ("verification", Effect::Nothing),
        Some("stream-updated") => match payload.get("status").and_then(Value::as_str) {
            Some("enabled") => ("stream-updated", Effect::Nothing),
            _ => ("stream-updated", Effect::StreamStopped),
        },
        _ => (UNKNOWN, Effect::Ignored),
    };
    Event::new(sender, kind, effect)
}

/// Returns whether an event ends sessions. What it says is weighed as far as it is certain: a new credential takes none away, and a device
/// that complies may stay.
fn ends_sessions(kind: EventKind, payload: &Map<String, Value>) -> bool {
    let says = |name: &str, value: &str| payload.get(name).and_then(Value::as_str) == Some(value);
    match kind {
        EventKind::CredentialChange => !says("change_type", "create"),
        EventKind::DeviceComplianceChange => !says("current_status", "compliant"),
        _ => true,
    }
}

fn end(kind: EventKind, named: &Named, sender: &Sender, happened_at: Timestamp, now: Timestamp) -> Event {
    // An event about an account ends all of its sessions. Any other ends the session, if there is one.
    let is_session = !named.sessions.is_empty();
    let ends_subjects = kind.is_about_account() || !is_session || sender.ends_subjects() || named.is_ambiguous;
    let ends_sessions = !kind.is_about_account() || named.subjects.is_empty() || named.is_ambiguous;
    let subjects = named.subjects.iter().filter(|_| ends_subjects);
    let sessions = named.sessions.iter().filter(|_| ends_sessions);
    let revocations: Vec<Revocation> = sessions
        .map(|id| sender.end_session(id.clone(), now))
        .chain(subjects.map(|id| sender.end_subject(id.clone(), happened_at, now)))
        .chain(named.tokens.iter().map(|id| sender.end_token(id.clone(), now)))
        .collect();
    let is_more = !kind.is_about_account() && named.is_narrower && !is_session;
    let effect = match () {
        () if revocations.is_empty() => Effect::UnknownSubject,
        () if is_more => Effect::RevokeMore(revocations),
        () => Effect::Revoke(revocations),
    };
    let unresolved = named.unresolved(sender, happened_at, now).filter(|_| ends_subjects);
    let unresolved = unresolved.map(|unresolved| Unresolved { is_more, ..unresolved });
    Event { unresolved, ..Event::new(sender, kind.as_str(), effect) }
}
