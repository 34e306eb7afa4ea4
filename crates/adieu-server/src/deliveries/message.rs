//! Messages of Standard Webhooks: what they say, and their signatures.

use std::path::Path;

use adieu::{
    revocation::{LogId, Revocation, Target},
    time::Timestamp,
};
use anyhow::{Context as _, bail, ensure};
use aws_lc_rs::{digest, hmac};
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD, Engine as _};
use secrecy::{ExposeSecret as _, SecretString};
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

/// The secrets of one receiver.
#[derive(Debug)]
pub(super) struct Secrets(Vec<hmac::Key>);

impl Secrets {
    /// Reads the secrets in a file, one a line.
    ///
    /// # Errors
    /// If the file cannot be read, or a line is not a secret of 24 to 64 bytes (Standard Webhooks, "Signature scheme").
    pub(super) fn read(file: &Path) -> anyhow::Result<Self> {
        let read = || {
            let text = SecretString::from(std::fs::read_to_string(file)?);
            let lines = text.expose_secret().lines().map(str::trim).filter(|line| !line.is_empty());
            let keys = lines.map(key).collect::<anyhow::Result<Vec<_>>>()?;
            ensure!((1..=MAX_SECRETS).contains(&keys.len()), "there must be 1 to {MAX_SECRETS} secrets, one a line");
            anyhow::Ok(Self(keys))
        };
        read().with_context(|| format!("secret_file {}", file.display()))
    }

    /// Returns the header `webhook-signature`: a signature by each secret.
    pub(super) fn sign(&self, id: &str, timestamp: Timestamp, body: &str) -> String {
        let signed = format!("{id}.{}.{body}", timestamp.as_unix());
        let signature = |key| format!("v1,{}", BASE64_STANDARD.encode(hmac::sign(key, signed.as_bytes())));
        self.0.iter().map(signature).collect::<Vec<_>>().join(" ")
    }
}

/// How many secrets a receiver may have while one replaces another.
const MAX_SECRETS: usize = 4;

fn key(text: &str) -> anyhow::Result<hmac::Key> {
    let Some(encoded) = text.strip_prefix("whsec_") else { bail!("a secret must begin with whsec_") };
    // The error would repeat a part of the secret.
    let Ok(secret) = BASE64_STANDARD.decode(encoded) else { bail!("a secret must be whsec_ and base64") };
    ensure!((24..=64).contains(&secret.len()), "a secret must have 24 to 64 bytes");
    Ok(hmac::Key::new(hmac::HMAC_SHA256, &secret))
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
    fn a_signature_is_that_of_the_specification() {
        // The example of the Standard Webhooks specification.
        let secrets = Secrets(vec![key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap()]);
        let body = r#"{"test": 2432232314}"#;
        let signature = secrets.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", Timestamp::from_unix(1_614_265_330), body);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_secret_is_checked_without_being_repeated() {
        for wrong in [
            "",
            "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "whsec_",
            "whsec_c2hvcnQ=",
            "whsec_MfKQ9r8GKYqrTwjUPD8!LPZIo2LaLaSw",
        ] {
            let error = key(wrong).unwrap_err().to_string();
            assert!(!error.contains("MfKQ") && !error.contains("c2hv"), "{error}");
        }
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
