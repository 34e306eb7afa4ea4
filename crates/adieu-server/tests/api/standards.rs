//! The endpoints of OAuth 2.0: token revocation (RFC 7009), metadata (RFC 8414) and the documents' caching.

use adieu_server::clients::Capability;
use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::support::TestApp;

/// RFC 7009 §2.1: the token alone identifies what ends, whatever the hint says.
#[tokio::test]
async fn revoking_either_token_ends_the_whole_session() {
    let app = TestApp::start().await.with_user("jose").await;
    for (hint, refresh) in [
        ("", false),
        ("", true),
        ("&token_type_hint=refresh_token", false),
        ("&token_type_hint=access_token", true),
        ("&token_type_hint=x", true),
    ] {
        let tokens = app.log_in("jose").await;
        let token = if refresh { &tokens.refresh } else { &tokens.access };
        let answer = app.post("/revoke").form(format!("token={token}{hint}")).send().await;
        answer.reads("200 ");
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        app.verify(&tokens.access).await.is_revoked();
        app.post("/refresh").token(&tokens.refresh).send().await.is_revoked();
    }
}

/// RFC 7009 §2.2: an invalid token causes no error, and neither does one that is revoked already.
#[tokio::test]
async fn a_token_of_which_nothing_is_left_to_revoke_is_no_error() {
    let app = TestApp::start().await.with_user("jose").await;
    let (tokens, other) = (app.log_in("jose").await, app.log_in("jose").await);
    let stranger = TestApp::start().await.with_user("jose").await.log_in("jose").await;
    let revoke = |token: &str| app.post("/revoke").form(format!("token={token}")).send();
    for token in ["x", "a.b.c", &stranger.access, &stranger.refresh, &tokens.access[1..]] {
        revoke(token).await.reads("200 ");
    }
    app.verify(&tokens.access).await.is(204);
    revoke(&app.expired(&tokens)).await.reads("200 ");
    app.verify(&tokens.access).await.is_revoked();
    for token in [&tokens.access, &tokens.refresh] {
        revoke(token).await.reads("200 ");
    }
    app.verify(&other.access).await.is(204);
}

#[tokio::test]
async fn only_what_is_durable_is_answered_with_success() {
    let app = TestApp::start().await.with_user("jose").await;
    let tokens = app.log_in("jose").await;
    app.break_log();
    let answer = app.post("/revoke").form(format!("token={}", tokens.access)).send().await;
    assert_snapshot!(answer, @r#"503 {"code":503,"message":"Temporarily unavailable. Try again.","status":"Service Unavailable"}"#);
    assert_eq!(answer.header("retry-after"), Some("1"));
    app.mend_log();
    app.post("/revoke").form(format!("token={}", tokens.access)).send().await.is(200);
    app.verify(&tokens.access).await.is_revoked();
}

/// A node that is stale may not know the newest key, so it can't tell whether the token is good elsewhere.
#[tokio::test]
async fn a_stale_node_does_not_call_an_unknown_key_invalid() {
    let app = TestApp::with(&[("max_staleness", "1s")]).await.with_user("jose").await;
    let service = app.client("shop", &[Capability::Revoke]).await;
    let stranger = TestApp::start().await.with_user("jose").await.log_in("jose").await;
    let calls = || {
        [
            ("/revoke", 200, app.post("/revoke").form(format!("token={}", stranger.access))),
            ("/logout", 401, app.post("/logout").token(&stranger.access)),
            ("/logout", 401, app.post("/logout").token(&stranger.refresh)),
            ("/refresh", 401, app.post("/refresh").token(&stranger.refresh)),
            ("/verify", 401, app.get("/verify").token(&stranger.access)),
            ("/revocations", 422, app.post("/revocations").by(&service).json(json!({ "token": stranger.access }))),
        ]
    };
    for (path, status, call) in calls() {
        assert_eq!(call.send().await.status, status, "{path}");
    }
    app.break_log();
    while app.post("/revoke").form(format!("token={}", stranger.access)).send().await.status == 200 {}
    for (path, _, call) in calls() {
        assert_eq!(call.send().await.status, 503, "{path}");
    }
}

#[tokio::test]
async fn a_client_need_not_authenticate_to_revoke_but_its_credentials_must_be_right() {
    let app = TestApp::start().await.with_user("jose").await;
    let client = app.client("shop", &[]).await;
    let wrong = crate::support::Credentials { name: client.name.clone(), secret: "x".to_owned() };
    let tokens = app.log_in("jose").await;
    let form = format!("token={}", tokens.access);
    let unknown_client = r#"401 {"error":"invalid_client","error_description":"Invalid client credentials."}"#;
    for (call, expected) in [
        (app.post("/revoke").by(&wrong).form(form.clone()), unknown_client),
        (app.post("/revoke").form(format!("{form}&client_id=shop&client_secret=x")), unknown_client),
        (app.post("/revoke").form(format!("{form}&client_secret={}", client.secret)), unknown_client),
        (app.post("/revoke").token(&tokens.access).form(form.clone()), unknown_client),
        (
            app.post("/revoke").form("token_type_hint=access_token"),
            r#"400 {"error":"invalid_request","error_description":"The parameter token is missing."}"#,
        ),
        (
            app.post("/revoke").form("token="),
            r#"400 {"error":"invalid_request","error_description":"The parameter token is missing."}"#,
        ),
        (
            app.post("/revoke").form(format!("{form}&{form}")),
            r#"400 {"error":"invalid_request","error_description":"Duplicate parameter token."}"#,
        ),
        (
            app.post("/revoke").json(json!({ "token": tokens.access })),
            r#"400 {"error":"invalid_request","error_description":"Send the body as application/x-www-form-urlencoded."}"#,
        ),
    ] {
        call.send().await.reads(expected);
    }
    app.verify(&tokens.access).await.is(204);
    let others =
        [app.log_in("jose").await, app.log_in("jose").await, app.log_in("jose").await, app.log_in("jose").await];
    for (call, token) in [
        (app.post("/revoke").by(&client).form(form), &tokens.access),
        (app.post("/revoke").form(format!("token={}&client_id=anyone", others[0].access)), &others[0].access),
        (
            app.post("/revoke")
                .form(format!("token={}&client_id=shop&client_secret={}", others[1].access, client.secret)),
            &others[1].access,
        ),
        // A parameter without a value counts as omitted (RFC 6749 §3.2).
        (
            app.post("/revoke").form(format!("token={}&client_id=app&client_secret=", others[2].access)),
            &others[2].access,
        ),
        (
            app.post("/revoke").by(&client).form(format!("token={}&client_id=&client_secret=", others[3].access)),
            &others[3].access,
        ),
    ] {
        call.send().await.reads("200 ");
        app.verify(token).await.is_revoked();
    }
}

/// RFC 7662 §2.2: a service that protects resources need not learn whether a refresh token is good.
#[tokio::test]
async fn a_client_may_be_limited_to_introspecting_access_tokens() {
    let app = TestApp::start().await.with_user("jose").await;
    let client = app.client("shop", &[Capability::IntrospectAccess]).await;
    let tokens = app.log_in("jose").await;
    let ask = |token: &str| app.post("/introspect").by(&client).form(format!("token={token}")).send();
    let access = ask(&tokens.access).await.json();
    assert_eq!((&access["active"], &access["username"]), (&json!(true), &json!("jose")));
    ask(&tokens.refresh).await.reads(r#"200 {"active":false}"#);
    let both = app.client("both", &[Capability::Introspect]).await;
    let refresh = app.post("/introspect").by(&both).form(format!("token={}", tokens.refresh)).send().await.json();
    assert_eq!((&refresh["active"], &refresh["username"]), (&json!(true), &json!("jose")));
}

#[tokio::test]
async fn the_metadata_is_that_of_the_issuer_url() {
    let app = TestApp::with(&[("issuer", "https://login.example")]).await;
    let answer = app.get("/.well-known/oauth-authorization-server").send().await;
    answer.is(200);
    assert_eq!(
        answer.json(),
        json!({
            "issuer": "https://login.example",
            "jwks_uri": "https://login.example/.well-known/jwks.json",
            "revocation_endpoint": "https://login.example/revoke",
            "revocation_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "none"],
            "introspection_endpoint": "https://login.example/introspect",
            "introspection_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
            "response_types_supported": [],
            "grant_types_supported": [],
            "service_documentation": "https://login.example/docs",
        })
    );
    app.get("/.well-known/oauth-authorization-server/x").send().await.is(404);
}

/// RFC 8414 §3.1: the path of the issuer follows the well-known one; a proxy that removes it leads to the plain one.
#[tokio::test]
async fn an_issuer_may_have_a_path() {
    let app = TestApp::with(&[("issuer", "https://example.com/auth/eu/")]).await;
    for path in ["", "/auth/eu", "/auth/eu/"] {
        let answer = app.get(&format!("/.well-known/oauth-authorization-server{path}")).send().await;
        answer.is(200);
        assert_eq!(answer.json()["issuer"], "https://example.com/auth/eu/", "{path}");
        assert_eq!(answer.json()["jwks_uri"], "https://example.com/auth/eu/.well-known/jwks.json", "{path}");
    }
    for path in ["/auth", "/auth/eu/x", "/AUTH/eu", "/auth%2Feu"] {
        app.get(&format!("/.well-known/oauth-authorization-server{path}")).send().await.is(404);
    }
}

/// RFC 8414 §2: an issuer identifier is a URL with the scheme `https` and without query or fragment.
#[tokio::test]
async fn an_issuer_that_is_not_such_a_url_has_no_metadata() {
    for (issuer, exists) in [
        ("adieu", false),
        ("urn:example:issuer", false),
        ("http://login.example", false),
        ("http://localhost.example", false),
        ("https://login.example?x=1", false),
        ("https://login.example#x", false),
        ("https://user@login.example", false),
        ("https://", false),
        ("ftp://login.example", false),
        ("http://localhost:5005", true),
        ("http://127.0.0.1:5005", true),
        ("http://[::1]:5005", true),
        ("https://login.example:8443", true),
    ] {
        let app = TestApp::with(&[("issuer", issuer)]).await;
        let answer = app.get("/.well-known/oauth-authorization-server").send().await;
        assert_eq!(answer.status == 200, exists, "{issuer}: {answer}");
    }
}

#[tokio::test]
async fn the_public_documents_have_an_entity_tag_and_are_for_pages_of_every_origin() {
    let app = TestApp::with(&[("issuer", "https://login.example")]).await;
    for path in ["/.well-known/jwks.json", "/.well-known/oauth-authorization-server"] {
        let answer = app.get(path).send().await;
        answer.is(200);
        let headers = ["cache-control", "access-control-allow-origin"];
        let told = |answer: &crate::support::Answer| headers.map(|name| answer.header(name).map(str::to_owned));
        assert_eq!(told(&answer), [Some("public, max-age=300".to_owned()), Some("*".to_owned())], "{path}");
        let tag = answer.header("etag").unwrap().to_owned();
        assert!(tag.starts_with('"') && tag.ends_with('"') && tag.len() > 20, "{tag}");
        for known in [tag.clone(), format!("W/{tag}"), format!("\"x\", {tag}"), "*".to_owned()] {
            let again = app.get(path).header("if-none-match", &known).send().await;
            again.reads("304 ");
            assert_eq!(again.header("etag"), Some(tag.as_str()));
            assert_eq!(told(&again), told(&answer), "{path}");
        }
        for other in ["\"x\"", "x", "", &tag[1..]] {
            let again = app.get(path).header("if-none-match", other).send().await;
            again.is(200);
            assert_eq!(again.json(), answer.json(), "{path} {other}");
        }
    }
}

/// A document that has changed has another tag.
#[tokio::test]
async fn the_entity_tag_of_the_keys_is_that_of_their_content() {
    let (one, other) = (TestApp::start().await, TestApp::start().await);
    let tag = async |app: &TestApp| {
        let answer = app.get("/.well-known/jwks.json").send().await;
        (answer.header("etag").unwrap().to_owned(), answer.json())
    };
    let (first, second): ((String, Value), (String, Value)) = (tag(&one).await, tag(&other).await);
    assert_ne!(first.1, second.1);
    assert_ne!(first.0, second.0);
    assert_eq!(first, tag(&one).await);
}
