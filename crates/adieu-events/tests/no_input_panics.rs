//! No input panics, and none that is not signed with the key of a sender revokes anything.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::{sync::Arc, time::Duration};

use adieu::{
    Issuer, Subject,
    revocation::{Revocation, Target},
    time::Timestamp,
    token::{Algorithm, DEFAULT_SKEW, Decoder, KeySet, Rules, VerifyingKey},
};
use adieu_events::{EventKind, Received, Receiver, Sender, Webhook, WebhookSecrets};
use jsonwebtoken::{EncodingKey, Header, encode};
use proptest::prelude::*;
use serde_json::{Value, json};

const ISSUER: &str = "https://idp.example.com/";
const SECRET: &[u8; 32] = b"a secret of at least 256 bits...";
const NOW: Timestamp = Timestamp::from_unix(1_800_000_000);
const WEBHOOK_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const AUDIENCE: &str = "https://adieu.example/global-token-revocation";

fn receiver() -> Receiver {
    let key = VerifyingKey::from_secret(Algorithm::HS256, SECRET).unwrap();
    let rules = Rules::new(Issuer::new(ISSUER).unwrap()).with_max_lifetime(Duration::from_secs(3600));
    let decoder = Arc::new(Decoder::new(rules, KeySet::new([key]).unwrap()));
    let sender = |name: &str, webhook| {
        let sender = Sender::new(Arc::clone(&decoder)).with_audience(AUDIENCE).with_webhook(name, webhook);
        sender.accepting(EventKind::ALL.iter().copied())
    };
    let workos = Webhook::workos("slbZ4qeXjnqBb6nD8zq7YrgFh").unwrap();
    Receiver::new([
        sender("clerk", Webhook::clerk(WEBHOOK_SECRET).unwrap()),
        sender("workos", workos),
        sender("hanko", Webhook::hanko()),
    ])
}

fn signed(typ: &str, claims: &Value) -> String {
    let header = Header { typ: Some(typ.to_owned()), ..Header::default() };
    encode(&header, claims, &EncodingKey::from_secret(SECRET)).unwrap()
}

/// Any JSON, with the names and values that the specifications give a meaning.
fn any_json() -> impl Strategy<Value = Value> {
    let name = prop_oneof![
        prop::sample::select(vec![
            "format",
            "subject_type",
            "iss",
            "sub",
            "id",
            "jti",
            "user",
            "session",
            "device",
            "tenant",
            "identifiers",
            "event_timestamp",
            "change_type",
            "current_status",
            "status",
            "subject",
            "email",
            "phone_number",
            "uri",
            "url",
            "type",
            "data",
            "user_id",
            "timestamp",
        ])
        .prop_map(str::to_owned),
        ".{0,4}",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        prop::sample::select(vec![
            "iss_sub",
            "opaque",
            "complex",
            "aliases",
            "jwt_id",
            "email",
            "phone_number",
            "account",
            "did",
            ISSUER,
            "create",
            "compliant",
            "session.ended",
            "2027-01-15T08:00:00Z",
            ""
        ])
        .prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
        Just(Value::from("x".repeat(600))),
    ];
    leaf.prop_recursive(4, 48, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map(name.clone(), inner, 0..5)
                .prop_map(|members| members.into_iter().collect::<serde_json::Map<_, _>>().into()),
        ]
    })
}

fn event_uri() -> impl Strategy<Value = String> {
    let prefix = prop::sample::select(vec!["caep", "risc", "ssf"]);
    let names: Vec<_> =
        EventKind::ALL.iter().map(|kind| kind.as_str()).chain(["verification", "stream-updated", ""]).collect();
    (prefix, prop::sample::select(names))
        .prop_map(|(prefix, name)| format!("https://schemas.openid.net/secevent/{prefix}/event-type/{name}"))
}

proptest! {
    #[test]
    fn bytes_that_nobody_signed_revoke_nothing(message in "\\PC{0,200}", parts in prop::collection::vec("[A-Za-z0-9_-]{0,40}", 0..5)) {
        let receiver = receiver();
        for message in [message, parts.join(".")] {
            prop_assert!(receiver.backchannel_logout(&message, NOW).is_err());
            prop_assert!(receiver.security_event(&message, NOW).is_err());
            prop_assert!(receiver.global_token_revocation(&message, message.as_bytes(), NOW).is_err());
            for name in ["clerk", "workos", "hanko"] {
                let header = |name: &str| match name.ends_with("timestamp") {
                    true => Some("1800000000"),
                    false => Some(&*message),
                };
                prop_assert!(receiver.webhook(name, header, message.as_bytes(), NOW).is_err());
                let body = json!({"token": message}).to_string();
                prop_assert!(receiver.webhook(name, header, body.as_bytes(), NOW).is_err());
            }
        }
    }

    #[test]
    fn authentic_webhooks_revoke_tokens_of_their_issuer_until_they_were_signed(
        kind in prop::sample::select(vec!["session.ended", "user.deleted", ""]), data in prop_oneof![any_json(), Just(json!({"id": "jose"}))],
        time in any_json(), body in any_json(), signed_at in -300_i64..=300,
    ) {
        let (receiver, secrets) = (receiver(), WebhookSecrets::parse(WEBHOOK_SECRET).unwrap());
        for body in [json!({"type": kind, "data": data, "timestamp": time}), body] {
            let body = body.to_string();
            let signed_at = NOW.as_unix().saturating_add_signed(signed_at);
            let signature = secrets.sign("1", Timestamp::from_unix(signed_at), body.as_bytes());
            let timestamp = signed_at.to_string();
            let header = |name: &str| match name {
                "svix-id" => Some("1"),
                "svix-timestamp" => Some(&*timestamp),
                "svix-signature" => Some(&*signature),
                _ => None,
            };
            // The issuer's token of Hanko may have anything in it too.
            let token = signed("JWT", &json!({
                "sub": "hanko webhooks", "aud": AUDIENCE, "iat": NOW.as_unix(), "exp": NOW.as_unix() + 60, "evt": "user.delete", "data": data,
            }));
            let _any = receiver.webhook("hanko", header, json!({"token": token}).to_string().as_bytes(), NOW).unwrap();
            let received = receiver.webhook("clerk", header, body.as_bytes(), NOW);
            for revocation in received.iter().flat_map(Received::revocations) {
                prop_assert_eq!(revocation.issuer.as_str(), ISSUER);
                if let Target::Subject { issued_until, .. } = revocation.target {
                    prop_assert!(issued_until.as_unix() <= signed_at && issued_until <= NOW.plus(DEFAULT_SKEW));
                }
            }
        }
    }

    #[test]
    fn authentic_events_revoke_tokens_of_their_issuer_until_they_were_issued(
        uri in event_uri(), payload in any_json(), subject in any_json(), age in 0_u64..100_000,
    ) {
        let issued_at = NOW.as_unix() - age;
        let claims = json!({"iss": ISSUER, "aud": AUDIENCE, "iat": issued_at, "jti": "1", "sub_id": subject, "events": {uri: payload}});
        if let Ok(mut received) = receiver().security_event(&signed("secevent+jwt", &claims), NOW) {
            let aliases: Vec<_> = received.aliases().into_values().flatten().collect();
            received.resolve(|_, alias| vec![Subject::new(alias.value()).unwrap()]);
            let ended = received.revocations();
            for alias in aliases {
                let is_it = |revocation: &Revocation| matches!(&revocation.target, Target::Subject { id, .. } if id.as_str() == alias.value());
                prop_assert!(ended.iter().any(is_it));
            }
            for revocation in received.revocations() {
                prop_assert_eq!(revocation.issuer.as_str(), ISSUER);
                if let Target::Subject { issued_until, .. } = revocation.target {
                    prop_assert!(issued_until.as_unix() <= issued_at);
                }
            }
        }
    }

    #[test]
    fn any_claim_may_be_anything(name in prop::sample::select(vec!["iss", "aud", "iat", "exp", "jti", "events", "sub", "sid", "nonce", "sub_id"]), value in any_json(), body in any_json()) {
        let mut claims = json!({
            "iss": ISSUER, "aud": AUDIENCE, "iat": NOW.as_unix(), "exp": NOW.as_unix() + 60, "jti": "1", "sub": "jose",
            "events": {"http://schemas.openid.net/event/backchannel-logout": {}},
        });
        claims[name] = value;
        let receiver = receiver();
        let _any = receiver.backchannel_logout(&signed("logout+jwt", &claims), NOW);
        let _any = receiver.security_event(&signed("secevent+jwt", &claims), NOW);
        let token = signed("global-token-revocation+jwt", &claims);
        let _any = receiver.global_token_revocation(&token, json!({"sub_id": body}).to_string().as_bytes(), NOW);
    }
}
