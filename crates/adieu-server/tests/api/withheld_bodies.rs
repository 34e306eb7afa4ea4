//! A client decides when it sends its body. Its permissions are checked once the body has arrived.

use std::time::Duration;

use adieu_server::clients::{Capability, ClientName};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::sleep,
};

use crate::{
    provider::{Provider, now},
    support::{Credentials, PASSWORD, TestApp, credentials, first_line, operations},
};

/// A request whose head the server has checked, and whose body it awaits.
struct Opened {
    stream: TcpStream,
    body: String,
}

impl Opened {
    async fn with(app: &TestApp, path: &str, authorization: &str, kind: &str, body: String) -> Self {
        let mut stream = app
            .send(&format!(
                "POST {path} HTTP/1.1\r\nhost: adieu\r\nauthorization: {authorization}\r\ncontent-type: {kind}\r\n\
                 content-length: {}\r\nexpect: 100-continue\r\nconnection: close\r\n\r\n",
                body.len()
            ))
            .await;
        // Sent when the body is requested, which is after the head has been checked.
        assert_eq!(first_line(&mut stream).await, "HTTP/1.1 100 Continue");
        Self { stream, body }
    }

    async fn by_token(app: &TestApp, path: &str, token: &str, body: Value) -> Self {
        Self::with(app, path, &format!("Bearer {token}"), "application/json", body.to_string()).await
    }

    async fn by_client(app: &TestApp, path: &str, client: &Credentials, kind: &str, body: String) -> Self {
        let basic = STANDARD.encode(format!("{}:{}", client.name, client.secret));
        Self::with(app, path, &format!("Basic {basic}"), kind, body).await
    }

    /// Sends the body; returns the status and the body of the response.
    async fn finish(mut self) -> String {
        self.stream.write_all(self.body.as_bytes()).await.unwrap();
        let mut answer = String::new();
        self.stream.read_to_string(&mut answer).await.unwrap();
        let answer = answer.trim_start();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        format!("{} {body}", head.split(' ').nth(1).unwrap())
    }
}

const REVOKED: &str = r#"401 {"description":"The token has been revoked.","error":"token_revoked"}"#;

#[tokio::test]
async fn an_administrator_who_has_logged_out_revokes_nothing_any_more() {
    let app = TestApp::start().await.with_admin("admin").await.with_user("jose").await;
    let (admin, jose) = (app.log_in("admin").await, app.log_in("jose").await);
    let everything = Opened::by_token(&app, "/revocations", &admin.access, json!({"everything": true})).await;
    let of_jose = json!({"issuer": "shop", "subject": "jose", "format": "email", "value": "jose@example.com"});
    let added = Opened::by_token(&app, "/aliases", &admin.access, of_jose.clone()).await;
    let removed = Opened::by_token(&app, "/aliases/remove", &admin.access, of_jose).await;
    let invited = Opened::by_token(&app, "/invites", &admin.access, json!({})).await;
    app.post("/logout?scope=all").token(&admin.access).send().await.is(200);
    for opened in [everything, added, removed, invited] {
        assert_eq!(opened.finish().await, REVOKED);
    }
    app.verify(&jose.access).await.is(204);
}

#[tokio::test]
async fn a_user_who_has_logged_out_changes_no_password_any_more() {
    let app = TestApp::start().await.with_user("jose").await;
    let tokens = app.log_in("jose").await;
    let change = json!({"password": PASSWORD, "new_password": "a thief's"});
    let change = Opened::by_token(&app, "/password", &tokens.access, change).await;
    app.post("/logout").token(&tokens.access).send().await.is(200);
    assert_eq!(change.finish().await, REVOKED);
    app.post("/login").json(credentials("jose", PASSWORD)).send().await.is(200);
}

#[tokio::test]
async fn an_administrator_who_was_demoted_sets_no_password_any_more() {
    let app = TestApp::start().await.with_admin("admin").await.with_admin("boss").await.with_user("jose").await;
    let (admin, boss, jose) = (app.log_in("admin").await, app.log_in("boss").await, app.log_in("jose").await);
    let path = format!("/users/{}/password", app.user_id(&jose));
    let set = Opened::by_token(&app, &path, &admin.access, json!({"password": "a thief's"})).await;
    app.post(&format!("/users/{}/demote", app.user_id(&admin))).token(&boss.access).send().await.is(200);
    assert_eq!(set.finish().await, REVOKED);
    app.verify(&jose.access).await.is(204);
    app.log_in("jose").await;
}

#[tokio::test]
async fn a_client_that_was_removed_meanwhile_is_refused() {
    let app = TestApp::start().await.with_user("jose").await;
    let tokens = app.log_in("jose").await;
    let client = app.client("billing", &[Capability::Revoke, Capability::Introspect, Capability::ResetPassword]).await;
    let token = format!("token={}", tokens.access);
    let form = "application/x-www-form-urlencoded";
    let asked = Opened::by_client(&app, "/introspect", &client, form, token.clone()).await;
    let subject = json!({"subject": app.user_id(&tokens)}).to_string();
    let revoked = Opened::by_client(&app, "/revocations", &client, "application/json", subject).await;
    let token_revoked = Opened::by_client(&app, "/revoke", &client, form, token.clone()).await;
    let alias =
        json!({"issuer": "shop", "subject": "jose", "format": "email", "value": "jose@example.com"}).to_string();
    let added = Opened::by_client(&app, "/aliases", &client, "application/json", alias.clone()).await;
    let removed = Opened::by_client(&app, "/aliases/remove", &client, "application/json", alias).await;
    let user = json!({"username": "jose"}).to_string();
    let reset = Opened::by_client(&app, "/password/reset-token", &client, "application/json", user).await;

    app.node.clients.store().remove_client(&ClientName::new(&client.name).unwrap()).await.unwrap();
    while app.post("/introspect").by(&client).form(token.clone()).send().await.status != 401 {
        sleep(Duration::from_millis(50)).await;
    }
    for opened in [asked, revoked, token_revoked, added, removed, reset] {
        let answer = opened.finish().await;
        assert!(answer.starts_with("401 "), "{answer}");
    }
    app.verify(&tokens.access).await.is(204);
}

#[tokio::test]
async fn a_token_of_an_identity_provider_that_expired_meanwhile_revokes_nothing() {
    let provider = Provider::start().await;
    let app = provider.app().await;
    let jose = provider.access("jose", "s1");
    let expires_at = now() + 2;
    let token = provider.request_token(json!({"exp": expires_at}));
    let body = json!({"sub_id": {"format": "iss_sub", "iss": provider.issuer, "sub": "jose"}});
    let asked = Opened::by_token(&app, "/global-token-revocation", &token, body).await;
    while now() < expires_at {
        sleep(Duration::from_millis(50)).await;
    }
    let answer = asked.finish().await;
    assert!(answer.starts_with("401 "), "{answer}");
    app.verify(&jose).await.is(204);
}

/// So that a new one is tested above as well.
#[tokio::test]
async fn these_are_all_that_take_a_body_and_an_authority() {
    let document = serde_json::to_value(adieu_server::api::document()).unwrap();
    let mut both: Vec<String> = operations()
        .into_keys()
        .filter(|(method, path)| {
            let operation = &document["paths"][path][method.to_lowercase()];
            let is_empty = |value: &Value| value.as_array().is_none_or(Vec::is_empty);
            operation.get("requestBody").is_some() && !is_empty(&operation["security"])
        })
        .map(|(method, path)| format!("{method} {path}"))
        .collect();
    both.sort();
    assert_eq!(
        both,
        [
            "POST /aliases",
            "POST /aliases/remove",
            "POST /global-token-revocation",
            "POST /introspect",
            "POST /invites",
            "POST /password",
            "POST /password/reset-token",
            "POST /revocations",
            "POST /revoke",
            "POST /users/{id}/password"
        ]
    );
}
