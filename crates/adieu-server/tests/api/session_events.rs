//! A page learns at once that its session has ended elsewhere.

use std::time::Duration;

use serde_json::json;
use tokio::time::timeout;

use crate::support::TestApp;

/// A stream of events that is being read.
struct Stream {
    response: reqwest::Response,
}

impl Stream {
    async fn open(app: &TestApp, token: &str) -> Self {
        let request = reqwest::Client::new().get(app.url("/sessions/events"));
        let response = request.bearer_auth(token).send().await.unwrap();
        assert_eq!(response.status(), 200);
        let header = |name: &str| response.headers().get(name).unwrap().to_str().unwrap();
        assert_eq!(header("content-type"), "text/event-stream");
        assert!(header("cache-control").contains("no-"), "{}", header("cache-control"));
        assert_eq!(header("x-accel-buffering"), "no");
        let mut stream = Self { response };
        assert_eq!(stream.next().await.as_deref(), Some("retry: 1000\n: open\n\n"));
        stream
    }

    /// Returns what comes next, or `None` at the end.
    async fn next(&mut self) -> Option<String> {
        let chunk = timeout(Duration::from_secs(30), self.response.chunk()).await.expect("something comes");
        chunk.unwrap().map(|bytes| String::from_utf8(bytes.to_vec()).unwrap())
    }

    async fn ends_with(mut self, event: &str) {
        assert_eq!(self.next().await.as_deref(), Some(event));
        assert_eq!(self.next().await, None);
    }

    async fn ends_revoked(self) {
        self.ends_with("event: ended\ndata: {\"error\":\"token_revoked\"}\n\n").await;
    }
}

#[tokio::test]
async fn a_stream_tells_that_its_session_has_ended_however_that_came_about() {
    let app = TestApp::start().await.with_user("jose").await.with_admin("boss").await;
    let boss = app.log_in("boss").await;
    for way in ["logout", "refresh token", "another session", "administrator", "subject"] {
        let (tokens, other) = (app.log_in("jose").await, app.log_in("jose").await);
        let stream = Stream::open(&app, &tokens.access).await;
        let session = app.claims(&tokens).session.unwrap();
        let ended = match way {
            "logout" => app.post("/logout").token(&tokens.access),
            "refresh token" => app.post("/logout").token(&tokens.refresh),
            "another session" => app.post("/logout?scope=others").token(&other.access),
            "administrator" => app.delete(&format!("/sessions/{session}")).token(&boss.access),
            _ => app.post("/revocations").token(&boss.access).json(json!({"subject": app.user_id(&tokens)})),
        };
        ended.send().await.is(200);
        stream.ends_revoked().await;
    }
}

#[tokio::test]
async fn the_end_of_another_session_ends_no_stream() {
    let app = TestApp::start().await.with_user("jose").await;
    let (tokens, other) = (app.log_in("jose").await, app.log_in("jose").await);
    let mut stream = Stream::open(&app, &tokens.access).await;
    let of_other = Stream::open(&app, &other.access).await;
    app.post("/logout").token(&other.access).send().await.is(200);
    of_other.ends_revoked().await;
    assert!(timeout(Duration::from_millis(600), stream.response.chunk()).await.is_err(), "nothing comes");
    app.post("/logout").token(&tokens.access).send().await.is(200);
    stream.ends_revoked().await;
}

#[tokio::test]
async fn a_token_that_expires_ends_its_stream_and_says_so() {
    let app = TestApp::with(&[("access_lifetime", "2s"), ("rotation_grace", "1s")]).await.with_user("jose").await;
    let stream = Stream::open(&app, &app.log_in("jose").await.access).await;
    stream.ends_with("event: ended\ndata: {\"error\":\"token_expired\"}\n\n").await;
}

#[tokio::test]
async fn only_a_valid_access_token_opens_a_stream() {
    let app = TestApp::start().await.with_user("jose").await;
    let tokens = app.log_in("jose").await;
    for token in ["x", &tokens.refresh, &app.expired(&tokens)] {
        app.get("/sessions/events").token(token).send().await.is(401);
    }
    app.get("/sessions/events").send().await.is(401);
    app.post("/logout").token(&tokens.access).send().await.is(200);
    app.get("/sessions/events").token(&tokens.access).send().await.is_revoked();
}

#[tokio::test]
async fn a_node_that_can_not_know_closes_the_stream_without_an_event() {
    let app = TestApp::with(&[("max_staleness", "1s")]).await.with_user("jose").await;
    let mut stream = Stream::open(&app, &app.log_in("jose").await.access).await;
    app.break_log();
    assert_eq!(stream.next().await, None);
}

#[tokio::test]
async fn a_server_that_stops_closes_the_streams() {
    let app = TestApp::start().await.with_user("jose").await;
    let mut stream = Stream::open(&app, &app.log_in("jose").await.access).await;
    app.node.is_leaving.send_replace(true);
    assert_eq!(stream.next().await, None);
}

#[tokio::test]
async fn a_user_has_a_limited_number_of_streams_and_gets_each_back() {
    let app = TestApp::start().await.with_user("jose").await.with_user("rolf").await;
    let tokens = app.log_in("jose").await;
    let mut streams = Vec::new();
    for _ in 0..16 {
        streams.push(Stream::open(&app, &tokens.access).await);
    }
    let answer = app.get("/sessions/events").token(&app.log_in("jose").await.access).send().await;
    answer.reads(
        r#"429 {"code":429,"message":"This user has too many streams of events. Try again later.","status":"Too Many Requests"}"#,
    );
    assert_eq!(answer.header("retry-after"), Some("1"));
    drop(Stream::open(&app, &app.log_in("rolf").await.access).await);
    streams.pop();
    // The server learns that the client has gone when it writes or reads next.
    let mut status = 429;
    while status == 429 {
        let request = reqwest::Client::new().get(app.url("/sessions/events")).bearer_auth(&tokens.access);
        status = request.send().await.unwrap().status().as_u16();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(status, 200);
}
