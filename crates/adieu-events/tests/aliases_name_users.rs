//! Users that events name by something else than the `sub` of their tokens (RFC 9493).
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::{sync::Arc, time::Duration};

use adieu::{
    Issuer, Subject,
    revocation::{Revocation, Target},
    time::Timestamp,
    token::{Algorithm, Decoder, KeySet, Rules, VerifyingKey},
};
use adieu_events::{Alias, AliasKind, Effect, EventError, EventKind, LogoutScope, Received, Receiver, Sender};
use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Value, json};

const ISSUER: &str = "https://idp.example.com/";
const SECRET: &[u8; 32] = b"a secret of at least 256 bits...";
const NOW: Timestamp = Timestamp::from_unix(1_800_000_000);
const AUDIENCE: &str = "https://adieu.example/global-token-revocation";
const SESSION_REVOKED: &str = "https://schemas.openid.net/secevent/caep/event-type/session-revoked";
const ACCOUNT_DISABLED: &str = "https://schemas.openid.net/secevent/risc/event-type/account-disabled";

fn receiver(scope: LogoutScope) -> Receiver {
    let key = VerifyingKey::from_secret(Algorithm::HS256, SECRET).unwrap();
    let rules = Rules::new(Issuer::new(ISSUER).unwrap()).with_max_lifetime(Duration::from_secs(3600));
    let decoder = Arc::new(Decoder::new(rules, KeySet::new([key]).unwrap()));
    let sender = Sender::new(decoder).with_audience(AUDIENCE).accepting(EventKind::ALL.iter().copied());
    Receiver::new([sender.with_logout_scope(scope)])
}

fn signed(typ: &str, claims: &Value) -> String {
    let header = Header { typ: Some(typ.to_owned()), ..Header::default() };
    encode(&header, claims, &EncodingKey::from_secret(SECRET)).unwrap()
}

fn security_event(event: &str, subject: &Value, scope: LogoutScope) -> Result<Received, EventError> {
    let claims = json!({
        "iss": ISSUER, "aud": AUDIENCE, "iat": NOW.as_unix() - 5, "jti": "1", "sub_id": subject,
        "events": {event: {"event_timestamp": NOW.as_unix() - 60}},
    });
    receiver(scope).security_event(&signed("secevent+jwt", &claims), NOW)
}

fn global_token_revocation(subject: &Value) -> Result<Received, EventError> {
    let claims = json!({"iss": ISSUER, "aud": AUDIENCE, "iat": NOW.as_unix() - 5, "exp": NOW.as_unix() + 60, "jti": "1", "sub": "client"});
    let body = json!({ "sub_id": subject }).to_string();
    let token = signed("global-token-revocation+jwt", &claims);
    receiver(LogoutScope::Session).global_token_revocation(&token, body.as_bytes(), NOW)
}

fn alias(kind: AliasKind, value: &str) -> Alias {
    Alias::new(kind, value).unwrap()
}

/// Looks an alias up: two users have the address of the office.
fn subjects_of(issuer: &Issuer, alias: &Alias) -> Vec<Subject> {
    assert_eq!(issuer.as_str(), ISSUER);
    let subjects: &[&str] = match alias.value() {
        "user@example.com" | "+12065550100" | "acct:example.user@service.example.com" => &["jose"],
        "office@example.com" => &["ana", "jose"],
        _ => &[],
    };
    subjects.iter().map(|subject| Subject::new(subject).unwrap()).collect()
}

/// Returns the subjects and sessions that are ended, with the cut-offs.
fn ended(received: &Received) -> Vec<String> {
    let text = |revocation: Revocation| {
        assert_eq!(revocation.issuer.as_str(), ISSUER);
        match revocation.target {
            Target::Subject { id, issued_until } => format!("{id} {}", issued_until.as_unix()),
            Target::Session { id } => format!("session {id}"),
            other => format!("{other:?}"),
        }
    };
    received.revocations().into_iter().map(text).collect()
}

#[test]
fn the_examples_of_rfc_9493_are_read() {
    use AliasKind::{Account, Did, Email, PhoneNumber, Uri};
    for (subject, aliases) in [
        (
            json!({"format": "account", "uri": "acct:example.user@service.example.com"}),
            vec![alias(Account, "acct:example.user@service.example.com")],
        ),
        (json!({"format": "email", "email": "user@example.com"}), vec![alias(Email, "user@example.com")]),
        (json!({"format": "phone_number", "phone_number": "+12065550100"}), vec![alias(PhoneNumber, "+12065550100")]),
        (json!({"format": "did", "url": "did:example:123456"}), vec![alias(Did, "did:example:123456")]),
        (json!({"format": "uri", "uri": "https://user.example.com/"}), vec![alias(Uri, "https://user.example.com/")]),
        (
            json!({"format": "uri", "uri": "urn:uuid:4e851e98-83c4-4743-a5da-150ecb53042f"}),
            vec![alias(Uri, "urn:uuid:4e851e98-83c4-4743-a5da-150ecb53042f")],
        ),
        (
            json!({"format": "aliases", "identifiers": [
                {"format": "email", "email": "user@example.com"},
                {"format": "phone_number", "phone_number": "+12065550100"},
                {"format": "email", "email": "user+qualifier@example.com"},
            ]}),
            vec![
                alias(Email, "user+qualifier@example.com"),
                alias(Email, "user@example.com"),
                alias(PhoneNumber, "+12065550100"),
            ],
        ),
        // In the words of RISC drafts, and with another case.
        (
            json!({"subject_type": "phone-number", "phone_number": "+12065550100"}),
            vec![alias(PhoneNumber, "+12065550100")],
        ),
        (json!({"format": "email", "email": "User@Example.com"}), vec![alias(Email, "user@example.com")]),
        // Too long to be known.
        (json!({"format": "email", "email": "x".repeat(5_000)}), vec![]),
    ] {
        let received = security_event(SESSION_REVOKED, &subject, LogoutScope::Session).unwrap();
        assert_eq!(received.aliases().into_values().flatten().collect::<Vec<_>>(), aliases, "{subject}");
        assert_eq!(received.events[0].effect, Effect::UnknownSubject, "until it has been looked up");
        assert_eq!(received.events[0].has_unknown_alias(), !aliases.is_empty());
    }
    for subject in [
        json!({"format": "email"}),
        json!({"format": "email", "email": ""}),
        json!({"format": "email", "email": null}),
        json!({"format": "email", "email": ["user@example.com"]}),
        json!({"format": "account", "email": "user@example.com"}),
        json!({"format": "did", "uri": "did:example:123456"}),
    ] {
        assert!(security_event(SESSION_REVOKED, &subject, LogoutScope::Session).is_err(), "{subject}");
    }
}

#[test]
fn whom_an_alias_names_ends_as_if_the_event_had_named_the_subject() {
    let email = |email: &str| json!({"format": "email", "email": email});
    let session = json!({"format": "opaque", "id": "s1"});
    let device = json!({"format": "opaque", "id": "d1"});
    let iss_sub = json!({"format": "iss_sub", "iss": ISSUER, "sub": "zoe"});
    let complex = |user: Value, name: &str, member: &Value| json!({"format": "complex", "user": user, name: member});
    let (one, all) = (LogoutScope::Session, LogoutScope::Subject);
    let (jose, ana) = ("jose 1799999940", "ana 1799999940");
    for (event, scope, subject, outcome, ends) in [
        (SESSION_REVOKED, one, email("user@example.com"), "revoked", vec![jose]),
        (SESSION_REVOKED, one, email("office@example.com"), "revoked", vec![ana, jose]),
        (SESSION_REVOKED, one, email("other@example.com"), "unknown_subject", vec![]),
        (SESSION_REVOKED, one, complex(email("user@example.com"), "session", &session), "revoked", vec!["session s1"]),
        (
            SESSION_REVOKED,
            all,
            complex(email("user@example.com"), "session", &session),
            "revoked",
            vec!["session s1", jose],
        ),
        (
            ACCOUNT_DISABLED,
            one,
            complex(email("user@example.com"), "session", &session),
            "revoked",
            vec!["session s1", jose],
        ),
        (SESSION_REVOKED, one, complex(email("user@example.com"), "device", &device), "revoked_more", vec![jose]),
        // That of a session is no user's.
        (
            SESSION_REVOKED,
            one,
            json!({"format": "complex", "session": email("user@example.com")}),
            "unknown_subject",
            vec![],
        ),
        (
            SESSION_REVOKED,
            one,
            json!({"format": "aliases", "identifiers": [email("other@example.com"), email("user@example.com"), iss_sub]}),
            "revoked",
            vec!["zoe 1799999940", jose],
        ),
    ] {
        let mut received = security_event(event, &subject, scope).unwrap();
        received.resolve(subjects_of);
        assert_eq!(
            (received.events[0].effect.as_str(), ended(&received)),
            (outcome, ends.iter().map(|&end| end.to_owned()).collect()),
            "{subject}"
        );
    }
}

#[test]
fn an_account_that_is_known_by_its_session_alone_is_said_to_be_unknown() {
    let subject = json!({"format": "complex", "user": {"format": "email", "email": "other@example.com"}, "session": {"format": "opaque", "id": "s1"}});
    let mut received = security_event(ACCOUNT_DISABLED, &subject, LogoutScope::Session).unwrap();
    received.resolve(subjects_of);
    assert_eq!(ended(&received), ["session s1"]);
    assert!(received.events[0].has_unknown_alias());
    let subject = json!({"format": "aliases", "identifiers": [subject["user"], {"format": "iss_sub", "iss": ISSUER, "sub": "zoe"}]});
    let mut received = security_event(ACCOUNT_DISABLED, &subject, LogoutScope::Session).unwrap();
    received.resolve(subjects_of);
    assert!(!received.events[0].has_unknown_alias(), "the event has its subject too");
}

#[test]
fn a_request_to_revoke_everything_of_a_user_may_name_it_by_an_alias() {
    let mut received = global_token_revocation(&json!({"format": "email", "email": "User@example.com"})).unwrap();
    assert_eq!(received.events[0].effect, Effect::UnknownSubject);
    received.resolve(subjects_of);
    assert_eq!(ended(&received), ["jose 1799999995"]);
    let mut received = global_token_revocation(&json!({"format": "email", "email": "other@example.com"})).unwrap();
    received.resolve(subjects_of);
    assert_eq!(received.events[0].effect, Effect::UnknownSubject);
    let long = json!({"format": "email", "email": "x".repeat(5_000)});
    assert_eq!(global_token_revocation(&long), Err(EventError::UnknownSubject));
}
