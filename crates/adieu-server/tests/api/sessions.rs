//! Users list their sessions and end one of them.

use insta::assert_snapshot;
use serde_json::json;

use crate::support::{PASSWORD, TestApp, credentials};

#[tokio::test]
async fn the_callers_sessions_are_listed_with_where_they_come_from() {
    let app = TestApp::start().await.with_user("jose").await.with_user("anna").await;
    let agent = format!("Netscape\u{80}{}", "x".repeat(300));
    let call = app.post("/login").header("user-agent", &agent).json(credentials("jose", PASSWORD));
    let first = call.send().await.tokens();
    let second = app.log_in("jose").await;
    app.log_in("anna").await;

    let list = app.get("/sessions").token(&second.access).send().await.json();
    assert_eq!(list["next"], json!(null));
    let sessions = list["sessions"].as_array().unwrap();
    assert_eq!(sessions.len(), 2);
    let claims = app.claims(&first);
    let created_at = claims.issued_at.unwrap().as_unix();
    assert_eq!(
        sessions[0],
        json!({
            "id": claims.session.unwrap(),
            "user_id": claims.subject,
            "created_at": created_at,
            "last_seen_at": created_at,
            "expires_at": created_at + 30 * 86_400,
            "address": "127.0.0.1",
            "user_agent": format!("Netscape{}", "x".repeat(248)),
            "current": false,
        })
    );
    assert_eq!(sessions[1]["current"], json!(true));
}

#[tokio::test]
async fn a_long_list_comes_in_parts() {
    let app = TestApp::start().await.with_user("jose").await;
    let mut tokens = Vec::new();
    for _ in 0..5 {
        tokens.push(app.log_in("jose").await);
    }
    let mut ids = Vec::new();
    let mut after = String::new();
    loop {
        let list = app.get(&format!("/sessions?limit=2{after}")).token(&tokens[0].access).send().await.json();
        ids.extend(
            list["sessions"].as_array().unwrap().iter().map(|session| session["id"].as_str().unwrap().to_owned()),
        );
        let Some(next) = list["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    let expected: Vec<_> = tokens.iter().map(|tokens| app.claims(tokens).session.unwrap().to_string()).collect();
    assert_eq!(ids, expected);
    assert_snapshot!(
        app.get("/sessions?limit=0").token(&tokens[0].access).send().await,
        @r#"422 {"code":422,"errors":{"query":{"limit":["Must be between 1 and 1000."]}},"status":"Unprocessable Entity"}"#
    );
}

#[tokio::test]
async fn a_session_can_be_ended_by_its_user_only() {
    let app = TestApp::start().await.with_user("jose").await.with_user("anna").await;
    let (here, elsewhere, anna) = (app.log_in("jose").await, app.log_in("jose").await, app.log_in("anna").await);
    let path = format!("/sessions/{}", app.claims(&elsewhere).session.unwrap());
    let end = |token: String| app.delete(&path).token(&token).send();

    assert_snapshot!(end(anna.access).await, @r#"404 {"code":404,"status":"Not Found"}"#);
    app.verify(&elsewhere.access).await.is(204);
    assert_snapshot!(end(here.access.clone()).await, @r#"200 {"message":"Session ended."}"#);
    app.verify(&elsewhere.access).await.is_revoked();
    app.verify(&here.access).await.is(204);
    assert_snapshot!(end(here.access).await, @r#"404 {"code":404,"status":"Not Found"}"#);
}
