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

/// The value of a cookie that a browser keeps.
fn cookie<'b>(browser: &'b Browser, name: &str) -> &'b str {
    &browser.cookies[name]
}

#[tokio::test]
async fn a_logout_ends_the_sessions_of_all_cookies() {
    let app = TestApp::with(&[("token_cookies", "flask-jwt-extended")]).await.with_user("jose").await;
    let (access, refresh) = ("access_token_cookie", "refresh_token_cookie");
    for (name, scope) in [(access, ""), (access, "?scope=all"), (refresh, ""), (refresh, "?scope=this")] {
        let (mut first, mut second) = (Browser::default(), Browser::default());
        let csrf = log_in(&app, &mut first).await.json()["csrf_access_token"].as_str().unwrap().to_owned();
        log_in(&app, &mut second).await;
        let cookies = format!("{access}={}; {name}={}", cookie(&first, access), cookie(&second, name));
        let logout = app.post(&format!("/logout{scope}")).header("x-csrf-token", &csrf).header("cookie", &cookies);
        let answer = logout.send().await;
        answer.reads(r#"200 {"message":"Successfully logged out"}"#);
        for mut browser in [first, second] {
            browser.send(app.get("/sessions")).await.is_revoked();
            browser.keep(&answer);
            assert_eq!(browser.cookies.len(), 0);
        }
    }
}

#[tokio::test]
async fn the_cookies_of_a_session_that_has_ended_are_removed() {
    for names in ["adieu", "flask-jwt-extended"] {
        let app = TestApp::with(&[("token_cookies", names)]).await.with_user("jose").await;
        let tokens = app.log_in("jose").await;
        for (path, csrf) in [("/logout", "csrf_access_token"), ("/refresh", "csrf_refresh_token")] {
            let mut browser = Browser::default();
            let body = log_in(&app, &mut browser).await.json();
            let end = app.post("/revoke").form(format!("token={}", access_token(&browser)));
            end.send().await.is(200);
            // Two tokens, of which only a header could be left out.
            browser.send(app.get("/sessions").token(&tokens.access)).await.is(400);
            browser.send(app.post(path).header("x-csrf-token", body[csrf].as_str().unwrap())).await.is_revoked();
            assert_eq!(browser.cookies.len(), 0, "{path}");
            browser.send(app.get("/sessions").token(&tokens.access)).await.is(200);
        }
        // Without cookies there is nothing to remove.
        app.post("/logout").token(&tokens.access).send().await.is(200);
        for (path, token) in [("/logout", &tokens.access), ("/refresh", &tokens.refresh)] {
            let refused = app.post(path).token(token).send().await;
            refused.is_revoked();
            assert_eq!(refused.header("set-cookie"), None, "{path}");
        }
    }
}

#[tokio::test]
async fn a_refresh_for_a_session_that_has_ended_leaves_the_cookie_of_another() {
    let app = TestApp::with(&[("token_cookies", "flask-jwt-extended")]).await.with_user("jose").await;
    let (mut ended, mut browser) = (Browser::default(), Browser::default());
    let body = log_in(&app, &mut ended).await.json();
    log_in(&app, &mut browser).await;
    browser.cookies.insert("refresh_token_cookie".into(), cookie(&ended, "refresh_token_cookie").into());
    app.post("/revoke").form(format!("token={}", access_token(&ended))).send().await.is(200);
    let csrf = body["csrf_refresh_token"].as_str().unwrap();
    browser.send(app.post("/refresh").header("x-csrf-token", csrf)).await.is_revoked();
    assert_eq!(browser.cookies.keys().collect::<Vec<_>>(), ["access_token_cookie", "csrf_access_token"]);
    browser.send(app.get("/sessions")).await.is(200);
}

fn access_token(browser: &Browser) -> &str {
    let is_access = |name: &str| name.contains("access_token") && !name.contains("csrf");
    browser.cookies.iter().find(|(name, _)| is_access(name)).unwrap().1
}
