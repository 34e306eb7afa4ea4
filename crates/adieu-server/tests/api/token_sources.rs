//! Where `/verify` finds the token of the request that a proxy asks about, besides `Authorization`.

use reqwest::Method;

use crate::{
    audit::capture,
    support::{Call, TestApp},
};

const CSRF: &str = "a value of the session";
const CSRF_FAILED: &str = r#"401 {"description":"The CSRF value is missing or wrong.","error":"csrf_failed"}"#;
const TWO: &str = r#"400 {"code":400,"message":"Send one token only.","status":"Bad Request"}"#;
const NONE: &str =
    r#"401 {"description":"Request does not contain an access token.","error":"authorization_required"}"#;

/// An access token with a CSRF value, as adieu-axum and Flask-JWT-Extended make it for a cookie.
async fn token_for_cookie(app: &TestApp) -> String {
    let mut claims = app.claims(&app.log_in("jose").await);
    claims.custom.insert("csrf".into(), CSRF.into());
    app.sign(&claims)
}

/// The request with which a proxy asks about another one.
fn ask(app: &TestApp, method: &str) -> Call {
    app.get("/verify").header("x-forwarded-method", method)
}

#[tokio::test]
async fn a_cookie_is_accepted_if_the_setting_says_so() {
    for (setting, name) in [("adieu", "__Host-access_token"), ("flask-jwt-extended", "access_token_cookie")] {
        let app = TestApp::with(&[("token_cookies", setting)]).await.with_user("jose").await;
        let token = token_for_cookie(&app).await;
        let cookie = format!("theme=dark; {name}={token}");
        ask(&app, "GET").header("cookie", &cookie).send().await.reads("204 ");
        ask(&app, "GET").header("cookie", &format!("x{cookie}")).send().await.is(204);
        ask(&app, "GET").header("cookie", "theme=dark").send().await.reads(NONE);
        ask(&app, "GET").header("cookie", &format!("access_token={token}")).send().await.reads(NONE);

        app.post("/logout").token(&token).send().await.is(200);
        ask(&app, "GET").header("cookie", &cookie).send().await.is_revoked();
    }
    let app = TestApp::start().await.with_user("jose").await;
    let cookie = format!("__Host-access_token={}", token_for_cookie(&app).await);
    ask(&app, "GET").header("cookie", &cookie).send().await.reads(NONE);
}

/// The method is that of the request that the proxy asks about. One that the proxy does not name may be any.
#[tokio::test]
async fn a_request_that_may_change_something_must_repeat_the_csrf_value() {
    let app = TestApp::with(&[("token_cookies", "adieu")]).await.with_user("jose").await;
    let cookie = format!("__Host-access_token={}", token_for_cookie(&app).await);
    let with_cookie = |call: Call| call.header("cookie", &cookie);
    for method in ["GET", "HEAD", "OPTIONS"] {
        with_cookie(ask(&app, method)).send().await.is(204);
    }
    for method in ["POST", "PUT", "PATCH", "DELETE", "PROPFIND", "get", "GET, GET", ""] {
        with_cookie(ask(&app, method)).send().await.reads(CSRF_FAILED);
        with_cookie(ask(&app, method)).header("x-csrf-token", "another").send().await.reads(CSRF_FAILED);
        with_cookie(ask(&app, method)).header("x-csrf-token", CSRF).send().await.is(204);
    }
    with_cookie(app.get("/verify")).send().await.reads(CSRF_FAILED);
    with_cookie(app.get("/verify")).header("x-csrf-token", CSRF).send().await.is(204);
    // What the client itself says is beside what the proxy says.
    with_cookie(ask(&app, "GET")).header("x-forwarded-method", "DELETE").send().await.reads(CSRF_FAILED);
    with_cookie(app.post("/verify")).header("x-forwarded-method", "GET").send().await.reads(CSRF_FAILED);
    // Envoy asks with the method itself.
    with_cookie(app.get("/ext_authz/orders")).send().await.is(200);
    with_cookie(app.post("/ext_authz/orders")).send().await.reads(CSRF_FAILED);
    with_cookie(app.post("/ext_authz/orders")).header("x-csrf-token", CSRF).send().await.is(200);
    with_cookie(app.get("/ext_authz/orders")).header("x-forwarded-method", "POST").send().await.reads(CSRF_FAILED);
}

#[tokio::test]
async fn a_token_in_a_cookie_and_one_in_a_header_are_two() {
    let app = TestApp::with(&[("token_cookies", "adieu")]).await.with_user("jose").await;
    let token = token_for_cookie(&app).await;
    let cookie = format!("__Host-access_token={token}");
    ask(&app, "GET").header("cookie", &cookie).token(&token).send().await.reads(TWO);
    ask(&app, "GET").header("cookie", &cookie).token("x").send().await.reads(TWO);
    ask(&app, "POST").token(&token).send().await.is(204);
    ask(&app, "GET").header("cookie", &cookie).header("authorization", "Basic YTpi").send().await.is(204);
}

/// The request that opens a WebSocket, as a proxy passes it on: without `Upgrade`, which is for the proxy.
fn web_socket(app: &TestApp) -> Call {
    ask(app, "GET").header("sec-websocket-version", "13").header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
}

#[tokio::test]
async fn a_web_socket_may_have_its_token_in_the_query_or_among_the_protocols() {
    let app = TestApp::with(&[("websocket_token", "query,protocol")]).await.with_user("jose").await;
    let token = app.log_in("jose").await.access;
    let (query, protocol) = (format!("/chat?room=1&access_token={token}"), format!("chat, access_token.{token}"));
    web_socket(&app).header("x-forwarded-uri", &query).send().await.reads("204 ");
    web_socket(&app).header("sec-websocket-protocol", &protocol).send().await.reads("204 ");
    // HTTP/2 opens one with CONNECT (RFC 8441).
    let connect = ask(&app, "CONNECT").header("sec-websocket-version", "13");
    connect.header("x-forwarded-uri", &query).send().await.is(204);
    let upgrade = app.get("/ext_authz").header("upgrade", "WebSocket").header("connection", "upgrade");
    upgrade.header("sec-websocket-protocol", &protocol).send().await.is(200);

    // Nothing else may.
    for call in [ask(&app, "GET"), ask(&app, "POST").header("sec-websocket-version", "13")] {
        let call = call.header("x-forwarded-uri", &query).header("sec-websocket-protocol", &protocol);
        call.send().await.reads(NONE);
    }
    web_socket(&app)
        .header("x-forwarded-uri", "/chat")
        .header("sec-websocket-protocol", "chat")
        .send()
        .await
        .reads(NONE);
    // The query of `/verify` is the proxy's.
    app.get(&format!("/verify?access_token={token}")).header("sec-websocket-version", "13").send().await.is(401);

    app.post("/logout").token(&token).send().await.is(200);
    web_socket(&app).header("x-forwarded-uri", &query).send().await.is_revoked();
}

#[tokio::test]
async fn each_place_of_a_web_socket_has_a_setting() {
    for (setting, in_query, in_protocol) in [("query", 204, 401), ("protocol", 401, 204), ("", 401, 401)] {
        let app = TestApp::with(&[("websocket_token", setting)]).await.with_user("jose").await;
        let token = app.log_in("jose").await.access;
        web_socket(&app).header("x-forwarded-uri", &format!("/?access_token={token}")).send().await.is(in_query);
        let protocol = format!("access_token.{token}");
        web_socket(&app).header("sec-websocket-protocol", &protocol).send().await.is(in_protocol);
    }
}

#[tokio::test]
async fn a_web_socket_with_two_tokens_is_rejected() {
    let settings = [("websocket_token", "query,protocol"), ("token_cookies", "adieu")];
    let app = TestApp::with(&settings).await.with_user("jose").await;
    let token = token_for_cookie(&app).await;
    let (query, protocol) = (format!("/?access_token={token}"), format!("access_token.{token}"));
    let cookie = format!("__Host-access_token={token}");
    let with_query = || web_socket(&app).header("x-forwarded-uri", &query);
    with_query().send().await.is(204);
    with_query().header("sec-websocket-protocol", &protocol).send().await.reads(TWO);
    with_query().header("x-forwarded-uri", &query).send().await.reads(TWO);
    with_query().token(&token).send().await.reads(TWO);
    with_query().header("cookie", &cookie).send().await.reads(TWO);
    let twice = format!("/?access_token={token}&access_token={token}");
    web_socket(&app).header("x-forwarded-uri", &twice).send().await.reads(TWO);
    let twice = format!("{protocol}, {protocol}");
    web_socket(&app).header("sec-websocket-protocol", &twice).send().await.reads(TWO);
    // A proxy may remove only one of them: if an empty one did not count, it would forward the other.
    let with_empty = format!("/?access_token={token}&access_token=");
    web_socket(&app).header("x-forwarded-uri", &with_empty).send().await.reads(TWO);
    let with_empty = format!("access_token., {protocol}");
    web_socket(&app).header("sec-websocket-protocol", &with_empty).send().await.reads(TWO);
    web_socket(&app).header("x-forwarded-uri", "/?access_token=").token(&token).send().await.is(204);
}

/// A browser sends cookies with a WebSocket of any page, so its origin decides (RFC 6455 §10.2).
#[tokio::test]
async fn a_web_socket_with_a_cookie_must_come_from_a_page_of_the_same_host() {
    let app = TestApp::with(&[("token_cookies", "adieu")]).await.with_user("jose").await;
    let cookie = format!("__Host-access_token={}", token_for_cookie(&app).await);
    let from = |origin: &str| {
        let call = web_socket(&app).header("cookie", &cookie).header("x-forwarded-host", "shop.example");
        call.header("origin", origin)
    };
    from("https://shop.example").send().await.is(204);
    for origin in ["https://evil.example", "https://shop.example.evil.example", "http://shop.example", "null", ""] {
        from(origin).send().await.reads(CSRF_FAILED);
    }
    let call = web_socket(&app).header("cookie", &cookie).header("x-forwarded-host", "shop.example");
    call.send().await.reads(CSRF_FAILED);
    // The CSRF value is no substitute: no page can send it with a WebSocket.
    from("https://evil.example").header("x-csrf-token", CSRF).send().await.reads(CSRF_FAILED);
}

#[tokio::test(flavor = "current_thread")]
async fn no_token_is_logged() {
    let settings = [("websocket_token", "query,protocol"), ("token_cookies", "adieu")];
    let (lines, _capturing) = capture();
    let app = TestApp::with(&settings).await.with_user("jose").await;
    let token = app.log_in("jose").await.access;
    let (query, protocol) = (format!("/?access_token={token}"), format!("access_token.{token}"));
    web_socket(&app).header("x-forwarded-uri", &query).send().await.is(204);
    web_socket(&app).header("sec-websocket-protocol", &protocol).send().await.is(204);
    web_socket(&app).header("x-forwarded-uri", &query).header("sec-websocket-protocol", &protocol).send().await.is(400);
    ask(&app, "POST").header("cookie", &format!("__Host-access_token={token}")).send().await.is(401);
    app.call(Method::GET, &format!("/verify?access_token={token}")).send().await.is(401);
    let signature = token.rsplit('.').next().unwrap();
    assert!(lines.count("\"rejected\"") >= 3);
    assert_eq!(lines.count(signature), 0);
}
