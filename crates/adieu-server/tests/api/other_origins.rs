//! What the server tells browsers about pages of other origins.

use reqwest::Method;

use crate::support::{Answer, Call, TestApp, operations};

const APP: &str = "https://app.example";
const EVIL: &str = "https://evil.example";

fn preflight(app: &TestApp, path: &str, origin: &str) -> Call {
    let call = app.call(Method::OPTIONS, path).header("origin", origin).header("access-control-request-method", "POST");
    call.header("access-control-request-headers", "authorization,content-type")
}

/// Returns the headers for pages of other origins, sorted.
fn told(answer: &Answer) -> Vec<String> {
    let is_for_pages = |name: &str| name.starts_with("access-control-") || name == "vary";
    let headers = answer.headers.iter().filter(|(name, _)| is_for_pages(name.as_str()));
    let mut told: Vec<_> = headers.map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
    told.sort();
    told
}

const READABLE: [&str; 3] = [
    "access-control-allow-origin: https://app.example",
    "access-control-expose-headers: www-authenticate, retry-after",
    "vary: origin",
];

/// Documents that are for pages of every origin.
fn is_for_everyone(path: &str) -> bool {
    path.starts_with("/.well-known/")
}

#[tokio::test]
async fn pages_of_an_allowed_origin_may_use_every_route_and_others_none() {
    let app = TestApp::with(&[("allowed_origins", "http://localhost:5173, https://app.example")]).await;
    let paths: Vec<_> = operations().into_keys().map(|(_, path)| path).filter(|path| path != "/verify").collect();
    assert!(paths.len() > 20);
    for path in paths.iter().filter(|path| !is_for_everyone(path)) {
        let allowed = preflight(&app, path, APP).send().await;
        allowed.reads("204 ");
        assert_eq!(
            told(&allowed),
            [
                "access-control-allow-headers: authorization, content-type, if-none-match, last-event-id, x-csrf-token",
                "access-control-allow-methods: GET, HEAD, POST, PUT, DELETE",
                READABLE[0],
                READABLE[1],
                "access-control-max-age: 600",
                READABLE[2],
            ],
            "{path}"
        );
        for origin in
            [EVIL, "null", "https://app.example:8443", "http://app.example", "https://app.example.evil.example", ""]
        {
            let rejected = preflight(&app, path, origin).send().await;
            rejected.is(403);
            assert_eq!(told(&rejected), ["vary: origin"], "{path} {origin}");
        }
        // The response to the request itself, also an error.
        assert_eq!(told(&app.get(path).header("origin", APP).send().await), READABLE, "{path}");
        assert_eq!(told(&app.get(path).header("origin", EVIL).send().await), ["vary: origin"], "{path}");
        assert_eq!(told(&app.get(path).send().await), ["vary: origin"], "{path}");
    }
    assert_eq!(told(&app.get("/unknown").header("origin", APP).send().await), READABLE);
    let twice = app.get("/livez").header("origin", APP).header("origin", APP).send().await;
    assert_eq!(told(&twice), ["vary: origin"]);
}

/// The browser of a visitor must not lead a page of the internet to a server in the visitor's own network.
#[tokio::test]
async fn preflights_for_a_private_network_are_rejected() {
    for origins in [APP, "*"] {
        let app = TestApp::with(&[("allowed_origins", origins)]).await;
        for path in ["/login", "/.well-known/jwks.json"] {
            let private = ("access-control-request-private-network", "true");
            let rejected = preflight(&app, path, APP).header(private.0, private.1).send().await;
            rejected.is(403);
            assert_eq!(rejected.header("access-control-allow-private-network"), None);
            let allowed = preflight(&app, path, APP).send().await;
            allowed.is(204);
            assert_eq!(allowed.header("access-control-allow-private-network"), None);
        }
    }
}

#[tokio::test]
async fn documents_are_for_pages_of_every_origin() {
    for settings in [&[][..], &[("allowed_origins", APP)], &[("allowed_origins", APP), ("token_cookies", "adieu")]] {
        let app = TestApp::with(settings).await;
        for path in ["/.well-known/jwks.json", "/.well-known/oauth-authorization-server", "/openapi.json"] {
            for answer in [app.get(path).header("origin", EVIL).send().await, preflight(&app, path, EVIL).send().await]
            {
                assert_eq!(answer.header("access-control-allow-origin"), Some("*"), "{path}");
                assert_eq!(answer.header("access-control-allow-credentials"), None, "{path}");
            }
        }
    }
}

#[tokio::test]
async fn every_origin_is_allowed_without_credentials() {
    let app = TestApp::with(&[("allowed_origins", "*")]).await;
    for answer in
        [preflight(&app, "/login", EVIL).send().await, app.get("/sessions").header("origin", EVIL).send().await]
    {
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
        assert_eq!(answer.header("access-control-allow-credentials"), None);
        assert_eq!(answer.header("vary"), None);
    }
}

#[tokio::test]
async fn credentials_are_allowed_where_cookies_are() {
    let app = TestApp::with(&[("allowed_origins", APP), ("token_cookies", "adieu")]).await;
    for (origin, allowed) in [(APP, Some("true")), (EVIL, None)] {
        for answer in
            [preflight(&app, "/login", origin).send().await, app.get("/sessions").header("origin", origin).send().await]
        {
            assert_eq!(answer.header("access-control-allow-credentials"), allowed, "{origin}");
        }
    }
}

#[tokio::test]
async fn without_the_setting_no_page_of_another_origin_may_do_anything() {
    let app = TestApp::start().await;
    let answer = preflight(&app, "/login", APP).send().await;
    answer.is(405);
    assert_eq!(told(&answer), <[&str; 0]>::default());
    assert_eq!(told(&app.get("/sessions").header("origin", APP).send().await), <[&str; 0]>::default());
}

/// A proxy asks with any method and with the headers of the request that it asks about: none of that is for Adieu.
#[tokio::test]
async fn what_a_proxy_asks_is_no_preflight() {
    let app = TestApp::with(&[("allowed_origins", APP)]).await.with_user("jose").await;
    let token = app.log_in("jose").await.access;
    for path in ["/verify", "/ext_authz/orders"] {
        preflight(&app, path, APP).send().await.is(401);
        let answer = preflight(&app, path, EVIL).token(&token).send().await;
        assert!(answer.status < 300, "{answer}");
        assert_eq!(told(&answer), <[&str; 0]>::default());
    }
}

#[tokio::test]
async fn a_page_of_an_allowed_origin_may_open_a_web_socket_with_a_cookie() {
    let app = TestApp::with(&[("allowed_origins", APP), ("token_cookies", "adieu")]).await.with_user("jose").await;
    let cookie = format!("__Host-access_token={}", app.log_in("jose").await.access);
    for (origin, status) in [(APP, 204), (EVIL, 401)] {
        let call = app.get("/verify").header("x-forwarded-method", "GET").header("sec-websocket-version", "13");
        let call = call.header("x-forwarded-host", "shop.example").header("origin", origin);
        call.header("cookie", &cookie).send().await.is(status);
    }
}

/// With cookies, they would see what the user sees.
#[tokio::test]
async fn no_page_of_another_origin_reads_the_pages_of_this_server() {
    for (origins, cookies) in [(APP, &[("token_cookies", "adieu")][..]), (APP, &[]), ("*", &[])] {
        let app = TestApp::with(&[&[("allowed_origins", origins)], cookies].concat()).await;
        for path in ["/account", "/account/events", "/console", "/console/audit?export=1", "/console/users/x"] {
            let answer = app.get(path).header("origin", APP).send().await;
            assert_eq!(told(&answer), <[&str; 0]>::default(), "{path}");
            preflight(&app, path, APP).send().await.is(405);
        }
    }
}
