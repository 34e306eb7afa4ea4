//! `?wait=everywhere` on every revoking call: the response is sent once no follower accepts the revoked token any more.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::support::{Answer, Call, Credentials, PASSWORD, TestApp};

/// Long enough that a follower's lease does not expire on a slow machine; no test waits for it.
const BOUND: (&str, &str) = ("max_staleness", "20s");

/// Follows until it is dropped or stopped.
struct Following {
    task: JoinHandle<()>,
    is_silent: Arc<AtomicBool>,
}

impl Drop for Following {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Following {
    async fn start(app: &Arc<TestApp>, client: &Credentials, lease: &str) -> Self {
        let first = app.read_feed(client, lease).await;
        first.is(200);
        let is_silent = Arc::new(AtomicBool::new(false));
        let (app, client, lease, silent) = (app.clone(), client.clone(), lease.to_owned(), is_silent.clone());
        let task = tokio::spawn(async move {
            let mut cursor = first.json()["cursor"].as_str().unwrap().to_owned();
            while !silent.load(Ordering::SeqCst) {
                let page = app.read_feed(&client, &format!("{lease}&after={cursor}&wait=100")).await.json();
                cursor = page["cursor"].as_str().unwrap().to_owned();
            }
        });
        Self { task, is_silent }
    }
}

fn everywhere(answer: &Answer) -> Value {
    assert_eq!(answer.status, 200, "{answer}");
    answer.json()["everywhere"].clone()
}

async fn started(settings: &[(&str, &str)]) -> Arc<TestApp> {
    Arc::new(TestApp::with(settings).await.with_user("jose").await.with_admin("ana").await)
}

#[tokio::test]
async fn every_call_that_revokes_can_wait() {
    // A shorter bound, because the node waits for the whole bound after its start.
    let app = started(&[("max_staleness", "3s")]).await;
    let client = app.follower().await;
    let _one = Following::start(&app, &client, "follower=one&max_staleness=3000").await;
    let _two = Following::start(&app, &client, "follower=two&max_staleness=3000").await;
    let admin = app.log_in("ana").await.access;
    let both = json!({ "acknowledged": 2, "waited_out": 0, "unbounded": 0 });

    let tokens = app.log_in("jose").await;
    let id = app.user_id(&tokens);
    let answer = app.post("/logout?wait=everywhere").token(&tokens.access).send().await;
    assert_eq!(everywhere(&answer), both, "{answer}");

    let tokens = app.log_in("jose").await;
    let session = app.claims(&tokens).session.unwrap().to_string();
    let answer = app.delete(&format!("/sessions/{session}?wait=everywhere")).token(&tokens.access).send().await;
    assert_eq!(everywhere(&answer), both, "{answer}");

    let tokens = app.log_in("jose").await;
    let answer = app.post("/revoke?wait=everywhere").form(format!("token={}", tokens.access)).send().await;
    assert_eq!(everywhere(&answer), both, "{answer}");

    let tokens = app.log_in("jose").await;
    let change = json!({ "password": PASSWORD, "new_password": PASSWORD });
    let answer = app.post("/password?wait=everywhere").token(&tokens.access).json(change).send().await;
    assert_eq!(everywhere(&answer), both, "{answer}");

    let answer = app.delete(&format!("/users/{id}/sessions?wait=everywhere")).token(&admin).send().await;
    assert_eq!(everywhere(&answer), both, "{answer}");

    let session = app.claims(&app.log_in("jose").await).session.unwrap().to_string();
    let answer =
        app.post("/revocations?wait=everywhere").token(&admin).json(json!({ "session": session })).send().await;
    assert_eq!(everywhere(&answer), both, "{answer}");

    let answer = app.post(&format!("/users/{id}/disable?wait=everywhere")).token(&admin).send().await;
    assert_eq!(everywhere(&answer), both, "{answer}");
    let answer = app.delete(&format!("/user/{id}?wait=everywhere")).token(&admin).send().await;
    assert_eq!(everywhere(&answer), both, "{answer}");
}

/// The response to the first call was lost, and the client retries: the retry's response also holds everywhere.
#[tokio::test]
async fn who_is_told_that_it_had_ended_before_is_told_once_that_holds_everywhere() {
    // Each server has only just started: followers from before may exist, which accept tokens until the bound has passed.
    for bound in [BOUND, ("max_staleness", "1s")] {
        let app = started(&[bound]).await;
        let admin = app.log_in("ana").await.access;
        let (tokens, gone) = (app.log_in("jose").await, app.log_in("jose").await);
        let [session, of_gone] =
            [&tokens, &gone].map(|tokens| format!("/sessions/{}", app.claims(tokens).session.unwrap()));
        let user = format!("/user/{}", app.user_id(&tokens));
        let asks_again = async |call: Call, status: u16| {
            let mut answer = pin!(call.send());
            if bound == BOUND {
                let early = tokio::time::timeout(Duration::from_millis(300), answer).await;
                assert!(early.is_err(), "answered {} before the revocation holds everywhere", early.unwrap());
            } else {
                answer.as_mut().await.is(status);
            }
        };
        app.post("/logout").token(&tokens.access).send().await.is(200);
        asks_again(app.post("/logout?wait=everywhere").token(&tokens.access), 401).await;
        asks_again(app.post("/logout?scope=this&wait=everywhere").token(&tokens.refresh), 401).await;
        asks_again(app.delete(&format!("{session}?wait=%65verywhere")).token(&tokens.access), 401).await;
        asks_again(app.post("/revoke?wait=everywhere").form(format!("token={}", tokens.access)), 200).await;
        app.delete(&of_gone).token(&admin).send().await.is(200);
        asks_again(app.delete(&format!("{of_gone}?wait=everywhere")).token(&admin), 404).await;
        app.delete(&user).token(&admin).send().await.is(200);
        asks_again(app.delete(&format!("{user}?wait=everywhere")).token(&admin), 404).await;

        // Calls without `wait=everywhere` do not wait, nor do calls without a token of this server.
        let asked_at = Instant::now();
        app.post("/logout").token(&tokens.access).send().await.is(401);
        app.post("/revoke").form(format!("token={}", tokens.access)).send().await.reads("200 ");
        app.post("/logout?wait=everywhere").token("forged").send().await.is(401);
        app.get("/verify?wait=everywhere").token(&tokens.access).send().await.is(401);
        assert!(bound != BOUND || asked_at.elapsed() < Duration::from_secs(10));
    }
}

#[tokio::test]
async fn it_does_not_wait_for_the_bound_when_all_have_said_that_they_have_it() {
    let app = started(&[BOUND]).await;
    let client = app.follower().await;
    let _one = Following::start(&app, &client, "follower=one&max_staleness=20000").await;
    // The node has only just started: other followers may exist.
    let tokens = app.log_in("jose").await;
    let waiting = app.post("/logout?wait=everywhere").token(&tokens.access).send();
    assert!(tokio::time::timeout(Duration::from_millis(500), waiting).await.is_err(), "others are not waited for");
    // The revocation is durable before the call waits.
    app.verify(&tokens.access).await.is_revoked();
}

#[tokio::test]
async fn a_follower_that_falls_silent_is_waited_out_within_the_bound() {
    let app = started(&[("max_staleness", "4s")]).await;
    let client = app.follower().await;
    let silent = Following::start(&app, &client, "follower=silent&max_staleness=4000").await;
    let _accepting = Following::start(&app, &client, "follower=accepting&max_staleness=4000&stale_policy=accept").await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    silent.is_silent.store(true, Ordering::SeqCst);
    _accepting.is_silent.store(true, Ordering::SeqCst);
    let tokens = app.log_in("jose").await;
    let _ = app.read_feed(&client, "follower=silent&max_staleness=4000").await;
    let _ = app.read_feed(&client, "follower=accepting&max_staleness=4000&stale_policy=accept").await;
    let asked_at = Instant::now();
    let answer = app.post("/logout?wait=everywhere").token(&tokens.access).send().await;
    assert!(asked_at.elapsed() < Duration::from_secs(20), "{:?}", asked_at.elapsed());
    assert_eq!(everywhere(&answer), json!({ "acknowledged": 0, "waited_out": 1, "unbounded": 1 }));
}

/// Anybody can send that.
#[tokio::test]
async fn nobody_waits_for_what_is_not_there() {
    let app = started(&[BOUND]).await;
    let client = app.follower().await;
    app.read_feed(&client, "follower=silent&max_staleness=20000").await.is(200);
    for path in ["/webhooks/nobody?wait=everywhere", "/nowhere?wait=everywhere"] {
        let answer = tokio::time::timeout(Duration::from_secs(10), app.post(path).json(json!({})).send()).await;
        answer.expect("the bound is twice as long").is(404);
    }
}

#[tokio::test]
async fn what_else_might_be_waited_for_is_unknown_and_nothing_is_done() {
    let app = TestApp::start().await.with_user("jose").await;
    let tokens = app.log_in("jose").await;
    let session = app.claims(&tokens).session.unwrap().to_string();
    for call in [app.post("/logout?wait=here"), app.delete(&format!("/sessions/{session}?wait=1"))] {
        let answer = call.token(&tokens.access).send().await;
        answer.reads(
            r#"422 {"code":422,"errors":{"query":{"wait":["Must be: everywhere."]}},"status":"Unprocessable Entity"}"#,
        );
    }
    for query in ["wait=here", "wait=everywhere&wait=everywhere", "wait=everywhere&scope=all"] {
        let answer = app.post(&format!("/revoke?{query}")).form(format!("token={}", tokens.access)).send().await;
        answer.reads(r#"400 {"error":"invalid_request","error_description":"The query may only be wait=everywhere."}"#);
    }
    app.verify(&tokens.access).await.is(204);
    // A response without `wait=everywhere` does not mention it.
    insta::assert_snapshot!(app.post("/logout").token(&tokens.access).send().await, @r#"200 {"message":"Successfully logged out"}"#);
}
