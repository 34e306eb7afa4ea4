//! Login, a protected handler and logout, with a store in memory.
//!
//!     cargo run --package adieu-axum --example minimal
//!     curl --json '{"username": "jose"}' http://127.0.0.1:3000/login

use adieu::{Issuer, Node, Subject, session::Scope, store::Memory};
use adieu_axum::{AccessToken, Auth, AuthRejection, LoggedOut, PresentedToken, Tokens};
use axum::{
    Json, Router,
    routing::{get, post},
};

#[derive(serde::Deserialize)]
struct Credentials {
    username: String,
}

/// A real application checks a password here.
async fn log_in(auth: Auth, Json(credentials): Json<Credentials>) -> Result<Tokens, AuthRejection> {
    auth.log_in(Subject::new(credentials.username)?).await
}

async fn profile(token: AccessToken) -> String {
    format!("hello, {}", token.subject())
}

async fn log_out(auth: Auth, token: PresentedToken) -> Result<LoggedOut, AuthRejection> {
    auth.log_out(&token, Scope::This).await
}

fn router(node: &Node) -> Router {
    Router::new()
        .route("/login", post(log_in))
        .route("/profile", get(profile))
        .route("/logout", post(log_out))
        .with_state(node.sessions().clone())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let node = Node::builder(Issuer::new("https://shop.example")?).start(Memory::new()).await?;
    let _housekeeping = node.start_housekeeping();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    axum::serve(listener, router(&node)).await?;
    Ok(())
}

/// How an application tests its handlers: without a socket, with `tower`'s `oneshot`.
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
mod tests {
    use axum::{
        body::{Body, to_bytes},
        http::{Request, StatusCode, header},
    };
    use tower::ServiceExt as _;

    use super::*;

    async fn send(
        router: &Router,
        method: &str,
        path: &str,
        token: &str,
        body: &str,
    ) -> (StatusCode, serde_json::Value) {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::AUTHORIZATION, format!("Bearer {token}"))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(body.to_owned()))
            .unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap_or_default())
    }

    #[tokio::test]
    async fn a_token_is_rejected_after_the_logout() {
        let node = Node::builder(Issuer::new("https://shop.example").unwrap()).start(Memory::new()).await.unwrap();
        let router = router(&node);

        let (status, tokens) = send(&router, "POST", "/login", "", r#"{"username": "jose"}"#).await;
        assert_eq!(status, StatusCode::OK);
        let token = tokens["access_token"].as_str().unwrap();
        assert_eq!(send(&router, "GET", "/profile", token, "").await.0, StatusCode::OK);

        assert_eq!(send(&router, "POST", "/logout", token, "").await.0, StatusCode::OK);
        let (status, rejection) = send(&router, "GET", "/profile", token, "").await;
        assert_eq!((status, rejection["error"].as_str()), (StatusCode::UNAUTHORIZED, Some("token_revoked")));
    }
}
