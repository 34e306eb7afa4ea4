//! Responses to token introspection by a service (RFC 7662).

use adieu_server::clients::Capability;
use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::support::{Credentials, TestApp, Tokens};

struct Service {
    app: TestApp,
    client: Credentials,
}

impl Service {
    async fn with(settings: &[(&str, &str)]) -> Self {
        let app = TestApp::with(settings).await.with_admin("boss").await;
        Self { client: app.client("shop", &[Capability::Introspect]).await, app }
    }

    async fn start() -> Self {
        Self::with(&[]).await
    }

    async fn ask(&self, token: &str) -> Value {
        let answer = self.app.post("/introspect").by(&self.client).form(format!("token={token}")).send().await;
        answer.is(200);
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        answer.json()
    }

    async fn is_good(&self, token: &str) -> bool {
        let answer = self.ask(token).await;
        if answer["active"] == false {
            assert_eq!(answer, json!({"active": false}), "no other field is returned");
        }
        answer["active"].as_bool().unwrap()
    }

    async fn log_in(&self) -> Tokens {
        self.app.log_in("boss").await
    }
}

#[tokio::test]
async fn a_good_token_is_described() {
    let service = Service::with(&[("audience", "shop")]).await;
    let tokens = service.log_in().await;
    let claims = service.app.claims(&tokens);
    let described = service.ask(&tokens.access).await;
    assert_eq!(
        described,
        json!({
            "active": true, "token_type": "Bearer", "type": "access", "iss": "adieu", "aud": ["shop"],
            "sub": claims.subject, "sid": claims.session, "jti": claims.token_id, "fresh": true, "is_admin": true,
            "username": "boss",
            "iat": claims.issued_at, "nbf": claims.not_before, "exp": claims.expires_at,
        })
    );
    let refresh = service.ask(&tokens.refresh).await;
    assert_eq!(
        (&refresh["active"], &refresh["type"], &refresh["token_type"]),
        (&json!(true), &json!("refresh"), &Value::Null)
    );
    assert_eq!(refresh["sub"], described["sub"]);
}

#[tokio::test]
async fn whatever_is_not_good_is_not_active_and_no_more_is_told() {
    let service = Service::start().await;
    let tokens = service.log_in().await;
    let other = TestApp::start().await.with_user("jose").await.log_in("jose").await;
    for token in ["x", &service.app.expired(&tokens), &other.access, &other.refresh, &tokens.access[1..]] {
        assert!(!service.is_good(token).await, "{token}");
    }
    assert!(service.is_good(&tokens.access).await);
    service.app.post("/logout").token(&tokens.access).send().await.is(200);
    assert!(!service.is_good(&tokens.access).await);
    assert!(!service.is_good(&tokens.refresh).await);
}

#[tokio::test]
async fn of_a_refresh_token_is_said_what_its_use_would_come_to() {
    for (grace, forgiven) in [("10s", true), ("0s", false)] {
        let service = Service::with(&[("rotation_grace", grace)]).await;
        let first = service.log_in().await;
        for _ in 0..3 {
            assert!(service.is_good(&first.refresh).await, "asking does not use it");
        }
        let second = service.app.post("/refresh").token(&first.refresh).send().await.tokens();
        assert!(service.is_good(&second.refresh).await);
        assert_eq!(service.is_good(&first.refresh).await, forgiven, "grace {grace}");
        assert!(service.is_good(&second.refresh).await, "that it was asked for again ends nothing");
    }
}

/// The revocation of a session does not match its refresh token at another node: the session's row decides.
#[tokio::test]
async fn a_refresh_token_whose_session_is_gone_from_the_store_is_not_active() {
    let service = Service::start().await;
    let tokens = service.log_in().await;
    service.app.execute("DELETE FROM session");
    assert!(!service.is_good(&tokens.refresh).await);
    assert!(service.is_good(&tokens.access).await, "it was not revoked");
}

#[tokio::test]
async fn a_node_that_can_not_know_says_so() {
    let service = Service::with(&[("max_staleness", "1s")]).await;
    let tokens = service.log_in().await;
    let ask = |token: &str| service.app.post("/introspect").by(&service.client).form(format!("token={token}")).send();
    service.app.break_log();
    while ask(&tokens.access).await.status == 200 {}
    let answer = ask(&tokens.access).await;
    assert_snapshot!(answer, @r#"503 {"code":503,"message":"Whether the token has been revoked is not known just now. Try again.","status":"Service Unavailable"}"#);
    assert_eq!(answer.header("retry-after"), Some("1"));
    ask(&tokens.refresh).await.is(503);
}

#[tokio::test]
async fn the_form_has_one_token_and_whatever_else() {
    let service = Service::start().await;
    let tokens = service.log_in().await;
    let ask = |form: String| service.app.post("/introspect").by(&service.client).form(form).send();
    let hinted = ask(format!("token_type_hint=refresh_token&token={}&x=1", tokens.access)).await;
    assert_eq!(hinted.json()["active"], true);
    assert_snapshot!(ask("token_type_hint=x".into()).await, @r#"400 {"error":"invalid_request","error_description":"The parameter token is missing."}"#);
    assert_snapshot!(ask("token=".into()).await, @r#"400 {"error":"invalid_request","error_description":"The parameter token is missing."}"#);
    assert_snapshot!(ask("token=x&token=y".into()).await, @r#"400 {"error":"invalid_request","error_description":"Duplicate parameter token."}"#);
    let json = service.app.post("/introspect").by(&service.client).json(json!({"token": "x"})).send().await;
    assert_snapshot!(json, @r#"400 {"error":"invalid_request","error_description":"Send the body as application/x-www-form-urlencoded."}"#);
}

/// Credentials as standard clients send them (RFC 6749 §2.3.1): form-encoded in the header, or in the form.
#[tokio::test]
async fn a_client_may_send_its_credentials_in_each_way_of_the_standard() {
    let app = TestApp::start().await.with_admin("boss").await;
    let client = app.client("shop.web_1-a", &[Capability::Introspect]).await;
    let tokens = app.log_in("boss").await;
    let encode = |text: &str| text.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
    let encoded = Credentials { name: encode(&client.name), secret: encode(&client.secret) };
    let asked = || app.post("/introspect");
    let in_form = format!("token={}&client_id={}&client_secret={}", tokens.access, encoded.name, client.secret);
    let token = format!("token={}", tokens.access);
    for call in [
        asked().by(&client).form(token.clone()),
        asked().by(&encoded).form(token.clone()),
        asked().form(in_form.clone()),
        // Some clients send the name in both places.
        asked().by(&client).form(format!("{token}&client_id={}", client.name)),
    ] {
        let answer = call.send().await;
        answer.is(200);
        assert_eq!(answer.json()["active"], true);
    }
    let other = app.client("other", &[Capability::Follow]).await;
    for (call, expected) in [
        (
            asked().by(&client).form(in_form),
            r#"400 {"error":"invalid_request","error_description":"Send the client's credentials once."}"#,
        ),
        (
            asked().by(&client).form(format!("{token}&client_id=other")),
            r#"400 {"error":"invalid_request","error_description":"The client_id is not that of the Authorization header."}"#,
        ),
        (
            asked().form(format!("{token}&client_id=a&client_id=b")),
            r#"400 {"error":"invalid_request","error_description":"Duplicate parameter client_id."}"#,
        ),
        (
            asked().form(format!("{token}&client_id={}", client.name)),
            r#"401 {"error":"invalid_client","error_description":"Invalid client credentials."}"#,
        ),
        (
            asked().form(format!("{token}&client_id={}&client_secret=x", client.name)),
            r#"401 {"error":"invalid_client","error_description":"Invalid client credentials."}"#,
        ),
        (
            asked().form(format!("{token}&client_id=other&client_secret={}", other.secret)),
            r#"403 {"error":"unauthorized_client","error_description":"This client may not introspect."}"#,
        ),
    ] {
        let answer = call.send().await;
        answer.reads(expected);
        assert_eq!(answer.header("www-authenticate"), (answer.status == 401).then_some(r#"Basic realm="adieu""#));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
    }
}
