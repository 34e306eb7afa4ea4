//! Cookies in Chromium, also those that a neighbouring domain plants.

use std::{
    process::Stdio,
    sync::{Arc, Mutex},
};

use adieu::session::Selection;
use adieu_axum::{AccessToken, Auth, Cookies, dangerous};
use axum::{
    Router,
    http::{HeaderMap, header},
    response::Html,
    routing::{get, post},
};
use tokio::{net::TcpListener, process::Command, sync::mpsc};

use crate::support::{App, log_in, log_out, subject};

/// A page of the application, which acts and reports.
const PAGE: &str = r"<!DOCTYPE html><body><script>
const log = [];
const csrf = () => (document.cookie.match(/(?:^|; )csrf_access_token=([^;]*)/) || [])[1] || '';
const go = async (method, path) => {
    const response = await fetch('/account/' + path, { method, headers: { 'x-csrf-token': csrf() } });
    log.push(`${method} ${path}: ${response.status} ${await response.text()}`);
};
const plant = () => {
    for (const place of ['domain=shop.example; path=/', 'domain=shop.example; path=/account', 'path=/account',
        'path=/account/', 'domain=www.shop.example; path=/account/']) {
        document.cookie = 'access_token_cookie=planted; ' + place;
    }
};
const socket = () => new Promise((done) => {
    new WebSocket(`ws://${location.host}/account/socket`).onclose = done;
});
const neighbour = () => new Promise((done) => {
    addEventListener('message', done, { once: true });
    const frame = document.createElement('iframe');
    frame.src = `http://neighbour.shop.example:${location.port}/neighbour`;
    document.body.append(frame);
});
(async () => {
    await go('POST', 'login');
    await go('GET', 'me');
    await socket();
    await neighbour();

    log.push('planted');
    plant();
    await go('GET', 'cookies');
    await go('GET', 'me');
    await go('POST', 'logout');
    await go('GET', 'cookies');

    log.push('planted');
    plant();
    await go('GET', 'me');
    await go('POST', 'login');
    await go('GET', 'me');
    await go('GET', 'cookies');

    log.push('ended elsewhere');
    await go('POST', 'end');
    await go('GET', 'me');
    await go('POST', 'logout');
    await go('GET', 'cookies');
    await fetch('/account/report', { method: 'POST', body: log.join('\n') });
})();
</script>";

/// A page of a neighbouring domain, to which a browser sends the same cookies.
const NEIGHBOUR: &str = r"<!DOCTYPE html><script>
new WebSocket(`ws://www.shop.example:${location.port}/account/socket`).onclose = () => parent.postMessage('done', '*');
</script>";

#[tokio::test]
async fn it_is_never_stuck_and_a_neighbour_opens_no_socket() {
    let app = App::new();
    let (report, mut reported) = mpsc::unbounded_channel();
    let let_in = Arc::new(Mutex::new(Vec::new()));
    let noting = Arc::clone(&let_in);
    let routes = Router::new()
        .route("/page", get(async || Html(PAGE)))
        .route("/login", post(log_in))
        .route("/logout", post(log_out))
        .route(
            "/me",
            get(async |token: Option<AccessToken>| {
                token.map_or("anonymous".to_owned(), |token| token.subject().to_string())
            }),
        )
        .route("/cookies", get(async |headers: HeaderMap| names_of_cookies(&headers)))
        .route(
            "/end",
            post(async |auth: Auth| {
                auth.sessions().end_sessions(Selection::OfSubject(subject("jose"))).await.unwrap().to_string()
            }),
        )
        .route(
            "/socket",
            get(async move |_: AccessToken, headers: HeaderMap| {
                noting.lock().unwrap().push(headers[header::ORIGIN].to_str().unwrap().to_owned());
            }),
        )
        .route("/report", post(async move |body: String| report.send(body).unwrap()));
    let guard = app.guard().with_cookies(dangerous::without_tls(Cookies::flask_jwt_extended())).unwrap();
    let router = Router::new()
        .nest("/account", routes)
        .route("/neighbour", get(async || Html(NEIGHBOUR)))
        .with_state(app.state(guard));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = tokio::spawn(async move { axum::serve(listener, router).await });

    let profile = tempfile::tempdir().unwrap();
    let mut browser = Command::new("chromium");
    browser.args(["--headless", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]);
    browser.args(["--disable-background-networking", "--disable-component-update", "--remote-debugging-port=0"]);
    browser.arg("--host-resolver-rules=MAP *.shop.example 127.0.0.1");
    if rustix::process::geteuid().is_root() {
        // Chromium refuses to run as root inside its sandbox.
        browser.arg("--no-sandbox");
    }
    browser.arg(format!("--user-data-dir={}", profile.path().display()));
    browser.arg(format!("http://www.shop.example:{port}/account/page"));
    let browser = browser.stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let mut browser = browser.spawn().expect("chromium is installed");
    let report = tokio::select! {
        report = reported.recv() => report.unwrap(),
        ended = browser.wait() => panic!("chromium has ended: {ended:?}"),
    };
    browser.kill().await.unwrap();
    serving.abort();

    const SET: &str = "access_token_cookie csrf_access_token csrf_refresh_token refresh_token_cookie";
    let expected = [
        r#"POST login: 200 {"message":"Logged in."}"#,
        "GET me: 200 jose",
        "planted",
        &format!("GET cookies: 200 {}{SET}", "access_token_cookie ".repeat(5)),
        "GET me: 200 jose",
        r#"POST logout: 200 {"message":"Successfully logged out"}"#,
        "GET cookies: 200 ",
        "planted",
        "GET me: 200 anonymous",
        r#"POST login: 200 {"message":"Logged in."}"#,
        "GET me: 200 jose",
        &format!("GET cookies: 200 {SET}"),
        "ended elsewhere",
        "POST end: 200 1",
        "GET me: 200 anonymous",
        r#"POST logout: 401 {"description":"The token has been revoked.","error":"token_revoked"}"#,
        "GET cookies: 200 ",
    ];
    assert_eq!(report.lines().collect::<Vec<_>>(), expected);
    assert_eq!(*let_in.lock().unwrap(), [format!("http://www.shop.example:{port}")]);
}

/// Returns the names in order, each as often as it occurs.
fn names_of_cookies(headers: &HeaderMap) -> String {
    let cookies = headers.get(header::COOKIE).map_or("", |cookies| cookies.to_str().unwrap());
    let mut names: Vec<_> = cookies.split("; ").filter_map(|cookie| cookie.split('=').next()).collect();
    names.sort_unstable();
    names.join(" ")
}
