//! OpenID Connect Back-Channel Logout 1.0.

use adieu::{SessionId, Subject, time::Timestamp, token::TokenError};
use serde_json::Value;

use crate::{
    Effect, Event, EventError, EventKind, Received, Receiver, Sender,
    message::{Message, is_named, text},
};

/// The member of `events` that makes a token a logout token (§2.4).
const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

impl Receiver {
    /// Verifies a logout token, by all rules of §2.6, and returns what it revokes: the session `sid`, or if it names none, the tokens of `sub`
    /// issued until its `iat`. If the rules of the issuer take the subject of tokens from another claim
    /// ([`Rules::with_subject_claim`](adieu::token::Rules::with_subject_claim)), a logout token must name it by the same claim.
    ///
    /// The type of the header may be `logout+jwt`, or for older providers `JWT` or nothing: the claims `events` and the absence of `nonce`
    /// distinguish the token from an identity token.
    ///
    /// # Errors
    /// Returns the first rule that the token breaks.
    pub fn backchannel_logout(&self, logout_token: &str, now: Timestamp) -> Result<Received, EventError> {
        self.receive(logout_token, |sender| sender.logout(logout_token, now))
    }
}

impl Sender {
    fn logout(&self, logout_token: &str, now: Timestamp) -> Result<Vec<Event>, EventError> {
        let message = self.open(logout_token, |typ| is_named(typ, "logout+jwt"), now)?;
        match message.claims.get("events") {
            Some(Value::Object(events)) if events.get(EVENT).is_some_and(Value::is_object) => {}
            Some(_) => return Err(TokenError::InvalidClaim("events").into()),
            None => return Err(TokenError::MissingClaim("events").into()),
        }
        if message.claims.contains_key("nonce") {
            return Err(TokenError::InvalidClaim("nonce").into());
        }
        let (session, subject) = named(&message)?;
        message.require_live(now)?;
        if !self.accepts(EventKind::BackchannelLogout) {
            return Err(EventError::NotAccepted);
        }
        let subject = subject.filter(|_| session.is_none() || self.ends_subjects());
        let session = session.map(|id| self.end_session(id, now));
        let subject = subject.map(|id| self.end_subject(id, message.issued_at, now));
        let effect = Effect::Revoke(session.into_iter().chain(subject).collect());
        Ok(vec![Event::new(self, EventKind::BackchannelLogout.as_str(), effect)])
    }
}

/// Returns the session and the subject of a logout token, which names at least one of them.
fn named(message: &Message<'_>) -> Result<(Option<SessionId>, Option<Subject>), TokenError> {
    let named = |name| match text(&message.claims, name) {
        Ok(text) => Ok(Some(text)),
        Err(TokenError::MissingClaim(_)) => Ok(None),
        Err(error) => Err(error),
    };
    let session = named("sid")?.map(SessionId::new).transpose().map_err(|_| TokenError::InvalidClaim("sid"))?;
    match message.sender.decoder.rules().subject_in(&message.claims) {
        Ok(subject) => Ok((session, Some(subject))),
        Err(TokenError::MissingClaim(_) | TokenError::MissingSubject(_)) if session.is_some() => Ok((session, None)),
        Err(error) => Err(error),
    }
}
