//! The scopes of a logout.

use insta::assert_snapshot;

use crate::support::TestApp;

#[tokio::test]
async fn either_token_will_do() {
    let app = TestApp::start().await.with_user("jose").await;
    let tokens = app.log_in("jose").await;
    app.post("/logout").token(&tokens.refresh).send().await.is(200);
    app.verify(&tokens.access).await.is_revoked();
    app.post("/logout").token(&tokens.access).send().await.is_revoked();
}

#[tokio::test]
async fn this_session_the_others_or_all() {
    for (scope, [this, others]) in
        [("", [401, 204]), ("?scope=this", [401, 204]), ("?scope=others", [204, 401]), ("?scope=all", [401, 401])]
    {
        let app = TestApp::start().await.with_user("jose").await.with_user("anna").await;
        let (here, elsewhere, anna) = (app.log_in("jose").await, app.log_in("jose").await, app.log_in("anna").await);
        app.post(&format!("/logout{scope}")).token(&here.access).send().await.is(200);
        app.verify(&here.access).await.is(this);
        app.verify(&elsewhere.access).await.is(others);
        app.verify(&anna.access).await.is(204);
    }
}

#[tokio::test]
async fn a_scope_that_is_none_ends_nothing() {
    let app = TestApp::start().await.with_user("jose").await;
    let tokens = app.log_in("jose").await;
    let log_out = |query: &str| app.post(&format!("/logout?{query}")).token(&tokens.access).send();
    assert_snapshot!(
        log_out("scope=everything").await,
        @r#"422 {"code":422,"errors":{"query":{"scope":["Must be one of: this, others, all."]}},"status":"Unprocessable Entity"}"#
    );
    assert_snapshot!(
        log_out("scop=all").await,
        @r#"422 {"code":422,"errors":{"query":{"scop":["Unknown field."]}},"status":"Unprocessable Entity"}"#
    );
    assert_snapshot!(
        log_out("scope=all&scope=this").await,
        @r#"422 {"code":422,"errors":{"query":{"scope":["Duplicate field."]}},"status":"Unprocessable Entity"}"#
    );
    log_out("scope=%ff").await.is(422);
    app.verify(&tokens.access).await.is(204);
}
