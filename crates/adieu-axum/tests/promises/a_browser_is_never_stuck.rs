//! A browser sends all its cookies, valid or not, and several of one name: none of that locks its user out for good, and a logout
//! removes all of them.

use adieu::{session::Scope, time::Clock as _};
use adieu_axum::{AccessToken, Auth, Cookies, Guard, Location, PresentedToken, dangerous};
use adieu_sqlite::Sqlite;
use axum::{
    Router,
    routing::{get, post},
};

use crate::support::{Answer, App, log_in, log_out, send, send_bytes, subject};

const NAMES: [&str; 4] = ["access_token_cookie", "csrf_access_token", "refresh_token_cookie", "csrf_refresh_token"];

fn router(app: &App, guard: Guard) -> Router {
    Router::new()
        .route("/login", post(log_in))
        .route("/login/maria", post(async |auth: Auth| auth.log_in(subject("maria")).await))
        .route("/account/logout", post(log_out))
        .route("/others", post(async |auth: Auth, token: PresentedToken| auth.log_out(&token, Scope::Others).await))
        .route("/all", post(async |auth: Auth, token: PresentedToken| auth.log_out(&token, Scope::All).await))
        .route("/me", get(async |token: AccessToken| token.subject().to_string()))
        .route(
            "/page",
            get(async |token: Option<AccessToken>| match token {
                Some(token) => token.subject().to_string(),
                None => "anybody".to_owned(),
            }),
        )
        .with_state(app.state(guard))
}

/// Uses cookie names that neighbouring domains can set too.
fn of_flask(app: &App) -> Router {
    router(app, app.guard().with_cookies(Cookies::flask_jwt_extended()).unwrap())
}

struct Browser {
    cookies: String,
    csrf: String,
}

impl Browser {
    fn after(login: &Answer) -> Self {
        let cookie = |name: &str| format!("{name}={}", login.cookie(name).unwrap());
        Self { cookies: NAMES.map(cookie).join("; "), csrf: login.cookie("csrf_access_token").unwrap() }
    }

    async fn send(&self, router: &Router, line: &str) -> Answer {
        send(router, line, &[("cookie", &self.cookies), ("x-csrf-token", &self.csrf)], "").await
    }
}

/// Returns the cookies that a response removes.
fn removed(answer: &Answer) -> Vec<String> {
    let is_removal = |cookie: &String| cookie.contains("Max-Age=0");
    let cookies = answer.set_cookies().into_iter().filter(is_removal);
    cookies.map(|cookie| cookie.split('=').next().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_logout_of_what_has_ended_already_removes_the_cookies() {
    let app = App::new();
    let router = of_flask(&app);
    let browser = Browser::after(&send(&router, "POST /login", &[], "").await);
    let token = browser.cookies.split(['=', ';']).nth(1).unwrap();
    app.sessions.log_out(token, Scope::This).await.unwrap();
    for line in ["POST /account/logout", "POST /others"] {
        let out = browser.send(&router, line).await;
        assert!(out.status == 401 && out.body.contains("token_revoked"), "{}", out.text());
        assert_eq!(removed(&out), NAMES, "{line}");
        assert_eq!(out.header("cache-control"), "no-store");
    }
    // It needs no CSRF value: the cookies are useless.
    let out = send(&router, "POST /account/logout", &[("cookie", &browser.cookies)], "").await;
    assert_eq!(removed(&out), NAMES);
}

#[tokio::test]
async fn a_logout_with_garbage_removes_the_cookies() {
    let app = App::new();
    let router = of_flask(&app);
    let stranger = App::new();
    let of_a_removed_key = stranger.log_in().await.access;
    for garbage in ["x", "a.b.c", &of_a_removed_key] {
        let cookie = format!("access_token_cookie={garbage}");
        let out = send(&router, "POST /account/logout", &[("cookie", &cookie)], "").await;
        assert_eq!(out.status, 401, "{garbage}");
        assert_eq!(removed(&out), NAMES, "{garbage}");
    }
    let out = send_bytes(&router, "POST /account/logout", "cookie", b"access_token_cookie=\xff.\xfe.").await;
    assert_eq!((out.status, removed(&out).len()), (401, 4));
}

#[tokio::test]
async fn a_logout_that_is_not_done_leaves_the_cookies() {
    let app = App::new();
    let router = of_flask(&app);
    let browser = Browser::after(&send(&router, "POST /login", &[], "").await);
    // Another site sends the request, with or without the cookies.
    for headers in [&[("cookie", browser.cookies.as_str())][..], &[]] {
        let out = send(&router, "POST /account/logout", headers, "").await;
        assert_eq!((out.status, out.set_cookies().len()), (401, 0), "{}", out.text());
    }
    assert_eq!(browser.send(&router, "GET /me").await.text(), "200 jose");
    // The access token has expired, but its session has not.
    app.pass(std::time::Duration::from_secs(3600));
    let out = send(&router, "POST /account/logout", &[("cookie", &browser.cookies)], "").await;
    assert_eq!((out.status, out.set_cookies().len()), (401, 0), "{}", out.text());
    // It ends no other session, and its own continues.
    let out = browser.send(&router, "POST /others").await;
    assert!(out.status == 401 && out.body.contains("token_expired"), "{}", out.text());
    assert_eq!(out.set_cookies().len(), 0);
    let out = browser.send(&router, "POST /account/logout").await;
    assert_eq!((out.status, removed(&out).len()), (200, 4));
    // A stale node does not know all keys.
    app.clock.advance(std::time::Duration::from_secs(5));
    let cookie = format!("access_token_cookie={}", App::new().log_in().await.access);
    // Nor which of two tokens may be valid.
    for cookies in
        [cookie.clone(), format!("{cookie}; access_token_cookie=x"), format!("access_token_cookie=x; {cookie}")]
    {
        let out = send(&router, "POST /account/logout", &[("cookie", &cookies)], "").await;
        assert_eq!((out.status, out.set_cookies().len()), (503, 0), "{cookies}: {}", out.text());
    }
}

/// Without a proof against forgery: another site could send it.
#[tokio::test]
async fn a_logout_with_a_token_from_elsewhere_leaves_the_cookies() {
    let app = App::new();
    let guard = app.guard().with_locations([Location::bearer(), Location::query("jwt")]);
    let router = router(&app, guard.with_cookies(Cookies::flask_jwt_extended()).unwrap());
    let browser = Browser::after(&send(&router, "POST /login", &[], "").await);
    let others = app.log_in().await.access;
    for (token, status) in [("garbage", 401), (others.as_str(), 200), (others.as_str(), 401)] {
        let header = format!("Bearer {token}");
        let headers = [("cookie", browser.cookies.as_str()), ("authorization", &header)];
        let out = send(&router, "POST /account/logout", &headers, "").await;
        assert_eq!((out.status, out.set_cookies().len()), (status, 0), "{}", out.text());
        let out = send(&router, &format!("POST /account/logout?jwt={token}"), &[], "").await;
        assert_eq!((out.status, out.set_cookies().len()), (401, 0), "{}", out.text());
    }
    assert_eq!(browser.send(&router, "GET /me").await.text(), "200 jose");
}

#[tokio::test]
async fn a_logout_everywhere_with_an_expired_token_leaves_what_can_repeat_it() {
    let app = App::new();
    let router = of_flask(&app);
    let browser = Browser::after(&send(&router, "POST /login", &[], "").await);
    app.pass(std::time::Duration::from_secs(3600));
    let out = browser.send(&router, "POST /all").await;
    assert!(out.status == 401 && out.body.contains("token_expired"), "{}", out.text());
    assert_eq!(out.set_cookies().len(), 0);
    let refresh = browser.cookies.split(['=', ';']).nth(5).unwrap();
    app.sessions.verify_refresh(refresh).await.unwrap();
}

#[tokio::test]
async fn a_logout_that_the_store_can_not_write_down_leaves_the_cookies() {
    let folder = tempfile::tempdir().unwrap();
    let store = Sqlite::open(folder.path().join("adieu.sqlite")).await.unwrap();
    let run = async |statement: &'static str| store.transact(|connection| connection.execute_batch(statement)).await;
    let app = App::on(store.clone());
    let router = of_flask(&app);
    let browser = Browser::after(&send(&router, "POST /login", &[], "").await);
    run("CREATE TRIGGER full BEFORE INSERT ON revocation BEGIN SELECT RAISE(ABORT, 'full'); END").await.unwrap();
    let access_alone = browser.cookies.split("; ").next().unwrap().to_owned();
    for cookies in [browser.cookies.clone(), access_alone] {
        let some = Browser { cookies, csrf: browser.csrf.clone() };
        let out = some.send(&router, "POST /account/logout").await;
        assert_eq!((out.status, out.set_cookies().len()), (503, 0), "{}", out.text());
    }
    assert_eq!(browser.send(&router, "GET /me").await.text(), "200 jose");
    run("DROP TRIGGER full").await.unwrap();
    let out = browser.send(&router, "POST /account/logout").await;
    assert_eq!((out.status, removed(&out).len()), (200, 4));
}

#[tokio::test]
async fn a_page_for_everybody_is_shown_also_with_a_cookie_that_is_no_good() {
    let app = App::new();
    let router = of_flask(&app);
    let browser = Browser::after(&send(&router, "POST /login", &[], "").await);
    assert_eq!(browser.send(&router, "GET /page").await.text(), "200 jose");
    let token = browser.cookies.split(['=', ';']).nth(1).unwrap().to_owned();
    app.sessions.log_out(&token, Scope::This).await.unwrap();
    let refresh = app.log_in().await.refresh;
    for token in [token.as_str(), "garbage", &refresh] {
        let cookie = format!("access_token_cookie={token}");
        assert_eq!(send(&router, "GET /page", &[("cookie", &cookie)], "").await.text(), "200 anybody");
        assert_eq!(send(&router, "GET /me", &[("cookie", &cookie)], "").await.status, 401);
        // A client that writes the header itself can leave it out.
        let header = format!("Bearer {token}");
        assert_eq!(send(&router, "GET /page", &[("authorization", &header)], "").await.status, 401);
    }
    // Issued before the clock was set back.
    let browser = Browser::after(&send(&router, "POST /login", &[], "").await);
    let now = app.clock.now();
    app.clock.set_wall(now.minus(std::time::Duration::from_secs(3600)));
    assert_eq!(browser.send(&router, "GET /page").await.text(), "200 anybody");
    assert_eq!(browser.send(&router, "GET /me").await.status, 401);
    app.clock.set_wall(now);
    // If the node can't know the session, it must not conclude that there is none.
    let browser = Browser::after(&send(&router, "POST /login", &[], "").await);
    app.clock.advance(std::time::Duration::from_secs(5));
    assert_eq!(browser.send(&router, "GET /page").await.status, 503);
}

#[tokio::test]
async fn of_two_cookies_the_good_one_counts_and_of_two_good_ones_the_last() {
    let app = App::new();
    let router = of_flask(&app);
    let first = app.log_in().await.access;
    app.pass(std::time::Duration::from_secs(60));
    let last = app.sessions.log_in(subject("maria")).await.unwrap().access;
    let both = async |one: &str, other: &str| {
        let cookies = format!("access_token_cookie={one}; theme=dark; access_token_cookie={other}");
        send(&router, "GET /me", &[("cookie", &cookies)], "").await.text()
    };
    assert_eq!(both(&first, &last).await, "200 maria");
    assert_eq!(both(&last, &first).await, "200 maria");
    assert_eq!(both("garbage", &first).await, "200 jose");
    assert_eq!(both(&first, "garbage").await, "200 jose");
    app.sessions.log_out(&last, Scope::This).await.unwrap();
    assert_eq!(both(&first, &last).await, "200 jose");
    assert_eq!(both(&last, &first).await, "200 jose");
    assert!(both("garbage", "garbage").await.starts_with("401 "));
}

#[tokio::test]
async fn a_logout_ends_and_removes_all_that_a_browser_has() {
    let app = App::new();
    let router = of_flask(&app);
    let old = Browser::after(&send(&router, "POST /login", &[], "").await);
    app.pass(std::time::Duration::from_secs(60));
    let new = Browser::after(&send(&router, "POST /login/maria", &[], "").await);
    let both = Browser { cookies: format!("{}; {}", old.cookies, new.cookies), csrf: new.csrf.clone() };
    let headers = [("cookie", both.cookies.as_str()), ("x-csrf-token", &both.csrf), ("host", "www.shop.example:8080")];
    let out = send(&router, "POST /account/logout", &headers, "").await;
    assert_eq!(out.status, 200);
    for browser in [&old, &new] {
        assert!(browser.send(&router, "GET /me").await.body.contains("token_revoked"));
    }
    // Those that differ in one thing from the cookies of the settings are surely removed.
    let removals = out.set_cookies();
    for (partition, path, domain) in
        [("", "/", ""), ("Partitioned; ", "/", ""), ("", "/", "; Domain=www.shop.example"), ("", "/account", "")]
    {
        for name in NAMES {
            let removal = format!("{name}=; {partition}Secure; Path={path}{domain}; Max-Age=0");
            assert!(removals.contains(&removal), "{removal} {removals:#?}");
        }
    }
    // A proxy accepts the answer: the default of nginx is 4 KB of headers, that of HAProxy 101 lines.
    assert!(removals.concat().len() < 3_000 && removals.len() < 40, "{removals:#?}");
    assert!(!removals.iter().any(|removal| removal.ends_with("Domain=example; Max-Age=0")));
}

#[tokio::test]
async fn a_login_leaves_one_cookie_of_each_name() {
    let app = App::new();
    let router = of_flask(&app);
    let cookies = "access_token_cookie=a; access_token_cookie=b; csrf_access_token=c";
    let login = send(&router, "POST /login", &[("cookie", cookies), ("host", "shop.example")], "").await;
    assert_eq!(login.status, 200);
    let set = login.set_cookies();
    let is_removal = |cookie: &String| cookie.starts_with("access_token_cookie=;");
    let removals = set.iter().take_while(|cookie| is_removal(cookie)).count();
    assert!(removals > 2 && !set.iter().skip(removals).any(is_removal), "removals come first: {set:#?}");
    assert_eq!(removed(&login).len(), removals, "of the other names there was one at most");
}

#[tokio::test]
async fn names_that_are_bound_to_the_host_are_removed_as_such() {
    let app = App::new();
    let router = router(&app, app.guard().with_cookies(Cookies::new()).unwrap());
    let cookies = "__Host-access_token=a; __Host-access_token=b";
    let login = send(&router, "POST /login", &[("cookie", cookies), ("host", "shop.example")], "").await;
    assert_eq!(
        login.set_cookies()[..2],
        [
            "__Host-access_token=; Secure; Path=/; Max-Age=0",
            "__Host-access_token=; Partitioned; Secure; Path=/; Max-Age=0"
        ]
    );
    assert!(!login.set_cookies()[2].contains("Max-Age=0"));
}

#[tokio::test]
async fn a_thousand_cookies_are_not_a_thousand_signatures() {
    let app = App::new();
    let weak = dangerous::without_csrf_protection(Cookies::flask_jwt_extended());
    let router = router(&app, app.guard().with_cookies(weak).unwrap());
    let token = app.log_in().await.access;
    let cookies = format!("{}access_token_cookie={token}", "access_token_cookie=garbage; ".repeat(1000));
    assert_eq!(send(&router, "GET /me", &[("cookie", &cookies)], "").await.status, 401);
    let out = send(&router, "POST /account/logout", &[("cookie", &cookies), ("host", "shop.example")], "").await;
    assert!(out.set_cookies().len() < 100, "{}", out.set_cookies().len());
}
