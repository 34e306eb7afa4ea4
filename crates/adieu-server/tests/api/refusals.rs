//! The response to a rejected token: the body of the course and the challenge of RFC 6750, for every cause.

use adieu::token::{Algorithm, Fresh, SigningKey, TokenType, encode};
use insta::assert_snapshot;

use crate::support::{Answer, TestApp};

fn with_challenge(answer: &Answer) -> String {
    format!("{answer}\n{}", answer.header("www-authenticate").unwrap())
}

#[tokio::test]
async fn no_token() {
    let app = TestApp::start().await;
    for authorization in [None, Some("Basic am9zZToxMjM0"), Some("Bearer"), Some("Bearer ")] {
        let call = app.get("/sessions");
        let answer = match authorization {
            Some(value) => call.header("authorization", value).send().await,
            None => call.send().await,
        };
        answer.reads(
            r#"401 {"description":"Request does not contain an access token.","error":"authorization_required"}"#,
        );
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"), "no error code when there was no token");
    }
}

#[tokio::test]
async fn a_revoked_token() {
    let app = TestApp::start().await.with_user("jose").await;
    let tokens = app.log_in("jose").await;
    app.post("/logout").token(&tokens.access).send().await.is(200);
    assert_snapshot!(with_challenge(&app.get("/sessions").token(&tokens.access).send().await), @r#"
    401 {"description":"The token has been revoked.","error":"token_revoked"}
    Bearer error="invalid_token", error_description="The token has been revoked."
    "#);
}

#[tokio::test]
async fn an_expired_token() {
    let app = TestApp::start().await.with_user("jose").await;
    let tokens = app.log_in("jose").await;
    assert_snapshot!(with_challenge(&app.get("/sessions").token(&app.expired(&tokens)).send().await), @r#"
    401 {"message":"The token has expired.","error":"token_expired"}
    Bearer error="invalid_token", error_description="The token has expired."
    "#);
}

#[tokio::test]
async fn a_token_that_is_not_ours_or_not_for_this() {
    let app = TestApp::start().await.with_user("jose").await;
    let tokens = app.log_in("jose").await;
    let claims = app.claims(&tokens);
    let foreign = encode(&SigningKey::generate(Algorithm::EdDSA).unwrap(), &claims).unwrap();
    let mut other_issuer = claims.clone();
    other_issuer.issuer = adieu::Issuer::new("another issuer").unwrap();
    let cut = &tokens.access[..tokens.access.len() - 2];
    for token in [&foreign, &app.sign(&other_issuer), &tokens.refresh, cut, "nonsense", "a b", &"x".repeat(20_000)] {
        let answer = app.get("/sessions").token(token).send().await;
        answer.reads(r#"401 {"message":"Signature verification failed.","error":"invalid_token"}"#);
        assert_eq!(
            answer.header("www-authenticate"),
            Some(r#"Bearer error="invalid_token", error_description="Signature verification failed.""#)
        );
    }
}

#[tokio::test]
async fn two_tokens_are_no_token() {
    let app = TestApp::start().await.with_user("jose").await;
    let tokens = app.log_in("jose").await;
    let twice = app.get("/sessions").token(&tokens.access).token(&tokens.access).send().await;
    assert_snapshot!(with_challenge(&twice), @r#"
    400 {"code":400,"message":"Send one Authorization header only.","status":"Bad Request"}
    Bearer error="invalid_request", error_description="Send one Authorization header only."
    "#);
}

#[tokio::test]
async fn the_scheme_may_be_written_in_any_case() {
    let app = TestApp::start().await.with_user("jose").await;
    let tokens = app.log_in("jose").await;
    for scheme in ["Bearer", "bearer", "BEARER", "bEaReR "] {
        let value = format!("{scheme} {}", tokens.access);
        app.get("/verify").header("authorization", &value).send().await.is(204);
    }
}

#[tokio::test]
async fn a_token_of_this_server_without_a_session_is_as_good_until_it_is_revoked() {
    let app = TestApp::start().await.with_user("jose").await;
    let mut claims = app.claims(&app.log_in("jose").await);
    claims.session = None;
    claims.fresh = Fresh::No;
    claims.token_type = TokenType::Access;
    let token = app.sign(&claims);
    let verified = app.verify(&token).await;
    verified.is(204);
    assert_eq!(verified.header("x-adieu-session"), Some(""));
    app.post("/logout").token(&token).send().await.is(200);
    app.verify(&token).await.is_revoked();
}
