//! Invalid input gets errors of one shape, which list every error.

use adieu_server::clients::Capability;
use insta::assert_snapshot;
use reqwest::Method;

use crate::support::{Call, PASSWORD, TestApp, credentials};

#[tokio::test]
async fn unknown_routes_and_wrong_methods() {
    let app = TestApp::start().await;
    assert_snapshot!(app.get("/nowhere").send().await, @r#"404 {"code":404,"status":"Not Found"}"#);
    assert_snapshot!(app.get("/register/").send().await, @r#"404 {"code":404,"status":"Not Found"}"#);
    let wrong = app.get("/login").send().await;
    assert_snapshot!(wrong, @r#"405 {"code":405,"status":"Method Not Allowed"}"#);
    assert_eq!(wrong.header("allow"), Some("POST"));
}

#[tokio::test]
async fn fields_and_labels() {
    let app = TestApp::start().await;
    for path in ["/register", "/login"] {
        let answer = app.post(path).text(r#"{"username":7,"admin":true}"#).send().await;
        answer.reads(r#"422 {"code":422,"errors":{"json":{"admin":["Unknown field."],"password":["Missing data for required field."],"username":["Not a valid string."]}},"status":"Unprocessable Entity"}"#);
        app.post(path).unlabelled("username=jose").send().await.is(415);
        let twice = r#"{"username":"jose","username":"admin","password":"1234"}"#;
        app.post(path).text(twice).send().await.is(400);
    }
    app.post("/login").send().await.is(422);
}

/// Two parsers could choose different content types, and a body that is not UTF-8 could be misread.
#[tokio::test]
async fn a_body_is_labelled_once_and_in_utf_8() {
    let app = TestApp::start().await.with_user("jose").await;
    let client = app.client("gate", &[Capability::Introspect, Capability::Revoke]).await;
    const FORM: &str = "application/x-www-form-urlencoded";
    const LABELS: &[(&[&str], bool)] = &[
        (&["{}"], true),
        (&["{}; charset=utf-8"], true),
        (&["{};charset=\"UTF-8\"; boundary=x"], true),
        (&["{}; charset=utf8"], true),
        (&["{}; charset=utf-16"], false),
        (&["{}; charset=utf-8; charset=utf-16"], false),
        (&["{}; charset=iso-8859-1"], false),
        (&["{}; charset"], true),
        (&["{}; charset="], false),
        (&["{}", "{}"], false),
        (&["{}", "text/plain"], false),
        (&["text/plain", "{}"], false),
        (&["{}, {}"], false),
        (&["text/plain"], false),
        (&[""], false),
        (&[], false),
    ];
    for (labels, is_read) in LABELS {
        let labelled = |call: Call, name: &str| {
            labels.iter().fold(call, |call, label| call.header("content-type", &label.replace("{}", name)))
        };
        let log_in = labelled(app.post("/login"), "application/json").body(credentials("jose", PASSWORD).to_string());
        let answer = log_in.send().await;
        assert_eq!(answer.status, if *is_read { 200 } else { 415 }, "{labels:?}: {answer}");
        let revoke = labelled(app.post("/revocations"), "application/problem+json").body(r#"{"token_id":"x"}"#);
        let answer = revoke.by(&client).send().await;
        assert_eq!(answer.status, if *is_read { 200 } else { 415 }, "{labels:?}: {answer}");
        // The error codes of RFC 6749 §5.2.
        let answer = labelled(app.post("/introspect"), FORM).body("token=x").by(&client).send().await;
        assert_eq!(answer.status, if *is_read { 200 } else { 400 }, "{labels:?}: {answer}");
    }
}

#[tokio::test]
async fn a_body_that_is_too_long() {
    let app = TestApp::start().await;
    for path in ["/register", "/login"] {
        let answer = app.post(path).text("x".repeat(65_537)).send().await;
        answer.reads(r#"413 {"code":413,"status":"Payload Too Large"}"#);
    }
}

#[tokio::test]
async fn names_are_the_same_however_they_are_typed() {
    let app = TestApp::start().await.with_user("jos\u{e9}").await;
    app.post("/register").json(credentials("jose\u{301}", PASSWORD)).send().await.is(409);
    app.post("/login").json(credentials("jose\u{301}", PASSWORD)).send().await.is(200);
}

#[tokio::test]
async fn browsers_are_told_to_do_no_more_than_they_should() {
    let app = TestApp::start().await;
    for path in ["/livez", "/nowhere", "/docs/", "/openapi.json"] {
        let answer = app.get(path).send().await;
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{path}");
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'; "), "{path}");
        assert_eq!(policy.contains("script-src 'self'"), path == "/docs/", "{path}");
    }
    app.call(Method::OPTIONS, "/login").send().await.is(405);
}
