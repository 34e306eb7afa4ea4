//! An application with a state of its own: a table of users, whose roles become claims of the tokens.
//!
//!     cargo run --package adieu-axum --example users_and_roles
//!     curl --json '{"username": "ana", "password": "correct horse"}' http://127.0.0.1:3000/login

use std::{collections::HashMap, convert::Infallible, sync::Arc};

use adieu::{
    Issuer, Node, Subject,
    session::{Scope, Sessions},
    store::Memory,
    token::Claims,
};
use adieu_axum::{AccessToken, Auth, AuthRejection, CurrentUser, Guard, LoadUser, LoggedOut, PresentedToken, Tokens};
use axum::{
    Json, Router,
    extract::FromRef,
    http::StatusCode,
    routing::{delete, get, post},
};

/// A row of the application's table of users. A real one keeps a password hash.
#[derive(Clone)]
struct User {
    name: &'static str,
    password: &'static str,
    role: &'static str,
}

type Users = Arc<HashMap<&'static str, User>>;

/// The state of the router. The extractors find the guard and the sessions in it.
#[derive(Clone, FromRef)]
struct App {
    guard: Guard,
    sessions: Arc<Sessions>,
    users: Users,
}

impl App {
    fn new(node: &Node, users: Users) -> Self {
        let table = Arc::clone(&users);
        // Called at each login and refresh: a role that was changed is in the next token.
        let guard = Guard::from_sessions(node.sessions()).with_custom_claims(move |subject: Subject| {
            let role = table.get(subject.as_str()).map_or("unknown", |user| user.role);
            async move { Ok(serde_json::Map::from_iter([("role".to_owned(), role.into())])) }
        });
        Self { guard, sessions: Arc::clone(node.sessions()), users }
    }
}

impl LoadUser<App> for User {
    type Error = Infallible;

    async fn load_user(claims: &Claims, app: &App) -> Result<Option<Self>, Infallible> {
        Ok(app.users.get(claims.subject.as_str()).cloned())
    }
}

#[derive(serde::Deserialize)]
struct Credentials {
    username: String,
    password: String,
}

async fn log_in(
    auth: Auth,
    axum::extract::State(users): axum::extract::State<Users>,
    Json(credentials): Json<Credentials>,
) -> Result<Tokens, AuthRejection> {
    // The same rejection for an unknown user and for a wrong password.
    let user = users.get(credentials.username.as_str()).filter(|user| user.password == credentials.password);
    let Some(user) = user else { return Err(auth.invalid_credentials()) };
    auth.log_in(Subject::new(user.name)?).await
}

/// Loads the user for each request: a deleted user has no access, whatever the token says.
async fn profile(CurrentUser(user): CurrentUser<User>) -> String {
    format!("{} is {}", user.name, user.role)
}

#[derive(serde::Deserialize)]
struct Role {
    role: String,
}

/// Reads the role from the token, without asking the table.
async fn delete_item(token: AccessToken<Role>) -> StatusCode {
    if token.typed.role == "admin" { StatusCode::NO_CONTENT } else { StatusCode::FORBIDDEN }
}

async fn log_out(auth: Auth, token: PresentedToken) -> Result<LoggedOut, AuthRejection> {
    auth.log_out(&token, Scope::This).await
}

fn router(app: App) -> Router {
    Router::new()
        .route("/login", post(log_in))
        .route("/profile", get(profile))
        .route("/items/{id}", delete(delete_item))
        .route("/logout", post(log_out))
        .with_state(app)
}

fn users() -> Users {
    let users = [
        User { name: "ana", password: "correct horse", role: "admin" },
        User { name: "jose", password: "battery staple", role: "clerk" },
    ];
    Arc::new(users.into_iter().map(|user| (user.name, user)).collect())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let node = Node::builder(Issuer::new("https://shop.example")?).start(Memory::new()).await?;
    let _housekeeping = node.start_housekeeping();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    axum::serve(listener, router(App::new(&node, users()))).await?;
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
mod tests {
    use axum::{
        body::{Body, to_bytes},
        http::{Request, header},
    };
    use tower::ServiceExt as _;

    use super::*;

    async fn send(router: &Router, line: &str, token: &str, body: &str) -> (StatusCode, String) {
        let (method, path) = line.split_once(' ').unwrap();
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::AUTHORIZATION, format!("Bearer {token}"))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(body.to_owned()))
            .unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        (status, String::from_utf8(to_bytes(response.into_body(), usize::MAX).await.unwrap().to_vec()).unwrap())
    }

    #[tokio::test]
    async fn a_role_decides_what_a_user_may_do() {
        let node = Node::builder(Issuer::new("https://shop.example").unwrap()).start(Memory::new()).await.unwrap();
        let router = router(App::new(&node, users()));
        for (name, password, role, deletes) in [
            ("ana", "correct horse", "admin", StatusCode::NO_CONTENT),
            ("jose", "battery staple", "clerk", StatusCode::FORBIDDEN),
        ] {
            let wrong = format!(r#"{{"username": "{name}", "password": "?"}}"#);
            assert_eq!(send(&router, "POST /login", "", &wrong).await.0, StatusCode::UNAUTHORIZED);
            let right = format!(r#"{{"username": "{name}", "password": "{password}"}}"#);
            let (_, tokens) = send(&router, "POST /login", "", &right).await;
            let tokens: serde_json::Value = serde_json::from_str(&tokens).unwrap();
            let token = tokens["access_token"].as_str().unwrap();
            assert_eq!(send(&router, "GET /profile", token, "").await.1, format!("{name} is {role}"));
            assert_eq!(send(&router, "DELETE /items/7", token, "").await.0, deletes);
            assert_eq!(send(&router, "POST /logout", token, "").await.0, StatusCode::OK);
            assert_eq!(send(&router, "DELETE /items/7", token, "").await.0, StatusCode::UNAUTHORIZED);
        }
    }
}
