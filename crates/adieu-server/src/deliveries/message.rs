//! Messages of Standard Webhooks: what they say.

use adieu::{
    revocation::{LogId, Revocation, Target},
    time::Timestamp,
};
use aws_lc_rs::digest;
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use serde_json::{Map, Value, json};

use crate::calendar;

/// The types of messages.
pub(super) const TYPES: [&str; 6] =
    ["token.revoked", "session.ended", "subject.revoked", "issuer.revoked", "key.removed", "claim.revoked"];

/// Returns the type of the message about a revocation; `None` if no message is about revocations of this kind.
pub(super) fn type_of(revocation: &Revocation) -> Option<&'static str> {
    Some(match revocation.target {
        Target::Token { .. } => "token.revoked",
        Target::Session { .. } => "session.ended",
        Target::Subject { .. } => "subject.revoked",
        Target::Everything { .. } => "issuer.revoked",
        Target::Key { .. } => "key.removed",
        Target::Claim { .. } => "claim.revoked",
        _ => return None,
    })
}

/// Returns the id of the message about a revocation, which is the same for each attempt, after a restart, and for a repetition of the same
/// revocation in the same log.
pub(super) fn id(log: &LogId, revocation: &Revocation) -> String {
    let parts = revocation.target.parts();
    let mut context = digest::Context::new(&digest::SHA256);
    for text in [log.as_str(), revocation.issuer.as_str(), parts.kind.name(), parts.id] {
        context.update(&(text.len() as u64).to_be_bytes());
        context.update(text.as_bytes());
    }
    for time in [parts.time.map_or(0, Timestamp::as_unix), revocation.lapses_at.as_unix()] {
        context.update(&time.to_be_bytes());
    }
    let hash = context.finish();
    format!("msg_{}", BASE64_URL_SAFE_NO_PAD.encode(hash.as_ref().get(..18).unwrap_or_default()))
}

/// Returns the body of the message about a revocation, sent at `now`.
pub(super) fn body(message_type: &str, revocation: &Revocation, now: Timestamp) -> String {
    let mut data = Map::new();
    data.insert("issuer".to_owned(), revocation.issuer.as_str().into());
    let mut put = |name: &str, value: Value| drop(data.insert(name.to_owned(), value));
    match &revocation.target {
        Target::Token { id, expires_at } => {
            put("token_id", id.as_str().into());
            put("expires_at", json!(expires_at));
        }
        Target::Session { id } => put("session", id.as_str().into()),
        Target::Subject { id, issued_until } => {
            put("subject", id.as_str().into());
            put("issued_until", json!(issued_until));
        }
        Target::Everything { issued_until } => put("issued_until", json!(issued_until)),
        Target::Key { id } => put("key_id", id.as_str().into()),
        Target::Claim { claim, issued_until } => {
            put("claim", claim.name().as_str().into());
            put("value", claim.value().into());
            put("issued_until", json!(issued_until));
        }
        _ => {}
    }
    put("lapses_at", json!(revocation.lapses_at));
    json!({ "type": message_type, "timestamp": calendar::rfc3339(now), "data": data }).to_string()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use adieu::{Issuer, SessionId, TokenId};

    use super::*;

    fn revocation(target: Target) -> Revocation {
        let issuer = Issuer::new("adieu").unwrap();
        Revocation { issuer, target, lapses_at: Timestamp::from_unix(1_800_001_020) }
    }

    #[test]
    fn different_revocations_have_different_messages() {
        let token = |id: &str| Target::Token { id: TokenId::new(id).unwrap(), expires_at: None };
        let session = |id: &str| Target::Session { id: SessionId::new(id).unwrap() };
        let log = LogId::random();
        let all = [token("a"), token("b"), session("a")].map(|target| id(&log, &revocation(target)));
        assert!(all[0] != all[1] && all[0] != all[2] && all[1] != all[2], "{all:?}");
        assert_eq!(all[0], id(&log, &revocation(token("a"))));
        assert_ne!(all[0], id(&LogId::random(), &revocation(token("a"))));
    }

    #[test]
    fn a_message_says_what_was_revoked() {
        let ended = revocation(Target::Session { id: SessionId::new("s\"1").unwrap() });
        let body = body(type_of(&ended).unwrap(), &ended, Timestamp::from_unix(1_800_000_000));
        assert_eq!(
            serde_json::from_str::<Value>(&body).unwrap(),
            json!({
                "type": "session.ended", "timestamp": "2027-01-15T08:00:00Z",
                "data": { "issuer": "adieu", "session": "s\"1", "lapses_at": 1_800_001_020 },
            })
        );
    }
}
