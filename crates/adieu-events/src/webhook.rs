//! The webhooks of a sender: how they are signed, and what their events end.

use adieu::time::Timestamp;
use serde_json::Value;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{SecretsError, WebhookSecrets, webhook_signature::WorkOsSecrets};

/// From here on, a number is a time in milliseconds: as seconds it would be in the year 5138.
const MILLISECONDS: u64 = 100_000_000_000;

/// The webhooks of a [`Sender`](crate::Sender): how they are signed, and what their events end.
#[derive(Debug, Clone)]
pub struct Webhook {
    pub(crate) signature: Signature,
    event: JsonPointer,
    time: JsonPointer,
    targets: Vec<WebhookTarget>,
}

#[derive(Debug, Clone)]
pub(crate) enum Signature {
    Standard(WebhookSecrets),
    WorkOs(WorkOsSecrets),
    /// The body has a token that is signed with the keys of the issuer.
    Hanko,
}

/// What events of one name end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookTarget {
    /// The name of the event.
    pub event: String,
    /// Where the id of the session is. The session ends, and with [`LogoutScope::Subject`](crate::LogoutScope::Subject) the subject too.
    pub session: Option<JsonPointer>,
    /// Where the subject is. Without the id of a session, its tokens end that were issued until the event.
    pub subject: Option<JsonPointer>,
}

/// A place in a JSON document, below its root (RFC 6901).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonPointer(String);

/// The error for a text that is not a [`JsonPointer`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a JSON pointer, such as \"/data/id\"")]
pub struct PointerError;

impl JsonPointer {
    /// Parses a pointer.
    ///
    /// # Errors
    /// [`PointerError`] if the text does not begin with `/`, or has a `~` that is not `~0` or `~1`.
    pub fn new(text: &str) -> Result<Self, PointerError> {
        let is_escaped = text.split('~').skip(1).all(|after| after.starts_with(['0', '1']));
        if text.starts_with('/') && is_escaped { Ok(Self(text.to_owned())) } else { Err(PointerError) }
    }

    fn constant(text: &'static str) -> Self {
        Self(text.to_owned())
    }

    fn find<'v>(&self, document: &'v Value) -> Option<&'v Value> {
        document.pointer(&self.0)
    }

    /// Returns the id at this place: a text, or the digits of an integer.
    pub(crate) fn id<T>(&self, document: &Value, new: impl FnOnce(String) -> Option<T>) -> Option<T> {
        match self.find(document)? {
            Value::String(text) => new(text.clone()),
            Value::Number(number) if !number.is_f64() => new(number.to_string()),
            _ => None,
        }
    }
}

impl Webhook {
    /// Creates webhooks that are signed as in Standard Webhooks, with the headers `webhook-…` or `svix-…`. Their events are named in `/type`,
    /// have happened at `/timestamp`, and end nothing yet. The secrets are one a line.
    ///
    /// # Errors
    /// As [`WebhookSecrets::parse`].
    pub fn standard(secrets: &str) -> Result<Self, SecretsError> {
        let signature = Signature::Standard(WebhookSecrets::parse(secrets)?);
        Ok(Self::new(signature, "/type", "/timestamp"))
    }

    /// Creates the webhooks of Clerk: a session that ended, was removed or revoked, and a user who was deleted.
    ///
    /// # Errors
    /// As [`WebhookSecrets::parse`].
    pub fn clerk(secrets: &str) -> Result<Self, SecretsError> {
        let sessions = ["session.ended", "session.removed", "session.revoked"];
        Ok(Self::standard(secrets)?.with_sessions(&sessions).with_deleted_users("user.deleted"))
    }

    /// Creates the webhooks of WorkOS: a session that was revoked, and a user who was deleted. The secrets are one a line, of 16 to 256
    /// bytes.
    ///
    /// # Errors
    /// If there is no secret, or one is too short or too long.
    pub fn workos(secrets: &str) -> Result<Self, SecretsError> {
        let signature = Signature::WorkOs(WorkOsSecrets::parse(secrets)?);
        let this = Self::new(signature, "/event", "/created_at");
        Ok(this.with_sessions(&["session.revoked"]).with_deleted_users("user.deleted"))
    }

    /// Creates the webhooks of Hanko: a user who was deleted. They are signed with the keys of the issuer, and name one of the
    /// [audiences](crate::Sender::with_audience).
    #[must_use]
    pub fn hanko() -> Self {
        Self::new(Signature::Hanko, "/evt", "/iat").with_deleted_users("user.delete")
    }

    fn new(signature: Signature, event: &'static str, time: &'static str) -> Self {
        let (event, time) = (JsonPointer::constant(event), JsonPointer::constant(time));
        Self { signature, event, time, targets: Vec::new() }
    }

    fn with_sessions(mut self, events: &[&str]) -> Self {
        let (session, subject) = (JsonPointer::constant("/data/id"), JsonPointer::constant("/data/user_id"));
        self.targets.extend(events.iter().map(|event| WebhookTarget {
            event: (*event).to_owned(),
            session: Some(session.clone()),
            subject: Some(subject.clone()),
        }));
        self
    }

    fn with_deleted_users(mut self, event: &str) -> Self {
        let subject = Some(JsonPointer::constant("/data/id"));
        self.targets.push(WebhookTarget { event: event.to_owned(), session: None, subject });
        self
    }

    /// Sets where the name of the event is.
    #[must_use]
    pub fn with_event_pointer(self, event: JsonPointer) -> Self {
        Self { event, ..self }
    }

    /// Sets where the time of the event is: in seconds or milliseconds since 1970, or as in RFC 3339.
    #[must_use]
    pub fn with_time_pointer(self, time: JsonPointer) -> Self {
        Self { time, ..self }
    }

    /// Sets what the events end, in place of what they have ended so far.
    #[must_use]
    pub fn with_targets(self, targets: impl IntoIterator<Item = WebhookTarget>) -> Self {
        Self { targets: targets.into_iter().collect(), ..self }
    }

    /// Returns the targets of the event in this content.
    pub(crate) fn targets_of(&self, content: &Value) -> Vec<&WebhookTarget> {
        let name = self.event.find(content).and_then(Value::as_str);
        self.targets.iter().filter(|target| name == Some(&target.event)).collect()
    }

    /// Returns when the event in this content happened, if it says so.
    pub(crate) fn happened_at(&self, content: &Value) -> Option<Timestamp> {
        self.time.find(content).and_then(time_of)
    }
}

/// Reads a time in seconds, in milliseconds or as in RFC 3339.
pub(crate) fn time_of(value: &Value) -> Option<Timestamp> {
    let seconds = match value {
        Value::String(text) => OffsetDateTime::parse(text, &Rfc3339).ok()?.unix_timestamp().try_into().ok()?,
        // The conversion saturates, and is exact enough: the latest date is far below 2^53.
        value => match value.as_u64().or(value.as_f64().filter(|number| *number >= 0.0).map(|number| number as u64))? {
            milliseconds @ MILLISECONDS.. => milliseconds / 1000,
            seconds => seconds,
        },
    };
    Some(Timestamp::from_unix(seconds))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn times_are_read_in_every_usual_form() {
        for (value, seconds) in [
            (json!(1_800_000_000), Some(1_800_000_000)),
            (json!(1_800_000_000_999_u64), Some(1_800_000_000)),
            (json!("2027-01-15T08:00:00Z"), Some(1_800_000_000)),
            (json!("2027-01-15T08:00:00.999Z"), Some(1_800_000_000)),
            (json!("2027-01-15T10:00:00+02:00"), Some(1_800_000_000)),
            (json!("1960-01-15T08:00:00Z"), None),
            (json!("yesterday"), None),
            (json!(-1), None),
            (json!(1.5), Some(1)),
            (json!(1_800_000_000_999.5), Some(1_800_000_000)),
            (json!(-0.5), None),
            (json!(null), None),
        ] {
            assert_eq!(time_of(&value).map(Timestamp::as_unix), seconds, "{value}");
        }
    }

    #[test]
    fn pointers_are_those_of_rfc_6901() {
        for text in ["/", "/data/id", "/a~1b/~0"] {
            assert!(JsonPointer::new(text).is_ok(), "{text}");
        }
        for text in ["", "data/id", "#/data", "/~", "/~2", "/a~"] {
            assert!(JsonPointer::new(text).is_err(), "{text}");
        }
    }
}
