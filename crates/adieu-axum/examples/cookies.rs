//! A browser application: the tokens are in cookies that scripts cannot read, and a request that changes something repeats
//! a CSRF value.
//!
//!     cargo run --package adieu-axum --example cookies
//!
//! then open <http://localhost:3000>: browsers accept `Secure` cookies from localhost.

use std::{sync::Arc, time::Duration};

use adieu::{
    Error, Issuer, Node, Subject,
    session::{Scope, Sessions},
    store::Memory,
};
use adieu_axum::{AccessToken, Auth, AuthRejection, Cookies, Guard, LoggedOut, PresentedToken, Tokens};
use axum::{
    Router,
    extract::FromRef,
    response::Html,
    routing::{get, post},
};

#[derive(Clone, FromRef)]
struct App {
    guard: Guard,
    sessions: Arc<Sessions>,
}

/// The page logs in and out with `fetch`. It reads the CSRF value from the second cookie and repeats it in a header.
const PAGE: &str = r#"<!doctype html>
<meta charset="utf-8">
<title>Cookies</title>
<p id="status"></p>
<button onclick="send('/login')">Log in</button>
<button onclick="send('/logout')">Log out</button>
<script>
const csrf = () => document.cookie.match(/csrf_access_token=([^;]*)/)?.[1] ?? "";
async function send(path) {
    await fetch(path, { method: "POST", headers: { "X-CSRF-TOKEN": csrf() } });
    show();
}
async function show() {
    document.getElementById("status").textContent = await (await fetch("/whoami")).text();
}
show();
</script>
"#;

async fn log_in(auth: Auth) -> Result<Tokens, AuthRejection> {
    auth.log_in(Subject::new("jose")?).await
}

async fn who_am_i(token: Option<AccessToken>) -> String {
    token.map_or("logged out".to_owned(), |token| format!("logged in as {}", token.subject()))
}

async fn log_out(auth: Auth, token: PresentedToken) -> Result<LoggedOut, AuthRejection> {
    auth.log_out(&token, Scope::This).await
}

fn router(node: &Node) -> Result<Router, Error> {
    let sessions = Arc::clone(node.sessions());
    let guard = Guard::from_sessions(&sessions).with_cookies(Cookies::new())?;
    // An access token that expires within ten minutes is replaced with the response.
    let renew = guard.renew_cookies(&sessions, Duration::from_secs(600));
    Ok(Router::new()
        .route("/", get(async || Html(PAGE)))
        .route("/login", post(log_in))
        .route("/whoami", get(who_am_i))
        .route("/logout", post(log_out))
        .layer(renew)
        .with_state(App { guard, sessions }))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let node = Node::builder(Issuer::new("https://shop.example")?).start(Memory::new()).await?;
    let _housekeeping = node.start_housekeeping();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    axum::serve(listener, router(&node)?).await?;
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
mod tests {
    use axum::{
        body::{Body, to_bytes},
        http::{Request, StatusCode, header},
        response::Response,
    };
    use tower::ServiceExt as _;

    use super::*;

    async fn send(router: &Router, line: &str, cookie: &str, csrf: &str) -> Response {
        let (method, path) = line.split_once(' ').unwrap();
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::COOKIE, cookie)
            .header("x-csrf-token", csrf)
            .body(Body::empty())
            .unwrap();
        router.clone().oneshot(request).await.unwrap()
    }

    #[tokio::test]
    async fn a_logout_needs_the_csrf_value_and_ends_the_session() {
        let node = Node::builder(Issuer::new("https://shop.example").unwrap()).start(Memory::new()).await.unwrap();
        let router = router(&node).unwrap();
        let login = send(&router, "POST /login", "", "").await;
        let cookies: Vec<String> = login
            .headers()
            .get_all(header::SET_COOKIE)
            .iter()
            .map(|cookie| cookie.to_str().unwrap().split(';').next().unwrap().to_owned())
            .collect();
        let csrf = cookies.iter().find(|cookie| cookie.contains("csrf_access")).unwrap().split_once('=').unwrap().1;
        let cookie = cookies.join("; ");
        let who_am_i = async || {
            let answer = send(&router, "GET /whoami", &cookie, "").await;
            to_bytes(answer.into_body(), usize::MAX).await.unwrap()
        };

        assert_eq!(who_am_i().await, "logged in as jose");
        assert!(send(&router, "POST /logout", &cookie, "").await.status().is_client_error());
        assert_eq!(who_am_i().await, "logged in as jose");
        assert_eq!(send(&router, "POST /logout", &cookie, csrf).await.status(), StatusCode::OK);
        assert_eq!(who_am_i().await, "logged out");
    }
}
