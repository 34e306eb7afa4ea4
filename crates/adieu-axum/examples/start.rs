//! The application of `docs/start/axum.md`, which contains this code.

use adieu::{Issuer, Node, Subject, session::Scope};
use adieu_axum::{AccessToken, Auth, AuthRejection, LoggedOut, PresentedToken, RefreshToken, Tokens};
use adieu_sqlite::Sqlite;
use axum::{
    Json, Router,
    routing::{get, post},
};

#[derive(serde::Deserialize)]
struct Credentials {
    username: String,
    password: String,
}

async fn log_in(auth: Auth, Json(given): Json<Credentials>) -> Result<Tokens, AuthRejection> {
    // A real application checks the password against its table of users.
    if given.password != "1234" {
        return Err(auth.invalid_credentials());
    }
    auth.log_in(Subject::new(given.username)?).await
}

async fn refresh(auth: Auth, token: RefreshToken) -> Result<Tokens, AuthRejection> {
    auth.refresh(&token).await
}

async fn profile(token: AccessToken) -> String {
    format!("hello, {}\n", token.subject())
}

async fn log_out(auth: Auth, token: PresentedToken) -> Result<LoggedOut, AuthRejection> {
    auth.log_out(&token, Scope::This).await
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let node = Node::builder(Issuer::new("my-shop")?).start(Sqlite::open("my-shop.sqlite").await?).await?;
    let _housekeeping = node.start_housekeeping();
    let router = Router::new()
        .route("/login", post(log_in))
        .route("/refresh", post(refresh))
        .route("/profile", get(profile))
        .route("/logout", post(log_out))
        .with_state(node.sessions().clone());
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:3000".to_owned());
    let listener = tokio::net::TcpListener::bind(address).await?;
    axum::serve(listener, router).await?;
    Ok(())
}
