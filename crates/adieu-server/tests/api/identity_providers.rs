//! The pages of `docs/providers`: with the settings of a page, a logout token as on the page ends access tokens as that provider makes them.

use std::fs;

use serde_json::{Value, json};

use crate::{
    provider::{Provider, changed, now},
    support::TestApp,
};

/// A page, with the issuer replaced by a provider that runs here.
struct Page {
    provider: Provider,
    settings: String,
    logout_token: Value,
}

impl Page {
    async fn read(name: &str) -> Self {
        let page = format!("{}/../../docs/providers/{name}.md", env!("CARGO_MANIFEST_DIR"));
        let page = fs::read_to_string(page).unwrap();
        let mut provider = Provider::start().await;
        let mut settings: toml::Table = block(&page, "toml").parse().unwrap();
        let table = &mut settings["trusted_issuer"][0];
        let logout_token: Value = serde_json::from_str(block(&page, "json")).unwrap();
        assert_eq!(table["discovery"].as_str(), logout_token["iss"].as_str());
        assert_eq!(table["event_audience"][0].as_str(), logout_token["aud"].as_str());
        // The metadata of the provider that runs here have its own name.
        let address = provider.issuer.clone();
        table.as_table_mut().unwrap().remove("discovery");
        table.as_table_mut().unwrap().insert("name".into(), logout_token["iss"].as_str().unwrap().into());
        table.as_table_mut().unwrap().insert("jwks_url".into(), format!("{address}/jwks").into());
        provider.issuer = logout_token["iss"].as_str().unwrap().to_owned();
        Self { provider, settings: settings["trusted_issuer"].to_string(), logout_token }
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
        let claims = changed(self.logout_token.clone(), json!({"iat": now(), "exp": now() + 120}));
        let token = self.provider.key.sign(Some("logout+jwt"), &changed(claims, changes));
        app.post("/backchannel-logout").form(format!("logout_token={token}")).send().await.is(200);
    }
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
        let claims = json!({"exp": now() + 300, "iat": now() - 60, "auth_time": now() - 60, "jti": jti, "iss": page.logout_token["iss"],
            "aud": ["api", "account"], "sub": page.logout_token["sub"], "typ": "Bearer", "azp": "shop-frontend",
            "sid": page.logout_token["sid"], "acr": "1", "scope": "openid email profile"});
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
        let claims = json!({"iss": page.logout_token["iss"], "sub": subject, "iat": now() - 60, "exp": now() + 86_340, "jti": jti,
            "aud": ["https://api.shop.example", "https://shop.eu.auth0.com/userinfo"], "client_id": "s6BhdRkqt3",
            "scope": "openid profile offline_access"});
        page.provider.key.sign(Some("at+jwt"), &claims)
    };
    let (ended, other) = (access("1", &page.logout_token["sub"]), access("2", &json!("auth0|someone-else")));
    let app = page.app(&ended).await;
    app.verify(&other).await.is(204);
    page.log_out(&app, json!({})).await;
    app.verify(&ended).await.is_revoked();
    app.verify(&other).await.is(204);
}
