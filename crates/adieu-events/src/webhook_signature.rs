//! Signatures of webhooks with a shared secret: those of Standard Webhooks, and that of WorkOS.

use adieu::time::Timestamp;
use aws_lc_rs::{constant_time::verify_slices_are_equal, hmac};
use base64::prelude::{BASE64_STANDARD, Engine as _};

use crate::EventError;

/// How old a message may be, and how far ahead the clock of its sender, in seconds (Standard Webhooks, "Webhook timestamp").
const TOLERANCE: u64 = 300;

/// How many secrets are used at once, while one replaces another.
const MAX_SECRETS: usize = 4;

/// How many signatures of a message are compared.
const MAX_SIGNATURES: usize = 16;

/// The names of the headers: those of Standard Webhooks, and those of Svix, for the same values.
const HEADERS: [[&str; 3]; 2] =
    [["webhook-id", "webhook-timestamp", "webhook-signature"], ["svix-id", "svix-timestamp", "svix-signature"]];

const HEADER_MISSING: EventError = EventError::Webhook("a header of the signature is missing, or is there twice");
const TIME_INVALID: EventError = EventError::Webhook("the time of the signature is not valid");

/// The reason why secrets of webhooks can't be used. It repeats no part of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SecretsError {
    /// A secret is not `whsec_` and base64.
    #[error("a secret must be whsec_ and base64")]
    Encoding,
    /// A secret is too short or too long.
    #[error("a secret must have {0} to {1} bytes")]
    Length(usize, usize),
    /// There is no secret, or there are too many.
    #[error("there must be 1 to {MAX_SECRETS} secrets, one a line")]
    Number,
}

/// The secrets with which messages of Standard Webhooks are signed: several while one replaces another.
#[derive(Debug, Clone)]
pub struct WebhookSecrets(Vec<hmac::Key>);

impl WebhookSecrets {
    /// Parses secrets of 24 to 64 bytes, `whsec_` and base64, one a line (Standard Webhooks, "Signature scheme").
    ///
    /// # Errors
    /// Returns the first error. It repeats no part of a secret.
    pub fn parse(text: &str) -> Result<Self, SecretsError> {
        each_line(text, |line| {
            let encoded = line.strip_prefix("whsec_").ok_or(SecretsError::Encoding)?;
            key(&BASE64_STANDARD.decode(encoded).map_err(|_| SecretsError::Encoding)?, 24, 64)
        })
        .map(Self)
    }

    /// Returns the header `webhook-signature` of a message: a signature by each secret.
    #[must_use]
    pub fn sign(&self, id: &str, timestamp: Timestamp, body: &[u8]) -> String {
        let timestamp = timestamp.as_unix().to_string();
        let signature = |key| format!("v1,{}", BASE64_STANDARD.encode(tag(key, &[id, &timestamp], body)));
        self.0.iter().map(signature).collect::<Vec<_>>().join(" ")
    }

    /// Verifies that one of the signatures of a message is by one of these secrets, and that it is recent. Returns when it was signed.
    pub(crate) fn verify<'h>(
        &self,
        header: impl Fn(&'static str) -> Option<&'h str>,
        body: &[u8],
        now: Timestamp,
    ) -> Result<Timestamp, EventError> {
        let found = HEADERS.iter().find_map(|names| {
            let [id, timestamp, signatures] = names.map(&header);
            Some((id?, timestamp?, signatures?))
        });
        let (id, timestamp, signatures) = found.ok_or(HEADER_MISSING)?;
        let signed_at = recent(digits(timestamp)?, now)?;
        // Signatures of other versions, such as `v1a`, are for other keys.
        let signatures = signatures.split(' ').filter_map(|signature| signature.strip_prefix("v1,"));
        let signatures = signatures.filter_map(|signature| BASE64_STANDARD.decode(signature).ok());
        is_signed(&self.0, &[id, timestamp], body, signatures).map(|()| signed_at)
    }
}

/// The secrets with which WorkOS signs.
#[derive(Debug, Clone)]
pub(crate) struct WorkOsSecrets(Vec<hmac::Key>);

impl WorkOsSecrets {
    /// Parses secrets, one a line. The text itself is the key.
    pub(crate) fn parse(text: &str) -> Result<Self, SecretsError> {
        each_line(text, |line| key(line.as_bytes(), 16, 256)).map(Self)
    }

    /// Like [`WebhookSecrets::verify`], for the header `WorkOS-Signature: t=<milliseconds>, v1=<hexadecimal>`.
    pub(crate) fn verify<'h>(
        &self,
        header: impl Fn(&'static str) -> Option<&'h str>,
        body: &[u8],
        now: Timestamp,
    ) -> Result<Timestamp, EventError> {
        let parts = header("workos-signature").ok_or(HEADER_MISSING)?.split(',').map(str::trim);
        let mut times = parts.clone().filter_map(|part| part.strip_prefix("t="));
        let (Some(timestamp), None) = (times.next(), times.next()) else { return Err(TIME_INVALID) };
        let signed_at = recent(digits(timestamp)? / 1000, now)?;
        let signatures = parts.filter_map(|part| hex::decode(part.strip_prefix("v1=")?).ok());
        is_signed(&self.0, &[timestamp], body, signatures).map(|()| signed_at)
    }
}

fn each_line(
    text: &str,
    key: impl Fn(&str) -> Result<hmac::Key, SecretsError>,
) -> Result<Vec<hmac::Key>, SecretsError> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let keys = lines.map(key).collect::<Result<Vec<_>, _>>()?;
    if (1..=MAX_SECRETS).contains(&keys.len()) { Ok(keys) } else { Err(SecretsError::Number) }
}

fn key(secret: &[u8], min: usize, max: usize) -> Result<hmac::Key, SecretsError> {
    match (min..=max).contains(&secret.len()) {
        true => Ok(hmac::Key::new(hmac::HMAC_SHA256, secret)),
        false => Err(SecretsError::Length(min, max)),
    }
}

/// Returns the authentication tag of these texts, each followed by a dot, and the body.
fn tag(key: &hmac::Key, before: &[&str], body: &[u8]) -> hmac::Tag {
    let mut context = hmac::Context::with_key(key);
    for text in before {
        context.update(text.as_bytes());
        context.update(b".");
    }
    context.update(body);
    context.sign()
}

/// Checks, in constant time, that one of these signatures is by one of the keys. A message costs one tag for each key, however many
/// signatures it has.
fn is_signed(
    keys: &[hmac::Key],
    before: &[&str],
    body: &[u8],
    signatures: impl Iterator<Item = Vec<u8>>,
) -> Result<(), EventError> {
    let signatures: Vec<_> = signatures.take(MAX_SIGNATURES).collect();
    let is_by = |key| {
        let tag = tag(key, before, body);
        signatures.iter().any(|signature| verify_slices_are_equal(tag.as_ref(), signature).is_ok())
    };
    match keys.iter().any(is_by) {
        true => Ok(()),
        false => Err(EventError::Webhook("the signature is wrong")),
    }
}

/// Parses digits: no sign, and no more than a time in milliseconds has.
fn digits(text: &str) -> Result<u64, EventError> {
    let is_number = text.len() <= 15 && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_number).ok_or(TIME_INVALID)
}

/// Checks that a time of the sender is at most five minutes ago, and five minutes ahead.
pub(crate) fn recent(seconds: u64, now: Timestamp) -> Result<Timestamp, EventError> {
    match seconds.abs_diff(now.as_unix()) <= TOLERANCE {
        true => Ok(Timestamp::from_unix(seconds)),
        false => Err(EventError::Webhook("the message is too old, or from the future")),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_that_of_the_specification() {
        // The example of the Standard Webhooks specification.
        let secrets = WebhookSecrets::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let (id, at, body) =
            ("msg_p5jXN8AQM9LWM0D4loKWxJek", Timestamp::from_unix(1_614_265_330), br#"{"test": 2432232314}"#);
        assert_eq!(secrets.sign(id, at, body), "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_signature_of_workos_is_that_of_its_own_library() {
        // `webhooks.computeSignature` of @workos-inc/node 8.13.0.
        let header = "t=1796014800000, v1=3284258ff7fa1a62c748c477c2b5b9a4a4f826e0cceb57fa4e178c7bcbd57aa4";
        let body = br#"{"id":"event_1","event":"session.revoked","data":{"object":"session","id":"session_1","user_id":"user_1"},"created_at":"2026-11-29T17:00:00.000Z"}"#;
        let verify = |secret, at| {
            let header = |name| (name == "workos-signature").then_some(header);
            WorkOsSecrets::parse(secret).unwrap().verify(header, body, Timestamp::from_unix(at))
        };
        let (secret, signed_at) = ("ahsh3Ohng5oMaeGhoh8Shai9u", 1_796_014_800);
        assert_eq!(verify(secret, signed_at).unwrap().as_unix(), signed_at);
        assert_eq!(WorkOsSecrets::parse("too short").unwrap_err(), SecretsError::Length(16, 256));
        assert!(verify("the old secret: wz2pRYN\nahsh3Ohng5oMaeGhoh8Shai9u\n\n", signed_at + 300).is_ok());
        assert!(verify(secret, signed_at + 301).is_err());
        assert!(verify(secret, signed_at - 301).is_err());
        assert!(verify("the old secret: wz2pRYN", signed_at).is_err());
    }

    #[test]
    fn a_secret_is_checked_without_being_repeated() {
        let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let five = [secret; 5].join("\n");
        for wrong in ["", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_", "whsec_c2hvcnQ=", "whsec_MfKQ9r8!", &five] {
            let error = WebhookSecrets::parse(wrong).unwrap_err().to_string();
            assert!(!error.contains("MfKQ") && !error.contains("c2hv"), "{error}");
        }
        let secrets = format!("{:?} {:?}", WebhookSecrets::parse(secret), WorkOsSecrets::parse(secret));
        assert!(!secrets.contains("MfKQ"), "{secrets}");
    }
}
