//! Tokens of other issuers: the server distinguishes them from its own, can log them out, and accepts them for nothing else. They are
//! made by widely used libraries while the test runs.

use std::{
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use adieu_server::clients::Capability;
use serde_json::{Value, json};

use crate::support::{Answer, PASSWORD, TestApp, operations};

/// The output of `interop/issuers.py`: a folder with the keys, and tokens by name.
struct Issuers {
    folder: tempfile::TempDir,
    tokens: Value,
}

impl Issuers {
    fn make() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let here = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/interop");
        let installed = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).with_file_name("python").join("bin/python");
        let python = std::env::var_os("ADIEU_INTEROP_PYTHON").map_or(installed, PathBuf::from);
        let output = Command::new(&python).arg(here.join("issuers.py")).arg(folder.path()).output();
        let output = output.unwrap_or_else(|error| panic!("{}: {error}; scripts/test installs it", python.display()));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Self { folder, tokens: serde_json::from_slice(&output.stdout).unwrap() }
    }

    fn file(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    /// The settings that trust them.
    fn settings(&self) -> String {
        let (shop, forum) = (self.file("shop.secret"), self.file("forum.pem"));
        let (till, desk) = (self.file("till.secret"), self.file("desk.pem"));
        format!(
            r#"[
                {{ name = "shop", secret_file = "{shop}", accept_generic_type = true, accept_missing_issuer = true }},
                {{ name = "forum", pem_file = "{forum}", audience = "adieu" }},
                {{ name = "till", secret_file = "{till}", algorithm = "HS512", key_id = "2026", accept_missing_type = true, accept_missing_token_id = true }},
                {{ name = "desk", pem_file = "{desk}", accept_generic_type = true }},
            ]"#
        )
    }

    fn token(&self, name: &str) -> &str {
        self.tokens[name].as_str().unwrap_or_else(|| panic!("no token {name}"))
    }

    async fn app(&self) -> TestApp {
        TestApp::with(&[("trusted_issuer", &self.settings())]).await.with_admin("boss").await
    }
}

#[track_caller]
fn is_invalid(answer: &Answer) {
    assert_eq!((answer.status, &answer.json()["error"]), (401, &json!("invalid_token")), "{answer}");
}

async fn log_out(app: &TestApp, token: &str, query: &str) -> Answer {
    app.post(&format!("/logout{query}")).token(token).send().await
}

/// Flask-JWT-Extended without `iss`, PyJWT with Ed25519 and the type of RFC 9068, PyJWT with neither type nor id, and
/// Flask-JWT-Extended with RS256.
const ISSUERS: [(&str, &str, &str); 4] =
    [("shop", "shop", "jose"), ("forum", "forum", "jose"), ("till", "till", "jose"), ("desk", "desk", "jose")];

#[tokio::test]
async fn they_are_told_from_our_own_and_can_be_logged_out() {
    let issuers = Issuers::make();
    let app = issuers.app().await;
    let client = app.client("gate", &[Capability::Introspect]).await;
    let introspect = async |token: &str| {
        let answer = app.post("/introspect").by(&client).form(format!("token={token}")).send().await;
        answer.is(200);
        answer.json()
    };
    for (name, issuer, subject) in ISSUERS {
        let (token, another) = (issuers.token(name), issuers.token(&format!("{name} again")));
        let verified = app.verify(token).await;
        assert_eq!(verified.status, 204, "{name}: {verified}");
        assert_eq!(verified.header("x-adieu-issuer"), Some(issuer));
        assert_eq!(verified.header("x-adieu-subject"), Some(subject));
        assert_eq!(verified.header("x-adieu-admin"), Some("false"), "whatever it claims");
        let told = introspect(token).await;
        assert_eq!((&told["active"], &told["iss"], &told["sub"]), (&json!(true), &json!(issuer), &json!(subject)));

        log_out(&app, token, "").await.reads(r#"200 {"message":"Successfully logged out"}"#);
        app.verify(token).await.is_revoked();
        log_out(&app, token, "").await.is_revoked();
        assert_eq!(introspect(token).await, json!({"active": false}));
        app.verify(another).await.is(204);

        // Everything of its subject, including sessions that this server does not know.
        log_out(&app, another, "?scope=others").await.reads(r#"422 {"code":422,"errors":{"query":{"scope":["Must be this or all with a token of another issuer, which alone knows its sessions."]}},"status":"Unprocessable Entity"}"#);
        app.verify(another).await.is(204);
        log_out(&app, issuers.token(&format!("{name} once more")), "?scope=all").await.is(200);
        app.verify(another).await.is_revoked();
    }
}

#[tokio::test]
async fn an_administrator_can_revoke_them() {
    let issuers = Issuers::make();
    let app = issuers.app().await;
    let boss = app.log_in("boss").await;
    for (name, ..) in ISSUERS {
        let token = issuers.token(name);
        let body = json!({ "token": token });
        app.post("/revocations").token(&boss.access).json(body).send().await.is(200);
        app.verify(token).await.is_revoked();
    }
}

#[tokio::test]
async fn nobody_signs_for_another() {
    let issuers = Issuers::make();
    let app = issuers.app().await;
    for bad in issuers.tokens["bad"].as_object().unwrap() {
        let (what, token) = (bad.0, bad.1.as_str().unwrap());
        let verified = app.verify(token).await;
        assert_eq!(verified.status, 401, "{what}: {verified}");
        // An expired or future token is authentic all the same: a logout may be late, or a clock may have been set back.
        let status = if ["expired", "of the future"].contains(&what.as_str()) { 200 } else { 401 };
        assert_eq!(log_out(&app, token, "").await.status, status, "{what}");
    }
}

#[tokio::test]
async fn their_refresh_tokens_are_theirs() {
    let issuers = Issuers::make();
    let app = issuers.app().await;
    let refresh = issuers.token("shop refresh");
    is_invalid(&app.verify(refresh).await);
    is_invalid(&app.post("/refresh").token(refresh).send().await);
    log_out(&app, refresh, "").await.is(200);
}

/// Whatever a token of another issuer claims, even to be this server's administrator: the same `sub` is not the same account.
#[tokio::test]
async fn they_are_good_for_nothing_else() {
    let issuers = Issuers::make();
    let app = issuers.app().await;
    let boss = app.log_in("boss").await;
    let id = app.user_id(&boss);
    let session = app.claims(&boss).session.unwrap().to_string();
    let forged = issuers.forge(&id, &session);
    app.verify(&forged).await.is(204);

    // The last three read no token.
    let for_all = [
        "/verify",
        "/logout",
        "/introspect",
        "/register",
        "/login",
        "/livez",
        "/readyz",
        "/backchannel-logout",
        "/events",
        "/webhooks/{name}",
    ];
    let mut asked = 0;
    for (method, path) in operations().into_keys() {
        if for_all.contains(&path.as_str()) || path.starts_with("/.well-known") || path.starts_with("/password/") {
            continue;
        }
        let filled = path.replace("{id}", &id).replace("{sid}", &session);
        let call = app.call(method.parse().unwrap(), &filled).token(&forged);
        let answer =
            call.json(json!({"password": PASSWORD, "new_password": "another", "everything": true})).send().await;
        assert_eq!(answer.status, 401, "{method} {path}: {answer}");
        asked += 1;
    }
    assert!(asked >= 10, "{asked}");
    app.verify(&boss.access).await.is(204);
    assert_eq!(app.get("/sessions").token(&boss.access).send().await.status, 200);
    log_out(&app, &forged, "").await.is(200);
    app.verify(&boss.access).await.is(204);
}

/// Claims of a foreign token other than the subject must not count as this server's.
#[tokio::test]
async fn they_are_believed_who_somebody_is_and_what_the_settings_list() {
    let issuers = Issuers::make();
    let shop = issuers.file("shop.secret");
    for (claims, believed) in [("[]", false), (r#"["role"]"#, false), (r#"["is_admin", "fresh"]"#, true)] {
        let trusted = format!(r#"[{{ name = "shop", secret_file = "{shop}", trusted_claims = {claims} }}]"#);
        let app = TestApp::with(&[("trusted_issuer", &trusted)]).await;
        let client = app.client("gate", &[Capability::Introspect]).await;
        let token = issuers.forge("jose", "session");
        let ask = async |query: &str| app.get(&format!("/verify{query}")).token(&token).send().await.status;
        assert_eq!(ask("").await, 204);
        assert_eq!(ask("?issuer=shop").await, 204);
        assert_eq!(ask("?issuer=adieu").await, 401);
        assert_eq!(ask("?claim=is_admin:true").await, if believed { 204 } else { 403 });
        assert_eq!(ask("?fresh=true").await, if believed { 204 } else { 401 });
        assert_eq!(ask("?admin=true").await, 403, "whatever the token claims, its subject is no user of this server");

        let told = app.post("/introspect").by(&client).form(format!("token={token}")).send().await.json();
        assert_eq!((&told["active"], &told["sub"], &told["sid"]), (&json!(true), &json!("jose"), &json!("session")));
        assert_eq!(told.get("is_admin"), believed.then_some(&json!(true)));
        assert_eq!(told["fresh"], json!(believed));
    }
}

impl Issuers {
    /// Returns a token of the shop with the claims that this server uses.
    fn forge(&self, subject: &str, session: &str) -> String {
        use adieu::{
            Issuer, SessionId, Subject,
            time::{Clock as _, SystemClock},
            token::{Algorithm, Claims, Fresh, SigningKey, TokenType, encode},
        };
        let secret = std::fs::read_to_string(self.file("shop.secret")).unwrap();
        let key = SigningKey::from_secret(Algorithm::HS256, secret.trim_end().as_bytes()).unwrap();
        let minute = std::time::Duration::from_secs(60);
        let now = SystemClock.now();
        let (issuer, subject) = (Issuer::new("shop").unwrap(), Subject::new(subject).unwrap());
        let mut claims = Claims::new(issuer, subject, TokenType::Access, now, minute);
        claims.session = Some(SessionId::new(session).unwrap());
        claims.fresh = Fresh::Yes;
        claims.custom.insert("is_admin".into(), true.into());
        encode(&key, &claims).unwrap()
    }
}

/// A running `interop/issuer.mjs`; it ends when its standard input is closed.
struct JoseIssuer {
    process: std::process::Child,
    told: Value,
}

impl JoseIssuer {
    fn start() -> Self {
        let source = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/interop/issuer.mjs");
        // Beside the packages, where Node looks for them.
        let installed = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../clients/node/node_modules");
        let script = installed.join(format!("issuer-{}.mjs", std::process::id()));
        std::fs::copy(source, &script).unwrap();
        let process = Command::new("node").arg(&script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut process = process.unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        std::fs::remove_file(script).unwrap();
        let told = serde_json::from_str(&line).expect("`jose` is there; scripts/test installs it");
        Self { process, told }
    }
}

impl Drop for JoseIssuer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test]
async fn keys_are_taken_from_where_the_issuer_publishes_them() {
    let issuer = JoseIssuer::start();
    let url = issuer.told["jwks_url"].as_str().unwrap();
    let settings = format!(r#"[{{ name = "jose-issuer", jwks_url = "{url}" }}]"#);
    let app = TestApp::with(&[("trusted_issuer", &settings)]).await;
    let tokens = issuer.told["tokens"].as_object().unwrap();
    // Until the keys have been fetched once, the server can't verify the tokens.
    while app.verify(tokens["EdDSA"].as_str().unwrap()).await.status == 503 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    for (algorithm, token) in tokens {
        let token = token.as_str().unwrap();
        let verified = app.verify(token).await;
        assert_eq!(verified.status, 204, "{algorithm}: {verified}");
        log_out(&app, token, "").await.is(200);
        app.verify(token).await.is_revoked();
    }
    for (what, token) in issuer.told["bad"].as_object().unwrap() {
        let verified = app.verify(token.as_str().unwrap()).await;
        assert_eq!(verified.status, 401, "{what}: {verified}");
    }
}

#[tokio::test]
async fn an_issuer_that_is_down_is_nobodys_fault() {
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let issuers = Issuers::make();
    let shop = format!(r#"{{ name = "shop", jwks_url = "http://{closed}/" }}"#);
    let app = TestApp::with(&[("trusted_issuer", &format!("[{shop}]"))]).await.with_admin("boss").await;
    let forged = issuers.forge("jose", "session");
    assert_eq!(app.verify(&forged).await.status, 503, "its tokens may be good");
    let ours = app.log_in("boss").await;
    app.verify(&ours.access).await.is(204);
}
