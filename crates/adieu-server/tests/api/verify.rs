//! Requests that a proxy sends to `/verify`.

use adieu::token::Fresh;
use insta::assert_snapshot;
use reqwest::Method;
use serde_json::json;

use crate::support::{Answer, TestApp, Tokens, first_line};

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

/// A proxy's subrequest has the headers of the original request, but not its body.
#[tokio::test]
async fn a_length_that_comes_along_is_not_believed() {
    let app = TestApp::start().await.with_user("jose").await;
    let token = app.log_in("jose").await.access;
    let head = format!("GET /verify HTTP/1.1\r\nhost: adieu\r\nauthorization: Bearer {token}\r\n");
    let mut stream = app.send(&format!("{head}content-length: 100000\r\n\r\n")).await;
    assert_eq!(first_line(&mut stream).await, "HTTP/1.1 204 No Content");
}

/// Returns the headers that describe the token, in the order that the documentation tells proxies to copy.
fn identity(answer: &Answer) -> String {
    ["subject", "session", "issuer", "admin"]
        .map(|name| answer.header(&format!("x-adieu-{name}")).expect("every header is there").to_owned())
        .join(" ")
}

#[tokio::test]
async fn every_header_about_the_token_is_there_so_that_a_proxy_overwrites_what_the_client_sent() {
    let app = TestApp::start().await.with_user("jose").await.with_admin("boss").await;
    for (name, admin) in [("jose", "false"), ("boss", "true")] {
        let tokens = app.log_in(name).await;
        let claims = app.claims(&tokens);
        let expected = format!("{} {} adieu {admin}", claims.subject, claims.session.clone().unwrap());
        assert_eq!(identity(&app.verify(&tokens.access).await), expected);

        let mut without_session = claims;
        without_session.session = None;
        let answer = app.verify(&app.sign(&without_session)).await;
        assert_eq!(identity(&answer), format!("{}  adieu {admin}", without_session.subject));
    }
}

#[tokio::test]
async fn a_subject_that_is_no_visible_ascii_is_percent_encoded() {
    let app = TestApp::start().await.with_user("jose").await;
    let mut claims = app.claims(&app.log_in("jose").await);
    claims.session = None;
    for (subject, header) in
        [("José\u{7f}", "Jos%C3%A9%7F"), (" a%20b\r\nX-Adieu-Admin: true", "%20a%2520b%0D%0AX-Adieu-Admin:%20true")]
    {
        claims.subject = subject.parse().unwrap();
        let answer = app.verify(&app.sign(&claims)).await;
        answer.is(204);
        assert_eq!((answer.header("x-adieu-subject"), answer.header("x-adieu-admin")), (Some(header), Some("false")));
    }
}

/// jose's access token with some claims of an application.
async fn with_claims(app: &TestApp) -> (Tokens, String) {
    let tokens = app.log_in("jose").await;
    let mut claims = app.claims(&tokens);
    claims.custom =
        json!({"role": "editor", "groups": ["a", "b:c"], "level": 7, "rank": 7.5, "beta": true, "https://x.example/y": "z",
            "realm_access": {"roles": ["support", "staff"], "a.b": {"c:d": 1}}, "scope": "read write:own"})
            .as_object()
            .unwrap()
            .clone();
    let token = app.sign(&claims);
    (tokens, token)
}

#[tokio::test]
async fn a_claim_can_be_required() {
    let app = TestApp::start().await.with_user("jose").await;
    let (_, token) = with_claims(&app).await;
    let ask = |query: &str| app.get(&format!("/verify?{query}")).token(&token).send();
    for query in [
        "claim=role:editor",
        "claim=groups:a",
        "claim=groups:b:c",
        "claim=level:7",
        "claim=beta:true",
        "claim=level:7.0",
        "claim=rank:7.50",
        r"claim=https\://x\.example/y:z",
        "claim=https%5C%3A//x%5C.example/y%3Az",
        "claim=role:editor&claim=groups:a",
        "claim=realm_access.roles:support",
        r"claim=realm_access.a\.b.c\:d:1",
        "any_claim=role:admin&any_claim=realm_access.roles:support",
        "claim=role:editor&any_claim=level:7&any_claim=level:8",
    ] {
        ask(query).await.is(204);
    }
    for query in [
        "claim=role:admin",
        "claim=role:Editor",
        "claim=role:",
        "claim=groups:c",
        "claim=none:x",
        "claim=level:7.5",
        "claim=level:seven",
        "claim=rank:7",
        "claim=beta:True",
        "claim=realm_access:support",
        "claim=realm_access.roles.support:true",
        "claim=realm_access.none.roles:support",
        r"claim=realm_access\.roles:support",
        "claim=realm_access.a.b.c:1",
        "claim=role.editor:editor",
        "any_claim=role:admin",
        "any_claim=role:admin&any_claim=level:8",
        "claim=role:admin&any_claim=role:editor",
        "claim=sub:x",
        "claim=role:editor&claim=role:admin",
    ] {
        let answer = ask(query).await;
        answer.reads(
            r#"403 {"code":403,"message":"The token lacks a claim that is required here.","status":"Forbidden"}"#,
        );
        let challenge =
            r#"Bearer error="insufficient_scope", error_description="The token lacks a claim that is required here.""#;
        assert_eq!(answer.header("www-authenticate"), Some(challenge));
        assert_eq!(answer.header("x-adieu-subject"), None);
    }
}

/// RFC 6750 §3.1: the challenge says which scopes are needed.
#[tokio::test]
async fn scopes_can_be_required() {
    let app = TestApp::start().await.with_user("jose").await;
    let (tokens, token) = with_claims(&app).await;
    let ask = |query: &str| app.get(&format!("/verify?{query}")).token(&token).send();
    for query in ["scope=read", "scope=write:own", "scope=write%3Aown+read", "scope=read&scope=write:own"] {
        ask(query).await.is(204);
    }
    for (query, wanted) in [
        ("scope=write", "write"),
        ("scope=read+write", "read write"),
        ("scope=read&scope=Read", "read Read"),
        ("claim=role:editor&scope=own", "own"),
    ] {
        let answer = ask(query).await;
        answer.reads(
            r#"403 {"code":403,"message":"The token lacks a scope that is required here.","status":"Forbidden"}"#,
        );
        let challenge = format!(
            r#"Bearer error="insufficient_scope", scope="{wanted}", error_description="The token lacks a scope that is required here.""#
        );
        assert_eq!(answer.header("www-authenticate"), Some(&*challenge));
    }
    ask("scope=").await.is(422);
    ask("scope=%22").await.is(422);

    let mut claims = app.claims(&tokens);
    for (custom, status) in [
        (json!({"scope": ["read"]}), 204),
        (json!({"scp": "read write"}), 204),
        (json!({"scp": ["read"]}), 204),
        (json!({"scope": "", "scp": "read"}), 403),
        (json!({"scope": {"read": true}}), 403),
        (json!({}), 403),
    ] {
        claims.custom = custom.as_object().unwrap().clone();
        app.get("/verify?scope=read").token(&app.sign(&claims)).send().await.is(status);
    }
}

#[tokio::test]
async fn an_administrator_can_be_required() {
    let app = TestApp::start().await.with_user("jose").await.with_admin("boss").await;
    let (jose, boss) = (app.log_in("jose").await, app.log_in("boss").await);
    app.get("/verify?admin=true").token(&boss.access).send().await.is(204);
    let refused = app.get("/verify?admin=true").token(&jose.access).send().await;
    assert_snapshot!(refused, @r#"403 {"code":403,"message":"Admin privilege required.","status":"Forbidden"}"#);
    assert_snapshot!(refused.header("www-authenticate").unwrap(), @r#"Bearer error="insufficient_scope", error_description="Admin privilege required.""#);
}

#[tokio::test]
async fn a_fresh_token_can_be_required() {
    let app = TestApp::start().await.with_user("jose").await;
    let fresh = app.log_in("jose").await;
    let refreshed = app.post("/refresh").token(&fresh.refresh).send().await.tokens();
    app.get("/verify?fresh=true").token(&fresh.access).send().await.is(204);
    let refused = app.get("/verify?fresh=true").token(&refreshed.access).send().await;
    assert_snapshot!(refused, @r#"401 {"description":"The token is not fresh.","error":"fresh_token_required"}"#);

    let mut claims = app.claims(&fresh);
    claims.fresh = Fresh::Until(app.node.clock.now());
    app.get("/verify?fresh=true").token(&app.sign(&claims)).send().await.is(401);
}

#[tokio::test]
async fn an_audience_can_be_required() {
    let app = TestApp::with(&[("audience", "shop")]).await.with_user("jose").await;
    let tokens = app.log_in("jose").await;
    app.get("/verify?audience=shop").token(&tokens.access).send().await.is(204);
    app.get("/verify?audience=bank").token(&tokens.access).send().await.is(401);
    let app = TestApp::start().await.with_user("jose").await;
    let tokens = app.log_in("jose").await;
    app.get("/verify?audience=shop").token(&tokens.access).send().await.is(401);
}

/// A mistyped option rejects every request; it does not accept every request.
#[tokio::test]
async fn an_option_that_is_not_understood_is_an_error() {
    let app = TestApp::start().await.with_admin("boss").await;
    let tokens = app.log_in("boss").await;
    let ask = |query: &str| app.get(&format!("/verify?{query}")).token(&tokens.access).send();
    assert_snapshot!(ask("admin=yes&fresch=true&claim=role").await, @r#"422 {"code":422,"errors":{"query":{"admin":["Must be true."],"claim":["Must be a name and a value with a colon between."],"fresch":["Unknown field."]}},"status":"Unprocessable Entity"}"#);
    ask("admin=true&admin=true").await.is(204);
    ask("audience=a&audience=b").await.is(422);
}

#[tokio::test]
async fn what_is_wrong_with_the_token_comes_before_what_it_lacks() {
    let app = TestApp::start().await.with_user("jose").await;
    let tokens = app.log_in("jose").await;
    app.post("/logout").token(&tokens.access).send().await.is(200);
    app.get("/verify?admin=true&fresh=true").token(&tokens.access).send().await.is_revoked();
    app.get("/verify?admin=true").send().await.is(401);
}

/// The proxy appends the path and the query of the client's request to its own, and only accepts 200.
#[tokio::test]
async fn envoy_asks_in_its_own_way() {
    let app = TestApp::start().await.with_user("jose").await;
    let (tokens, token) = with_claims(&app).await;
    for path in ["/ext_authz", "/ext_authz/", "/ext_authz/orders/7?admin=true&x=%zz", "/ext_authz//verify?x#y"] {
        for method in [Method::GET, Method::POST, Method::OPTIONS] {
            let answer = app.call(method.clone(), path).token(&token).send().await;
            answer.reads("200 ");
            assert!(identity(&answer).ends_with(" adieu false"));
            app.call(method, path).send().await.is(401);
        }
    }
    let ask = |wanted: &str| app.get("/ext_authz/orders").token(&token).header("x-adieu-wanted", wanted);
    ask("claim=role:editor&claim=beta:true").send().await.is(200);
    ask("admin=true").send().await.is(403);
    ask("admin").send().await.is(422);
    ask("claim=role:editor").header("x-adieu-wanted", "").send().await.is(400);
    app.post("/logout").token(&tokens.access).send().await.is(200);
    ask("").send().await.is_revoked();
}
