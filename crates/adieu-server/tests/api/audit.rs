//! The log contains every event for an auditor once, and nothing else.

use std::{
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use adieu::{
    Issuer,
    token::{Algorithm, SigningKey, encode},
};
use adieu_server::clients::{Capability, ClientName, Limits, Secret};
use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::{
    provider::Provider,
    support::{PASSWORD, TestApp, Tokens, credentials},
};

#[derive(Clone, Default)]
pub(crate) struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Lines {
    /// Returns the fields of the events since the last call, without the address, which is always this machine's.
    fn take(&self) -> Vec<Value> {
        let bytes = std::mem::take(&mut *self.0.lock().unwrap());
        let text = String::from_utf8(bytes).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let audited = lines.filter(|line| line["target"] == "adieu::audit");
        audited
            .map(|line| {
                let mut fields = line["fields"].as_object().unwrap().clone();
                // A client added on the command line has no address.
                if !fields["event"].as_str().unwrap().starts_with("client_") {
                    assert_eq!(fields.remove("address"), Some(json!("127.0.0.1")));
                }
                Value::Object(fields)
            })
            .collect()
    }

    /// Counts the occurrences of a text in all log lines, whatever their target.
    pub(crate) fn count(&self, text: &str) -> usize {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap().matches(text).count()
    }

    #[track_caller]
    fn has(&self, expected: Value) {
        assert_eq!(self.take(), [expected]);
    }
}

pub(crate) fn capture() -> (Lines, tracing::subscriber::DefaultGuard) {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt().json().with_writer(move || writer.clone()).finish();
    (lines, tracing::subscriber::set_default(subscriber))
}

fn session(app: &TestApp, tokens: &Tokens) -> Value {
    json!(app.claims(tokens).session)
}

// On one thread, so that the log of this test's server alone is captured.
#[tokio::test(flavor = "current_thread")]
async fn what_users_do_is_written_down() {
    let (lines, _capturing) = capture();
    let app = TestApp::start().await.with_user("jose").await;
    let added = lines.take().remove(0);
    assert_eq!(added["event"], "account_added");

    let tokens = app.log_in("jose").await;
    let user = app.user_id(&tokens);
    assert_eq!(added["subject"], user.as_str());
    lines.has(json!({"event": "login", "subject": user, "session": session(&app, &tokens)}));

    app.post("/login").json(credentials("jose", "wrong")).send().await.is(401);
    lines.has(json!({"event": "login_failed", "subject": user}));
    app.post("/login").json(credentials("a password in the wrong field", "x")).send().await.is(401);
    lines.has(json!({"event": "login_failed"}));

    let change = |password: &str| json!({"password": password, "new_password": PASSWORD});
    app.post("/password").token(&tokens.access).json(change("wrong")).send().await.is(422);
    lines.has(json!({"event": "login_failed", "subject": user}));
    app.post("/password").token(&tokens.access).json(change(PASSWORD)).send().await.is(200);
    lines.has(json!({"event": "password_changed", "subject": user, "session": session(&app, &tokens)}));

    let second = app.log_in("jose").await;
    let ended = session(&app, &second);
    lines.take();
    app.delete(&format!("/sessions/{}", ended.as_str().unwrap())).token(&tokens.access).send().await.is(200);
    let expected =
        json!({"event": "sessions_ended", "subject": user, "session": ended, "actor": user, "sessions_ended": 1});
    lines.has(expected);

    let claims = app.claims(&tokens);
    app.post("/logout?scope=all").token(&tokens.access).send().await.is(200);
    lines.has(json!({
        "event": "logout", "subject": user, "session": claims.session, "token_id": claims.token_id, "scope": "all",
        "sessions_ended": 1,
    }));
    app.post("/logout").token(&tokens.access).send().await.is_revoked();
    assert_eq!(lines.take(), [] as [Value; 0], "nothing happened");

    let tokens = app.log_in("jose").await;
    lines.take();
    app.delete(&format!("/user/{user}")).token(&tokens.access).send().await.is(200);
    lines.has(json!({"event": "account_deleted", "subject": user, "actor": user}));
}

#[tokio::test(flavor = "current_thread")]
async fn what_administrators_do_is_written_down_with_their_id() {
    let (lines, _capturing) = capture();
    let app = TestApp::start().await.with_user("jose").await.with_admin("boss").await;
    let (jose, boss) = (app.log_in("jose").await, app.log_in("boss").await);
    let (user, by) = (app.user_id(&jose), app.user_id(&boss));
    let claims = app.claims(&jose);
    lines.take();

    app.delete(&format!("/users/{user}/sessions")).token(&boss.access).send().await.is(200);
    lines.has(json!({"event": "sessions_ended", "subject": user, "actor": by, "sessions_ended": 1}));
    for (what, event) in [("disable", "account_disabled"), ("enable", "account_enabled")] {
        app.post(&format!("/users/{user}/{what}")).token(&boss.access).send().await.is(200);
        lines.has(json!({"event": event, "subject": user, "actor": by}));
    }
    for (what, expected) in [
        (
            json!({"token": jose.access}),
            json!({"scope": "token", "subject": user, "session": claims.session, "token_id": claims.token_id}),
        ),
        (json!({"token_id": "an id"}), json!({"scope": "token_id", "token_id": "an id"})),
        (json!({"session": "another"}), json!({"scope": "session", "session": "another"})),
        (json!({"subject": user}), json!({"scope": "subject", "subject": user})),
    ] {
        app.post("/revocations").token(&boss.access).json(what).send().await.is(200);
        let mut expected = expected;
        expected["event"] = json!("revoked");
        expected["actor"] = json!(by);
        expected["sessions_ended"] = json!(0);
        lines.has(expected);
    }
    app.post("/revocations").token(&boss.access).json(json!({"everything": true})).send().await.is(200);
    lines.has(json!({"event": "revoked", "scope": "everything", "actor": by, "sessions_ended": 1}));
}

/// Clients are added and removed on the command line; a server on the same store logs the change when it reads it.
#[tokio::test(flavor = "current_thread")]
async fn that_a_client_came_or_went_is_written_down() {
    let (lines, _capturing) = capture();
    let app = TestApp::start().await;
    let first = app.client("first", &[Capability::Introspect]).await;
    let ask = |client| app.post("/introspect").by(client).form("token=x").send();
    ask(&first).await.is(200);
    assert_eq!(lines.take(), [] as [Value; 0], "it was there when this server began to look");

    let second = app.client("second", &[]).await;
    ask(&second).await.is(403);
    lines.has(json!({"event": "client_added", "client": "second"}));
    let (name, horizon) = (ClientName::new("second").unwrap(), Some(Duration::from_secs(60)));
    let limits = Limits { horizon, ..Limits::default() };
    let store = app.node.clients.store();
    for (can, limits) in [(&[][..], limits), (&[Capability::Follow][..], limits)] {
        assert!(store.change_client(&name, Some(can), limits).await.unwrap());
        while lines.count("client_changed") == 0 {
            ask(&second).await.is(403);
        }
        lines.has(json!({"event": "client_changed", "client": "second"}));
    }
    assert!(store.set_client_secret(&name, Secret::random().unwrap().hash()).await.unwrap());
    while lines.count("client_secret_changed") == 0 {
        ask(&second).await;
    }
    ask(&second).await.is(401);
    lines.has(json!({"event": "client_secret_changed", "client": "second"}));
    app.node.clients.store().remove_client(&name).await.unwrap();
    while lines.count("client_removed") == 0 {
        ask(&second).await;
    }
    lines.has(json!({"event": "client_removed", "client": "second"}));
}

#[tokio::test(flavor = "current_thread")]
async fn what_a_client_revokes_is_written_down_with_its_name() {
    let (lines, _capturing) = capture();
    let app = TestApp::start().await;
    let shop = app.client("shop", &[Capability::Revoke]).await;
    let revoke = |body| app.post("/revocations").by(&shop).json(body).send();
    revoke(json!({"subject": "jose", "issuer": "https://other.example"})).await.is(200);
    lines.has(json!({
        "event": "revoked", "client": "shop", "scope": "subject", "subject": "jose", "issuer": "https://other.example",
        "sessions_ended": 0,
    }));
    revoke(json!({"revocations": [{"token_id": "a"}, {"session": "b"}]})).await.is(200);
    let each = |scope, name: &str, id| json!({"event": "revoked", "client": "shop", "scope": scope, name: id, "sessions_ended": 0});
    assert_eq!(lines.take(), [each("token_id", "token_id", "a"), each("session", "session", "b")]);
}

/// A user of another issuer with the same name is a different user.
#[tokio::test(flavor = "current_thread")]
async fn whose_token_it_was_is_written_down_when_it_was_not_our_own() {
    const SECRET: &str = "a secret that is long enough for its hash";
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("shop.secret");
    std::fs::write(&file, SECRET).unwrap();
    let settings = format!(
        "[{{ name = 'shop', secret_file = '{}', accept_generic_type = true, accept_missing_issuer = true }}]",
        file.display()
    );
    let (lines, _capturing) = capture();
    let app = TestApp::with(&[("trusted_issuer", &settings)]).await.with_user("jose").await.with_admin("boss").await;
    let (jose, boss) = (app.log_in("jose").await, app.log_in("boss").await);
    let mut claims = app.claims(&jose);
    claims.issuer = Issuer::new("shop").unwrap();
    let key = SigningKey::from_secret(Algorithm::HS256, SECRET.as_bytes()).unwrap();
    let named = encode(&key, &claims).unwrap();
    // A token without an issuer, which the settings of its issuer allow.
    let (subject, expires_at) = (claims.subject.as_str(), claims.expires_at);
    let parts = [
        json!({"alg": "HS256", "typ": "JWT"}),
        json!({"sub": subject, "jti": "unnamed", "exp": expires_at, "type": "access"}),
    ];
    let unnamed = parts.map(|part| URL_SAFE_NO_PAD.encode(part.to_string())).join(".");
    let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes()), unnamed.as_bytes());
    let unnamed = format!("{unnamed}.{}", URL_SAFE_NO_PAD.encode(signature));
    lines.take();

    let of_shop = |event: &str, token_id: &str, more: Value| {
        let mut line =
            json!({"event": event, "subject": subject, "token_id": token_id, "issuer": "shop", "sessions_ended": 0});
        line.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        line
    };
    let by = app.user_id(&boss);
    for (token, token_id, session) in
        [(&named, claims.token_id.as_str(), Some(&claims.session)), (&unnamed, "unnamed", None)]
    {
        let session = session.map_or(json!({}), |session| json!({ "session": session }));
        let with = |mut more: Value| {
            more.as_object_mut().unwrap().extend(session.as_object().unwrap().clone());
            more
        };
        app.post("/revocations").token(&boss.access).json(json!({ "token": token })).send().await.is(200);
        lines.has(of_shop("revoked", token_id, with(json!({"scope": "token", "actor": by}))));
    }
    app.post("/logout").token(&named).send().await.is_revoked();
    let mut again = claims.clone();
    again.token_id = adieu::TokenId::try_from("again".to_owned()).unwrap();
    app.post("/logout").token(&encode(&key, &again).unwrap()).send().await.is(200);
    lines.has(of_shop("logout", "again", json!({"scope": "this", "session": claims.session})));
    // Events about this server's own tokens do not name the issuer.
    app.post("/revocations").token(&boss.access).json(json!({"session": "x", "issuer": "adieu"})).send().await.is(200);
    assert_eq!(lines.take()[0].get("issuer"), None);
}

/// Whose aliases were changed and which event did not find one, but no address.
#[tokio::test(flavor = "current_thread")]
async fn an_alias_is_written_down_without_its_value() {
    let provider = Provider::start().await;
    let (lines, _capturing) = capture();
    let app = provider.app().await.with_admin("boss").await;
    let boss = app.log_in("boss").await;
    let till = app.client("till", &[Capability::Revoke]).await;
    let alias = json!({"issuer": provider.issuer, "subject": "jose", "format": "email", "value": "jose@example.com"});
    lines.take();
    let entry = |event: &str, by: (&str, &str)| json!({"event": event, "subject": "jose", "issuer": provider.issuer, "scope": "email", by.0: by.1});
    app.post("/aliases").token(&boss.access).json(alias.clone()).send().await.is(200);
    assert_eq!(lines.count("example.com"), 0);
    lines.has(entry("alias_added", ("actor", &app.user_id(&boss))));
    app.post("/aliases/remove").by(&till).json(alias).send().await.is(200);
    assert_eq!(lines.count("example.com"), 0);
    lines.has(entry("aliases_removed", ("client", "till")));
    let request = provider.request_token(json!({}));
    let unknown = json!({"sub_id": {"format": "email", "email": "jose@example.com"}});
    app.post("/global-token-revocation").token(&request).json(unknown).send().await.is(404);
    assert_eq!(lines.count("example.com"), 0);
    lines.has(json!({"event": "event_received", "kind": "global-token-revocation", "outcome": "unknown_subject", "issuer": provider.issuer}));
}

/// The connection is gone while the store is still at work.
#[tokio::test(flavor = "current_thread")]
async fn a_change_whose_client_hangs_up_is_written_down_too() {
    let (lines, _capturing) = capture();
    let app = TestApp::start().await.with_admin("boss").await.with_user("jose").await;
    let (boss, jose) = (app.log_in("boss").await.access, app.log_in("jose").await);
    let promote = format!("/users/{}/promote", app.user_id(&jose));
    let passwords = json!({"username": "jose", "password": "1234", "new_password": "12345"}).to_string();
    for (path, token, body, event) in
        [(&*promote, &boss, "", "account_promoted"), ("/password/change", &boss, &passwords, "password_changed")]
    {
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        );
        // On a slow machine, the request may not have been read, or its password not hashed, by the time that its client hangs up.
        for patience in [50, 200, 1_000, 4_000].map(Duration::from_millis) {
            let lock = app.lock_store();
            let client = app.send(&request).await;
            tokio::time::sleep(patience).await;
            drop(client);
            tokio::time::sleep(patience).await;
            drop(lock);
            tokio::time::sleep(patience).await;
            if lines.count(event) > 0 {
                break;
            }
        }
        assert!(lines.count(event) > 0, "{path}");
    }
    let listed = app.get("/users?name=jose").token(&boss).send().await.json();
    assert_eq!(listed["users"][0]["is_admin"], json!(true));
    app.post("/login").json(json!({"username": "jose", "password": "12345"})).send().await.is(200);
}
