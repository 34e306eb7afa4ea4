//! The pages of users, as requests: what a browser does with them is tested in `tests/browser`.

use reqwest::{Response, header::HeaderMap};
use serde_json::{Value, json};

use crate::support::{PASSWORD, TestApp};

const POLICY: &str = "default-src 'none'; script-src 'nonce-…'; style-src 'nonce-…'; img-src 'self'; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

pub(crate) type Form<'a> = &'a [(&'a str, &'a str)];

/// A browser, as far as cookies go.
pub(crate) struct Browser<'a> {
    app: &'a TestApp,
    pub(crate) client: reqwest::Client,
    cookies: Vec<(String, String)>,
}

impl<'a> Browser<'a> {
    pub(crate) fn new(app: &'a TestApp) -> Self {
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        Self { app, client, cookies: Vec::new() }
    }

    pub(crate) async fn logged_in(app: &'a TestApp, username: &str) -> Self {
        let mut browser = Self::new(app);
        let response = browser.post("/account/login", &[("username", username), ("password", PASSWORD)], &[]).await;
        assert_eq!(response.status(), 200);
        for header in response.headers().get_all("set-cookie") {
            let header = header.to_str().unwrap();
            assert!(
                header.starts_with("__Host-") && header.contains("; Secure") && header.contains("; Path=/"),
                "{header}"
            );
            assert_eq!(header.contains("; HttpOnly"), !header.starts_with("__Host-csrf"), "{header}");
            let (name, value) = header.split(';').next().unwrap().split_once('=').unwrap();
            browser.cookies.push((name.to_owned(), value.to_owned()));
        }
        assert_eq!(browser.cookies.len(), 4);
        browser
    }

    pub(crate) fn cookie(&self, name: &str) -> &str {
        &self.cookies.iter().find(|(named, _)| named == name).unwrap().1
    }

    pub(crate) fn cookies(&self) -> String {
        self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ")
    }

    pub(crate) async fn post(&self, path: &str, form: Form<'_>, headers: &[(&'static str, &str)]) -> Response {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let mut request = self.client.post(self.app.url(path)).header("accept", "application/json").body(body);
        request = request.header("content-type", "application/x-www-form-urlencoded").header("cookie", self.cookies());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await.unwrap()
    }

    pub(crate) async fn get(&self, path: &str, accept: &str) -> Response {
        let request = self.client.get(self.app.url(path)).header("accept", accept).header("cookie", self.cookies());
        request.send().await.unwrap()
    }

    pub(crate) async fn is_logged_in(&self) -> bool {
        self.get("/account", "application/json").await.status() == 200
    }
}

pub(crate) fn header<'h>(headers: &'h HeaderMap, name: &str) -> &'h str {
    headers.get(name).unwrap_or_else(|| panic!("no {name}")).to_str().unwrap()
}

#[tokio::test]
async fn a_page_restricts_what_browsers_and_caches_do() {
    let app = TestApp::start().await.with_user("jose").await;
    let browser = Browser::logged_in(&app, "jose").await;
    for browser in [&browser, &Browser::new(&app)] {
        let response = browser.get("/account", "text/html").await;
        assert_eq!(response.status(), 200);
        let headers = response.headers().clone();
        let page = response.text().await.unwrap();
        let policy = header(&headers, "content-security-policy");
        let (_, nonce) = policy.split_once("'nonce-").unwrap();
        let nonce = nonce.split('\'').next().unwrap();
        assert_eq!(nonce.len(), 22);
        assert_eq!(page.matches(&format!("nonce=\"{nonce}\"")).count(), 2);
        assert_eq!(policy.replace(nonce, "…"), POLICY);
        assert_eq!(header(&headers, "cache-control"), "no-store");
        assert_eq!(header(&headers, "referrer-policy"), "same-origin");
        assert_eq!(header(&headers, "x-content-type-options"), "nosniff");
        let again = browser.get("/account", "text/html").await;
        assert_ne!(header(again.headers(), "content-security-policy"), policy);
    }
}

#[tokio::test]
async fn each_change_needs_the_csrf_value_of_its_token_and_a_page_of_this_origin() {
    let app = TestApp::start().await.with_user("jose").await;
    let browser = Browser::logged_in(&app, "jose").await;
    let access = browser.cookie("__Host-csrf_access_token");
    let refresh = browser.cookie("__Host-csrf_refresh_token");
    let session = app.claims(&app.log_in("jose").await).session.unwrap();
    let changes: [(&str, Form<'_>, &str); 6] = [
        ("/account/refresh", &[], refresh),
        ("/account/sessions/end", &[("session", session.as_str())], access),
        ("/account/password", &[("password", PASSWORD), ("new_password", PASSWORD)], access),
        ("/account/logout", &[("scope", "others")], access),
        ("/account/logout", &[("scope", "all"), ("password", PASSWORD)], access),
        ("/account/logout", &[], access),
    ];
    for (path, form, _) in changes {
        for value in [None, Some(""), Some("x")] {
            let mut form = form.to_vec();
            form.extend(value.map(|value| ("csrf_token", value)));
            let response = browser.post(path, &form, &[]).await;
            assert_eq!(response.status(), 401, "{path} {value:?}");
        }
        assert!(browser.is_logged_in().await, "{path}");
    }
    for (path, form, csrf) in changes.into_iter().chain([
        ("/account/login", &[("username", "jose"), ("password", PASSWORD)][..], ""),
        ("/account/register", &[("username", "ana"), ("password", PASSWORD)], ""),
        ("/account/new-password", &[("username", "jose"), ("password", PASSWORD), ("new_password", "x")], ""),
    ]) {
        let form = [form, &[("csrf_token", csrf)]].concat();
        for foreign in
            [("sec-fetch-site", "cross-site"), ("sec-fetch-site", "same-site"), ("origin", "https://a.example")]
        {
            let response = browser.post(path, &form, &[foreign]).await;
            assert_eq!(response.status(), 403, "{path} {foreign:?}");
        }
        assert!(browser.is_logged_in().await, "{path}");
    }
    let own = [("sec-fetch-site", "same-origin")];
    assert_eq!(browser.post("/account/logout", &[("csrf_token", access)], &own).await.status(), 200);
    assert!(!browser.is_logged_in().await);
}

#[tokio::test]
async fn a_link_of_another_site_removes_no_cookies() {
    let app = TestApp::start().await.with_user("jose").await;
    let mut browser = Browser::logged_in(&app, "jose").await;
    // The access token has expired, and the page must refresh.
    browser.cookies.retain(|(name, _)| name.contains("refresh"));
    for (site, removed, view) in [("cross-site", 0, "resume"), ("same-site", 0, "resume"), ("same-origin", 4, "entry")]
    {
        let request = browser.client.get(app.url("/account?ended")).header("cookie", browser.cookies());
        let response = request.header("sec-fetch-site", site).send().await.unwrap();
        assert_eq!(response.headers().get_all("set-cookie").iter().count(), removed, "{site}");
        assert!(response.text().await.unwrap().contains(&format!("data-view=\"{view}\"")), "{site}");
    }
}

#[tokio::test]
async fn all_sessions_end_only_with_the_password() {
    let app = TestApp::start().await.with_user("jose").await;
    let browser = Browser::logged_in(&app, "jose").await;
    let csrf = ("csrf_token", browser.cookie("__Host-csrf_access_token"));
    for wrong in [&[][..], &[("password", "")], &[("password", "wrong")]] {
        let form = [&[("scope", "all"), csrf], wrong].concat();
        assert_eq!(browser.post("/account/logout", &form, &[]).await.status(), 401);
        assert!(browser.is_logged_in().await);
    }
    let form = [("scope", "all"), csrf, ("password", PASSWORD)];
    assert_eq!(browser.post("/account/logout", &form, &[]).await.status(), 200);
    assert!(!browser.is_logged_in().await);
}

#[tokio::test]
async fn all_are_said_to_have_ended_only_if_they_have() {
    let app = TestApp::start().await.with_user("jose").await;
    for _ in 0..3 {
        let another = app.log_in("jose").await;
        let browser = Browser::logged_in(&app, "jose").await;
        let csrf = browser.cookie("__Host-csrf_access_token");
        let form = format!("scope=all&password={}&csrf_token={csrf}", PASSWORD.replace(' ', "+"));
        let everywhere = browser.client.post(app.url("/account/logout")).header("cookie", browser.cookies()).body(form);
        let everywhere = everywhere.header("content-type", "application/x-www-form-urlencoded").send();
        // Meanwhile, while the password is checked, the session ends elsewhere.
        let here = app.post("/logout").token(browser.cookie("__Host-access_token")).send();
        let (everywhere, _) = tokio::join!(everywhere, here);
        let location = everywhere.unwrap().headers().get("location").map(|to| to.to_str().unwrap().to_owned());
        let is_live = app.get("/verify").token(&another.access).send().await.status == 204;
        assert_eq!(location.as_deref() == Some("/account?out-all"), !is_live, "{location:?}");
    }
}

#[tokio::test]
async fn only_ones_own_sessions_can_be_ended() {
    let app = TestApp::start().await.with_user("jose").await.with_admin("boss").await;
    let boss = Browser::logged_in(&app, "boss").await;
    let session = app.claims(&app.log_in("jose").await).session.unwrap();
    let csrf = boss.cookie("__Host-csrf_access_token");
    let response =
        boss.post("/account/sessions/end", &[("session", session.as_str()), ("csrf_token", csrf)], &[]).await;
    assert_eq!(response.status(), 404);
}

#[tokio::test]
async fn the_cookies_are_for_the_pages_only() {
    let app = TestApp::start().await.with_user("jose").await;
    let browser = Browser::logged_in(&app, "jose").await;
    assert_eq!(browser.get("/sessions", "application/json").await.status(), 401);
    let tokens = app.log_in("jose").await;
    let request = reqwest::Client::new().get(app.url("/account")).header("accept", "application/json");
    assert_eq!(request.bearer_auth(&tokens.access).send().await.unwrap().status(), 401);
}

#[tokio::test]
async fn a_page_of_an_application_gets_json() {
    let app = TestApp::start().await.with_user("jose").await;
    let browser = Browser::logged_in(&app, "jose").await;
    let shown: Value = browser.get("/account", "application/json").await.json().await.unwrap();
    assert_eq!((&shown["username"], &shown["sessions"][0]["current"]), (&"jose".into(), &true.into()));
    assert!((890..=900).contains(&shown["expires_in"].as_u64().unwrap()), "{shown}");
}

#[tokio::test]
async fn users_see_the_events_of_their_own_account_and_nothing_of_others() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit.jsonl");
    let app =
        TestApp::with(&[("audit_log", file.to_str().unwrap())]).await.with_user("jose").await.with_user("ana").await;
    let browser = Browser::logged_in(&app, "jose").await;
    let [jose, ana] = ["jose", "ana"].map(async |name| app.claims(&app.log_in(name).await).subject.to_string());
    let (jose, ana) = (jose.await, ana.await);
    let write = |events: &[Value]| {
        let lines: Vec<_> = events.iter().map(|event| format!("{event}\n")).collect();
        std::fs::write(&file, lines.concat()).unwrap();
    };
    // The text and the rest of each row.
    let shown = async || {
        let page = browser.get("/account", "text/html").await.text().await.unwrap();
        let (_, events) = page.split_once("id=\"events\"").unwrap_or_default();
        let rows = events.split("<li class=\"row\">").skip(1).map(|row| {
            let (text, rest) = row.split_once("</p>").unwrap();
            let bdi = rest.split_once("<bdi>").and_then(|(_, rest)| rest.split_once("</bdi>"));
            (text.split_once('>').unwrap().1.to_owned(), bdi.map_or("", |(address, _)| address).to_owned())
        });
        (rows.collect::<Vec<_>>(), page.clone())
    };

    write(&[
        json!({"at": 1, "event": "login", "subject": jose, "address": "192.0.2.1", "via": "server"}),
        json!({"at": 2, "event": "login", "subject": ana, "address": "192.0.2.2", "via": "server"}),
        json!({"at": 3, "event": "login_failed", "subject": jose, "address": "192.0.2.3", "via": "server"}),
        json!({"at": 4, "event": "login_failed", "subject": jose, "address": "192.0.2.3", "via": "server"}),
        json!({"at": 5, "event": "refresh_reused", "subject": jose, "session": "internal", "via": "server"}),
        json!({"at": 6, "event": "password_changed", "subject": jose, "actor": ana, "address": "192.0.2.2", "via": "server"}),
        json!({"at": 7, "event": "sessions_ended", "subject": jose, "actor": ana, "address": "192.0.2.2", "via": "server"}),
        json!({"at": 8, "event": "revoked", "subject": jose, "client": "internal", "address": "192.0.2.2", "via": "server"}),
        json!({"at": 9, "event": "account_disabled", "subject": ana, "actor": jose, "via": "server"}),
        json!({"at": 10, "event": "login", "subject": jose, "issuer": "internal", "via": "server"}),
        json!({"at": 11, "event": "alias_added", "subject": jose, "scope": "internal", "via": "server"}),
        json!({"at": 12, "event": "password_changed", "subject": jose, "uid": 4242, "via": "command_line"}),
    ]);
    let (rows, page) = shown().await;
    let expected = [
        ("Password set by an administrator", ""),
        ("Logged out by a service", ""),
        ("Logged out by an administrator", ""),
        ("Password set by an administrator", ""),
        ("Session ended because an old refresh token was used again", ""),
        ("Wrong password entered (2×)", "192.0.2.3"),
        ("Logged in", "192.0.2.1"),
    ];
    assert_eq!(rows, expected.map(|(text, address)| (text.to_owned(), address.to_owned())));
    for secret in ["internal", "4242", "192.0.2.2", &*ana] {
        assert!(!page.contains(secret), "{secret}");
    }
    let renewed = browser.get("/account?renew", "text/html").await.text().await.unwrap();
    assert!(renewed.contains("id=\"sessions\"") && !renewed.contains("id=\"events\""));

    // Somebody else has written into the file.
    let hostile = "<script>alert(1)</script>\u{202e}";
    write(&[
        json!({"at": hostile, "event": "login", "subject": jose}),
        json!({"at": u64::MAX, "event": "login", "subject": jose, "address": hostile, "via": hostile}),
        json!({"at": 1, "event": hostile, "subject": jose}),
        json!({"at": 1, "event": {"x": jose}, "subject": jose}),
        json!([jose]),
        json!({"at": 1, "event": "logout", "subject": jose, "scope": hostile, "actor": hostile, "address": ["x"]}),
    ]);
    let (rows, page) = shown().await;
    assert_eq!(rows, [("Logged out".to_owned(), String::new()), ("Logged in".to_owned(), String::new())]);
    assert!(!page.contains("alert(1)") && !page.contains('\u{202e}'));

    // Of many events, the last ten rows.
    let many = |at| json!({"at": at, "event": "login", "subject": jose, "address": format!("192.0.2.{}", at % 250), "via": "server"});
    write(&(0..5_000).map(many).collect::<Vec<_>>());
    let (rows, _) = shown().await;
    let expected: Vec<_> = (0..10).map(|back| format!("192.0.2.{}", (4_999 - back) % 250)).collect();
    assert_eq!(rows.into_iter().map(|(_, address)| address).collect::<Vec<_>>(), expected);

    std::fs::write(&file, "").unwrap();
    assert!(shown().await.1.contains("there are none of your account."));
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    assert!(!shown().await.1.contains("Recent events"));
    let none = TestApp::start().await.with_user("jose").await;
    let browser = Browser::logged_in(&none, "jose").await;
    assert!(!browser.get("/account", "text/html").await.text().await.unwrap().contains("Recent events"));
}

#[tokio::test]
async fn input_of_any_kind_is_answered() {
    let app = TestApp::start().await.with_user("jose").await;
    let browser = Browser::logged_in(&app, "jose").await;
    let long = "\u{202e}<b>".repeat(2_000);
    let csrf = browser.cookie("__Host-csrf_access_token");
    for path in ["login", "register", "new-password", "refresh", "logout", "sessions/end", "password"] {
        for form in [
            &[
                ("csrf_token", csrf),
                ("username", &long),
                ("password", &long),
                ("new_password", &long),
                ("session", &long),
                ("scope", &long),
            ][..],
            &[
                ("csrf_token", csrf),
                ("csrf_token", csrf),
                ("username", "a"),
                ("username", "b"),
                ("session", "a"),
                ("session", "b"),
                ("scope", "a"),
                ("scope", "b"),
            ],
            &[
                ("csrf_token", csrf),
                ("username", "\0"),
                ("password", "\0"),
                ("new_password", "\0"),
                ("session", "\0"),
                ("scope", "\0"),
            ],
        ] {
            let status = browser.post(&format!("/account/{path}"), form, &[]).await.status().as_u16();
            assert!((400..500).contains(&status), "{path} {status}");
        }
    }
    assert!(browser.is_logged_in().await);
}

#[tokio::test]
async fn the_form_asks_for_an_invitation_where_one_is_needed() {
    const FIELD: &str = "name=\"invite\"";
    let open = TestApp::start().await;
    let browser = Browser::new(&open);
    assert!(!browser.get("/account?register", "text/html").await.text().await.unwrap().contains(FIELD));

    let app = TestApp::with(&[("registration", "invite")]).await;
    let browser = Browser::new(&app);
    for (language, label, refusal) in [
        ("en", "Invitation code", "This invitation code is not valid, or not any more."),
        ("de", "Einladungscode", "Dieser Einladungscode ist nicht oder nicht mehr gültig."),
    ] {
        let form = browser.client.get(app.url("/account?register")).header("accept-language", language);
        let page = form.send().await.unwrap().text().await.unwrap();
        assert!(page.contains(FIELD) && page.contains(label), "{page}");
        let wrong = browser.client.post(app.url("/account/register")).header("accept-language", language);
        let wrong = wrong.header("content-type", "application/x-www-form-urlencoded");
        let wrong = wrong.body("username=ana&password=1234&invite=wrong").send().await.unwrap();
        assert_eq!(wrong.status(), 403);
        let page = wrong.text().await.unwrap();
        assert!(page.contains(refusal) && page.contains(FIELD), "{page}");
    }
    let (_, code) = app.node.accounts.invite(std::time::Duration::from_secs(60)).await.unwrap();
    let form = [("username", "ana"), ("password", PASSWORD), ("invite", &*code)];
    assert_eq!(browser.post("/account/register", &form, &[]).await.status(), 200);
    Browser::logged_in(&app, "ana").await;
}

#[tokio::test]
async fn a_password_that_is_too_long_is_not_said_to_be_too_short() {
    let app = TestApp::start().await;
    for (password, told) in [("x".repeat(1025), "at most 1024 bytes"), (String::new(), "at least 1 characters")] {
        let form = [("username", "jose"), ("password", &*password), ("invite", "")];
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let client = Browser::new(&app).client;
        let request = client.post(app.url("/account/register")).header("accept", "text/html").body(body);
        let response = request.header("content-type", "application/x-www-form-urlencoded").send().await.unwrap();
        assert_eq!(response.status(), 400);
        let page = response.text().await.unwrap();
        let texts = ["at most 1024 bytes", "at least 1 characters"].into_iter().filter(|text| page.contains(text));
        assert_eq!(texts.collect::<Vec<_>>(), [told], "{page}");
    }
}

#[tokio::test]
async fn a_form_that_is_too_long_is_answered_like_any_other_body() {
    let app = TestApp::start().await;
    let body = format!("username=jose&password={}", "x".repeat(70_000));
    let call = app.post("/account/login").header("content-type", "application/x-www-form-urlencoded");
    let answer = call.header("accept", "application/json").body(body).send().await;
    answer.reads(r#"413 {"code":413,"status":"Payload Too Large"}"#);
}
