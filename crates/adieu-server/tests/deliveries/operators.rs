//! Operators see what waits for a receiver, send it everything again, and skip the message that blocks it and no other: by the API, in the
//! console and on the command line.

use std::{collections::BTreeSet, path::PathBuf, process::Command, time::SystemTime};

use reqwest::{Method, header::SET_COOKIE};
use serde_json::{Value, json};
use tempfile::TempDir;
use test_servers::adieu::{ADIEU_PASSWORD, Adieu};

use crate::{
    receiver::{Receiver, listed, log_in_and_out, session_of},
    webhooks::{Secret, adieu},
};

/// A receiver that one message blocks, while others wait behind it.
struct Blocked {
    server: Adieu,
    receiver: Receiver,
    /// The sessions of the messages, of which the second one is refused.
    sessions: Vec<String>,
    message_id: String,
    boss: String,
    folder: TempDir,
    _secret: Secret,
}

impl Blocked {
    async fn start() -> Self {
        let (receiver, secret, folder) = (Receiver::start(200).await, Secret::new(), tempfile::tempdir().unwrap());
        let trail = folder.path().join("audit").display().to_string();
        let server =
            adieu(&[receiver.setting("shop", &secret.file(), "")]).with("ADIEU_AUDIT_LOG", trail).start().await;
        server.register("jose").await;
        server.register("boss").await;
        server.command(&["user", "promote", "boss"]).await;
        let boss = server.log_in("boss").await;
        let mut sessions = vec![log_in_and_out(&server).await];
        server.becomes("the first is delivered", async || receiver.bodies().len() == 1).await;
        let mut blocked =
            Self { server, receiver, sessions: Vec::new(), message_id: String::new(), boss, folder, _secret: secret };
        let (session, message_id) = blocked.block().await;
        sessions.push(session);
        for _ in 0..2 {
            sessions.push(log_in_and_out(&blocked.server).await);
        }
        (blocked.sessions, blocked.message_id) = (sessions, message_id);
        blocked
    }

    /// Lets a user log out, of which the receiver does not want to know. Returns the session, and the id of the message.
    async fn block(&self) -> (String, String) {
        let token = self.server.log_in("jose").await;
        let session = session_of(&token);
        self.receiver.refuse(Some(&session));
        assert_eq!(self.server.post("/logout", &token).await.0, 200);
        let is_blocked = async || self.receiver.refused().iter().any(|body| body.contains(&session));
        self.server.becomes("it is refused", async || is_blocked().await && self.blocking().await.is_some()).await;
        (session, self.blocking().await.unwrap())
    }

    async fn row(&self) -> Value {
        listed(&self.server).await.remove(0)
    }

    async fn blocking(&self) -> Option<String> {
        self.row().await["message_id"].as_str().map(str::to_owned)
    }

    async fn call(&self, method: Method, path: &str) -> (u16, Value) {
        self.server.ask(method, path, Some(&self.boss), None).await
    }

    async fn skip(&self, receiver: &str, message_id: &str) -> (u16, Value) {
        self.call(Method::POST, &format!("/deliveries/{receiver}/skip?message_id={message_id}")).await
    }

    async fn receives(&self, sessions: &[&String]) {
        let is_so = async || self.receiver.sessions().iter().collect::<Vec<_>>() == sessions;
        self.server.becomes("exactly these are delivered", is_so).await;
    }

    /// The lines of the audit trail about deliveries.
    fn trail(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.trail_file()).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.filter(|line| line["event"].as_str().unwrap().starts_with("deliver")).collect()
    }

    fn trail_file(&self) -> PathBuf {
        self.folder.path().join("audit")
    }
}

#[tokio::test]
async fn the_api_shows_what_the_command_shows_and_skips_the_message_that_blocks_and_no_other() {
    let blocked = Blocked::start().await;
    let [first, _unwanted, third, fourth] = &blocked.sessions[..] else { panic!("{:?}", blocked.sessions) };
    let row = blocked.row().await;
    let (status, all) = blocked.call(Method::GET, "/deliveries").await;
    assert_eq!((status, all["deliveries"].as_array().unwrap().len()), (200, 1));
    let shown = &all["deliveries"][0];
    let names = |row: &Value| row.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(names(shown), names(&row));
    for name in ["receiver", "position", "behind", "delivered_at", "failing_since", "error", "message_id"] {
        assert_eq!(shown[name], row[name], "{name}");
    }
    assert_eq!((&row["behind"], &row["error"]), (&json!(3), &json!("status 422")));
    assert!(row["failing_since"].as_u64().is_some_and(|since| Some(since) < row["next_attempt_at"].as_u64()), "{row}");

    let jose = blocked.server.log_in("jose").await;
    let path = format!("/deliveries/shop/skip?message_id={}", blocked.message_id);
    for (method, path) in [("GET", "/deliveries"), ("POST", &path), ("POST", "/deliveries/shop/replay")] {
        let status = blocked.server.ask(method.parse().unwrap(), path, Some(&jose), None).await.0;
        assert_eq!(status, 403, "{path}");
    }
    assert_eq!(blocked.skip("cart", &blocked.message_id).await.0, 404);
    assert_eq!(blocked.skip("shop", "msg_AAAAAAAAAAAAAAAAAAAAAAAA").await.0, 409);
    assert_eq!(blocked.call(Method::POST, "/deliveries/shop/skip").await.0, 422);
    assert_eq!(blocked.blocking().await.as_ref(), Some(&blocked.message_id));
    assert_eq!(blocked.trail(), Vec::<Value>::new());

    assert_eq!(blocked.skip("shop", &blocked.message_id).await, (200, json!({ "message": "Message skipped." })));
    blocked.receives(&[first, third, fourth]).await;
    assert_eq!(blocked.skip("shop", &blocked.message_id).await.0, 409, "twice");
    let row = blocked.row().await;
    assert_eq!(
        (&row["failures"], &row["message_id"], &row["next_attempt_at"]),
        (&json!(0), &Value::Null, &Value::Null)
    );

    // Another message blocks the receiver; the old request comes once more.
    let (fifth, _) = blocked.block().await;
    assert_eq!(blocked.skip("shop", &blocked.message_id).await.0, 409, "late");
    blocked.receiver.refuse(None);
    blocked.receives(&[first, third, fourth, &fifth]).await;

    let trail = blocked.trail();
    assert_eq!(trail.len(), 1, "{trail:?}");
    assert_eq!((&trail[0]["event"], &trail[0]["receiver"]), (&json!("delivery_skipped"), &json!("shop")));
    assert_eq!(trail[0]["message_id"], blocked.message_id.as_str());
    assert!(trail[0]["actor"].is_string() && trail[0]["address"] == "127.0.0.1", "{trail:?}");
}

#[tokio::test]
async fn a_command_skips_what_blocks_and_a_replay_sends_it_again_also_when_the_server_was_killed_in_between() {
    let mut blocked = Blocked::start().await;
    let [first, second, third, fourth] = &blocked.sessions.clone()[..] else { panic!("{:?}", blocked.sessions) };
    let skip = |receiver: &str, message_id: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_adieu"));
        command.args(["delivery", "skip", receiver, message_id, "--data"]).arg(blocked.server.data());
        command.env("ADIEU_AUDIT_LOG", blocked.trail_file()).env_remove("ADIEU_WEBHOOK");
        let output = command.output().unwrap();
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    };
    let (is_done, error) = skip("shop", "msg_x");
    assert!(!is_done && error.contains("msg_x does not block shop"), "{error}");
    let (is_done, error) = skip("cart", &blocked.message_id);
    assert!(!is_done && error.contains("nothing was ever delivered to a receiver cart"), "{error}");
    assert_eq!(blocked.blocking().await.as_ref(), Some(&blocked.message_id));
    blocked.server.kill();
    let (is_done, error) = skip("shop", &blocked.message_id);
    assert!(is_done, "{error}");
    assert!(!skip("shop", &blocked.message_id).0, "twice");
    blocked.server.start_again(|_| ()).await;
    blocked.receives(&[first, third, fourth]).await;
    let trail = blocked.trail();
    assert_eq!(trail.len(), 1, "{trail:?}");
    assert_eq!((&trail[0]["event"], &trail[0]["via"]), (&json!("delivery_skipped"), &json!("command_line")));

    blocked.receiver.refuse(None);
    assert_eq!(blocked.call(Method::POST, "/deliveries/cart/replay").await.0, 404);
    assert_eq!(blocked.call(Method::POST, "/deliveries/shop/replay").await.0, 200);
    blocked.receives(&[first, third, fourth, first, second, third, fourth]).await;
}

#[tokio::test]
async fn a_message_that_is_in_the_log_twice_is_skipped_once() {
    let (receiver, secret) = (Receiver::start(200).await, Secret::new());
    let server = adieu(&[receiver.setting("shop", &secret.file(), "")]).start().await;
    let client = server.add_client("service", "revoke").await;
    receiver.refuse(Some("twice"));
    let expires_at = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() + 600;
    let revocation = |id: &str| json!({ "token_id": id, "expires_at": expires_at });
    let all =
        json!({ "revocations": [revocation("twice"), revocation("once"), revocation("twice"), revocation("last")] });
    assert_eq!(server.revoke(&client, "", all).await.0, 200);
    let row = async || listed(&server).await.remove(0);
    server.becomes("it is blocked", async || row().await["message_id"].is_string()).await;
    assert_eq!(row().await["behind"], 4);
    let message_id = row().await["message_id"].as_str().unwrap().to_owned();
    server.command(&["delivery", "skip", "shop", &message_id]).await;
    server.becomes("everything is read", async || row().await["behind"] == 0).await;
    let received: Vec<_> = receiver.bodies().iter().map(|body| body["data"]["token_id"].clone()).collect();
    assert_eq!(received, ["once", "last"]);
}

#[tokio::test]
async fn the_console_shows_what_follows_and_skips_only_what_it_has_shown() {
    let blocked = Blocked::start().await;
    let [first, _unwanted, third, fourth] = &blocked.sessions[..] else { panic!("{:?}", blocked.sessions) };
    let form = |fields: &[(&str, &str)]| form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    let browse = async |method: Method, path: &str, cookies: &str, form: String| {
        let request = blocked.server.request(method, path).header("cookie", cookies).header("accept", "text/html");
        request.header("content-type", "application/x-www-form-urlencoded").body(form).send().await.unwrap()
    };
    let login = form(&[("username", "boss"), ("password", ADIEU_PASSWORD)]);
    // In a browser, the login is answered with a redirect.
    let login = blocked.server.request(Method::POST, "/account/login").header("accept", "application/json").body(login);
    let login = login.header("content-type", "application/x-www-form-urlencoded").send().await.unwrap();
    let cookies: Vec<_> = login.headers().get_all(SET_COOKIE).iter().map(|cookie| cookie.to_str().unwrap()).collect();
    let cookies: Vec<_> = cookies.iter().map(|cookie| cookie.split(';').next().unwrap()).collect();
    let csrf = cookies.iter().find_map(|cookie| cookie.strip_prefix("__Host-csrf_access_token=")).unwrap().to_owned();
    let cookies = cookies.join("; ");

    let page =
        browse(Method::GET, "/console/deliveries?skip=shop", &cookies, String::new()).await.text().await.unwrap();
    let id = &blocked.message_id;
    for said in [
        "The receiver never gets this message.".to_owned(),
        format!("{id} (status 422)"),
        format!("adieu delivery skip shop {id}"),
        format!("POST /deliveries/shop/skip?message_id={id}"),
        format!(r#"<input type="hidden" name="message_id" value="{id}">"#),
        "/console/deliveries?skip=shop".to_owned(),
    ] {
        assert!(page.contains(&said), "{said}: {page}");
    }
    assert_eq!(blocked.blocking().await.as_ref(), Some(id), "a page changes nothing");
    let skip = async |id: &str| {
        let form = form(&[("receiver", "shop"), ("message_id", id), ("csrf_token", &csrf)]);
        let answer = browse(Method::POST, "/console/deliveries/skip", &cookies, form).await;
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    let (status, page) = skip("msg_x").await;
    assert!(status == 409 && page.contains("Nothing was skipped."), "{status}: {page}");
    assert_eq!(blocked.blocking().await.as_ref(), Some(id));
    let (status, page) = skip(id).await;
    assert!(status == 200 && page.contains("Done.") && !page.contains("skip=shop"), "{status}: {page}");
    blocked.receives(&[first, third, fourth]).await;
    assert_eq!(skip(id).await.0, 409);
    let replay = form(&[("receiver", "shop"), ("csrf_token", &csrf)]);
    assert_eq!(browse(Method::POST, "/console/deliveries/replay", &cookies, replay).await.status(), 200);
    blocked.receives(&[first, third, fourth, first]).await;
}
