//! Tokens are revoked by the key that has signed them, and by a claim that they have.

use std::time::Duration;

use adieu::{
    Issuer, Subject,
    revocation::{Revocation, Target},
    time::{Clock as _, SystemClock, Timestamp},
    token::{Algorithm, Claims, KeyId, SigningKey, TokenType, encode},
};
use adieu_server::clients::Capability;
use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::support::{Answer, Credentials, PASSWORD, TestApp, credentials};

/// A server that trusts a shop, and a client of it.
struct Setup {
    app: TestApp,
    client: Credentials,
    admin: String,
    shop: SigningKey,
    _folder: tempfile::TempDir,
}

impl Setup {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let shop = SigningKey::generate(Algorithm::EdDSA).unwrap().with_key_id(KeyId::new("shop-1").unwrap());
        let file = folder.path().join("shop.pem");
        std::fs::write(&file, pem(&shop)).unwrap();
        let trusted = format!(
            r#"[{{ name = "shop", pem_file = "{}", key_id = "shop-1", revocable_claims = ["tenant"] }}]"#,
            file.display()
        );
        let app = TestApp::with(&[("trusted_issuer", &trusted), ("revocable_claims", "device, amr")]).await;
        let app = app.with_admin("boss").await;
        let client = app.client("orders", &[Capability::Revoke, Capability::Introspect]).await;
        let admin = app.post("/login").json(credentials("boss", PASSWORD)).send().await.tokens().access;
        Self { app, client, admin, shop, _folder: folder }
    }

    fn token(&self, custom: Value) -> String {
        let (issuer, subject) = (Issuer::new("shop").unwrap(), Subject::new("ana").unwrap());
        let minute = Duration::from_secs(60);
        let mut claims = Claims::new(issuer, subject, TokenType::Access, SystemClock.now(), minute);
        claims.custom = custom.as_object().unwrap().clone();
        encode(&self.shop, &claims).unwrap()
    }

    async fn by_client(&self, body: Value) -> Answer {
        self.app.post("/revocations").by(&self.client).header("prefer", "wait=0").json(body).send().await
    }

    async fn by_admin(&self, body: Value) -> Answer {
        self.app.post("/revocations").token(&self.admin).json(body).send().await
    }

    async fn is_active(&self, token: &str) -> bool {
        let answer = self.app.post("/introspect").by(&self.client).form(format!("token={token}")).send().await;
        answer.json()["active"] == json!(true)
    }

    async fn log(&self) -> Vec<Revocation> {
        self.app.node.core.log().read(None, Duration::ZERO).await.unwrap().entries
    }
}

/// Returns the status and the errors of the fields.
fn told(answer: &Answer) -> String {
    format!("{} {}", answer.status, answer.json()["errors"]["json"])
}

fn pem(key: &SigningKey) -> String {
    use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD, Engine as _};
    let jwk = serde_json::to_value(key.verifying_key().to_jwk().unwrap()).unwrap();
    let number = BASE64_URL_SAFE_NO_PAD.decode(jwk["x"].as_str().unwrap()).unwrap();
    // RFC 8410 section 4.
    let der = [&[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00], &*number].concat();
    format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", BASE64_STANDARD.encode(der))
}

const REVOKED: &str = r#"200 {"message":"Revoked.","sessions_ended":0}"#;

#[tokio::test]
async fn a_claim_of_another_issuer() {
    let setup = Setup::start().await;
    let (acme, other) = (setup.token(json!({"tenant": ["acme", 7]})), setup.token(json!({"tenant": "other"})));
    for token in [&acme, &other] {
        setup.app.verify(token).await.is(204);
    }
    let body = json!({"claim": {"name": "tenant", "value": "7"}, "issuer": "shop"});
    setup.by_client(body).await.reads(REVOKED);
    setup.app.verify(&acme).await.is_revoked();
    assert!(!setup.is_active(&acme).await);
    setup.app.post("/logout").token(&acme).send().await.is_revoked();
    setup.app.verify(&other).await.is(204);
    assert!(setup.is_active(&other).await);
    // As long as a token of the shop may live.
    let entry = &setup.log().await[0];
    assert!(entry.lapses_at > SystemClock.now().plus(Duration::from_secs(30 * 24 * 3600)), "{entry:?}");
}

#[tokio::test]
async fn a_claim_of_this_server() {
    let setup = Setup::start().await;
    let body = json!({"claim": {"name": "amr", "value": "pwd"}});
    let answered = setup.app.post("/revocations").by(&setup.client).json(body.clone()).send().await;
    answered.reads(REVOKED);
    let [Revocation { issuer, target: Target::Claim { claim, issued_until }, .. }] = &*setup.log().await else {
        panic!()
    };
    assert_eq!((issuer.as_str(), claim.name().as_str(), claim.value()), ("adieu", "amr", "pwd"));
    assert!(*issued_until < SystemClock.now(), "the answer comes in the next second");
    let tokens = setup.app.log_in("boss").await;
    let mut claims = setup.app.claims(&tokens);
    claims.custom.insert("amr".to_owned(), json!(["pwd"]));
    setup.app.verify(&setup.app.sign(&claims)).await.is(204);
    claims.issued_at = Some(*issued_until);
    setup.app.verify(&setup.app.sign(&claims)).await.is_revoked();
}

#[tokio::test]
async fn only_the_claims_in_the_settings_of_the_issuer() {
    let setup = Setup::start().await;
    let claim = |name: &str, value: &str| json!({"name": name, "value": value});
    let not_listed = r#"422 {"claim":["Not one of the revocable_claims of its issuer in the settings."]}"#;
    for body in [
        json!({"claim": claim("tenant", "acme")}),
        json!({"claim": claim("device", "7"), "issuer": "shop"}),
        json!({"claim": claim("tenant", "acme"), "issuer": "unknown"}),
    ] {
        assert_eq!(told(&setup.by_client(body).await), not_listed);
    }
    assert_snapshot!(told(&setup.by_client(json!({"claim": "tenant"})).await), @r#"422 {"claim":["Not a valid object."]}"#);
    assert_snapshot!(told(&setup.by_client(json!({"claim": {"name": "device", "x": 1}})).await), @r#"422 {"claim.value":["Missing data for required field."],"claim.x":["Unknown field."]}"#);
    assert_snapshot!(told(&setup.by_client(json!({"claim": claim("sub", "ana")})).await), @r#"422 {"claim.name":["the name of a revocable claim is 1 to 128 visible ASCII characters, and not a registered claim"]}"#);
    let long = setup.by_client(json!({"claim": claim("device", &"x".repeat(600))})).await;
    assert_snapshot!(told(&long), @r#"422 {"claim.value":["With the name longer than 511 bytes."]}"#);
    let both = setup.by_client(json!({"claim": claim("device", "7"), "subject": "ana"})).await;
    assert_snapshot!(told(&both), @r#"422 {"_schema":["Give exactly one of token, token_id, session, subject, claim, key and everything."]}"#);
    assert!(setup.log().await.is_empty());
}

#[tokio::test]
async fn a_key_of_another_issuer() {
    let setup = Setup::start().await;
    let token = setup.token(json!({}));
    setup.app.verify(&token).await.is(204);
    let body = json!({"key": "shop-1", "issuer": "shop"});
    assert_snapshot!(setup.by_client(body.clone()).await, @r#"403 {"code":403,"error":"administrators_only","message":"Only administrators may revoke a key.","status":"Forbidden"}"#);
    setup.app.verify(&token).await.is(204);
    setup.by_admin(body.clone()).await.is(200);
    setup.app.verify(&token).await.is_revoked();
    setup.app.verify(&setup.token(json!({}))).await.is_revoked();
    assert!(!setup.is_active(&token).await);
    assert_eq!(setup.log().await[0].lapses_at, Timestamp::MAX);
    let kept = json!({"key": "shop-1", "issuer": "shop", "keep_until": 1_900_000_000});
    assert_snapshot!(told(&setup.by_admin(kept).await), @r#"422 {"keep_until":["The revocation of a key is kept for ever."]}"#);
}

/// It would go on signing tokens that are rejected.
#[tokio::test]
async fn a_key_of_this_server_is_removed_and_not_revoked() {
    let setup = Setup::start().await;
    let key = setup.app.node.core.signing_key();
    let answer = setup.by_admin(json!({"key": key.key_id().unwrap().as_str()})).await;
    assert_snapshot!(told(&answer), @r#"422 {"key":["A key of this server: remove it with `adieu key remove`."]}"#);
    setup.app.verify(&setup.admin).await.is(204);
    setup.by_admin(json!({"key": "an earlier one"})).await.is(200);
    setup.app.verify(&setup.admin).await.is(204);
}
