//! What a proxy asks.

use reqwest::Method;

use crate::support::TestApp;

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
