//! A provider signs events as the organization, and tokens as its authorization servers.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::{sync::Arc, time::Duration};

use adieu::{
    Issuer,
    revocation::{Revocation, Target},
    time::Timestamp,
    token::{Algorithm, Decoder, KeySet, Rules, TokenError, VerifyingKey},
};
use adieu_events::{Effect, EventError, EventKind, Received, Receiver, Sender};
use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Value, json};

const ORGANIZATION: &str = "https://shop.okta.com";
const STAFF: &str = "https://shop.okta.com/oauth2/staff";
const PARTNERS: &str = "https://shop.okta.com/oauth2/partners";
const NOW: Timestamp = Timestamp::from_unix(1_800_000_000);
const AUDIENCE: &str = "https://adieu.example/global-token-revocation";
const SESSION_REVOKED: &str = "https://schemas.openid.net/secevent/caep/event-type/session-revoked";

fn decoder(issuer: &str, keys: Arc<KeySet>) -> Arc<Decoder> {
    let rules = Rules::new(Issuer::new(issuer).unwrap()).with_max_lifetime(Duration::from_secs(3600));
    Arc::new(Decoder::new(rules, keys))
}

/// Each issuer has a key of its own.
fn key(issuer: &str) -> Arc<KeySet> {
    let key = VerifyingKey::from_secret(Algorithm::HS256, format!("{issuer:-<64}").as_bytes()).unwrap();
    Arc::new(KeySet::new([key]).unwrap())
}

fn signed_by(issuer: &str, typ: &str, claims: &Value) -> String {
    let header = Header { typ: Some(typ.to_owned()), ..Header::default() };
    encode(&header, claims, &EncodingKey::from_secret(format!("{issuer:-<64}").as_bytes())).unwrap()
}

fn sender(issuer: &str, events: Arc<KeySet>) -> Sender {
    let sender = Sender::new(decoder(issuer, key(issuer))).with_event_issuer(decoder(ORGANIZATION, events));
    sender.with_audience(AUDIENCE).accepting(EventKind::ALL.iter().copied())
}

fn receiver() -> Receiver {
    Receiver::new([sender(STAFF, key(ORGANIZATION)), sender(PARTNERS, key(ORGANIZATION))])
}

fn claims(issuer: &str, subject: &Value) -> Value {
    json!({
        "iss": issuer, "aud": AUDIENCE, "iat": NOW.as_unix() - 5, "exp": NOW.as_unix() + 60, "jti": "1", "sub": "client",
        "sub_id": subject, "events": {SESSION_REVOKED: {"event_timestamp": (NOW.as_unix() - 60) * 1000}},
    })
}

fn event(issuer: &str, subject: &Value) -> String {
    signed_by(issuer, "secevent+jwt", &claims(issuer, subject))
}

fn user(issuer: &str) -> Value {
    json!({"format": "iss_sub", "iss": issuer, "sub": "00u1"})
}

/// Returns the issuer of the tokens that end, the user, and until when the tokens were issued.
fn ended(received: &Received) -> Vec<(String, String, u64)> {
    let text = |Revocation { issuer, target, .. }: Revocation| match target {
        Target::Subject { id, issued_until } => (issuer.to_string(), id.to_string(), issued_until.as_unix()),
        other => (issuer.to_string(), format!("{other:?}"), 0),
    };
    received.revocations().into_iter().map(text).collect()
}

fn at(issuers: &[&str], until: u64) -> Vec<(String, String, u64)> {
    issuers.iter().map(|issuer| ((*issuer).to_owned(), "00u1".to_owned(), until)).collect()
}

#[test]
fn a_user_of_the_organization_ends_in_all_of_its_tokens() {
    let received = receiver().security_event(&event(ORGANIZATION, &user(ORGANIZATION)), NOW).unwrap();
    assert_eq!(received.issuer.as_str(), ORGANIZATION);
    assert_eq!(ended(&received), at(&[STAFF, PARTNERS], NOW.as_unix() - 60));

    // The form of drafts of SSF: a complex subject that does not say so, in the event.
    let malformed = json!({"iss": ORGANIZATION, "sub": "00u1", "ext": {}});
    assert!(receiver().security_event(&event(ORGANIZATION, &malformed), NOW).is_err());
    for subject in [json!({"user": user(ORGANIZATION)}), json!({"user": user(ORGANIZATION), "tenant": {"id": "1"}})] {
        let mut old = claims(ORGANIZATION, &json!(null));
        old.as_object_mut().unwrap().remove("sub_id");
        old["events"][SESSION_REVOKED]["subject"] = subject;
        let received = receiver().security_event(&signed_by(ORGANIZATION, "secevent+jwt", &old), NOW).unwrap();
        assert_eq!(ended(&received), at(&[STAFF, PARTNERS], NOW.as_unix() - 60));
    }

    let token = signed_by(ORGANIZATION, "global-token-revocation+jwt", &claims(ORGANIZATION, &json!(null)));
    let body = json!({"sub_id": user(ORGANIZATION)}).to_string();
    let received = receiver().global_token_revocation(&token, body.as_bytes(), NOW).unwrap();
    assert_eq!(ended(&received), at(&[STAFF, PARTNERS], NOW.as_unix() - 5));
}

#[test]
fn a_user_of_one_authorization_server_ends_there() {
    let received = receiver().security_event(&event(ORGANIZATION, &user(PARTNERS)), NOW).unwrap();
    assert_eq!(ended(&received), at(&[PARTNERS], NOW.as_unix() - 60));
    let effects: Vec<_> = received.events.iter().map(|event| (event.issuer.as_str(), event.effect.as_str())).collect();
    assert_eq!(effects, [(STAFF, Effect::UnknownSubject.as_str()), (PARTNERS, "revoked")]);
}

#[test]
fn a_logout_token_of_the_organization_ends_a_session_of_its_servers() {
    let mut claims = claims(ORGANIZATION, &json!(null));
    claims["events"] = json!({"http://schemas.openid.net/event/backchannel-logout": {}});
    claims["sub"] = json!("00u1");
    let received = receiver().backchannel_logout(&signed_by(ORGANIZATION, "logout+jwt", &claims), NOW).unwrap();
    assert_eq!(ended(&received), at(&[STAFF, PARTNERS], NOW.as_unix() - 5));
}

#[test]
fn only_the_issuer_of_the_events_ends_anything() {
    let refused = |message: &str| receiver().security_event(message, NOW).unwrap_err();
    // The keys of the tokens are not those of the events, by whichever name.
    assert_eq!(refused(&event(STAFF, &user(STAFF))), EventError::Message(TokenError::WrongIssuer));
    for signer in [STAFF, PARTNERS, "https://attacker.example"] {
        let forged = signed_by(signer, "secevent+jwt", &claims(ORGANIZATION, &user(ORGANIZATION)));
        assert_eq!(refused(&forged), EventError::Message(TokenError::BadSignature));
    }
    assert_eq!(receiver().named_issuer(&event(STAFF, &user(STAFF))), None);
    let named = receiver();
    let named = named.named_issuer(&event(ORGANIZATION, &user(STAFF)));
    assert_eq!(named.map(Issuer::as_str), Some(ORGANIZATION));
}

#[test]
fn a_message_is_for_each_sender_that_accepts_it() {
    let elsewhere = |issuer| {
        Sender::new(decoder(issuer, key(issuer)))
            .with_event_issuer(decoder(ORGANIZATION, key(ORGANIZATION)))
            .with_audience("https://other.example")
            .accepting(EventKind::ALL.iter().copied())
    };
    let message = event(ORGANIZATION, &user(ORGANIZATION));
    let receiver = Receiver::new([elsewhere(STAFF), sender(PARTNERS, key(ORGANIZATION))]);
    let received = receiver.security_event(&message, NOW).unwrap();
    assert_eq!(ended(&received), at(&[PARTNERS], NOW.as_unix() - 60));
    assert_eq!(received.rejections, []);
    let nobody = Receiver::new([elsewhere(STAFF), elsewhere(PARTNERS)]);
    let refused = nobody.security_event(&message, NOW).unwrap_err();
    assert_eq!(refused, EventError::Message(TokenError::WrongAudience));

    // A sender that does not accept it is named.
    let token = signed_by(ORGANIZATION, "global-token-revocation+jwt", &claims(ORGANIZATION, &json!(null)));
    let body = json!({"sub_id": user(ORGANIZATION)}).to_string();
    let silent = Sender::new(decoder(STAFF, key(STAFF))).with_event_issuer(decoder(ORGANIZATION, key(ORGANIZATION)));
    let receiver = Receiver::new([silent.with_audience(AUDIENCE), sender(PARTNERS, key(ORGANIZATION))]);
    let received = receiver.global_token_revocation(&token, body.as_bytes(), NOW).unwrap();
    assert_eq!(ended(&received), at(&[PARTNERS], NOW.as_unix() - 5));
    assert_eq!(received.rejections, [(Issuer::new(STAFF).unwrap(), EventError::NotAccepted)]);
}

#[test]
fn a_message_waits_for_the_keys_of_every_sender() {
    let message = event(ORGANIZATION, &user(ORGANIZATION));
    let (known, pending) = (key(ORGANIZATION), Arc::new(KeySet::pending()));
    for (staff, partners) in [(&known, &pending), (&pending, &known), (&pending, &pending)] {
        let receiver = Receiver::new([sender(STAFF, Arc::clone(staff)), sender(PARTNERS, Arc::clone(partners))]);
        let error = receiver.security_event(&message, NOW).unwrap_err();
        assert!(error.is_temporary(), "{error:?}");
    }
}
