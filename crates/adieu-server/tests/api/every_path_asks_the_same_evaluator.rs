//! Promise 8 over HTTP: every route that accepts a token rejects an ended one, however it was ended.

use serde_json::{Value, json};

use crate::support::{TestApp, Tokens};

async fn is_refused_everywhere(app: &TestApp, tokens: &Tokens) {
    let user = app.node.sessions.verifier().verify(&tokens.access).map_err(|refusal| refusal.code());
    assert_eq!(user.unwrap_err(), "token_revoked");
    app.get("/ext_authz/orders/7").token(&tokens.access).send().await.is_revoked();
    for (method, path) in crate::support::operations().into_keys() {
        if ["/register", "/login", "/refresh", "/livez", "/readyz"].contains(&path.as_str())
            || path.starts_with("/password/")
            || path.starts_with("/.well-known/")
        {
            continue;
        }
        // These calls are for services and other issuers, which authenticate otherwise.
        let for_others = [
            "/introspect",
            "/revoke",
            "/backchannel-logout",
            "/events",
            "/global-token-revocation",
            "/webhooks/{name}",
        ];
        if for_others.contains(&path.as_str()) || (method.as_str(), path.as_str()) == ("GET", "/revocations") {
            continue;
        }
        // Without a body there is nothing to compare; `verify.rs` has it.
        if method == "HEAD" {
            continue;
        }
        let path = path.replace("{id}", "x").replace("{sid}", "x");
        let method = method.parse().unwrap();
        app.call(method, &path).token(&tokens.access).send().await.is_revoked();
    }
}

async fn revoked_by(what: impl Fn(&TestApp, &Tokens) -> Value) {
    let app = TestApp::start().await.with_user("jose").await.with_admin("boss").await;
    let (jose, boss) = (app.log_in("jose").await, app.log_in("boss").await);
    let body = what(&app, &jose);
    let answer = app.post("/revocations").token(&boss.access).json(body).send().await;
    answer.is(200);
    is_refused_everywhere(&app, &jose).await;
}

#[tokio::test]
async fn after_a_logout() {
    let app = TestApp::start().await.with_user("jose").await;
    let tokens = app.log_in("jose").await;
    app.post("/logout").token(&tokens.access).send().await.is(200);
    is_refused_everywhere(&app, &tokens).await;
    app.post("/refresh").token(&tokens.refresh).send().await.is_revoked();
}

#[tokio::test]
async fn after_the_token_was_revoked() {
    revoked_by(|_, jose| json!({"token": jose.access})).await;
}

#[tokio::test]
async fn after_its_refresh_token_was_revoked() {
    revoked_by(|_, jose| json!({"token": jose.refresh})).await;
}

#[tokio::test]
async fn after_its_id_was_revoked() {
    revoked_by(|app, jose| json!({"token_id": app.claims(jose).token_id})).await;
    revoked_by(|app, jose| {
        let claims = app.claims(jose);
        json!({"token_id": claims.token_id, "expires_at": claims.expires_at})
    })
    .await;
}

#[tokio::test]
async fn after_its_session_was_revoked() {
    revoked_by(|app, jose| json!({"session": app.claims(jose).session})).await;
}

#[tokio::test]
async fn after_its_subject_was_revoked() {
    revoked_by(|app, jose| json!({"subject": app.claims(jose).subject})).await;
}

#[tokio::test]
async fn after_everything_was_revoked() {
    revoked_by(|_, _| json!({"everything": true})).await;
}
