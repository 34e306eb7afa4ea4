//! Malformed JSON is 400; missing, unknown and invalid fields are 422, all in one response; a body over the limit is 413; not JSON is 415.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use adieu_server::{
    error::ApiError,
    input::Fields,
    text::{Password, Username},
};
use axum::{
    Router,
    body::{Body, to_bytes},
    extract::DefaultBodyLimit,
    http::{Request, StatusCode},
    routing::post,
};
use proptest::prelude::*;
use tower::ServiceExt;

async fn register(mut fields: Fields) -> Result<String, ApiError> {
    let username = fields.required("username", |text| Username::new(&text));
    let password = fields.required("password", |text| Password::chosen(text.into(), 1));
    let label = fields.optional("label", Ok);
    let (username, _, label) = fields.finish((username, password, label))?;
    Ok(format!("{username} {label:?}"))
}

async fn send(content_type: Option<&str>, body: impl Into<Body>) -> (StatusCode, String) {
    let router = Router::new().route("/register", post(register)).layer(DefaultBodyLimit::max(64 * 1024));
    let mut request = Request::post("/register");
    if let Some(content_type) = content_type {
        request = request.header("content-type", content_type);
    }
    let response = router.oneshot(request.body(body.into()).unwrap()).await.unwrap();
    let status = response.status();
    (status, String::from_utf8(to_bytes(response.into_body(), usize::MAX).await.unwrap().to_vec()).unwrap())
}

async fn send_json(body: impl Into<Body>) -> (StatusCode, String) {
    send(Some("application/json"), body).await
}

#[tokio::test]
async fn good_input_is_taken() {
    for content_type in
        ["application/json", "application/json; charset=utf-8", "Application/JSON", "application/x+json"]
    {
        let (status, body) = send(Some(content_type), r#"{"username":"jose","password":"1234"}"#).await;
        assert_eq!((status, body.as_str()), (StatusCode::OK, "jose None"), "{content_type}");
    }
    let (_, body) = send_json(r#" {"label":"phone","password":"p","username":"jose\u0301"} "#).await;
    assert_eq!(body, "jos\u{e9} Some(\"phone\")");
}

#[tokio::test]
async fn every_wrong_field_is_named_at_once() {
    let mut answers = String::new();
    for body in [
        "",
        "{}",
        r#"{"username":"jose"}"#,
        r#"{"username":7,"password":null,"label":[]}"#,
        r#"{"username":"","password":"","admin":true,"is_admin":1}"#,
        r#"{"username":" jose","password":"a\u0000b"}"#,
        "[]",
        "[1,{\"a\":[2]}]",
        r#""username""#,
        "null",
        "7.5",
    ] {
        let (status, answer) = send_json(body).await;
        answers += &format!("{body}\n    {} {answer}\n", status.as_u16());
    }
    insta::assert_snapshot!(answers);
}

#[tokio::test]
async fn what_is_not_json_is_said_to_be_so() {
    let mut answers = String::new();
    for body in [
        &b"{"[..],
        b"{\"username\":\"jose\",}",
        b"{\"username\":\"jose\",\"password\":\"1234\"} {}",
        b"{\"username\":\"jose\",\"username\":\"admin\",\"password\":\"1234\"}",
        b"{\"username\":\"\xff\",\"password\":\"1234\"}",
        b"{\"username\":\"\\ud800\",\"password\":\"1234\"}",
        b"{username:1}",
        b"username=jose",
        b" ",
        b"NaN",
    ] {
        let (status, answer) = send_json(body).await;
        answers += &format!("{}\n    {} {answer}\n", body.escape_ascii(), status.as_u16());
    }
    let deep = "[".repeat(10_000);
    answers += &format!("ten thousand brackets\n    {}\n", send_json(deep).await.0.as_u16());
    insta::assert_snapshot!(answers);
}

#[tokio::test]
async fn a_body_that_is_too_long_or_not_labelled_is_refused() {
    let filler = "x".repeat(64 * 1024);
    let (status, body) = send_json(format!(r#"{{"username":"jose","password":"{filler}"}}"#)).await;
    assert_eq!((status.as_u16(), body.as_str()), (413, r#"{"code":413,"status":"Payload Too Large"}"#));

    for content_type in [None, Some("text/plain"), Some("application/x-www-form-urlencoded"), Some("application/jsonx")]
    {
        let (status, body) = send(content_type, r#"{"username":"jose","password":"1234"}"#).await;
        assert_eq!(
            (status.as_u16(), body.as_str()),
            (415, r#"{"code":415,"message":"Send the body as application/json.","status":"Unsupported Media Type"}"#),
            "{content_type:?}"
        );
    }
}

proptest! {
    #[test]
    fn no_body_makes_it_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        drop(Fields::parse(&body));
    }

    #[test]
    fn no_json_like_text_makes_it_panic(body in r#"[\[\]{}:,"\\a-c0-9eE+.\-u]{0,60}"#) {
        drop(Fields::parse(body.as_bytes()));
    }

    #[test]
    fn an_accepted_name_stays_the_same_when_it_is_read_again(name in "\\PC{0,90}") {
        if let Ok(username) = Username::new(&name) {
            prop_assert_eq!(Username::new(username.as_str()).unwrap(), username);
        }
    }
}
