//! Webhooks of providers: with the right key they end what they are about, and nothing else does.

use adieu::time::Timestamp;
use adieu_events::WebhookSecrets;
use aws_lc_rs::hmac;
use insta::assert_snapshot;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    provider::{CLIENT, Key, Provider, appended, now},
    support::{Answer, Call, TestApp},
};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const OLD_SECRET: &str = "whsec_QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo=";
const OTHER_SECRET: &str = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
const WORKOS_SECRET: &str = "slbZ4qeXjnqBb6nD8zq7YrgFh";

/// A server with two issuers that send webhooks signed with secrets.
struct Fixture {
    app: TestApp,
    clerk: Provider,
    workos: Provider,
    _secrets: TempDir,
}

impl Fixture {
    async fn start() -> Self {
        Self::with(r#"preset = "clerk""#, "", &[]).await
    }

    /// The first issuer has these settings of the webhook, and these of its own.
    async fn with(of_webhook: &str, of_issuer: &str, settings: &[(&str, &str)]) -> Self {
        let (clerk, workos, secrets) = (Provider::start().await, Provider::start().await, tempfile::tempdir().unwrap());
        let file = |name: &str, text: String| {
            let path = secrets.path().join(name);
            std::fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let ours = file("clerk", format!("{SECRET}\n{OLD_SECRET}\n"));
        let theirs = file("workos", format!("{WORKOS_SECRET}\n"));
        let first = format!(
            r#"events = ["session-revoked"], webhook = {{ name = "clerk", secret_file = "{ours}", {of_webhook} }}{of_issuer}"#
        );
        let second = format!(
            r#"events = ["session-revoked"], webhook = {{ name = "workos", preset = "workos", secret_file = "{theirs}" }}"#
        );
        let app = app(&[(&clerk, &first), (&workos, &second)], settings).await;
        Self { app, clerk, workos, _secrets: secrets }
    }

    async fn send(&self, message: Value) -> Answer {
        Message::new(message).send(&self.app).await
    }
}

async fn app(providers: &[(&Provider, &str)], settings: &[(&str, &str)]) -> TestApp {
    let tables: Vec<_> = providers.iter().map(|(provider, further)| provider.table(further)).collect();
    let issuers = format!("[{}]", tables.join(", "));
    let app = TestApp::with(&[&[("trusted_issuer", issuers.as_str())], settings].concat()).await;
    for (provider, _) in providers {
        while app.verify(&provider.access("nobody", "none")).await.status != 204 {
            tokio::task::yield_now().await;
        }
    }
    app
}

/// A message of Standard Webhooks, and what is wrong with it.
struct Message {
    prefix: &'static str,
    id: &'static str,
    signed_at: u64,
    secret: &'static str,
    body: String,
    signature: Option<String>,
}

impl Message {
    fn new(body: Value) -> Self {
        Self { prefix: "svix", id: "msg_1", signed_at: now(), secret: SECRET, body: body.to_string(), signature: None }
    }

    /// What its headers say, unless told otherwise.
    fn signature(&self) -> String {
        let secrets = WebhookSecrets::parse(self.secret).unwrap();
        secrets.sign(self.id, Timestamp::from_unix(self.signed_at), self.body.as_bytes())
    }

    fn call(&self, app: &TestApp) -> Call {
        let signature = self.signature.clone().unwrap_or_else(|| self.signature());
        app.post("/webhooks/clerk")
            .header(&format!("{}-id", self.prefix), self.id)
            .header(&format!("{}-timestamp", self.prefix), &self.signed_at.to_string())
            .header(&format!("{}-signature", self.prefix), &signature)
            .text(self.body.clone())
    }

    async fn send(&self, app: &TestApp) -> Answer {
        self.call(app).send().await
    }
}

fn clerk(kind: &str, data: Value) -> Value {
    json!({"data": data, "instance_id": "ins_1", "object": "event", "timestamp": now() * 1000, "type": kind})
}

fn session_of_clerk(id: &str) -> Value {
    json!({"abandon_at": 1_900_000_000_000_u64, "id": id, "object": "session", "status": "revoked", "user_id": "user_1"})
}

/// A call as WorkOS makes it.
fn workos(app: &TestApp, signed_at: u64, secret: &str, body: &Value) -> Call {
    let milliseconds = signed_at * 1000 + 7;
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let signature = hex::encode(hmac::sign(&key, format!("{milliseconds}.{body}").as_bytes()));
    let header = format!("t={milliseconds}, v1={signature}");
    app.post("/webhooks/workos").header("workos-signature", &header).json(body.clone())
}

#[tokio::test]
async fn events_of_clerk_end_sessions_and_users() {
    let fixture = Fixture::start().await;
    let (app, provider) = (&fixture.app, &fixture.clerk);
    let other = provider.access_from("user_1", "sess_other", now() - 60);
    for kind in ["session.ended", "session.removed", "session.revoked"] {
        let token = provider.access_from("user_1", kind, now() - 60);
        app.verify(&token).await.is(204);
        fixture.send(clerk(kind, session_of_clerk(kind))).await.reads("204 ");
        app.verify(&token).await.is_revoked();
        app.verify(&other).await.is(204);
    }
    for kind in ["session.created", "user.updated", "of our own"] {
        fixture.send(clerk(kind, session_of_clerk("sess_other"))).await.reads("204 ");
        app.verify(&other).await.is(204);
    }
    let stranger = provider.access_from("user_2", "sess_2", now() - 60);
    fixture.send(clerk("user.deleted", json!({"deleted": true, "id": "user_1", "object": "user"}))).await.is(204);
    app.verify(&other).await.is_revoked();
    app.verify(&stranger).await.is(204);
    app.verify(&fixture.workos.access_from("user_1", "sess_other", now() - 60)).await.is(204);
    // The answer is the same for users and sessions that do not exist.
    fixture.send(clerk("user.deleted", json!({"deleted": true, "id": "unheard"}))).await.reads("204 ");
    fixture.send(clerk("session.ended", session_of_clerk("unheard"))).await.reads("204 ");
}

#[tokio::test]
async fn events_of_workos_end_sessions_and_users() {
    let fixture = Fixture::start().await;
    let (app, provider) = (&fixture.app, &fixture.workos);
    let tokens = ["session_1", "session_2"].map(|id| provider.access_from("user_1", id, now() - 60));
    let event = |kind: &str, data: Value| json!({"id": "event_1", "event": kind, "data": data, "created_at": "2020-01-01T00:00:00.000Z"});
    let session = event("session.revoked", json!({"object": "session", "id": "session_1", "user_id": "user_1"}));
    for (secret, signed_at) in [(SECRET, now()), (WORKOS_SECRET, now() - 310), (WORKOS_SECRET, now() + 310)] {
        workos(app, signed_at, secret, &session).send().await.is(400);
    }
    for wrong in ["", "t=1", "v1=00", "t=x, v1=00", "t=1, t=1, v1=00"] {
        app.post("/webhooks/workos").header("workos-signature", wrong).json(session.clone()).send().await.is(400);
    }
    app.verify(&tokens[0]).await.is(204);
    workos(app, now() - 290, WORKOS_SECRET, &session).send().await.reads("204 ");
    app.verify(&tokens[0]).await.is_revoked();
    app.verify(&tokens[1]).await.is(204);
    let mut user = event("user.deleted", json!({"object": "user", "id": "user_1", "email": "jose@example.com"}));
    workos(app, now(), WORKOS_SECRET, &user).send().await.is(204);
    app.verify(&tokens[1]).await.is(204);
    user["created_at"] = "2100-01-01T00:00:00.000Z".into();
    workos(app, now(), WORKOS_SECRET, &user).send().await.is(204);
    app.verify(&tokens[1]).await.is_revoked();
}

#[tokio::test]
async fn events_of_hanko_have_a_token_of_their_own() {
    let (provider, other) = (Provider::start().await, Provider::start().await);
    let webhook = |name: &str| format!(r#"webhook = {{ name = "{name}", preset = "hanko" }}"#);
    let app = app(&[(&provider, &webhook("hanko")), (&other, &webhook("other"))], &[]).await;
    let user = "c339547d-e17d-4ba7-8a1d-b3d5a4d17c1c";
    let token = provider.access_from(user, "s1", now() - 60);
    let claims = |changes: Value| {
        let claims = json!({
            "sub": "hanko webhooks", "iat": now(), "exp": now() + 300, "aud": [CLIENT], "evt": "user.delete", "data": {"id": user},
        });
        crate::provider::changed(claims, changes)
    };
    let send = async |key: &Key, typ: Option<&str>, changes: Value| {
        let token = key.sign(typ, &claims(changes));
        app.post("/webhooks/hanko").json(json!({"token": token, "event": "user.delete"})).send().await
    };
    let before = appended(&app.node);
    for (what, key, typ, changes) in [
        ("another issuer's key", &other.key, Some("JWT"), json!({})),
        ("an unknown key", &Key::new("unknown"), Some("JWT"), json!({})),
        ("the sub of a session", &provider.key, Some("JWT"), json!({"sub": user})),
        ("no sub", &provider.key, Some("JWT"), json!({"sub": null})),
        ("another audience", &provider.key, Some("JWT"), json!({"aud": ["api"]})),
        ("no audience", &provider.key, Some("JWT"), json!({"aud": null})),
        ("the type of access tokens", &provider.key, Some("at+jwt"), json!({})),
        ("an expired token", &provider.key, Some("JWT"), json!({"iat": now() - 400, "exp": now() - 100})),
        ("no expiry", &provider.key, Some("JWT"), json!({"exp": null})),
        ("an old token that has not expired", &provider.key, Some("JWT"), json!({"iat": now() - 400})),
        ("a token of the future", &provider.key, Some("JWT"), json!({"iat": now() + 60})),
        ("another issuer's name", &provider.key, Some("JWT"), json!({"iss": other.issuer})),
    ] {
        let answer = send(key, typ, changes).await;
        assert_eq!(answer.status, 400, "{what}: {answer}");
    }
    let session = json!({"token": provider.access(user, "s1"), "event": "user.delete"});
    app.post("/webhooks/hanko").json(session).send().await.is(400);
    app.post("/webhooks/hanko").json(json!({"event": "user.delete"})).send().await.is(400);
    app.verify(&token).await.is(204);
    assert_eq!(appended(&app.node), before, "nothing was revoked");

    send(&provider.key, Some("JWT"), json!({"evt": "user.update", "iss": provider.issuer})).await.reads("204 ");
    app.verify(&token).await.is(204);
    send(&provider.key, Some("JWT"), json!({})).await.reads("204 ");
    app.verify(&token).await.is_revoked();
    provider.go_down();
    send(&Key::new("rotated"), Some("JWT"), json!({})).await.is(503);
}

#[tokio::test]
async fn only_a_recent_message_with_the_right_key_ends_a_session() {
    let fixture = Fixture::start().await;
    let (app, provider) = (&fixture.app, &fixture.clerk);
    let token = provider.access_from("user_1", "sess_1", now() - 60);
    let message = || Message::new(clerk("session.ended", session_of_clerk("sess_1")));
    let before = appended(&app.node);
    for (what, wrong) in [
        ("another secret", Message { secret: OTHER_SECRET, ..message() }),
        ("too old", Message { signed_at: now() - 310, ..message() }),
        ("of the future", Message { signed_at: now() + 310, ..message() }),
        (
            "the signature of another time",
            Message { signature: Some(message().signature()), signed_at: now() - 1, ..message() },
        ),
        ("of another id", Message { signature: Some(message().signature()), id: "msg_2", ..message() }),
        (
            "of another body",
            Message { signature: Some(message().signature()), body: message().body + " ", ..message() },
        ),
        ("of another version", Message { signature: Some(message().signature().replace("v1,", "v2,")), ..message() }),
        ("none", Message { signature: Some(String::new()), ..message() }),
        ("empty", Message { signature: Some("v1,".into()), ..message() }),
        ("a part", Message { signature: Some(message().signature()[..20].into()), ..message() }),
        ("not base64", Message { signature: Some("v1,!".into()), ..message() }),
    ] {
        let answer = wrong.send(app).await;
        assert_eq!(answer.status, 400, "{what}: {answer}");
    }
    // That of another issuer, at its own endpoint and at this.
    let body = clerk("session.ended", session_of_clerk("sess_1"));
    workos(app, now(), WORKOS_SECRET, &body).send().await.is(204);
    let call = app.post("/webhooks/workos").header("svix-id", "msg_1").header("svix-timestamp", &now().to_string());
    call.header("svix-signature", &message().signature()).json(body.clone()).send().await.is(400);
    // Without headers, without one of them, and with one twice.
    app.post("/webhooks/clerk").json(body.clone()).send().await.is(400);
    for missing in ["svix-id", "svix-timestamp", "svix-signature"] {
        let mut call = app.post("/webhooks/clerk").json(body.clone());
        for (name, value) in [
            ("svix-id", "msg_1".into()),
            ("svix-timestamp", now().to_string()),
            ("svix-signature", message().signature()),
        ] {
            if name != missing {
                call = call.header(name, &value);
            }
        }
        call.send().await.is(400);
    }
    for (header, value) in [("svix-id", "msg_1"), ("svix-timestamp", "1"), ("svix-signature", "v1,AA==")] {
        message().call(app).header(header, value).send().await.is(400);
    }
    for time in ["", "-1", "+1", "1.5", " ", "99999999999999999999"] {
        let call = app.post("/webhooks/clerk").header("svix-id", "msg_1").header("svix-timestamp", time);
        call.header("svix-signature", &message().signature()).json(body.clone()).send().await.is(400);
    }
    app.verify(&token).await.is(204);
    assert_eq!(appended(&app.node), before, "nothing was revoked");

    // What is right: the clocks may differ, secrets are replaced, and both names of the headers are known.
    let signatures = format!("v1a,AAAA {} v1,AAAA", Message { secret: OLD_SECRET, ..message() }.signature());
    for (number, right) in [
        message(),
        Message { signed_at: now() - 290, ..message() },
        Message { signed_at: now() + 290, ..message() },
        Message { secret: OLD_SECRET, ..message() },
        Message { signature: Some(signatures), ..message() },
        Message { prefix: "webhook", ..message() },
    ]
    .into_iter()
    .enumerate()
    {
        let answer = right.send(app).await;
        assert_eq!(answer.status, 204, "{number}: {answer}");
    }
    app.verify(&token).await.is_revoked();
}

/// However late it arrives and however often. The time of the signature is that of the attempt.
#[tokio::test]
async fn a_repetition_ends_no_later_login() {
    let fixture = Fixture::start().await;
    let (app, provider) = (&fixture.app, &fixture.clerk);
    let deleted_at = |at: Value| {
        let mut body = clerk("user.deleted", json!({"id": "user_1"}));
        body["timestamp"] = at;
        Message::new(body)
    };
    let (earlier, later) =
        (provider.access_from("user_1", "s1", now() - 120), provider.access_from("user_1", "s2", now() - 30));
    let message = deleted_at(json!((now() - 60) * 1000));
    for _ in 0..3 {
        message.send(app).await.reads("204 ");
        app.verify(&earlier).await.is_revoked();
        app.verify(&later).await.is(204);
    }
    // An event is not later than its signature, which counts if there is no time.
    let soon = provider.access_from("user_1", "s3", now() + 2);
    let signed_at = now() - 31;
    Message { signed_at, ..deleted_at(json!((now() + 3600) * 1000)) }.send(app).await.is(204);
    Message { signed_at, ..deleted_at(json!("soon")) }.send(app).await.is(204);
    Message { signed_at, ..deleted_at(Value::Null) }.send(app).await.is(204);
    app.verify(&later).await.is(204);
    Message { signed_at: now() - 10, ..deleted_at(Value::Null) }.send(app).await.is(204);
    app.verify(&later).await.is_revoked();
    app.verify(&soon).await.is(204);
}

#[tokio::test]
async fn a_mapping_says_where_the_ids_are() {
    let mapping = r#"event_pointer = "/what", time_pointer = "/when", targets = [
        { event = "left", session = "/who/0/session" }, { event = "left", subject = "/who/0/also" },
        { event = "fired", subject = "/who/0/a~1b" }]"#;
    let fixture = Fixture::with(mapping, "", &[]).await;
    let (app, provider) = (&fixture.app, &fixture.clerk);
    let [first, second, third, number] = [("a", "s1"), ("b", "s2"), ("c", "s3"), ("42", "s4")]
        .map(|(user, id)| provider.access_from(user, id, now() - 60));
    fixture.send(json!({"what": "left", "who": [{"session": "s1", "also": "b"}]})).await.is(204);
    app.verify(&first).await.is_revoked();
    app.verify(&second).await.is_revoked();
    fixture.send(json!({"what": "fired", "when": now() - 90, "who": [{"a/b": "c"}]})).await.is(204);
    app.verify(&third).await.is(204);
    fixture.send(json!({"what": "fired", "when": now(), "who": [{"a/b": "c"}]})).await.is(204);
    app.verify(&third).await.is_revoked();
    fixture.send(json!({"what": "fired", "who": [{"a/b": 42}]})).await.is(204);
    app.verify(&number).await.is_revoked();

    let before = appended(&app.node);
    for nothing in
        [json!({}), json!({"what": 7}), json!({"what": "hired"}), json!({"type": "fired", "who": [{"a/b": "d"}]})]
    {
        fixture.send(nothing).await.reads("204 ");
    }
    for nobody in [json!(null), json!(""), json!("x".repeat(600)), json!(1.5), json!({"id": "d"}), json!(["d"])] {
        fixture.send(json!({"what": "fired", "who": [{"a/b": nobody}]})).await.reads("204 ");
    }
    assert_eq!(appended(&app.node), before, "nothing was revoked");
    Message { secret: OTHER_SECRET, ..Message::new(json!({})) }.send(app).await.is(400);
    app.post("/webhooks/unheard").json(json!({})).send().await.is(404);
    assert_snapshot!(provider.counted_in(app), @r#"
    adieu_events_total{issuer="ISSUER",kind="webhook",outcome="ignored"} 4
    adieu_events_total{issuer="ISSUER",kind="webhook",outcome="revoked"} 4
    adieu_events_total{issuer="ISSUER",kind="webhook",outcome="unknown_subject"} 6
    adieu_events_total{issuer="none",kind="webhook",outcome="rejected"} 2
    "#);
}

#[tokio::test]
async fn the_scope_of_a_logout_is_that_of_the_issuer() {
    let fixture = Fixture::with(r#"preset = "clerk""#, r#", logout_scope = "subject""#, &[]).await;
    let (app, provider) = (&fixture.app, &fixture.clerk);
    let token = provider.access_from("user_1", "sess_2", now() - 60);
    fixture.send(clerk("session.ended", session_of_clerk("sess_1"))).await.is(204);
    app.verify(&token).await.is_revoked();
    app.verify(&provider.access_from("user_1", "sess_1", now() + 2)).await.is_revoked();
    app.verify(&provider.access_from("user_1", "sess_3", now() + 2)).await.is(204);
}

#[tokio::test]
async fn success_means_durable_and_there_are_limits() {
    let fixture = Fixture::start().await;
    let (app, provider) = (&fixture.app, &fixture.clerk);
    let message = Message::new(clerk("session.ended", session_of_clerk("sess_1")));
    app.break_log();
    message.send(app).await.is(503);
    app.mend_log();
    app.verify(&provider.access("user_1", "sess_1")).await.is(204);
    message.send(app).await.is(204);
    app.verify(&provider.access("user_1", "sess_1")).await.is_revoked();

    let signed = |body: &str| Message { body: body.to_owned(), ..Message::new(json!({})) };
    let mut answers = Vec::new();
    for body in [
        "",
        "[]",
        "{",
        r#"{"type": "session.ended", "type": "session.ended"}"#,
        &"[".repeat(10_000),
        &" ".repeat(70_000),
    ] {
        answers.push(signed(body).send(app).await.to_string());
    }
    let wrong = Message { secret: OTHER_SECRET, ..Message::new(json!({})) };
    answers.push(wrong.send(app).await.to_string());
    answers.push(app.post("/webhooks/clerk").form("type=session.ended").send().await.to_string());
    answers.push(app.post("/webhooks/%FF").json(json!({})).send().await.to_string());
    answers.push(app.get("/webhooks/clerk").send().await.to_string());
    assert_snapshot!(answers.join("\n"), @r#"
    400 {"code":400,"message":"the body is not a JSON object.","status":"Bad Request"}
    400 {"code":400,"message":"the body is not a JSON object.","status":"Bad Request"}
    400 {"code":400,"message":"the body is not a JSON object.","status":"Bad Request"}
    400 {"code":400,"message":"the body is not a JSON object.","status":"Bad Request"}
    400 {"code":400,"message":"the body is not a JSON object.","status":"Bad Request"}
    413 {"code":413,"status":"Payload Too Large"}
    400 {"code":400,"message":"the signature is wrong.","status":"Bad Request"}
    415 {"code":415,"message":"Send the body as application/json.","status":"Unsupported Media Type"}
    404 {"code":404,"status":"Not Found"}
    405 {"code":405,"status":"Method Not Allowed"}
    "#);

    let fixture = Fixture::with(r#"preset = "clerk""#, "", &[("event_quota", "2 per 1h")]).await;
    message.send(&fixture.app).await.is(204);
    message.send(&fixture.app).await.is(204);
    let answer = message.send(&fixture.app).await;
    answer.is(429);
    assert!(answer.header("retry-after").is_some());
}
