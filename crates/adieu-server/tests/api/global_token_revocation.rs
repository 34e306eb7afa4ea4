//! Global Token Revocation: a provider ends everything of a user.

use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::{
    provider::{CLIENT, ENDPOINT, Provider, appended, changed, now},
    support::{Answer, TestApp},
};

const PATH: &str = "/global-token-revocation";

async fn ask(app: &TestApp, token: &str, body: Value) -> Answer {
    app.post(PATH).token(token).json(body).send().await
}

impl Provider {
    fn request_claims(&self) -> Value {
        json!({"iss": self.issuer, "sub": "client_id_of_integration", "aud": ENDPOINT, "jti": "a3f8d2c1", "iat": now(), "exp": now() + 300})
    }

    pub(crate) fn request_token(&self, changes: Value) -> String {
        self.key.sign(Some("global-token-revocation+jwt"), &changed(self.request_claims(), changes))
    }
}

#[tokio::test]
async fn a_user_is_logged_out_everywhere() {
    let provider = Provider::start().await;
    let app = provider.app().await;
    let formats = |user: &str| {
        let iss_sub = json!({"format": "iss_sub", "iss": provider.issuer, "sub": user});
        let opaque = json!({"format": "opaque", "id": user});
        [json!({"sub_id": iss_sub}), json!({"sub_id": opaque}), json!({"subject": iss_sub})]
    };
    for (number, typ) in [Some("global-token-revocation+jwt"), Some("JWT"), None].into_iter().enumerate() {
        let user = format!("user{number}");
        let tokens = ["s1", "s2"].map(|session| provider.access_from(&user, session, now() - 60));
        let other = provider.access_from("other", "s1", now() - 60);
        let body = formats(&user)[number].clone();
        ask(&app, &provider.key.sign(typ, &provider.request_claims()), body).await.reads("204 ");
        for token in tokens {
            app.verify(&token).await.is_revoked();
        }
        app.verify(&other).await.is(204);
    }
    // Again, with the same token: logins since then stay.
    let token = provider.request_token(json!({"iat": now() - 60}));
    let later = provider.access_from("jose", "s3", now() - 30);
    for _ in 0..2 {
        ask(&app, &token, formats("jose")[0].clone()).await.is(204);
        app.verify(&later).await.is(204);
        app.verify(&provider.access_from("jose", "s2", now() - 90)).await.is_revoked();
    }
    // An unknown user is answered as any other.
    ask(&app, &token, formats("unheard")[0].clone()).await.reads("204 ");
}

#[tokio::test]
async fn each_status_has_its_reason() {
    let (provider, other) = (Provider::start().await, Provider::start().await);
    let app = provider.app().await;
    let jose = json!({"sub_id": {"format": "iss_sub", "iss": provider.issuer, "sub": "jose"}});
    let before = appended(&app.node);
    let identity = json!({"aud": CLIENT, "nonce": "n"});
    for (what, token) in [
        ("another issuer", provider.request_token(json!({"iss": "https://other.example"}))),
        ("another URL", provider.request_token(json!({"aud": "https://other.example/global-token-revocation"}))),
        ("an identity token", provider.key.sign(Some("JWT"), &changed(provider.request_claims(), identity))),
        ("no audience", provider.request_token(json!({"aud": null}))),
        ("no sub", provider.request_token(json!({"sub": null}))),
        ("no jti", provider.request_token(json!({"jti": null}))),
        ("no iat", provider.request_token(json!({"iat": null}))),
        ("no exp", provider.request_token(json!({"exp": null}))),
        ("expired", provider.request_token(json!({"exp": now()}))),
        ("an iat of the future", provider.request_token(json!({"iat": now() + 60}))),
        ("the type of access tokens", provider.key.sign(Some("at+jwt"), &provider.request_claims())),
        ("the type of events", provider.key.sign(Some("secevent+jwt"), &provider.request_claims())),
        ("another issuer's key", other.key.sign(Some("global-token-revocation+jwt"), &provider.request_claims())),
        ("an access token", provider.access("jose", "s1")),
        ("no token at all", "x".to_owned()),
    ] {
        let answer = ask(&app, &token, jose.clone()).await;
        assert_eq!(answer.status, 401, "{what}: {answer}");
        assert!(answer.header("www-authenticate").is_some_and(|challenge| challenge.starts_with("Bearer")), "{what}");
    }
    app.post(PATH).json(jose.clone()).send().await.is(401);

    let token = provider.request_token(json!({}));
    for (body, status) in [
        (json!({}), 400),
        (json!([]), 400),
        (json!({"sub_id": {"format": "iss_sub", "iss": provider.issuer}}), 400),
        (json!({"sub_id": {"format": "of our own", "sub": "jose"}}), 400),
        (json!({"sub_id": "jose"}), 400),
        (json!({"sub_id": jose["sub_id"], "subject": jose["sub_id"]}), 400),
        (json!({"sub_id": {"format": "email", "email": "jose@example.com"}}), 404),
        (json!({"sub_id": {"format": "iss_sub", "iss": other.issuer, "sub": "jose"}}), 404),
        (json!({"sub_id": {"format": "jwt_id", "iss": provider.issuer, "jti": "1"}}), 422),
        (json!({"sub_id": {"format": "complex", "session": {"format": "opaque", "id": "s1"}}}), 422),
    ] {
        let answer = ask(&app, &token, body.clone()).await;
        assert_eq!(answer.status, status, "{body}: {answer}");
    }
    app.post(PATH).token(&token).text(r#"{"sub_id": {}, "sub_id": {}}"#).send().await.is(400);
    app.post(PATH).token(&token).form("sub_id=jose").send().await.is(415);
    app.post(PATH).token(&token).text("x".repeat(70_000)).send().await.is(413);
    assert_eq!(appended(&app.node), before, "nothing was revoked");
    app.break_log();
    ask(&app, &token, jose.clone()).await.is(503);
    app.mend_log();

    let app = provider.app_with(r#"events = ["backchannel-logout"]"#, &[("event_quota", "1 per 1h")]).await;
    assert_snapshot!(ask(&app, &token, jose.clone()).await, @r#"403 {"code":403,"message":"This issuer may not revoke the tokens of its users.","status":"Forbidden"}"#);
    ask(&app, &token, jose).await.is(429);
}
