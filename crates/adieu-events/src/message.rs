//! Selects the sender of a message and checks what all kinds of messages have in common.

use adieu::{
    Issuer, MAX_ID_BYTES,
    time::Timestamp,
    token::{Decoder, TokenError, dangerous},
};
use serde_json::{Map, Value};

use crate::{Event, EventError, Received, Sender, Webhook};

/// Verifies the messages of the issuers that may send events.
#[derive(Debug, Clone, Default)]
pub struct Receiver {
    senders: Vec<Sender>,
}

/// An authentic message for this receiver.
pub(crate) struct Message<'r> {
    pub(crate) sender: &'r Sender,
    pub(crate) claims: Map<String, Value>,
    /// The `iat`, at most as far in the future as the clock of the issuer may be ahead.
    pub(crate) issued_at: Timestamp,
}

impl Receiver {
    /// Creates a receiver of the events of these issuers.
    #[must_use]
    pub fn new(senders: impl IntoIterator<Item = Sender>) -> Self {
        Self { senders: senders.into_iter().collect() }
    }

    /// Returns the issuer that a message names, if it may send events. The signature is not verified: use the result only to refresh the
    /// keys of that issuer.
    #[must_use]
    pub fn named_issuer(&self, message: &str) -> Option<&Issuer> {
        self.named(message).ok()?.first().map(|sender| sender.event_issuer())
    }

    /// Returns the issuer whose webhooks have this name.
    #[must_use]
    pub fn webhook_issuer(&self, name: &str) -> Option<&Issuer> {
        self.webhook_named(name).map(|(sender, _)| sender.issuer())
    }

    pub(crate) fn webhook_named(&self, name: &str) -> Option<(&Sender, &Webhook)> {
        self.senders.iter().find_map(|sender| Some((sender, sender.webhook_named(name)?)))
    }

    /// Returns the senders whose events are signed by the issuer that a message names.
    fn named(&self, message: &str) -> Result<Vec<&Sender>, TokenError> {
        let unverified = dangerous::unverified_claims(message)?;
        let name = text(&unverified, "iss")?;
        Ok(self.senders.iter().filter(|sender| sender.event_issuer().as_str() == name).collect())
    }

    /// Returns the events in a message for each of the senders that it may be from. `read` verifies it as a message of that sender.
    ///
    /// # Errors
    /// If no sender accepts the message. If one accepts it and another lacks the key, what the message ends there would be lost: then the error is
    /// temporary.
    pub(crate) fn receive(
        &self,
        message: &str,
        read: impl Fn(&Sender) -> Result<Vec<Event>, EventError>,
    ) -> Result<Received, EventError> {
        let named = self.named(message)?;
        let issuer = named.first().ok_or(TokenError::WrongIssuer)?.event_issuer().clone();
        let (mut events, mut rejections) = (Vec::new(), Vec::new());
        // All are asked, so that each set of keys knows which key it lacks.
        for sender in named {
            match read(sender) {
                Ok(of_sender) => events.extend(of_sender),
                Err(error) => rejections.push((sender.issuer().clone(), error)),
            }
        }
        rejections.sort_by_key(|(_, error)| !error.needs_keys());
        match rejections.first() {
            Some((_, error)) if events.is_empty() => Err(error.clone()),
            Some((_, error)) if error.needs_keys() => Err(TokenError::Stale.into()),
            _ => {
                // A message for another audience is not meant for that sender.
                rejections.retain(|(_, error)| *error != TokenError::WrongAudience.into());
                Ok(Received { issuer, events, rejections })
            }
        }
    }
}

impl Sender {
    /// Verifies a message with the keys of the issuer of the events, and checks `typ`, `iss`, `aud`, `iat` and `jti`.
    pub(crate) fn open(
        &self,
        message: &str,
        is_expected: fn(Option<&str>) -> bool,
        now: Timestamp,
    ) -> Result<Message<'_>, EventError> {
        let signed = self.event_decoder().keys().verify_message(message)?;
        if !is_expected(signed.typ.as_deref().map(without_prefix)) {
            return Err(TokenError::UnknownType.into());
        }
        let claims = signed.claims;
        // What selected the keys was read without verification.
        if text(&claims, "iss")? != self.event_issuer().as_str() {
            return Err(TokenError::WrongIssuer.into());
        }
        require_audience(&claims, &self.audience)?;
        let jti = text(&claims, "jti")?;
        if jti.is_empty() || jti.len() > MAX_ID_BYTES {
            return Err(TokenError::InvalidClaim("jti").into());
        }
        let issued_at = issued_at(&claims, self.event_decoder(), now)?;
        Ok(Message { sender: self, claims, issued_at })
    }
}

impl Message<'_> {
    /// Checks that one of these audiences is in the message.
    pub(crate) fn require_audience(&self, ours: &[String]) -> Result<(), EventError> {
        Ok(require_audience(&self.claims, ours)?)
    }

    /// Checks that the message has not expired.
    pub(crate) fn require_live(&self, now: Timestamp) -> Result<Timestamp, EventError> {
        let expires_at = time(&self.claims, "exp")?.ok_or(TokenError::MissingClaim("exp"))?;
        if now >= expires_at.plus(self.sender.event_decoder().rules().leeway()) {
            return Err(TokenError::Expired.into());
        }
        Ok(expires_at)
    }
}

/// Returns the `iat`, which must be there, and at most as far in the future as the clock of the issuer may be ahead.
pub(crate) fn issued_at(
    claims: &Map<String, Value>,
    signer: &Decoder,
    now: Timestamp,
) -> Result<Timestamp, TokenError> {
    let issued_at = time(claims, "iat")?.ok_or(TokenError::MissingClaim("iat"))?;
    if issued_at > now.plus(signer.rules().skew()) {
        return Err(TokenError::NotYetValid);
    }
    Ok(issued_at)
}

/// Returns whether a `typ` is this one, or says nothing, as in messages from before explicit types.
pub(crate) fn is_named(typ: Option<&str>, name: &str) -> bool {
    typ.is_none_or(|typ| typ.eq_ignore_ascii_case(name) || typ.eq_ignore_ascii_case("JWT"))
}

/// Returns a media type without the prefix that may be left out (RFC 7515 §4.1.9).
fn without_prefix(typ: &str) -> &str {
    const PREFIX: &str = "application/";
    match typ.split_at_checked(PREFIX.len()) {
        Some((prefix, rest)) if prefix.eq_ignore_ascii_case(PREFIX) => rest,
        _ => typ,
    }
}

fn require_audience(claims: &Map<String, Value>, ours: &[String]) -> Result<(), TokenError> {
    let is_ours = |text: &str| ours.iter().any(|our| our == text);
    match claims.get("aud") {
        None => Err(TokenError::MissingClaim("aud")),
        Some(Value::String(one)) if is_ours(one) => Ok(()),
        Some(Value::Array(several)) if several.iter().filter_map(Value::as_str).any(is_ours) => Ok(()),
        Some(Value::String(_) | Value::Array(_)) => Err(TokenError::WrongAudience),
        Some(_) => Err(TokenError::InvalidClaim("aud")),
    }
}

/// Returns a required text.
pub(crate) fn text<'c>(claims: &'c Map<String, Value>, name: &'static str) -> Result<&'c str, TokenError> {
    match claims.get(name) {
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err(TokenError::InvalidClaim(name)),
        None => Err(TokenError::MissingClaim(name)),
    }
}

/// Returns a `NumericDate` (RFC 7519 §2) between 1970 and 9999 in whole seconds, if present.
pub(crate) fn time(members: &Map<String, Value>, name: &'static str) -> Result<Option<Timestamp>, TokenError> {
    let Some(value) = members.get(name) else { return Ok(None) };
    let latest = Timestamp::MAX.as_unix();
    let seconds = match (value.as_u64(), value.as_f64()) {
        (Some(seconds), _) if seconds <= latest => seconds,
        // The conversion is exact enough: the latest date is far below 2^53.
        (None, Some(seconds)) if seconds >= 0.0 && seconds <= latest as f64 => seconds as u64,
        _ => return Err(TokenError::InvalidClaim(name)),
    };
    Ok(Some(Timestamp::from_unix(seconds)))
}
