//! Promise 10: no token, password or private header is in the store, in a log line, or in an error.

use std::{
    io::{self, Write},
    sync::{Arc, Mutex},
};

use serde_json::json;
use tracing_subscriber::fmt::MakeWriter;

use crate::support::{TestApp, credentials};

const PASSWORD: &str = "an unmistakable password";
const NEW_PASSWORD: &str = "another unmistakable password";
const COOKIE: &str = "unmistakable=cookie";

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Lines {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

// On one thread, so that the log of this test's server alone is captured.
#[tokio::test(flavor = "current_thread")]
async fn neither_in_the_store_nor_in_the_log() {
    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(lines.clone());
    let _capturing = tracing::subscriber::set_default(subscriber.finish());

    let app = TestApp::with(&[("rotation_grace", "0s")]).await.with_admin("boss").await;
    let mut tokens = Vec::new();
    app.post("/register").header("cookie", COOKIE).json(credentials("jose", PASSWORD)).send().await.is(201);
    app.post("/register").json(credentials("jose", PASSWORD)).send().await.is(409);
    app.post("/register").text(format!("{{\"password\":\"{PASSWORD}\"")).send().await.is(400);
    let log_in =
        |password: &'static str| app.post("/login").header("cookie", COOKIE).json(credentials("jose", password));
    log_in("wrong unmistakable password").send().await.is(401);
    app.post("/login").json(credentials("unmistakable, in the wrong field", "x")).send().await.is(401);
    let first = log_in(PASSWORD).send().await.tokens();
    let second = app.post("/refresh").token(&first.refresh).send().await.tokens();
    app.post("/refresh").token(&first.refresh).send().await.is_revoked();
    let third = log_in(PASSWORD).send().await.tokens();
    app.post(&format!("/logout?token={}", third.access)).token(&third.access).send().await.is(422);
    let change = json!({"password": PASSWORD, "new_password": NEW_PASSWORD});
    app.post("/password").token(&third.access).json(change).send().await.is(200);
    let boss = app.log_in("boss").await;
    app.post("/revocations").token(&boss.access).json(json!({"token": third.access})).send().await.is(200);
    app.verify(&third.access).await.is_revoked();
    app.verify("an.unmistakable.token").await.is(401);
    app.post("/logout").token(&third.refresh).send().await.is(200);
    app.break_log();
    app.post("/logout").token(&boss.access).send().await.is(503);
    app.mend_log();
    for pair in [first, second, third, boss] {
        tokens.extend([pair.access, pair.refresh]);
    }

    let mut places = vec![("the log".to_owned(), lines.0.lock().unwrap().clone())];
    for file in std::fs::read_dir(app.folder.path().join("data")).unwrap() {
        let path = file.unwrap().path();
        places.push((path.display().to_string(), std::fs::read(&path).unwrap()));
    }
    assert!(places.len() >= 3, "the log, the file and its WAL");
    let has = |bytes: &[u8], text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(places.iter().any(|(_, bytes)| has(bytes, "$argon2id$")), "the search finds text that is there");
    assert!(has(&places[0].1, "/refresh") && has(&places[0].1, "adieu::rejection"), "the log is captured");
    for (place, bytes) in &places {
        for secret in [PASSWORD, NEW_PASSWORD, COOKIE, "unmistakable"] {
            assert!(!has(bytes, secret), "{secret} is in {place}");
        }
        for token in &tokens {
            // Neither the token nor its signature, which only the server can make.
            let signature = token.rsplit('.').next().unwrap();
            assert!(!has(bytes, token) && !has(bytes, signature), "a token is in {place}");
        }
    }
}
