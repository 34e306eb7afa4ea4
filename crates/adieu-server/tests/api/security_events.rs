//! Security event tokens, pushed as in RFC 8935: what happens to an account or a session elsewhere ends sessions here.

use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::{
    provider::{CLIENT, Key, Provider, appended, changed, now},
    support::{Answer, TestApp},
};

const CAEP: &str = "https://schemas.openid.net/secevent/caep/event-type/";
const RISC: &str = "https://schemas.openid.net/secevent/risc/event-type/";
const SSF: &str = "https://schemas.openid.net/secevent/ssf/event-type/";

async fn push(app: &TestApp, token: &str) -> Answer {
    app.post("/events").header("content-type", "application/secevent+jwt").body(token.to_owned()).send().await
}

impl Provider {
    fn event_claims(&self, event: &str, payload: Value, subject: Value) -> Value {
        json!({"iss": self.issuer, "aud": [CLIENT], "iat": now(), "jti": "24c63fb56e5a2d77a6b512616ca9fa24", "txn": "8675309",
            "sub_id": subject, "events": {event: payload}})
    }

    fn event(&self, event: &str, payload: Value, subject: Value) -> String {
        self.key.sign(Some("secevent+jwt"), &self.event_claims(event, payload, subject))
    }

    fn iss_sub(&self, subject: &str) -> Value {
        json!({"format": "iss_sub", "iss": self.issuer, "sub": subject})
    }
}

/// Sends an event about a new user with two sessions. Returns which of these it has ended.
async fn ended(
    app: &TestApp,
    provider: &Provider,
    user: &str,
    event: &str,
    payload: Value,
    subject: Value,
) -> [bool; 2] {
    let (first, second) = (format!("{user}-1"), format!("{user}-2"));
    let tokens = [provider.access_from(user, &first, now() - 60), provider.access_from(user, &second, now() - 60)];
    for token in &tokens {
        app.verify(token).await.is(204);
    }
    push(app, &provider.event(event, payload, subject)).await.reads("202 ");
    let mut ended = [false; 2];
    for (ended, token) in ended.iter_mut().zip(&tokens) {
        *ended = app.verify(token).await.status == 401;
    }
    ended
}

#[tokio::test]
async fn each_kind_ends_what_it_is_about() {
    let provider = Provider::start().await;
    let app = provider.app().await;
    let (none, all) = ([false, false], [true, true]);
    let cases = [
        (CAEP, "session-revoked", json!({"initiating_entity": "policy", "reason_admin": {"en": "Landspeed"}}), all),
        (CAEP, "token-claims-change", json!({"claims": {"role": "ro-admin"}}), all),
        (CAEP, "credential-change", json!({"credential_type": "password", "change_type": "update"}), all),
        (CAEP, "credential-change", json!({"credential_type": "fido2-roaming", "change_type": "revoke"}), all),
        (CAEP, "credential-change", json!({"credential_type": "fido2-roaming", "change_type": "create"}), none),
        (CAEP, "credential-change", json!({}), all),
        (
            CAEP,
            "device-compliance-change",
            json!({"previous_status": "compliant", "current_status": "not-compliant"}),
            all,
        ),
        (
            CAEP,
            "device-compliance-change",
            json!({"previous_status": "not-compliant", "current_status": "compliant"}),
            none,
        ),
        (RISC, "account-purged", json!({}), all),
        (RISC, "account-disabled", json!({"reason": "hijacking"}), all),
        (RISC, "credential-compromise", json!({"credential_type": "password"}), all),
        (RISC, "sessions-revoked", json!({}), all),
        // Acknowledged, and nothing more: unknown events, kinds under another prefix, and those about the stream.
        (CAEP, "assurance-level-change", json!({"change_direction": "decrease"}), none),
        (CAEP, "account-purged", json!({}), none),
        (RISC, "session-revoked", json!({}), none),
        (CAEP, "backchannel-logout", json!({}), none),
        ("https://example.com/", "session-revoked", json!({}), none),
        (SSF, "verification", json!({"state": "VGhpcyBpcyBhbiBleGFtcGxl"}), none),
        (SSF, "stream-updated", json!({"status": "paused", "reason": "license expired"}), none),
    ];
    for (number, (prefix, name, payload, expected)) in cases.into_iter().enumerate() {
        let (user, event) = (format!("user{number}"), format!("{prefix}{name}"));
        let subject = provider.iss_sub(&user);
        assert_eq!(
            ended(&app, &provider, &user, &event, payload.clone(), subject).await,
            expected,
            "{event} {payload}"
        );
    }
}

#[tokio::test]
async fn subjects_are_read_in_every_format_that_tokens_have() {
    let provider = Provider::start().await;
    let app = provider.app().await;
    let (none, first, all) = ([false, false], [true, false], [true, true]);
    let event = format!("{CAEP}session-revoked");
    let user = |user: &str| provider.iss_sub(user);
    let session = |id: &str| json!({"format": "opaque", "id": id});
    let device =
        json!({"format": "iss_sub", "iss": "https://devices.example", "sub": "e9297990-14d2-42ec-a4a9-4036db86509a"});
    let email = json!({"format": "email", "email": "user@example.com"});
    let cases = [
        ("a0", session("a0-1"), first),
        ("a1", session("a1"), all),
        ("a2", json!({"format": "complex", "user": user("a2"), "session": session("a2-1")}), first),
        ("a3", json!({"format": "complex", "session": session("a3-1"), "tenant": session("t")}), first),
        ("a4", json!({"format": "complex", "user": user("a4"), "device": device}), all),
        ("a5", json!({"format": "complex", "user": session("a5"), "session": email}), all),
        ("a6", json!({"format": "aliases", "identifiers": [email, user("a6")]}), all),
        ("a7", json!({"format": "jwt_id", "iss": provider.issuer, "jti": "a7-a7-1"}), first),
        // In the words of RISC drafts.
        ("a8", json!({"subject_type": "iss-sub", "iss": provider.issuer, "sub": "a8"}), all),
        // Not in tokens, or about the users of another issuer.
        ("b0", email.clone(), none),
        ("b1", json!({"format": "iss_sub", "iss": "https://other.example", "sub": "b1"}), none),
        ("b2", json!({"format": "complex", "tenant": session("b2"), "device": device}), none),
        ("b3", json!({"format": "jwt_id", "iss": "https://other.example", "jti": "x"}), none),
        ("b4", json!({"format": "phone_number", "phone_number": "+12065550100"}), none),
        ("b5", json!({"format": "aliases", "identifiers": []}), none),
        ("b6", json!({"format": "of our own"}), none),
        ("b7", json!({"format": "complex"}), none),
    ];
    for (name, subject, expected) in cases {
        assert_eq!(ended(&app, &provider, name, &event, json!({}), subject.clone()).await, expected, "{subject}");
    }
    assert_snapshot!(provider.counted_in(&app), @r#"
    adieu_events_total{issuer="ISSUER",kind="session-revoked",outcome="revoked"} 7
    adieu_events_total{issuer="ISSUER",kind="session-revoked",outcome="revoked_more"} 2
    adieu_events_total{issuer="ISSUER",kind="session-revoked",outcome="unknown_subject"} 8
    "#);

    // An account is more than a session of it.
    let subject = json!({"format": "complex", "user": user("c1"), "session": session("c1-1")});
    assert_eq!(ended(&app, &provider, "c1", &format!("{RISC}account-disabled"), json!({}), subject).await, all);
}

#[tokio::test]
async fn the_cut_off_is_when_it_happened() {
    let provider = Provider::start().await;
    let app = provider.app().await;
    let event = format!("{CAEP}session-revoked");
    let (before, after) =
        (provider.access_from("jose", "s1", now() - 200), provider.access_from("jose", "s2", now() - 50));
    let token = provider.event(&event, json!({"event_timestamp": now() - 100}), provider.iss_sub("jose"));
    for _ in 0..2 {
        push(&app, &token).await.is(202);
        app.verify(&before).await.is_revoked();
        app.verify(&after).await.is(204);
    }
    // Never later than the token: not in the future, nor in milliseconds, nor something else than a number.
    for (number, time) in [json!(now() + 1000), json!(now() * 1000), json!("now"), json!(-1)].into_iter().enumerate() {
        let user = format!("user{number}");
        let subject = provider.iss_sub(&user);
        let claims = provider.event_claims(&event, json!({"event_timestamp": time}), subject);
        let claims = changed(claims, json!({"iat": now() - 100}));
        push(&app, &provider.key.sign(Some("secevent+jwt"), &claims)).await.is(202);
        app.verify(&provider.access_from(&user, "before", now() - 200)).await.is_revoked();
        app.verify(&provider.access_from(&user, "after", now() - 50)).await.is(204);
    }
}

#[tokio::test]
async fn several_events_are_taken_together_or_not_at_all() {
    let provider = Provider::start().await;
    let app = provider.app().await;
    let mut claims = provider.event_claims(&format!("{RISC}account-purged"), json!({}), provider.iss_sub("jose"));
    claims["events"][format!("{CAEP}session-revoked")] = json!(true);
    let access = provider.access("jose", "s1");
    let before = appended(&app.node);
    push(&app, &provider.key.sign(Some("secevent+jwt"), &claims)).await.is(400);
    assert_eq!(appended(&app.node), before);
    app.verify(&access).await.is(204);
    claims["events"][format!("{CAEP}session-revoked")] = json!({});
    push(&app, &provider.key.sign(Some("secevent+jwt"), &claims)).await.is(202);
    app.verify(&access).await.is_revoked();
}

#[tokio::test]
async fn what_is_wrong_is_said_as_rfc_8935_says_it() {
    let (provider, other) = (Provider::start().await, Provider::start().await);
    let app = provider.app().await;
    let claims = provider.event_claims(&format!("{CAEP}session-revoked"), json!({}), provider.iss_sub("jose"));
    let with = |changes: Value| provider.key.sign(Some("secevent+jwt"), &changed(claims.clone(), changes));
    let typed = |typ: Option<&str>| provider.key.sign(typ, &claims);
    let signed = with(json!({}));
    let (head, _) = signed.rsplit_once('.').unwrap();
    let unsigned = {
        use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD as CODEC};
        format!("{}.{}.", CODEC.encode(r#"{"alg":"none","typ":"secevent+jwt"}"#), head.split_once('.').unwrap().1)
    };
    let before = appended(&app.node);
    for (what, token, code) in [
        ("another issuer", with(json!({"iss": "https://other.example"})), "invalid_issuer"),
        ("no issuer", with(json!({"iss": null})), "invalid_request"),
        ("another audience", with(json!({"aud": "other"})), "invalid_audience"),
        ("no audience", with(json!({"aud": null})), "invalid_audience"),
        ("another issuer's key", other.key.sign(Some("secevent+jwt"), &claims), "authentication_failed"),
        ("an unknown key", Key::new("invented").sign(Some("secevent+jwt"), &claims), "invalid_key"),
        ("no signature", unsigned, "invalid_key"),
        ("the type of access tokens", typed(Some("at+jwt")), "invalid_request"),
        ("the type of logout tokens", typed(Some("logout+jwt")), "invalid_request"),
        ("a general type", typed(Some("JWT")), "invalid_request"),
        ("no type", typed(None), "invalid_request"),
        ("no jti", with(json!({"jti": null})), "invalid_request"),
        ("no iat", with(json!({"iat": null})), "invalid_request"),
        ("an iat of the future", with(json!({"iat": now() + 60})), "invalid_request"),
        ("no events", with(json!({"events": null})), "invalid_request"),
        ("empty events", with(json!({"events": {}})), "invalid_request"),
        ("no subject", with(json!({"sub_id": null})), "invalid_request"),
        ("a subject that is no object", with(json!({"sub_id": "jose"})), "invalid_request"),
        ("a subject without a format", with(json!({"sub_id": {"sub": "jose"}})), "invalid_request"),
        ("a subject without its sub", with(json!({"sub_id": {"format": "iss_sub", "iss": "x"}})), "invalid_request"),
        ("a logout token", provider.logout_token(json!({"sid": "s1"})), "invalid_request"),
        ("an access token", provider.access("jose", "s1"), "invalid_request"),
        ("no token", String::new(), "invalid_request"),
        ("something else than a token", "é.é.é".to_owned(), "invalid_request"),
        ("a long token", "a".repeat(9000), "invalid_request"),
    ] {
        let answer = push(&app, &token).await;
        assert_eq!((answer.status, &answer.json()["err"]), (400, &json!(code)), "{what}: {answer}");
        assert_eq!(answer.header("content-language"), Some("en"));
    }
    assert_eq!(appended(&app.node), before, "nothing was revoked");
    push(&app, &"a".repeat(70_000)).await.is(413);
    let as_json = app.post("/events").text(signed.clone()).send().await;
    assert_snapshot!(as_json, @r#"400 {"err":"invalid_request","description":"send the body as application/secevent+jwt"}"#);

    // An old `iat` is fine: a stream may have been paused for days.
    push(&app, &with(json!({"iat": now() - 1_000_000}))).await.is(202);
    app.verify(&provider.access("jose", "s1")).await.is(204);
    app.break_log();
    assert_eq!(push(&app, &signed).await.status, 503);
    app.mend_log();
    push(&app, &signed).await.is(202);
}

#[tokio::test]
async fn a_kind_that_the_issuer_may_not_send_is_acknowledged_and_has_no_effect() {
    let provider = Provider::start().await;
    let app = provider.app_with(r#"events = ["session-revoked"]"#, &[("event_quota", "3 per 1h")]).await;
    let (none, all) = ([false, false], [true, true]);
    let purged = format!("{RISC}account-purged");
    assert_eq!(ended(&app, &provider, "a", &purged, json!({}), provider.iss_sub("a")).await, none);
    let revoked = format!("{CAEP}session-revoked");
    assert_eq!(ended(&app, &provider, "a", &revoked, json!({}), provider.iss_sub("a")).await, all);
    // Nor does it send what another endpoint takes.
    let logout =
        app.post("/backchannel-logout").form(format!("logout_token={}", provider.logout_token(json!({"sid": "s"}))));
    assert_snapshot!(logout.send().await, @r#"400 {"error":"invalid_request","error_description":"events of this kind are not accepted from this issuer"}"#);
    let flood = push(&app, &provider.event(&revoked, json!({}), provider.iss_sub("a"))).await;
    assert_eq!(flood.status, 429, "{flood}");
}
