//! Required headers of a request, and the responses to invalid ones (RFC 9110, RFC 9112), byte for byte.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::{TestApp, first_line};

/// Returns the whole response to this text, after which the connection is closed.
async fn answer(app: &TestApp, text: &str) -> String {
    let mut stream = app.send(text).await;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn without_one_valid_host_a_request_is_answered_400() {
    let app = TestApp::start().await;
    for (version, hosts, status) in [
        ("1.1", "", "400 Bad Request"),
        ("1.1", "host: a\r\nhost: a\r\n", "400 Bad Request"),
        ("1.1", "host: a\r\nHOST: b\r\n", "400 Bad Request"),
        ("1.1", "host: user@a\r\n", "400 Bad Request"),
        ("1.1", "host: a/b\r\n", "400 Bad Request"),
        ("1.1", "host: a b\r\n", "400 Bad Request"),
        ("1.1", "host: a:http\r\n", "400 Bad Request"),
        ("1.0", "host: a\r\nhost: b\r\n", "400 Bad Request"),
        ("1.1", "host: a.example:8080\r\n", "200 OK"),
        ("1.1", "host: [::1]:8080\r\n", "200 OK"),
        ("1.0", "", "200 OK"),
    ] {
        let said = answer(&app, &format!("GET /livez HTTP/{version}\r\n{hosts}connection: close\r\n\r\n")).await;
        assert_eq!(said.lines().next().unwrap(), format!("HTTP/{version} {status}"), "{hosts:?}");
        let body = r#"{"code":400,"message":"Send one valid Host header.","status":"Bad Request"}"#;
        assert_eq!(said.contains(body), status.starts_with("400"), "{said}");
        assert!(said.contains("x-content-type-options: nosniff"), "like every answer: {said}");
    }
}

/// The bytes of a body must never be read as the next request.
#[tokio::test]
async fn a_body_that_nobody_reads_is_skipped_or_ends_the_connection() {
    let app = TestApp::start().await;
    let smuggled = "GET /livez HTTP/1.1\r\nhost: adieu\r\n\r\n";
    for path in ["/verify", "/ext_authz/orders", "/livez"] {
        let method = if path == "/livez" { "GET" } else { "POST" };
        for length in [smuggled.len(), 100_000] {
            let body = smuggled.repeat(length.div_ceil(smuggled.len()));
            let head = format!("{method} {path} HTTP/1.1\r\nhost: adieu\r\ncontent-length: {}\r\n\r\n", body.len());
            let mut stream = app.send(&format!("{head}{body}")).await;
            // The server may have closed the connection.
            let _sent = stream.write_all(b"GET /unknown HTTP/1.1\r\nhost: adieu\r\nconnection: close\r\n\r\n").await;
            let mut said = Vec::new();
            let _reset = stream.read_to_end(&mut said).await;
            let said = String::from_utf8(said).unwrap();
            let statuses: Vec<_> = said.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect();
            let first = if path == "/livez" { "200" } else { "401" };
            assert!(statuses == [first] || statuses == [first, "404"], "{path}, {length}: {said}");
        }
    }
}

#[tokio::test]
async fn an_answer_without_content_says_no_length() {
    let app = TestApp::start().await.with_user("jose").await;
    let token = app.log_in("jose").await.access;
    for method in ["HEAD", "GET", "POST", "OPTIONS"] {
        let head = format!("host: adieu\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\r\n");
        let said = answer(&app, &format!("{method} /verify HTTP/1.1\r\n{head}")).await;
        assert!(said.starts_with("HTTP/1.1 204 No Content\r\n"), "{said}");
        assert!(!said.to_ascii_lowercase().contains("content-length"), "{method}: {said}");
        assert!(said.ends_with("\r\n\r\n"), "{method}: {said}");
    }
}

/// A client that sends `Expect: 100-continue` is rejected before its body, and a body that is too long is not read.
#[tokio::test]
async fn a_body_that_is_said_to_be_too_long_is_answered_413_at_once() {
    let app = TestApp::with(&[("max_body_bytes", "100")]).await;
    for path in ["/login", "/register", "/password", "/revocations", "/introspect"] {
        for expect in ["", "expect: 100-continue\r\n"] {
            let head = format!("POST {path} HTTP/1.1\r\nhost: adieu\r\ncontent-type: application/json\r\n{expect}");
            let mut stream = app.send(&format!("{head}content-length: 101\r\n\r\n")).await;
            assert_eq!(first_line(&mut stream).await, "HTTP/1.1 413 Payload Too Large", "{path} {expect}");
        }
    }
    let head = "POST /login HTTP/1.1\r\nhost: adieu\r\ncontent-type: application/json\r\nexpect: 100-continue\r\n";
    let mut stream = app.send(&format!("{head}content-length: 2\r\n\r\n")).await;
    assert_eq!(first_line(&mut stream).await, "HTTP/1.1 100 Continue");
    assert_eq!(first_line(&mut stream).await, "");
    stream.write_all(b"{}").await.unwrap();
    assert_eq!(first_line(&mut stream).await, "HTTP/1.1 422 Unprocessable Entity");
    // Where no body is read, a proxy may send the `Content-Length` of its client.
    let call = "POST /verify HTTP/1.1\r\nhost: adieu\r\ncontent-length: 101\r\n\r\n";
    assert_eq!(first_line(&mut app.send(call).await).await, "HTTP/1.1 401 Unauthorized");
}

#[tokio::test]
async fn a_head_has_at_most_a_hundred_fields() {
    let app = TestApp::start().await;
    for (fields, status) in [(98, "200 OK"), (99, "431 Request Header Fields Too Large")] {
        let more: String = (0..fields).map(|number| format!("x-{number}: 1\r\n")).collect();
        let said = answer(&app, &format!("GET /livez HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{more}\r\n")).await;
        assert_eq!(said.lines().next().unwrap(), format!("HTTP/1.1 {status}"), "{fields} more fields");
    }
}
