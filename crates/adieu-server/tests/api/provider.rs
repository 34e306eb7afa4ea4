//! An identity provider with a key of its own, whose JWKS is served on loopback.

use std::sync::{Arc, Mutex};

use adieu_server::node::Node;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use axum::{Router, http::StatusCode, routing::get};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};

use crate::support::TestApp;

pub(crate) const CLIENT: &str = "s6BhdRkqt3";
pub(crate) const ENDPOINT: &str = "https://adieu.example/global-token-revocation";
pub(crate) const EVERY_KIND: &str = r#"["backchannel-logout", "session-revoked",
    "token-claims-change", "credential-change", "device-compliance-change", "account-purged", "account-disabled",
    "credential-compromise", "sessions-revoked", "global-token-revocation"]"#;

/// An Ed25519 key. Without a name, neither its JWK nor what it signs has a `kid`.
pub(crate) struct Key {
    pub(crate) id: Option<&'static str>,
    signing: EncodingKey,
    jwk: Value,
}

impl Key {
    pub(crate) fn new(id: impl Into<Option<&'static str>>) -> Self {
        let id = id.into();
        let pkcs8 = Ed25519KeyPair::generate().unwrap().to_pkcs8v1().unwrap();
        let pair = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap();
        let x = BASE64_URL_SAFE_NO_PAD.encode(pair.public_key());
        let jwk = json!({"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": id, "x": x});
        let jwk = changed(jwk, if id.is_none() { json!({"kid": null}) } else { json!({}) });
        Self { id, signing: EncodingKey::from_ed_der(pkcs8.as_ref()), jwk }
    }

    /// Signs claims under this `typ`.
    pub(crate) fn sign(&self, typ: Option<&str>, claims: &Value) -> String {
        let mut header = Header::new(Algorithm::EdDSA);
        (header.kid, header.typ) = (self.id.map(str::to_owned), typ.map(str::to_owned));
        encode(&header, claims, &self.signing).unwrap()
    }
}

/// The provider. Its published keys can be changed, and `None` is an outage.
pub(crate) struct Provider {
    pub(crate) issuer: String,
    pub(crate) key: Key,
    published: Arc<Mutex<Option<Value>>>,
    server: JoinHandle<()>,
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Provider {
    pub(crate) async fn start() -> Self {
        Self::with_key(Key::new("2026")).await
    }

    pub(crate) async fn with_key(key: Key) -> Self {
        let published = Arc::new(Mutex::new(Some(json!({"keys": [key.jwk]}))));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("http://{}", listener.local_addr().unwrap());
        let keys = Arc::clone(&published);
        let answer = async move || {
            let keys = keys.lock().unwrap().clone();
            keys.map_or((StatusCode::SERVICE_UNAVAILABLE, String::new()), |keys| (StatusCode::OK, keys.to_string()))
        };
        let metadata = json!({"issuer": issuer, "jwks_uri": format!("{issuer}/jwks"), "id_token_signing_alg_values_supported": ["EdDSA", "RS256"]});
        let router = Router::new()
            .route("/jwks", get(answer))
            .route("/.well-known/openid-configuration", get(async move || metadata.to_string()));
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { issuer, key, published, server }
    }

    /// Publishes these keys.
    pub(crate) fn publish(&self, keys: &[&Key]) {
        let keys: Vec<_> = keys.iter().map(|key| &key.jwk).collect();
        *self.published.lock().unwrap() = Some(json!({ "keys": keys }));
    }

    /// Answers no more requests for the keys.
    pub(crate) fn go_down(&self) {
        *self.published.lock().unwrap() = None;
    }

    /// The table of this issuer in the settings, with these further settings.
    pub(crate) fn table(&self, further: &str) -> String {
        let issuer = &self.issuer;
        format!(
            r#"{{ name = "{issuer}", jwks_url = "{issuer}/jwks", audience = "api", max_lifetime = "1h", event_audience = ["{CLIENT}", "{ENDPOINT}"], {further} }}"#
        )
    }

    /// Starts a server that trusts this provider and accepts every kind of event, and waits until it has the keys.
    pub(crate) async fn app(&self) -> TestApp {
        self.app_with(&format!("events = {EVERY_KIND}"), &[]).await
    }

    pub(crate) async fn app_with(&self, further: &str, settings: &[(&str, &str)]) -> TestApp {
        let issuers = format!("[{}]", self.table(further));
        let settings = [&[("trusted_issuer", issuers.as_str())], settings].concat();
        let app = TestApp::with(&settings).await;
        let token = self.access("nobody", "none");
        while app.verify(&token).await.status != 204 {
            tokio::task::yield_now().await;
        }
        app
    }

    /// Returns the counted events. The name of this issuer is written as ISSUER.
    pub(crate) fn counted_in(&self, app: &TestApp) -> String {
        let metrics = app.node.metrics.render().unwrap();
        assert!(!metrics.contains('@'), "no address of a user is in the metrics");
        let mut events: Vec<_> = metrics.lines().filter(|line| line.starts_with("adieu_events_total")).collect();
        events.sort_unstable();
        events.join("\n").replace(&self.issuer, "ISSUER")
    }

    /// An access token of a user and a session.
    pub(crate) fn access(&self, subject: &str, session: &str) -> String {
        self.access_from(subject, session, now())
    }

    /// An access token that was issued at this time.
    pub(crate) fn access_from(&self, subject: &str, session: &str, issued_at: u64) -> String {
        self.key.sign(
            Some("at+jwt"),
            &changed(self.access_claims(subject, session), json!({"iat": issued_at, "exp": issued_at + 900})),
        )
    }

    /// The claims of an access token that is issued now.
    pub(crate) fn access_claims(&self, subject: &str, session: &str) -> Value {
        let (jti, issued_at) = (format!("{subject}-{session}"), now());
        json!({"iss": self.issuer, "sub": subject, "sid": session, "aud": "api", "jti": jti, "iat": issued_at, "exp": issued_at + 900})
    }

    /// The claims of a logout token, with these changes; `null` removes a claim.
    pub(crate) fn logout_claims(&self, changes: Value) -> Value {
        let claims = json!({
            "iss": self.issuer, "aud": CLIENT, "iat": now(), "exp": now() + 120, "jti": "bWJq",
            "events": {"http://schemas.openid.net/event/backchannel-logout": {}},
        });
        changed(claims, changes)
    }

    pub(crate) fn logout_token(&self, changes: Value) -> String {
        self.key.sign(Some("logout+jwt"), &self.logout_claims(changes))
    }
}

/// Returns the claims with these changes; `null` removes a claim.
pub(crate) fn changed(mut claims: Value, changes: Value) -> Value {
    let members = claims.as_object_mut().unwrap();
    for (name, value) in changes.as_object().unwrap().clone() {
        if value.is_null() {
            members.remove(&name);
        } else {
            members.insert(name, value);
        }
    }
    claims
}

pub(crate) fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

/// The number of revocations that a node has appended.
pub(crate) fn appended(node: &Node) -> u64 {
    node.sessions.revocations_appended()
}
