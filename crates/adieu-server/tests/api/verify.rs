//! What a proxy asks.

use reqwest::Method;

use crate::support::{TestApp, first_line};

#[tokio::test]
async fn any_method_gets_the_subject_and_the_session() {
    let app = TestApp::start().await.with_user("jose").await;
    let tokens = app.log_in("jose").await;
    let claims = app.claims(&tokens);
    for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"] {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let answer = app.call(method.clone(), "/verify").token(&tokens.access).send().await;
        assert_eq!(answer.to_string(), "204 ", "{method}");
        assert_eq!(answer.header("x-adieu-subject"), Some(claims.subject.as_str()));
        assert_eq!(answer.header("x-adieu-session"), Some(claims.session.as_ref().unwrap().as_str()));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        app.call(method, "/verify").send().await.is(401);
    }
}

#[tokio::test]
async fn a_body_that_comes_along_is_not_read() {
    let app = TestApp::start().await.with_user("jose").await;
    let tokens = app.log_in("jose").await;
    app.post("/verify").token(&tokens.access).text("not json {").send().await.is(204);
}

/// A proxy's subrequest has the headers of the request that it asks about, and not its body.
#[tokio::test]
async fn a_length_that_comes_along_is_not_believed() {
    let app = TestApp::start().await.with_user("jose").await;
    let token = app.log_in("jose").await.access;
    let head = format!("GET /verify HTTP/1.1\r\nhost: adieu\r\nauthorization: Bearer {token}\r\n");
    let mut stream = app.send(&format!("{head}content-length: 100000\r\n\r\n")).await;
    assert_eq!(first_line(&mut stream).await, "HTTP/1.1 204 No Content");
}
