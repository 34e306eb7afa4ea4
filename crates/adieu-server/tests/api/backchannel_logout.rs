//! OpenID Connect Back-Channel Logout 1.0: a logout at the provider ends sessions here, and nothing else does.

use insta::assert_snapshot;
use serde_json::json;

use crate::{
    provider::{CLIENT, EVERY_KIND, Key, Provider, appended, now},
    support::{Answer, TestApp},
};

async fn send(app: &TestApp, logout_token: &str) -> Answer {
    app.post("/backchannel-logout").form(format!("logout_token={logout_token}")).send().await
}

#[tokio::test]
async fn a_session_ends_by_its_sid_alone_and_no_other() {
    let provider = Provider::start().await;
    let app = provider.app().await;
    let (ended, other) = (provider.access("jose", "s1"), provider.access("jose", "s2"));
    let answer = send(&app, &provider.logout_token(json!({"sid": "s1"}))).await;
    assert_snapshot!(answer, @"200 ");
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    app.verify(&ended).await.is_revoked();
    app.verify(&other).await.is(204);

    // With both, too: `sub` says whose session it is.
    send(&app, &provider.logout_token(json!({"sid": "s2", "sub": "jose"}))).await.is(200);
    app.verify(&other).await.is_revoked();
    app.verify(&provider.access("jose", "s3")).await.is(204);
}

#[tokio::test]
async fn a_subject_ends_with_every_session_from_before() {
    let provider = Provider::start().await;
    let app = provider.app().await;
    let other = provider.access("anna", "s3");
    for session in ["s1", "s2"] {
        app.verify(&provider.access_from("jose", session, now() - 60)).await.is(204);
    }
    let token = provider.logout_token(json!({"sub": "jose", "iat": now() - 10}));
    send(&app, &token).await.is(200);
    for session in ["s1", "s2"] {
        app.verify(&provider.access_from("jose", session, now() - 60)).await.is_revoked();
    }
    app.verify(&other).await.is(204);

    // The same token again, after the user has logged in again: the cut-off is its `iat`.
    let later = provider.access_from("jose", "s4", now() - 5);
    app.verify(&later).await.is(204);
    send(&app, &token).await.is(200);
    app.verify(&later).await.is(204);
}

#[tokio::test]
async fn an_event_is_sent_again_after_the_store_failed_and_then_has_its_effect() {
    let provider = Provider::start().await;
    let app = provider.app().await;
    let (access, token) = (provider.access("jose", "s1"), provider.logout_token(json!({"sid": "s1"})));
    app.break_log();
    let answer = send(&app, &token).await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")), "{answer}");
    app.mend_log();
    send(&app, &token).await.is(200);
    app.verify(&access).await.is_revoked();

    // It is durable.
    let issuers = format!("[{}]", provider.table(&format!("events = {EVERY_KIND}")));
    let app = app.start_again(&[("trusted_issuer", &issuers)]).await;
    while app.verify(&provider.access("jose", "s2")).await.status != 204 {
        tokio::task::yield_now().await;
    }
    app.verify(&access).await.is_revoked();
}

#[tokio::test]
async fn the_scope_of_an_issuer_can_be_the_whole_subject() {
    let provider = Provider::start().await;
    let app = provider.app_with(&format!(r#"events = {EVERY_KIND}, logout_scope = "subject""#), &[]).await;
    let (named, other) = (provider.access("jose", "s1"), provider.access("jose", "s2"));
    send(&app, &provider.logout_token(json!({"sid": "s1", "sub": "jose"}))).await.is(200);
    app.verify(&named).await.is_revoked();
    app.verify(&other).await.is_revoked();
    app.verify(&provider.access("anna", "s3")).await.is(204);
    // Without `sub` there is only the session.
    let (named, other) = (provider.access("anna", "s3"), provider.access("anna", "s4"));
    send(&app, &provider.logout_token(json!({"sid": "s3"}))).await.is(200);
    app.verify(&named).await.is_revoked();
    app.verify(&other).await.is(204);
}

#[tokio::test]
async fn every_rule_of_section_2_6_is_kept() {
    let provider = Provider::start().await;
    let app = provider.app().await;
    let event = "http://schemas.openid.net/event/backchannel-logout";
    let wrong = [
        ("another issuer", json!({"iss": "https://other.example"})),
        ("no issuer", json!({"iss": null})),
        ("another audience", json!({"aud": "other"})),
        ("other audiences", json!({"aud": ["other", "another"]})),
        ("the audience of access tokens", json!({"aud": "api"})),
        ("no audience", json!({"aud": null})),
        ("no iat", json!({"iat": null})),
        ("an iat of the future", json!({"iat": now() + 60, "exp": now() + 120})),
        ("an iat in words", json!({"iat": "now"})),
        ("no exp", json!({"exp": null})),
        ("expired, with its old iat", json!({"iat": now() - 3600, "exp": now() - 3480})),
        ("expired just now", json!({"exp": now()})),
        ("no jti", json!({"jti": null})),
        ("an empty jti", json!({"jti": ""})),
        ("a nonce", json!({"nonce": "n-0S6_WzA2Mj"})),
        ("no events", json!({"events": null})),
        ("events in a list", json!({"events": [event]})),
        ("another event", json!({"events": {"https://example.com/other": {}}})),
        ("an event that is no object", json!({"events": {event: true}})),
        ("neither sub nor sid", json!({"sid": null})),
        ("an empty sid", json!({"sid": ""})),
        ("a sid that is no text", json!({"sid": 1})),
        ("a sid that is too long", json!({"sid": "s".repeat(513)})),
        ("a sub that is no text", json!({"sub": {}})),
    ];
    let before = appended(&app.node);
    for (what, changes) in wrong {
        let claims = provider.logout_claims(json!({"sid": "s1"}));
        let claims = crate::provider::changed(claims, changes);
        let answer = send(&app, &provider.key.sign(Some("logout+jwt"), &claims)).await;
        assert_eq!((answer.status, &answer.json()["error"]), (400, &json!("invalid_request")), "{what}: {answer}");
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{what}");
    }
    assert_eq!(appended(&app.node), before, "nothing was revoked");
    app.verify(&provider.access("jose", "s1")).await.is(204);

    let several = provider.logout_token(json!({"sid": "s1", "aud": ["other", CLIENT]}));
    send(&app, &several).await.is(200);
}

#[tokio::test]
async fn no_other_type_of_token_is_taken_for_a_logout_token() {
    let provider = Provider::start().await;
    let app = provider.app().await;
    let claims = provider.logout_claims(json!({"sid": "s1"}));
    for typ in ["at+jwt", "rt+jwt", "secevent+jwt", "dpop+jwt", "application/at+jwt", "", "logout"] {
        send(&app, &provider.key.sign(Some(typ), &claims)).await.is(400);
    }
    let identity = json!({"iss": provider.issuer, "sub": "jose", "sid": "s1", "aud": CLIENT, "iat": now(), "exp": now() + 60, "jti": "1"});
    send(&app, &provider.key.sign(Some("JWT"), &identity)).await.is(400);
    send(&app, &provider.access("jose", "s1")).await.is(400);
    app.verify(&provider.access("jose", "s1")).await.is(204);
    // And it is no access token.
    assert_eq!(app.verify(&provider.logout_token(json!({"sid": "s1", "sub": "jose"}))).await.status, 401);

    for typ in [Some("LOGOUT+JWT"), Some("application/logout+jwt"), Some("JWT"), None] {
        send(&app, &provider.key.sign(typ, &claims)).await.is(200);
    }
}

#[tokio::test]
async fn only_the_key_of_the_issuer_ends_a_session() {
    let (provider, other) = (Provider::start().await, Provider::start().await);
    let events = format!("events = {EVERY_KIND}");
    let issuers = format!("[{}, {}]", provider.table(&events), other.table(&events));
    let app = TestApp::with(&[("trusted_issuer", &issuers)]).await;
    for provider in [&provider, &other] {
        while app.verify(&provider.access("jose", "s1")).await.status != 204 {
            tokio::task::yield_now().await;
        }
    }
    let claims = provider.logout_claims(json!({"sid": "s1"}));
    // The key of another trusted issuer has the same `kid`.
    let forged = other.key.sign(Some("logout+jwt"), &claims);
    assert_snapshot!(send(&app, &forged).await, @r#"400 {"error":"invalid_request","error_description":"the token's signature is wrong"}"#);
    let signed = provider.key.sign(Some("logout+jwt"), &claims);
    let (head, signature) = signed.rsplit_once('.').unwrap();
    let unsigned = |header: &str| {
        use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD as CODEC};
        format!("{}.{}.", CODEC.encode(header), head.split_once('.').unwrap().1)
    };
    for token in [
        unsigned(r#"{"alg":"none","typ":"logout+jwt"}"#),
        unsigned(r#"{"alg":"HS256","kid":"2026","typ":"logout+jwt"}"#) + signature,
        unsigned(r#"{"alg":"EdDSA","kid":"2026","typ":"logout+jwt","crit":["exp"],"exp":1}"#) + signature,
        unsigned(r#"{"alg":"EdDSA","kid":"2026","typ":"logout+jwt"}"#),
        format!("{head}.{}", signature.to_uppercase()),
        format!("{signed}="),
        "a.b.c".to_owned(),
        "....".to_owned(),
        "%00".to_owned(),
        String::new(),
    ] {
        send(&app, &token).await.is(400);
    }
    app.verify(&provider.access("jose", "s1")).await.is(204);
    // A session of the same name at another issuer is another session.
    send(&app, &signed).await.is(200);
    app.verify(&provider.access("jose", "s1")).await.is_revoked();
    app.verify(&other.access("jose", "s1")).await.is(204);
}

#[tokio::test]
async fn an_issuer_sends_only_what_its_settings_allow() {
    let provider = Provider::start().await;
    let (key, issuer) = (&provider.key, &provider.issuer);
    let table = format!(r#"[{{ name = "{issuer}", jwks_url = "{issuer}/jwks", audience = "api" }}]"#);
    let app = TestApp::with(&[("trusted_issuer", &table)]).await;
    let token = key.sign(Some("logout+jwt"), &provider.logout_claims(json!({"sid": "s1", "aud": ["api", CLIENT]})));
    assert_snapshot!(send(&app, &token).await, @r#"400 {"error":"invalid_request","error_description":"the token is from another issuer"}"#);
    // Nor does this server send events to itself.
    let user = app.with_user("jose").await;
    let tokens = user.log_in("jose").await;
    send(&user, &tokens.access).await.is(400);
    user.verify(&tokens.access).await.is(204);
}

#[tokio::test]
async fn a_new_key_is_fetched_and_one_that_cannot_be_is_a_reason_to_send_again() {
    let provider = Provider::start().await;
    let app = provider.app().await;
    let new = Key::new("2027");
    let token = |sid: &str| new.sign(Some("logout+jwt"), &provider.logout_claims(json!({"sid": sid})));
    // The provider signs with a new key at once: the event waits until it is known.
    provider.publish(&[&provider.key, &new]);
    let access = provider.access("jose", "s1");
    send(&app, &token("s1")).await.is(200);
    app.verify(&access).await.is_revoked();
    // A key that the provider does not have.
    let invented = Key::new("invented").sign(Some("logout+jwt"), &provider.logout_claims(json!({"sid": "s2"})));
    assert_snapshot!(send(&app, &invented).await, @r#"400 {"error":"invalid_request","error_description":"the token's key is not known"}"#);
    // While the keys can't be read, it is not known.
    provider.go_down();
    let answer = send(&app, &invented).await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")), "{answer}");
}

#[tokio::test]
async fn bad_requests_are_told_from_each_other_and_none_says_who_exists() {
    let provider = Provider::start().await;
    let app = provider.app().await;
    let post = || app.post("/backchannel-logout");
    let answers = [
        post().send().await,
        post().json(json!({"logout_token": "x"})).send().await,
        post().form("logout_token=a&logout_token=b").send().await,
        post().form("token=a").send().await,
        post().form(format!("logout_token={}", "a".repeat(70_000))).send().await,
        post().form(format!("logout_token={}", "a".repeat(10_000))).send().await,
        app.get("/backchannel-logout").send().await,
    ];
    let lines: Vec<String> = answers.iter().map(ToString::to_string).collect();
    assert_snapshot!(lines.join("\n"));

    // An unknown session and an unknown subject are answered as any other.
    for names in [json!({"sid": "unheard"}), json!({"sub": "unheard"}), json!({"sid": "x", "sub": "y"})] {
        send(&app, &provider.logout_token(names)).await.reads("200 ");
    }
}

#[tokio::test]
async fn a_flood_is_answered_429_and_logins_go_on() {
    let provider = Provider::start().await;
    let quota = [("event_quota", "20 per 1h")];
    let app = provider.app_with(&format!("events = {EVERY_KIND}"), &quota).await.with_user("jose").await;
    let token = provider.logout_token(json!({"sid": "s1"}));
    let mut statuses = Vec::new();
    for _ in 0..30 {
        statuses.push(send(&app, &token).await.status);
    }
    assert_eq!(statuses, [vec![200; 20], vec![429; 10]].concat());
    let answer = send(&app, &token).await;
    assert_snapshot!(answer, @r#"429 {"code":429,"message":"Too many events. Try again later.","status":"Too Many Requests"}"#);
    assert!(answer.header("retry-after").is_some());
    app.log_in("jose").await;
}

/// However many addresses an issuer sends from. Messages that it has not signed do not count.
#[tokio::test]
async fn a_flood_of_one_issuer_holds_up_no_other() {
    let (provider, other) = (Provider::start().await, Provider::start().await);
    let further = format!("events = {EVERY_KIND}");
    let issuers = format!("[{}, {}]", provider.table(&further), other.table(&further));
    let settings = [("trusted_issuer", &*issuers), ("event_quota", "3 per 1h"), ("trusted_proxies", "127.0.0.0/8")];
    let app = TestApp::with(&settings).await;
    for provider in [&provider, &other] {
        while app.verify(&provider.access("jose", "none")).await.status != 204 {
            tokio::task::yield_now().await;
        }
    }
    let (genuine, forged) = (provider.logout_token(json!({"sid": "s1"})), Key::new("2026"));
    let forged = forged.sign(Some("logout+jwt"), &provider.logout_claims(json!({"sid": "s2"})));
    let send = |from: &str, token: &str| {
        let call = app.post("/backchannel-logout").header("x-forwarded-for", from);
        call.form(format!("logout_token={token}")).send()
    };
    for number in 1..=4 {
        send(&format!("192.0.2.{number}"), &forged).await.is(400);
    }
    for number in 1..=4 {
        send(&format!("198.51.100.{number}"), &genuine).await.is(if number <= 3 { 200 } else { 429 });
    }
    send("203.0.113.1", &other.logout_token(json!({"sid": "s1"}))).await.is(200);
}

#[tokio::test]
async fn what_was_received_is_counted_by_configured_issuers_only() {
    let provider = Provider::start().await;
    let app = provider.app().await;
    send(&app, &provider.logout_token(json!({"sid": "s1"}))).await.is(200);
    send(&app, &provider.logout_token(json!({"sid": "s1", "iss": "https://stranger.example"}))).await.is(400);
    assert_snapshot!(provider.counted_in(&app), @r#"
    adieu_events_total{issuer="ISSUER",kind="backchannel-logout",outcome="revoked"} 1
    adieu_events_total{issuer="none",kind="backchannel-logout",outcome="rejected"} 1
    "#);
}

#[tokio::test]
async fn a_provider_is_found_by_its_url_alone() {
    let provider = Provider::start().await;
    let issuer = &provider.issuer;
    let table = format!(
        r#"[{{ discovery = "{issuer}", audience = ["api", "other api"], event_audience = ["{CLIENT}"], events = ["backchannel-logout"] }}]"#
    );
    let app = TestApp::with(&[("trusted_issuer", &table)]).await;
    let access = provider.access("jose", "s1");
    while app.verify(&access).await.status != 204 {
        tokio::task::yield_now().await;
    }
    send(&app, &provider.logout_token(json!({"sid": "s1"}))).await.is(200);
    app.verify(&access).await.is_revoked();
}
