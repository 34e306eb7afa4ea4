//! A page whose tokens are in cookies: login, refresh and logout.

use std::collections::BTreeMap;

use serde_json::json;

use crate::support::{Answer, Call, PASSWORD, TestApp, credentials};

const CSRF_FAILED: &str = r#"401 {"description":"The CSRF value is missing or wrong.","error":"csrf_failed"}"#;

/// What a browser keeps.
#[derive(Default)]
struct Browser {
    cookies: BTreeMap<String, String>,
}

impl Browser {
    fn keep(&mut self, answer: &Answer) {
        for cookie in answer.headers.get_all("set-cookie") {
            let cookie = cookie.to_str().unwrap();
            let (name, value) = cookie.split(';').next().unwrap().split_once('=').unwrap();
            match cookie.contains("Max-Age=0") {
                true => self.cookies.remove(name),
                false => self.cookies.insert(name.to_owned(), value.to_owned()),
            };
        }
    }

    async fn send(&mut self, call: Call) -> Answer {
        let cookies: Vec<_> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let answer = call.header("cookie", &cookies.join("; ")).send().await;
        self.keep(&answer);
        answer
    }
}

async fn log_in(app: &TestApp, browser: &mut Browser) -> Answer {
    let answer = browser.send(app.post("/login?cookies=true").json(credentials("jose", PASSWORD))).await;
    answer.is(200);
    answer
}

#[tokio::test]
async fn a_browser_logs_in_refreshes_and_logs_out() {
    for names in ["adieu", "flask-jwt-extended"] {
        let app = TestApp::with(&[("token_cookies", names)]).await.with_user("jose").await;
        let mut browser = Browser::default();
        let answer = log_in(&app, &mut browser).await;
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        let body = answer.json();
        let keys: Vec<_> = body.as_object().unwrap().keys().cloned().collect();
        assert_eq!(keys, ["csrf_access_token", "csrf_refresh_token", "expires_in", "refresh_expires_in"]);
        assert_eq!(browser.cookies.len(), 4, "two tokens, two CSRF values: {:?}", browser.cookies.keys());
        let csrf = |name: &str| body[name].as_str().unwrap().to_owned();
        let (access, refresh) = (csrf("csrf_access_token"), csrf("csrf_refresh_token"));

        browser.send(app.get("/sessions")).await.is(200);
        let used = browser.cookies.clone();
        // Without the proof, nothing happens: the refresh token is not even used up.
        browser.send(app.post("/refresh")).await.reads(CSRF_FAILED);
        browser.send(app.post("/refresh").header("x-csrf-token", &access)).await.reads(CSRF_FAILED);
        let refreshed = browser.send(app.post("/refresh").header("x-csrf-token", &refresh)).await;
        refreshed.is(200);
        assert_eq!(refreshed.json()["csrf_access_token"], body["csrf_access_token"], "forms in open pages stay valid");
        assert_eq!(refreshed.json().get("access_token"), None);
        assert_ne!(browser.cookies, used);

        browser.send(app.post("/logout")).await.reads(CSRF_FAILED);
        browser.send(app.get("/sessions")).await.is(200);
        browser.send(app.post("/logout").header("x-csrf-token", &access)).await.is(200);
        assert_eq!(browser.cookies.len(), 0);
        browser.cookies = used;
        browser.send(app.get("/sessions")).await.is_revoked();
    }
}

#[tokio::test]
async fn a_logout_of_the_other_sessions_leaves_the_cookies() {
    let app = TestApp::with(&[("token_cookies", "adieu")]).await.with_user("jose").await;
    let (mut browser, mut other) = (Browser::default(), Browser::default());
    let csrf = log_in(&app, &mut browser).await.json()["csrf_access_token"].as_str().unwrap().to_owned();
    log_in(&app, &mut other).await;
    browser.send(app.post("/logout?scope=others").header("x-csrf-token", &csrf)).await.is(200);
    assert_eq!(browser.cookies.len(), 4);
    browser.send(app.get("/sessions")).await.is(200);
    other.send(app.get("/sessions")).await.is_revoked();
    browser.send(app.post("/logout?scope=all").header("x-csrf-token", &csrf)).await.is(200);
    assert_eq!(browser.cookies.len(), 0);
}

#[tokio::test]
async fn an_administrator_revokes_with_a_cookie() {
    let app = TestApp::with(&[("token_cookies", "adieu")]).await.with_admin("jose").await;
    let mut browser = Browser::default();
    let csrf = log_in(&app, &mut browser).await.json()["csrf_access_token"].as_str().unwrap().to_owned();
    let revoke = |target| app.post("/revocations").json(target);
    browser.send(revoke(json!({"token_id": "a"}))).await.reads(CSRF_FAILED);
    let answer = browser.send(revoke(json!({"token_id": "a"})).header("x-csrf-token", &csrf)).await;
    answer.reads(r#"200 {"message":"Revoked.","sessions_ended":0,"own_token_revoked":false}"#);
    let answer = browser.send(revoke(json!({"everything": true})).header("x-csrf-token", &csrf)).await;
    answer.reads(r#"200 {"message":"Revoked.","sessions_ended":1,"own_token_revoked":true}"#);
}

#[tokio::test]
async fn cookies_go_to_other_sites_only_if_the_setting_says_so() {
    for (setting, access, refresh) in [("false", "Lax", "Strict"), ("true", "None", "None")] {
        let settings = [("token_cookies", "adieu"), ("send_cookies_from_every_site", setting)];
        let app = TestApp::with(&settings).await.with_user("jose").await;
        let answer = log_in(&app, &mut Browser::default()).await;
        for cookie in answer.headers.get_all("set-cookie") {
            let cookie = cookie.to_str().unwrap();
            let same_site = if cookie.contains("access_token=") { access } else { refresh };
            assert!(cookie.contains(&format!("SameSite={same_site}")), "{cookie}");
            assert!(cookie.contains("Secure") && cookie.contains("Path=/"), "{cookie}");
            assert_eq!(cookie.contains("HttpOnly"), !cookie.contains("csrf"), "{cookie}");
        }
    }
}

#[tokio::test]
async fn who_asks_for_no_cookies_gets_none() {
    let app = TestApp::with(&[("token_cookies", "adieu")]).await.with_user("jose").await;
    let answer = app.post("/login").json(credentials("jose", PASSWORD)).send().await;
    assert_eq!(answer.header("set-cookie"), None);
    let tokens = answer.tokens();
    let refreshed = app.post("/refresh").token(&tokens.refresh).send().await;
    assert_eq!(refreshed.header("set-cookie"), None);
    let out = app.post("/logout").token(&refreshed.tokens().access).send().await;
    out.reads(r#"200 {"message":"Successfully logged out"}"#);
    assert_eq!(out.header("set-cookie"), None);
    app.post("/login?cookies=yes").json(credentials("jose", PASSWORD)).send().await.is(422);

    let app = TestApp::start().await.with_user("jose").await;
    app.post("/login?cookies=true").json(credentials("jose", PASSWORD)).send().await.is(422);
}

#[tokio::test]
async fn a_refresh_token_that_was_used_before_ends_the_session_also_in_a_cookie() {
    let settings = [("token_cookies", "adieu"), ("rotation_grace", "0s")];
    let app = TestApp::with(&settings).await.with_user("jose").await;
    let mut browser = Browser::default();
    let body = log_in(&app, &mut browser).await.json();
    let proof = body["csrf_refresh_token"].as_str().unwrap();
    let stolen = Browser { cookies: browser.cookies.clone() };
    browser.send(app.post("/refresh").header("x-csrf-token", proof)).await.is(200);
    let mut thief = stolen;
    thief.send(app.post("/refresh").header("x-csrf-token", proof)).await.is(401);
    browser.send(app.get("/sessions")).await.is_revoked();
}
