//! Services follow this node: they read what has been revoked, and wait for more.

use std::time::{Duration, Instant};

use adieu::revocation::Target;
use adieu_client::wire;
use adieu_server::clients::{Capability, ClientName};
use serde_json::Value;

use super::support::{Answer, Credentials, TestApp};

impl TestApp {
    pub(crate) async fn follower(&self) -> Credentials {
        self.client("billing", &[Capability::Follow]).await
    }

    pub(crate) async fn read_feed(&self, client: &Credentials, query: &str) -> Answer {
        self.get(&format!("/revocations?{query}")).by(client).send().await
    }
}

fn cursor(answer: &Answer) -> String {
    answer.json()["cursor"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_service_reads_what_has_been_revoked_and_what_comes_after() {
    let app = TestApp::start().await.with_user("jose").await;
    let client = app.follower().await;
    let tokens = app.log_in("jose").await;
    let session = app.claims(&tokens).session.unwrap().to_string();

    let start = app.read_feed(&client, "").await;
    start.is(200);
    assert_eq!(start.header("cache-control"), Some("no-store"));
    assert_eq!(start.header("content-type"), Some("application/json"));
    let mut page = start.json();
    let (log, position) = page["cursor"].as_str().unwrap().rsplit_once('.').unwrap();
    assert_eq!((log.len(), position), (32, "0"));
    page["cursor"] = Value::Null;
    page["age_ms"] = Value::Null;
    insta::assert_snapshot!(page, @r#"{"age_ms":null,"complete":true,"cursor":null,"entries":[],"from_start":true,"issuer":"adieu","max_staleness_ms":2000,"pruned_through":0}"#);

    app.post("/logout").token(&tokens.access).send().await.is(200);
    for query in [String::new(), format!("after={}&wait=30000", cursor(&start))] {
        let page = app.read_feed(&client, &query).await.json();
        assert_eq!(page["entries"].as_array().unwrap().len(), 1, "{page}");
        assert_eq!(page["entries"][0]["kind"], "session");
        assert_eq!(page["entries"][0]["id"], session);
        assert_eq!(page["entries"][0]["issuer"], "adieu");
        assert_eq!(page["from_start"], query.is_empty());
    }
}

#[tokio::test]
async fn a_request_waits_for_a_logout() {
    let app = TestApp::start().await.with_user("jose").await;
    let client = app.follower().await;
    let tokens = app.log_in("jose").await;
    let after = cursor(&app.read_feed(&client, "").await);
    let query = format!("after={after}&wait=30000");
    let (page, logout) = tokio::join!(app.read_feed(&client, &query), async {
        while app.node.feed.hub.waiting() == 0 {
            tokio::task::yield_now().await;
        }
        app.post("/logout").token(&tokens.access).send().await
    });
    logout.is(200);
    assert_eq!(page.json()["entries"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn without_news_the_wait_ends_also_when_it_is_longer_than_requests_may_take() {
    let app = TestApp::with(&[("request_timeout", "100ms")]).await;
    let client = app.follower().await;
    let after = cursor(&app.read_feed(&client, "").await);
    let started = Instant::now();
    let page = app.read_feed(&client, &format!("after={after}&wait=500")).await;
    page.is(200);
    assert!(started.elapsed() >= Duration::from_millis(500));
    assert_eq!(page.json()["entries"], Value::Array(Vec::new()));
    assert_eq!(cursor(&page), after);
}

#[tokio::test]
async fn the_compact_form_says_the_same() {
    let app = TestApp::start().await.with_user("jose").await;
    let client = app.follower().await;
    for _ in 0..40 {
        let tokens = app.node.sessions.log_in("jose".parse_subject()).await;
        app.node.sessions.log_out(&tokens.unwrap().access, adieu::session::Scope::This).await.unwrap();
    }
    let json = app.read_feed(&client, "").await;
    let json = wire::from_json(json.body.as_bytes()).unwrap();
    let request = reqwest::Client::new().get(app.url("/revocations")).basic_auth(&client.name, Some(&client.secret));
    let response = request.header("accept", wire::BINARY).send().await.unwrap();
    assert_eq!(response.headers()["content-type"], wire::BINARY);
    let binary = wire::from_binary(&response.bytes().await.unwrap()).unwrap();
    assert_eq!(binary.page.entries, json.page.entries);
    assert_eq!(binary.page.cursor, json.page.cursor);
    assert_eq!(binary.page.entries.len(), 40);
    assert!(binary.page.entries.iter().all(|entry| matches!(entry.target, Target::Session { .. })));
}

trait ParseSubject {
    fn parse_subject(&self) -> adieu::Subject;
}

impl ParseSubject for str {
    fn parse_subject(&self) -> adieu::Subject {
        adieu::Subject::new(self).unwrap()
    }
}

#[tokio::test]
async fn strangers_and_those_who_may_not_read_nothing() {
    let app = TestApp::start().await.with_user("jose").await;
    let stranger = app.get("/revocations").send().await;
    insta::assert_snapshot!(stranger, @r#"401 {"code":401,"message":"Invalid client credentials.","status":"Unauthorized"}"#);
    assert_eq!(stranger.header("www-authenticate"), Some(r#"Basic realm="adieu""#));
    let tokens = app.log_in("jose").await;
    app.get("/revocations").token(&tokens.access).send().await.is(401);
    let other = app.client("shipping", &[Capability::Introspect, Capability::Revoke]).await;
    insta::assert_snapshot!(app.read_feed(&other, "").await, @r#"403 {"code":403,"message":"This client may not follow.","status":"Forbidden"}"#);
}

#[tokio::test]
async fn a_client_that_is_removed_is_cut_off() {
    let app = TestApp::start().await;
    let client = app.follower().await;
    let after = cursor(&app.read_feed(&client, "").await);
    app.node.clients.store().remove_client(&ClientName::new("billing").unwrap()).await.unwrap();
    let started = Instant::now();
    while app.read_feed(&client, &format!("after={after}&wait=50")).await.status != 401 {
        assert!(started.elapsed() < Duration::from_secs(20), "it still reads");
    }
}

#[tokio::test]
async fn what_makes_no_sense_is_said_to() {
    let app = TestApp::start().await;
    let client = app.follower().await;
    for (query, field, message) in [
        ("after=x", "after", "Not a cursor."),
        ("after=x.-1", "after", "Not a cursor."),
        ("after=x.%2B1", "after", "Not a cursor."),
        ("wait=30001", "wait", "Must be at most 30000."),
        ("wait=-1", "wait", "Not a valid integer."),
        ("wait=everywhere", "wait", "Not a valid integer."),
        ("wait=99999999999999999999", "wait", "Not a valid integer."),
        ("follower=a", "max_staleness", "Missing data for required field."),
        ("follower=&max_staleness=1", "follower", "Must be 1 to 64 of A-Z, a-z, 0-9, _ and -."),
        ("follower=a%20b&max_staleness=1", "follower", "Must be 1 to 64 of A-Z, a-z, 0-9, _ and -."),
        ("follower=a&max_staleness=2001", "max_staleness", "Must be at most 2000, the bound of this node."),
        ("follower=a&max_staleness=0", "max_staleness", "Must be at least 1."),
        ("follower=a&max_staleness=1&stale_policy=maybe", "stale_policy", "Must be one of: reject, accept."),
        ("follower=a&max_staleness=1&applied=many", "applied", "Not a valid integer."),
        ("max_staleness=1", "max_staleness", "Goes with follower only."),
        ("applied=1", "applied", "Goes with follower only."),
        ("stale_policy=accept", "stale_policy", "Goes with follower only."),
        ("folower=a", "folower", "Unknown field."),
    ] {
        let expected = serde_json::json!({
            "code": 422, "errors": { "query": { field: [message] } }, "status": "Unprocessable Entity"
        });
        app.read_feed(&client, query).await.reads(&format!("422 {expected}"));
    }
}

#[tokio::test]
async fn a_cursor_of_another_log_is_answered_from_the_beginning() {
    let app = TestApp::start().await;
    let client = app.follower().await;
    let own = cursor(&app.read_feed(&client, "").await);
    let (log, _) = own.rsplit_once('.').unwrap();
    for after in ["0123456789abcdef0123456789abcdef.7".to_owned(), format!("{log}.7")] {
        let page = app.read_feed(&client, &format!("after={after}&wait=30000")).await;
        assert_eq!(page.json()["from_start"], true);
        assert_eq!(cursor(&page), own);
    }
}

#[tokio::test]
async fn a_log_that_can_not_be_read_is_no_empty_page() {
    let app = TestApp::start().await;
    let client = app.follower().await;
    app.read_feed(&client, "").await.is(200);
    app.break_log();
    app.read_feed(&client, "").await.is(503);
}
