//! The pages of `docs/providers`: with the settings of a page, the message on the page ends access tokens as that provider makes them.

use std::fs;

use adieu_server::clients::Capability;
use serde_json::{Value, json};

use crate::{
    provider::{Provider, changed, now},
    support::TestApp,
};

/// A page, with the keys of its issuers replaced by those of a provider that runs here.
struct Page {
    provider: Provider,
    settings: String,
    /// The JSON on the page: what is sent.
    message: Value,
}

impl Page {
    async fn read(name: &str) -> Self {
        let page = format!("{}/../../docs/providers/{name}.md", env!("CARGO_MANIFEST_DIR"));
        let page = fs::read_to_string(page).unwrap();
        let mut provider = Provider::start().await;
        let mut settings: toml::Table = block(&page, "toml").parse().unwrap();
        let table = settings["trusted_issuer"][0].as_table_mut().unwrap();
        // The metadata of the provider that runs here have its own name.
        let keys = format!("{}/jwks", provider.issuer);
        let issuer = name_of(table, &keys);
        if let Some(of_events) = table.get_mut("event_issuer") {
            name_of(of_events.as_table_mut().unwrap(), &keys);
        }
        provider.issuer = issuer;
        let message = serde_json::from_str(block(&page, "json")).unwrap();
        Self { provider, settings: settings["trusted_issuer"].to_string(), message }
    }

    /// Starts a server with the settings of the page, and waits until it accepts this token.
    async fn app(&self, access: &str) -> TestApp {
        let app = TestApp::with(&[("trusted_issuer", &self.settings)]).await;
        while app.verify(access).await.status == 503 {
            tokio::task::yield_now().await;
        }
        app.verify(access).await.is(204);
        app
    }

    /// Sends the logout token of the page, as of now, with these changes.
    async fn log_out(&self, app: &TestApp, changes: Value) {
        let claims = changed(self.message.clone(), json!({"iat": now(), "exp": now() + 120}));
        let token = self.provider.key.sign(Some("logout+jwt"), &changed(claims, changes));
        app.post("/backchannel-logout").form(format!("logout_token={token}")).send().await.is(200);
    }
}

/// Replaces the discovery of an issuer by its name and the URL of its keys.
fn name_of(table: &mut toml::Table, keys: &str) -> String {
    let name = table.remove("discovery").unwrap();
    table.insert("name".into(), name.clone());
    table.insert("jwks_url".into(), keys.into());
    name.as_str().unwrap().to_owned()
}

/// The only block of code in this language.
fn block<'p>(page: &'p str, language: &str) -> &'p str {
    let (_, rest) = page.split_once(&format!("```{language}\n")).unwrap();
    let (block, rest) = rest.split_once("```").unwrap();
    assert!(!rest.contains(&format!("```{language}")));
    block
}

#[tokio::test]
async fn keycloak() {
    let page = Page::read("keycloak").await;
    let access = |jti: &str, changes: Value| {
        let claims = json!({"exp": now() + 300, "iat": now() - 60, "auth_time": now() - 60, "jti": jti, "iss": page.message["iss"],
            "aud": ["api", "account"], "sub": page.message["sub"], "typ": "Bearer", "azp": "shop-frontend",
            "sid": page.message["sid"], "acr": "1", "scope": "openid email profile"});
        page.provider.key.sign(Some("JWT"), &changed(claims, changes))
    };
    let ended = access("onrtac:1", json!({}));
    let other = access("onrtac:2", json!({"sid": "1bb4d2a1-5d6a-4e2f-8e1d-4a3a1a4b8c22"}));
    let app = page.app(&ended).await;
    app.verify(&other).await.is(204);
    for of_another_kind in ["ID", "Refresh", "Offline", "Logout"] {
        app.verify(&access("3", json!({"typ": of_another_kind}))).await.is(401);
    }
    page.log_out(&app, json!({})).await;
    app.verify(&ended).await.is_revoked();
    app.verify(&other).await.is(204);
    // Without the session: as if "Backchannel logout session required" were off.
    page.log_out(&app, json!({"sid": null})).await;
    app.verify(&other).await.is_revoked();
}

#[tokio::test]
async fn auth0() {
    let page = Page::read("auth0").await;
    let access = |jti: &str, subject: &Value| {
        let claims = json!({"iss": page.message["iss"], "sub": subject, "iat": now() - 60, "exp": now() + 86_340, "jti": jti,
            "aud": ["https://api.shop.example", "https://shop.eu.auth0.com/userinfo"], "client_id": "s6BhdRkqt3",
            "scope": "openid profile offline_access"});
        page.provider.key.sign(Some("at+jwt"), &claims)
    };
    let (ended, other) = (access("1", &page.message["sub"]), access("2", &json!("auth0|someone-else")));
    let app = page.app(&ended).await;
    app.verify(&other).await.is(204);
    page.log_out(&app, json!({})).await;
    app.verify(&ended).await.is_revoked();
    app.verify(&other).await.is(204);
}

#[tokio::test]
async fn okta() {
    let page = Page::read("okta").await;
    let organization = page.message["iss"].as_str().unwrap();
    let user = "/events/https:~1~1schemas.openid.net~1secevent~1caep~1event-type~1session-revoked/subject/user";
    let user = page.message.pointer(user).unwrap();
    let access = |jti: &str, uid: &Value, issued_at: u64| {
        let claims = json!({"ver": 1, "jti": format!("AT.{jti}"), "iss": page.provider.issuer, "aud": "api://default", "iat": issued_at,
            "exp": issued_at + 3600, "cid": "0oa1f4l3kQ", "uid": uid, "scp": ["openid"], "auth_time": issued_at, "sub": "jose@example.com"});
        page.provider.key.sign(None, &claims)
    };
    let (earlier, later) = (now() - 600, now() - 60);
    let ended = access("1", &user["sub"], earlier);
    let (newer, other) = (access("2", &user["sub"], later), access("3", &json!("00u2"), earlier));
    let app = page.app(&ended).await;
    app.verify(&newer).await.is(204);
    app.verify(&other).await.is(204);
    let identity = json!({"iss": page.provider.issuer, "aud": "0oa1f4l3kQ", "sub": user["sub"], "uid": user["sub"], "jti": "ID.1",
        "iat": later, "exp": later + 3600});
    app.verify(&page.provider.key.sign(None, &identity)).await.is(401);

    // A security event from between the two tokens, in milliseconds and without a format of its complex subject.
    let mut event = changed(page.message.clone(), json!({"iat": now()}));
    let kinds = event["events"].as_object_mut().unwrap();
    kinds.values_mut().next().unwrap()["event_timestamp"] = json!((now() - 300) * 1000 + 643);
    let event = page.provider.key.sign(Some("secevent+jwt"), &event);
    app.post("/events").header("content-type", "application/secevent+jwt").body(event).send().await.is(202);
    app.verify(&ended).await.is_revoked();
    app.verify(&newer).await.is(204);

    // Universal Logout.
    let endpoint = "https://adieu.example/global-token-revocation";
    let token = json!({"jti": "1", "iss": organization, "sub": "0oa1f4l3kQ", "aud": endpoint, "exp": now() + 300, "nbf": now() - 300, "iat": now()});
    let token = page.provider.key.sign(Some("global-token-revocation+jwt"), &token);
    app.post("/global-token-revocation").token(&token).json(json!({ "subject": user })).send().await.is(204);
    app.verify(&newer).await.is_revoked();
    app.verify(&other).await.is(204);
}

#[tokio::test]
async fn entra() {
    let page = Page::read("entra").await;
    let access = |uti: &str, oid: &Value, sid: &str| {
        let claims = json!({"aud": "6a6f7365-0000-4000-8000-00000000000b", "iss": page.provider.issuer, "iat": now() - 360, "nbf": now() - 360,
            "exp": now() + 4500, "aio": "AWQ", "azp": "6a6f7365-0000-4000-8000-00000000000c", "azpacr": "0", "name": "Jose", "oid": oid,
            "preferred_username": "jose@example.com", "rh": "0.A", "scp": "access_as_user", "sid": sid, "sub": "pairwise-of-the-api",
            "tid": "6a6f7365-0000-4000-8000-00000000000a", "uti": uti, "ver": "2.0"});
        page.provider.key.sign(Some("JWT"), &claims)
    };
    let oid = &page.message["subject"];
    let (ended, other) = (access("1", oid, "session-1"), access("2", &json!("another"), "session-2"));
    let app = page.app(&ended).await;
    app.verify(&other).await.is(204);
    assert_eq!(page.message["issuer"].as_str(), Some(&*page.provider.issuer));
    let client = app.client("offboarding", &[Capability::Revoke]).await;
    app.post("/revocations").by(&client).json(page.message.clone()).send().await.is(200);
    app.verify(&ended).await.is_revoked();
    app.verify(&other).await.is(204);
    // The front-channel logout of the application.
    let session = json!({"issuer": page.message["issuer"], "session": "session-2"});
    app.post("/revocations").by(&client).json(session).send().await.is(200);
    app.verify(&other).await.is_revoked();
}
