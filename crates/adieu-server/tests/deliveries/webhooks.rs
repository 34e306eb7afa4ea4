//! Webhooks about revocations arrive at least once, in order, and also when a server or a receiver is killed in between. Those of providers
//! are accepted from the libraries that sign them.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

use serde_json::{Value, json};
use tempfile::TempDir;
use test_servers::adieu::Adieu;
use tokio::time::sleep;

use crate::receiver::{Receiver, SILENT, listed, log_in_and_out, run_script};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const OLD_SECRET: &str = "whsec_QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo=";

impl Receiver {
    /// The bodies of the accepted messages.
    pub(crate) fn bodies(&self) -> Vec<Value> {
        self.messages().iter().map(|(_, body)| serde_json::from_str(body).unwrap()).collect()
    }

    /// The ids of the sessions that accepted messages name.
    pub(crate) fn sessions(&self) -> Vec<String> {
        let session = |body: &Value| body["data"]["session"].as_str().map(str::to_owned);
        self.bodies().iter().filter_map(session).collect()
    }

    /// The ids of accepted messages.
    fn ids(&self) -> Vec<String> {
        self.messages().iter().map(|(headers, _)| headers["webhook-id"].clone()).collect()
    }

    pub(crate) fn setting(&self, name: &str, secret_file: &Path, more: &str) -> String {
        let (address, file) = (&self.address, secret_file.display());
        format!(
            r#"{{ name = "{name}", url = "http://{address}/hook", secret_file = "{file}", allow_private = true{more} }}"#
        )
    }
}

pub(crate) struct Secret(TempDir);

impl Secret {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("secret"), format!("{SECRET}\n{OLD_SECRET}\n")).unwrap();
        Self(folder)
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.0.path().join("secret")
    }
}

pub(crate) fn adieu(receivers: &[String]) -> Adieu {
    Adieu::new(env!("CARGO_BIN_EXE_adieu")).with("ADIEU_WEBHOOK", format!("[{}]", receivers.join(", ")))
}

/// What the libraries of receivers say.
async fn verify_with_libraries(receiver: &Receiver, secret: &str) -> Result<String, String> {
    let mut lines = String::new();
    for (headers, body) in receiver.messages() {
        writeln!(lines, "{}", json!({ "headers": headers, "body": body })).unwrap();
    }
    run_script("webhooks.mjs", &[secret], lines).await
}

#[tokio::test]
async fn a_receiver_is_told_what_was_revoked_in_order_and_can_verify_it() {
    let (receiver, other, secret) = (Receiver::start(204).await, Receiver::start(200).await, Secret::new());
    let only = r#", types = ["subject.revoked"]"#;
    let settings = [receiver.setting("shop", &secret.file(), ""), other.setting("other", &secret.file(), only)];
    let server = adieu(&settings).with_metrics().start().await;
    let client = server.add_client("service", "revoke").await;
    server.register("jose").await;
    let mut ended = Vec::new();
    for _ in 0..5 {
        ended.push(log_in_and_out(&server).await);
    }
    assert_eq!(server.revoke(&client, "", json!({ "subject": "maria <&\"é" })).await.0, 200);
    server
        .becomes("everything is delivered", async || receiver.bodies().len() >= 6 && !other.bodies().is_empty())
        .await;

    assert_eq!(receiver.sessions(), ended);
    let last = receiver.bodies().pop().unwrap();
    assert_eq!((&last["type"], &last["data"]["subject"]), (&json!("subject.revoked"), &json!("maria <&\"é")));
    assert!(last["data"]["issued_until"].is_u64() && last["data"]["lapses_at"].is_u64(), "{last}");
    assert_eq!(other.bodies()[0]["data"], last["data"], "the other receiver gets this type only");
    assert_eq!(other.bodies().len(), 1);
    for secret in [SECRET, OLD_SECRET] {
        assert_eq!(verify_with_libraries(&receiver, secret).await.as_deref(), Ok("6"));
    }
    let another = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    assert!(
        verify_with_libraries(&receiver, another).await.is_err_and(|error| error.contains("No matching signature"))
    );
    let metrics = server.metrics().await;
    assert!(metrics.contains(r#"adieu_deliveries_total{receiver="shop",outcome="delivered"} 6"#), "{metrics}");
    assert!(!server.log().contains("whsec_"), "{}", server.log());
}

#[tokio::test]
async fn a_receiver_that_fails_delays_no_other_and_gets_everything_in_order_afterwards() {
    let [failing, silent, good] = [503, SILENT, 200].map(Receiver::start);
    let (failing, silent, good, secret) = (failing.await, silent.await, good.await, Secret::new());
    let setting = |(receiver, name): (&Receiver, &str)| receiver.setting(name, &secret.file(), "");
    let server = adieu(&[(&failing, "failing"), (&silent, "silent"), (&good, "good")].map(setting)).start().await;
    server.register("jose").await;
    let mut ended = vec![log_in_and_out(&server).await];
    server.becomes("the first attempt has failed", async || !failing.refused().is_empty()).await;
    for _ in 0..20 {
        ended.push(log_in_and_out(&server).await);
    }
    let started = Instant::now();
    server.becomes("the good one has everything", async || good.bodies().len() == ended.len()).await;
    assert!(started.elapsed() < Duration::from_secs(15), "the timeout of an attempt");
    assert_eq!(good.sessions(), ended);
    let row = listed(&server).await.into_iter().find(|row| row["receiver"] == "failing").unwrap();
    assert!(row["failures"].as_u64() >= Some(1) && row["failing_since"].is_u64(), "{row}");
    assert_eq!((&row["error"], &row["delivered_at"]), (&json!("status 503"), &Value::Null));

    failing.answer_with(200);
    server.becomes("the failing one has everything", async || failing.bodies().len() >= ended.len()).await;
    assert_eq!(failing.sessions(), ended);
    assert_eq!(failing.ids(), good.ids(), "a message has one id");
    let row = listed(&server).await.into_iter().find(|row| row["receiver"] == "failing").unwrap();
    assert_eq!((&row["failures"], &row["failing_since"], &row["error"]), (&json!(0), &Value::Null, &Value::Null));
}

#[tokio::test]
async fn nothing_is_lost_when_the_server_is_killed() {
    let (receiver, secret) = (Receiver::start(200).await, Secret::new());
    let mut server = adieu(&[receiver.setting("shop", &secret.file(), "")]).start().await;
    server.register("jose").await;
    let mut ended = Vec::new();
    for round in 0..6 {
        // In every other round the receiver is down until after the restart.
        receiver.answer_with(if round % 2 == 0 { 200 } else { 500 });
        for _ in 0..5 {
            ended.push(log_in_and_out(&server).await);
        }
        sleep(Duration::from_millis(round * 7)).await;
        server.kill();
        receiver.answer_with(200);
        server.start_again(|_| ()).await;
    }
    server
        .becomes("everything is delivered", async || ended.iter().all(|session| receiver.sessions().contains(session)))
        .await;
    // At least once: the first deliveries are in order.
    let mut firsts = receiver.sessions();
    let mut seen = std::collections::HashSet::new();
    firsts.retain(|session| seen.insert(session.clone()));
    assert_eq!(firsts, ended);
    // A repetition has the id of the first.
    let mut ids = BTreeMap::new();
    for (session, id) in receiver.sessions().into_iter().zip(receiver.ids()) {
        assert_eq!(ids.entry(session).or_insert(id.clone()), &id);
    }
    assert!(receiver.ids().len() <= ended.len() + 12, "a kill repeats no more than what was not recorded");
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_a_private_address_not_asked() {
    let (receiver, secret) = (Receiver::start(307).await, Secret::new());
    let port = receiver.address.rsplit(':').next().unwrap();
    let private = format!(
        r#"{{ name = "private", url = "https://localhost:{port}/hook", secret_file = "{}" }}"#,
        secret.file().display()
    );
    let server = adieu(&[receiver.setting("shop", &secret.file(), ""), private]).start().await;
    server.register("jose").await;
    log_in_and_out(&server).await;
    let errors = async || listed(&server).await.into_iter().map(|row| row["error"].to_string()).collect::<Vec<_>>();
    server.becomes("both attempts have failed", async || errors().await.iter().all(|error| error != "null")).await;
    let errors = errors().await;
    assert!(errors[0].contains("no global address"), "{errors:?}");
    assert_eq!(errors[1], r#""status 307""#);
    assert_eq!(receiver.bodies(), Vec::<Value>::new());
}

#[tokio::test]
async fn what_was_delivered_can_be_delivered_again() {
    let (receiver, secret) = (Receiver::start(200).await, Secret::new());
    let server = adieu(&[receiver.setting("shop", &secret.file(), "")]).start().await;
    server.register("jose").await;
    let ended = [log_in_and_out(&server).await, log_in_and_out(&server).await];
    server.becomes("both are delivered", async || receiver.bodies().len() == 2).await;
    server.command(&["delivery", "replay", "shop"]).await;
    server.becomes("both are delivered again", async || receiver.bodies().len() == 4).await;
    assert_eq!(receiver.sessions(), [&ended[..], &ended[..]].concat());
    let ids = receiver.ids();
    assert_eq!(ids[..2], ids[2..]);
}

#[tokio::test]
async fn a_replay_does_not_wait_until_the_receiver_wants_the_next_attempt() {
    let (receiver, secret) = (Receiver::start(429).await, Secret::new());
    receiver.ask_for_delay("600");
    let server = adieu(&[receiver.setting("shop", &secret.file(), "")]).start().await;
    server.register("jose").await;
    let ended = log_in_and_out(&server).await;
    server.becomes("it wants to be left alone", async || receiver.refused().len() == 1).await;
    receiver.answer_with(200);
    server.command(&["delivery", "replay", "shop"]).await;
    server.becomes("it gets the message at once", async || !receiver.bodies().is_empty()).await;
    assert_eq!(receiver.sessions(), [ended]);
}

#[tokio::test]
async fn a_receiver_says_when_it_wants_the_next_attempt() {
    let in_five_minutes = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(300));
    let cases = [
        ("seconds", "120", 118..126),
        ("many-seconds", "86400", 598..606),
        ("date", in_five_minutes.as_str(), 290..306),
        ("far-date", "Fri, 31 Dec 9999 23:59:59 GMT", 598..606),
        ("past-date", "Sun, 06 Nov 1994 08:49:37 GMT", 0..60),
        ("no-date", "soon", 0..60),
        ("too-many-seconds", "99999999999999999999999", 598..606),
        ("no-digits", "+300", 0..60),
    ];
    let (mut receivers, mut settings, secret) = (Vec::new(), Vec::new(), Secret::new());
    for (name, retry_after, _) in &cases {
        let receiver = Receiver::start(503).await;
        receiver.ask_for_delay(retry_after);
        settings.push(receiver.setting(name, &secret.file(), ""));
        receivers.push(receiver);
    }
    let server = adieu(&settings).start().await;
    server.register("jose").await;
    log_in_and_out(&server).await;
    let failing = async || listed(&server).await.iter().filter(|row| row["next_attempt_at"].is_u64()).count();
    server.becomes("all have failed", async || failing().await == cases.len()).await;
    let rows = listed(&server).await;
    for (name, _, expected) in &cases {
        let row = rows.iter().find(|row| row["receiver"] == *name).unwrap();
        let delay = row["next_attempt_at"].as_u64().unwrap() - row["failing_since"].as_u64().unwrap();
        assert!(expected.contains(&delay), "{row}");
    }
}

#[tokio::test]
async fn a_new_receiver_is_not_told_what_was_before() {
    let (receiver, secret) = (Receiver::start(200).await, Secret::new());
    let folder = tempfile::tempdir().unwrap();
    let server = Adieu::new(env!("CARGO_BIN_EXE_adieu")).with_data(folder.path()).start().await;
    server.register("jose").await;
    log_in_and_out(&server).await;
    server.stop().await;
    let server = adieu(&[receiver.setting("shop", &secret.file(), "")]).with_data(folder.path()).start().await;
    let ended = log_in_and_out(&server).await;
    server.becomes("the second is delivered", async || !receiver.bodies().is_empty()).await;
    assert_eq!(receiver.sessions(), [ended]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_several_nodes_delivers_and_another_takes_over() {
    let (receiver, secret) = (Receiver::start(200).await, Secret::new());
    let database = test_servers::postgres_database().await;
    let node = async || {
        let node = adieu(&[receiver.setting("shop", &secret.file(), "")]);
        node.with("ADIEU_STORE", &database).start().await
    };
    let (first, second) = (node().await, node().await);
    first.register("jose").await;
    let mut ended = Vec::new();
    for _ in 0..5 {
        ended.push(log_in_and_out(&first).await);
        ended.push(log_in_and_out(&second).await);
    }
    second.becomes("everything is delivered", async || receiver.bodies().len() >= ended.len()).await;
    assert_eq!(receiver.sessions().len(), ended.len(), "each by one node");
    // Otherwise the second would repeat the last one.
    second.becomes("everything is recorded", async || listed(&second).await[0]["behind"] == 0).await;
    first.stop().await;
    ended.push(log_in_and_out(&second).await);
    second.becomes("the other node delivers", async || receiver.bodies().len() >= ended.len()).await;
    assert_eq!(receiver.sessions(), ended);
}

/// What a server answers the libraries of senders.
async fn send(arguments: &[&str], messages: &[Value]) -> Result<String, String> {
    let lines = messages.iter().map(|message| format!("{message}\n")).collect();
    run_script("webhooks-from-libraries.mjs", arguments, lines).await
}

#[tokio::test]
async fn a_webhook_that_a_library_has_signed_ends_a_session() {
    const KEY: &str = "a secret of at least 256 bits...";
    let (secret, keys) = (Secret::new(), tempfile::tempdir().unwrap());
    let key = keys.path().join("key");
    std::fs::write(&key, KEY).unwrap();
    let issuer = format!(
        r#"[{{ name = "shop", secret_file = "{}", audience = "api", webhook = {{ name = "clerk", preset = "clerk", secret_file = "{}" }} }}]"#,
        key.display(),
        secret.file().display()
    );
    let server = Adieu::new(env!("CARGO_BIN_EXE_adieu")).with("ADIEU_TRUSTED_ISSUER", issuer).start().await;
    let token = |session: &str| {
        let now = jsonwebtoken::get_current_timestamp();
        let claims = json!({
            "iss": "shop", "aud": "api", "sub": "jose", "sid": session, "jti": session, "iat": now - 60, "exp": now + 600,
        });
        let header = jsonwebtoken::Header { typ: Some("at+jwt".to_owned()), ..jsonwebtoken::Header::default() };
        jsonwebtoken::encode(&header, &claims, &jsonwebtoken::EncodingKey::from_secret(KEY.as_bytes())).unwrap()
    };
    let message = |prefix: &str, session: &str, age: i64| {
        let body = json!({ "type": "session.revoked", "data": { "id": session, "user_id": "jose <&\"é" } }).to_string();
        json!({ "prefix": prefix, "id": "msg_1", "age": age, "body": body })
    };
    let sessions = ["webhook", "svix"];
    for session in sessions {
        assert_eq!(server.verify(&token(session)).await.0, 204);
    }
    let wrong = [message("svix", "svix", 400), message("webhook", "webhook", -400)];
    let url = server.url("/webhooks/clerk");
    assert_eq!(send(&[&url, SECRET], &wrong).await.as_deref(), Ok("400\n400"));
    let right = sessions.map(|prefix| message(prefix, prefix, 0));
    let another = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    assert_eq!(send(&[&url, another], &right).await.as_deref(), Ok("400\n400"));
    for session in sessions {
        assert_eq!(server.verify(&token(session)).await.0, 204);
    }
    assert_eq!(send(&[&url, SECRET], &right).await.as_deref(), Ok("204\n204"));
    assert_eq!(send(&[&url, OLD_SECRET], &right).await.as_deref(), Ok("204\n204"));
    for session in sessions {
        assert_eq!(server.verify(&token(session)).await.0, 401);
    }
    assert!(!server.log().contains("whsec_"), "{}", server.log());
}
