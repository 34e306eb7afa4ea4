//! A browser sends cookies by itself, so a request that changes something must repeat a value that only the application's pages can read.

use adieu::{session::TokenOptions, token::TokenType};
use adieu_axum::{AccessToken, Auth, Cookies, Guard, Location, RefreshToken, SameSite, SetCookies, dangerous};
use axum::{
    Router,
    extract::DefaultBodyLimit,
    http::HeaderName,
    response::IntoResponse as _,
    routing::{any, post},
};

use crate::support::{Answer, App, log_in, log_out, refresh, send, subject};

fn router(app: &App, guard: Guard) -> Router {
    let bodies = guard.read_bodies();
    Router::new()
        .route("/login", post(log_in))
        .route("/login/json", post(async |auth: Auth| auth.log_in(subject("jose")).await.unwrap().as_json()))
        .route("/refresh", post(refresh))
        .route("/logout", post(log_out))
        .route("/me", any(async |token: AccessToken| token.subject().to_string()))
        .route("/optional", post(async |token: Option<AccessToken>| format!("{}", token.is_some())))
        .route("/by-refresh", post(async |token: RefreshToken| token.subject.to_string()))
        .layer(bodies)
        .with_state(app.state(guard))
}

fn with_cookies(app: &App) -> Router {
    router(app, app.guard().with_cookies(Cookies::new()).unwrap())
}

/// Returns the cookies that a browser sends back, and the two CSRF values.
fn jar(answer: &Answer) -> (String, String, String) {
    let cookie = |name: &str| answer.cookie(name).unwrap();
    let jar = ["__Host-access_token", "__Host-refresh_token", "__Host-csrf_access_token", "__Host-csrf_refresh_token"]
        .map(|name| format!("{name}={}", cookie(name)));
    (jar.join("; "), cookie("__Host-csrf_access_token"), cookie("__Host-csrf_refresh_token"))
}

const REFUSED: &str = r#"401 {"description":"The CSRF value is missing or wrong.","error":"csrf_failed"}"#;

#[tokio::test]
async fn a_login_sets_four_cookies_and_no_token_in_the_body() {
    let app = App::new();
    let answer = send(&with_cookies(&app), "POST /login", &[], "").await;
    assert_eq!(answer.text(), r#"200 {"message":"Logged in."}"#);
    assert_eq!(answer.header("cache-control"), "no-store");
    let shape = |cookie: &String| {
        let (name, rest) = cookie.split_once('=').unwrap();
        format!("{name}: {}", rest.split_once("; ").unwrap().1)
    };
    assert_eq!(
        answer.set_cookies().iter().map(shape).collect::<Vec<_>>(),
        [
            "__Host-access_token: HttpOnly; SameSite=Lax; Secure; Path=/",
            "__Host-csrf_access_token: SameSite=Lax; Secure; Path=/",
            "__Host-refresh_token: HttpOnly; SameSite=Strict; Secure; Path=/",
            "__Host-csrf_refresh_token: SameSite=Strict; Secure; Path=/",
        ]
    );
    let as_json = send(&with_cookies(&app), "POST /login/json", &[], "").await;
    assert!(as_json.set_cookies().is_empty());
    assert!(as_json.json()["access_token"].is_string());
}

#[tokio::test]
async fn what_changes_nothing_needs_no_proof_and_all_else_does() {
    let app = App::new();
    let router = with_cookies(&app);
    let (jar, csrf, _) = jar(&send(&router, "POST /login", &[], "").await);
    for method in ["GET", "HEAD", "OPTIONS", "TRACE"] {
        assert_eq!(send(&router, &format!("{method} /me"), &[("cookie", &jar)], "").await.status, 200, "{method}");
    }
    for method in ["POST", "PUT", "PATCH", "DELETE", "PURGE"] {
        let line = format!("{method} /me");
        assert_eq!(send(&router, &line, &[("cookie", &jar)], "").await.text(), REFUSED, "{method}");
        let proof = [("cookie", jar.as_str()), ("x-csrf-token", &csrf)];
        assert_eq!(send(&router, &line, &proof, "").await.text(), "200 jose", "{method}");
    }
    assert_eq!(send(&router, "POST /optional", &[("cookie", &jar)], "").await.text(), REFUSED);
}

#[tokio::test]
async fn a_wrong_proof_is_none() {
    let app = App::new();
    let router = with_cookies(&app);
    let (jar_of_one, csrf, of_refresh) = jar(&send(&router, "POST /login", &[], "").await);
    let (_, of_another, _) = jar(&send(&router, "POST /login", &[], "").await);
    assert_ne!(csrf, of_another);
    for wrong in ["", "x", &csrf[1..], &of_another, &of_refresh, &format!("{csrf} ").to_uppercase()] {
        let proof = [("cookie", jar_of_one.as_str()), ("x-csrf-token", wrong)];
        assert_eq!(send(&router, "POST /me", &proof, "").await.text(), REFUSED, "{wrong}");
    }
    // Any page can send the cookie alone; another party may have added a second header.
    let twice = [("cookie", jar_of_one.as_str()), ("x-csrf-token", &csrf), ("x-csrf-token", &csrf)];
    assert_eq!(send(&router, "POST /me", &twice, "").await.text(), REFUSED);
    let form = [("cookie", jar_of_one.as_str()), ("content-type", "application/x-www-form-urlencoded")];
    assert_eq!(send(&router, "POST /me", &form, &format!("csrf_token={csrf}")).await.text(), REFUSED);
}

#[tokio::test]
async fn a_value_that_another_site_has_set_in_the_cookie_is_no_proof() {
    let app = App::new();
    let router = with_cookies(&app);
    let answer = send(&router, "POST /login", &[], "").await;
    let token = answer.cookie("__Host-access_token").unwrap();
    let tossed = format!("__Host-access_token={token}; __Host-csrf_access_token=known");
    let proof = [("cookie", tossed.as_str()), ("x-csrf-token", "known")];
    assert_eq!(send(&router, "POST /me", &proof, "").await.text(), REFUSED);
}

#[tokio::test]
async fn a_token_that_was_not_made_for_a_cookie_is_none() {
    let app = App::new();
    let router = with_cookies(&app);
    let pair = app.log_in().await;
    let cookie = format!("__Host-access_token={}", pair.access);
    let proof = [("cookie", cookie.as_str()), ("x-csrf-token", "")];
    assert_eq!(send(&router, "POST /me", &proof, "").await.text(), REFUSED);
    // In a header the token stays valid: no other site can set one.
    let header = [("authorization", format!("Bearer {}", pair.access))];
    assert_eq!(send(&router, "POST /me", &[(header[0].0, &header[0].1)], "").await.text(), "200 jose");
}

#[tokio::test]
async fn refreshing_and_logging_out_need_the_proof_of_their_own_token() {
    let app = App::new();
    let router = with_cookies(&app);
    let (first, csrf, of_refresh) = jar(&send(&router, "POST /login", &[], "").await);
    for line in ["POST /refresh", "POST /by-refresh"] {
        assert_eq!(send(&router, line, &[("cookie", &first)], "").await.text(), REFUSED);
        let wrong = [("cookie", first.as_str()), ("x-csrf-token", &csrf)];
        assert_eq!(send(&router, line, &wrong, "").await.text(), REFUSED);
    }
    let right = [("cookie", first.as_str()), ("x-csrf-token", &of_refresh)];
    let (second, csrf, _) = jar(&send(&router, "POST /refresh", &right, "").await);

    assert_eq!(send(&router, "POST /logout", &[("cookie", &second)], "").await.text(), REFUSED);
    assert_eq!(send(&router, "GET /me", &[("cookie", &second)], "").await.status, 200);
    let out = send(&router, "POST /logout", &[("cookie", &second), ("x-csrf-token", &csrf)], "").await;
    assert_eq!(out.text(), r#"200 {"message":"Successfully logged out"}"#);
    assert_eq!(
        out.set_cookies(),
        [
            "__Host-access_token=; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=0",
            "__Host-csrf_access_token=; SameSite=Lax; Secure; Path=/; Max-Age=0",
            "__Host-refresh_token=; HttpOnly; SameSite=Strict; Secure; Path=/; Max-Age=0",
            "__Host-csrf_refresh_token=; SameSite=Strict; Secure; Path=/; Max-Age=0",
        ]
    );
    assert!(send(&router, "GET /me", &[("cookie", &second)], "").await.body.contains("token_revoked"));
}

#[tokio::test]
async fn a_form_can_carry_the_proof_where_that_is_wanted() {
    let app = App::new();
    let router = router(&app, app.guard().with_cookies(Cookies::new().with_csrf_in_forms()).unwrap());
    let (jar, csrf, _) = jar(&send(&router, "POST /login", &[], "").await);
    let form = [("cookie", jar.as_str()), ("content-type", "application/x-www-form-urlencoded")];
    assert_eq!(send(&router, "POST /me", &form, &format!("a=b&csrf_token={csrf}")).await.text(), "200 jose");
    for body in ["", "csrf_token=", "csrf_token=x", &format!("csrf_token={csrf}&csrf_token={csrf}")] {
        assert_eq!(send(&router, "POST /me", &form, body).await.text(), REFUSED, "{body}");
    }
}

/// A form with files, whose field with the value comes first.
fn multipart(fields: &[(&str, &str)], file: &str) -> String {
    let field = |(name, value): &(&str, &str)| {
        format!("--frontier\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    };
    let file = format!(
        "--frontier\r\nContent-Disposition: form-data; name=\"photo\"; filename=\"a.png\"\r\n\
         Content-Type: image/png\r\n\r\n{file}\r\n--frontier--\r\n"
    );
    fields.iter().map(field).collect::<String>() + &file
}

#[tokio::test]
async fn a_form_with_files_can_carry_the_proof_before_them() {
    let app = App::new();
    let guard = app.guard().with_cookies(Cookies::new().with_csrf_in_forms()).unwrap();
    let router = Router::new()
        .route("/login", post(log_in))
        .route("/photo", post(async |_: AccessToken, body: String| body))
        .layer(guard.read_bodies())
        .layer(DefaultBodyLimit::disable())
        .with_state(app.state(guard));
    let (jar, csrf, of_refresh) = jar(&send(&router, "POST /login", &[], "").await);
    let form = [("cookie", jar.as_str()), ("content-type", "multipart/form-data; boundary=frontier")];
    let long = "x".repeat(300_000);
    for body in
        [multipart(&[("csrf_token", &csrf)], "a photo"), multipart(&[("title", "me"), ("csrf_token", &csrf)], &long)]
    {
        let answer = send(&router, "POST /photo", &form, &body).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(answer.body == body, "the handler gets the body as it was sent");
    }
    let as_file = format!(
        "--frontier\r\nContent-Disposition: form-data; name=\"csrf_token\"; filename=\"a\"\r\n\r\n{csrf}\r\n--frontier--\r\n"
    );
    for body in [
        multipart(&[], "a photo"),
        multipart(&[("csrf_token", "")], "a photo"),
        multipart(&[("csrf_token", &of_refresh)], "a photo"),
        multipart(&[("csrf_token", &long)], "a photo"),
        multipart(&[("title", &long), ("csrf_token", &csrf)], "a photo"),
        as_file,
        format!("csrf_token={csrf}"),
        String::new(),
    ] {
        let answer = send(&router, "POST /photo", &form, &body).await;
        assert!(answer.text() == REFUSED, "{} {body:.200}", answer.status);
    }
}

/// A page keeps in its forms the value from when it was loaded, while other tabs continue.
#[tokio::test]
async fn the_value_is_good_for_as_long_as_the_session() {
    let app = App::new();
    let router = with_cookies(&app);
    let login = send(&router, "POST /login", &[], "").await;
    let (mut cookies, csrf, of_refresh) = jar(&login);
    for _ in 0..3 {
        app.pass(std::time::Duration::from_secs(600));
        let proof = [("cookie", cookies.as_str()), ("x-csrf-token", &of_refresh)];
        let refreshed = send(&router, "POST /refresh", &proof, "").await;
        assert_eq!(refreshed.status, 200, "{}", refreshed.text());
        let (newer, same, same_of_refresh) = jar(&refreshed);
        assert_eq!((&same, &same_of_refresh), (&csrf, &of_refresh));
        let proof = [("cookie", newer.as_str()), ("x-csrf-token", &csrf)];
        assert_eq!(send(&router, "POST /me", &proof, "").await.text(), "200 jose");
        cookies = newer;
    }
    // Another session has its own values.
    assert_ne!(jar(&send(&router, "POST /login", &[], "").await).1, csrf);
}

#[tokio::test]
async fn a_websocket_is_opened_by_our_own_pages_only() {
    let app = App::new();
    let guard = app.guard().with_cookies(Cookies::new().with_allowed_origin("https://app.example:8443")).unwrap();
    let router = router(&app, guard);
    let (jar, _, _) = jar(&send(&router, "POST /login", &[], "").await);
    let open = async |line: &str, origin: &[&str]| {
        let mut headers = vec![
            ("cookie", jar.as_str()),
            ("host", "shop.example"),
            ("connection", "Upgrade"),
            ("upgrade", "websocket"),
        ];
        headers.extend(origin.iter().map(|origin| ("origin", *origin)));
        send(&router, line, &headers, "").await.text()
    };
    for origin in ["https://shop.example", "https://SHOP.example", "https://app.example:8443"] {
        assert_eq!(open("GET /me", &[origin]).await, "200 jose", "{origin}");
        assert_eq!(open("CONNECT /me", &[origin]).await, "200 ", "{origin}");
        assert_eq!(open("POST /me", &[origin]).await, REFUSED, "{origin}");
    }
    for origin in [
        &["https://evil.example"][..],
        &["https://evil.shop.example"],
        &["https://shop.example.evil"],
        &["https://shop.example:444"],
        &["https://app.example"],
        &["http://shop.example"],
        &["null"],
        &["shop.example"],
        &["https://"],
        &[""],
        &[],
        &["https://shop.example", "https://evil.example"],
    ] {
        assert_eq!(open("GET /me", origin).await, REFUSED, "{origin:?}");
        assert!(open("CONNECT /me", origin).await.starts_with("401 "), "{origin:?}");
    }
    // A page can't add a header to it; a request that is not an upgrade is handled as usual.
    let token = app.log_in().await.access;
    let bearer = [("authorization", format!("Bearer {token}")), ("upgrade", "websocket".to_owned())];
    let bearer = bearer.each_ref().map(|(name, value)| (*name, value.as_str()));
    assert_eq!(send(&router, "GET /me", &bearer, "").await.text(), "200 jose");
    let offer = [("cookie", jar.as_str()), ("upgrade", "h2c"), ("connection", "upgrade")];
    assert_eq!(send(&router, "GET /me", &offer, "").await.text(), "200 jose");
}

#[tokio::test]
async fn a_page_of_this_machine_needs_no_tls_to_open_a_websocket() {
    let app = App::new();
    let router = with_cookies(&app);
    let (jar, _, _) = jar(&send(&router, "POST /login", &[], "").await);
    for host in ["localhost:3000", "127.0.0.1:3000", "[::1]:3000", "shop.localhost"] {
        let origin = format!("http://{host}");
        let headers = [("cookie", jar.as_str()), ("host", host), ("upgrade", "websocket"), ("origin", &origin)];
        assert_eq!(send(&router, "GET /me", &headers, "").await.text(), "200 jose", "{host}");
    }
}

/// Browsers silently drop a longer cookie, and the application could not find out why a login does not last.
#[tokio::test]
async fn a_token_that_browsers_do_not_keep_fails_the_login() {
    let app = App::new();
    let claims = async |_| Ok(serde_json::Map::from_iter([("roles".to_owned(), "x".repeat(5000).into())]));
    let guard = app.guard().with_cookies(Cookies::new()).unwrap().with_custom_claims(claims);
    let refused = Router::new()
        .route(
            "/",
            post(async |auth: Auth| auth.log_in(subject("jose")).await.map_err(|refused| refused.reason().to_string())),
        )
        .with_state(app.state(guard.clone()));
    let answer = send(&refused, "POST /", &[], "").await;
    assert!(
        answer.body.contains("`__Host-access_token` would have") && answer.body.contains("4096"),
        "{}",
        answer.body
    );
    let answer = send(&router(&app, guard), "POST /login", &[], "").await;
    assert_eq!((answer.status, answer.set_cookies().len()), (500, 0));
    assert!(app.sessions.store().sessions(None, 10).await.unwrap().is_empty(), "no session is left behind");
}

#[tokio::test]
async fn every_attribute_can_be_set() {
    let app = App::new();
    let cookies = Cookies::flask_jwt_extended()
        .with_domain("shop.example")
        .with_partitioned()
        .with_persistent()
        .with_access(|cookie| {
            cookie
                .with_name("a")
                .with_path("/api")
                .with_same_site(SameSite::None)
                .with_csrf_name("a_csrf")
                .with_csrf_path("/app")
                .with_csrf_header(HeaderName::from_static("x-a"))
        })
        .with_refresh(|cookie| {
            cookie.with_path("/refresh").with_csrf_header(HeaderName::from_static("x-r")).with_csrf_field("r")
        });
    let router = router(&app, app.guard().with_locations([Location::Cookies]).with_cookies(cookies).unwrap());
    let answer = send(&router, "POST /login", &[], "").await;
    let attributes = |name: &str| {
        let start = format!("{name}=");
        let all = answer.set_cookies();
        all.iter().find(|cookie| cookie.starts_with(&start)).unwrap().split_once("; ").unwrap().1.to_owned()
    };
    let rest = "Partitioned; Secure";
    assert_eq!(
        attributes("a"),
        format!("HttpOnly; SameSite=None; {rest}; Path=/api; Domain=shop.example; Max-Age=900")
    );
    assert_eq!(attributes("a_csrf"), format!("SameSite=None; {rest}; Path=/app; Domain=shop.example; Max-Age=900"));
    assert_eq!(
        attributes("refresh_token_cookie"),
        format!("HttpOnly; SameSite=Strict; {rest}; Path=/refresh; Domain=shop.example; Max-Age=2592000")
    );
    let cookie = format!("a={}", answer.cookie("a").unwrap());
    let csrf = answer.cookie("a_csrf").unwrap();
    assert_eq!(send(&router, "POST /me", &[("cookie", &cookie), ("x-a", &csrf)], "").await.text(), "200 jose");
    assert_eq!(send(&router, "POST /me", &[("cookie", &cookie), ("x-r", &csrf)], "").await.text(), REFUSED);
}

#[tokio::test]
async fn what_contradicts_itself_is_refused_when_the_guard_is_made() {
    let app = App::new();
    for (cookies, why) in [
        (Cookies::new().with_domain("shop.example"), "must have the path `/` and no domain"),
        (Cookies::new().with_refresh(|cookie| cookie.with_path("/refresh")), "must have the path `/` and no domain"),
        (dangerous::without_tls(Cookies::new()), "must be `Secure`"),
        (Cookies::flask_jwt_extended().with_access(|cookie| cookie.with_name("__secure-a").with_path("")), "path"),
        (
            dangerous::without_tls(Cookies::flask_jwt_extended().with_access(|cookie| cookie.with_name("__secure-a"))),
            "must be `Secure`",
        ),
        (
            dangerous::without_tls(
                Cookies::flask_jwt_extended().with_access(|cookie| cookie.with_same_site(SameSite::None)),
            ),
            "need `Secure`",
        ),
        (Cookies::new().with_access(|cookie| cookie.with_name("a;b")), "name"),
        (Cookies::new().with_access(|cookie| cookie.with_name("")), "name"),
        (Cookies::flask_jwt_extended().with_access(|cookie| cookie.with_path("/;HttpOnly")), "path"),
        (Cookies::flask_jwt_extended().with_domain("a; Path=/"), "domain"),
        (Cookies::new().with_access(|cookie| cookie.with_name("__Host-refresh_token")), "two cookies"),
        (Cookies::new().with_allowed_origin("app.example"), "origin"),
        (Cookies::new().with_allowed_origin("https://app.example/"), "origin"),
        (Cookies::new().with_allowed_origin("https://"), "origin"),
        (Cookies::new().with_allowed_origin("*"), "origin"),
    ] {
        let error = app.guard().with_cookies(cookies).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
}

#[tokio::test]
async fn what_weakens_it_has_to_be_asked_for_by_a_name_that_says_so() {
    let app = App::new();
    let weak = dangerous::without_csrf_protection(dangerous::without_tls(Cookies::flask_jwt_extended()));
    let router = router(&app, app.guard().with_cookies(weak).unwrap());
    let answer = send(&router, "POST /login", &[], "").await;
    assert_eq!(answer.set_cookies().len(), 2);
    assert!(answer.set_cookies().iter().all(|cookie| !cookie.contains("Secure") && cookie.contains("HttpOnly")));
    let cookie = format!("access_token_cookie={}", answer.cookie("access_token_cookie").unwrap());
    assert_eq!(send(&router, "POST /me", &[("cookie", &cookie)], "").await.text(), "200 jose");
}

#[tokio::test]
async fn a_token_of_the_wrong_kind_is_put_in_no_cookie() {
    let app = App::new();
    let guard = app.guard().with_cookies(Cookies::new()).unwrap();
    let mut options = TokenOptions::default();
    options.access_claims.insert("csrf".into(), "value".into());
    let pair = app.sessions.log_in_with(subject("jose"), adieu::session::Origin::default(), &options).await.unwrap();
    assert_eq!(app.verifier().read_claims(&pair.refresh).unwrap().0.token_type, TokenType::Refresh);
    let set = |cookies: SetCookies| cookies.into_response().headers().get_all("set-cookie").iter().count();
    assert_eq!(set(guard.set_access_cookie(&pair.access).unwrap()), 2);
    assert!(guard.set_access_cookie(&pair.refresh).is_err());
    assert!(guard.set_access_cookie("nonsense").is_err());
    let without_claim = guard.set_refresh_cookie(&pair.refresh).unwrap_err();
    assert!(without_claim.to_string().contains("`csrf`"), "{without_claim}");
}
