//! axum applications that can log out: extractors, cookies and refusals for [`adieu`].
//!
//! A handler that takes an [`AccessToken`] is protected, and that is all. This is a whole application:
//!
//! ```
//! use adieu::{Issuer, Node, Subject, session::Scope};
//! use adieu_axum::{AccessToken, Auth, LoggedOut, PresentedToken, AuthRejection, Tokens};
//! use adieu_sqlite::Sqlite;
//! use axum::{Json, Router, routing::{get, post}};
//!
//! #[derive(serde::Deserialize)]
//! struct Credentials { username: String, password: String }
//!
//! async fn log_in(auth: Auth, Json(given): Json<Credentials>) -> Result<Tokens, AuthRejection> {
//!     if given.password != "the one in your table of users" {
//!         return Err(auth.wrong_credentials());
//!     }
//!     auth.log_in(Subject::new(given.username)?).await
//! }
//!
//! async fn profile(token: AccessToken) -> String {
//!     format!("hello, {}", token.subject())
//! }
//!
//! async fn log_out(auth: Auth, token: PresentedToken) -> Result<LoggedOut, AuthRejection> {
//!     auth.log_out(&token, Scope::This).await
//! }
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # std::env::set_current_dir(folder.path())?;
//!     let node = Node::builder(Issuer::new("my-shop")?).start(Sqlite::open("my-shop.sqlite").await?).await?;
//!     let _housekeeping = node.start_housekeeping();
//!     let router = Router::new()
//!         .route("/login", post(log_in))
//!         .route("/profile", get(profile))
//!         .route("/logout", post(log_out))
//!         .with_state(node.sessions().clone());
//!     let address = "127.0.0.1:3000";
//! # let address = "127.0.0.1:0";
//!     let listener = tokio::net::TcpListener::bind(address).await?;
//! # let visit = visit(listener.local_addr()?);
//!     axum::serve(listener, router)
//! # .with_graceful_shutdown(visit)
//!         .await?;
//!     Ok(())
//! }
//! # async fn visit(address: std::net::SocketAddr) {
//! #     let login = r#"{"username":"jose","password":"the one in your table of users"}"#;
//! #     assert!(ask(address, "POST /login", "", r#"{"username":"jose","password":"?"}"#).await.0.contains(" 401 "));
//! #     let (head, tokens) = ask(address, "POST /login", "", login).await;
//! #     assert!(head.contains(" 200 "), "{head}");
//! #     let tokens: serde_json::Value = serde_json::from_str(&tokens).unwrap();
//! #     let access = tokens["access_token"].as_str().unwrap();
//! #     assert!(ask(address, "GET /profile", "", "").await.0.contains(" 401 "));
//! #     assert_eq!(ask(address, "GET /profile", access, "").await.1, "hello, jose");
//! #     assert!(ask(address, "POST /logout", access, "").await.0.contains(" 200 "));
//! #     let (head, refusal) = ask(address, "GET /profile", access, "").await;
//! #     assert!(head.contains(" 401 ") && refusal.contains("token_revoked"), "{refusal}");
//! # }
//! # async fn ask(address: std::net::SocketAddr, line: &str, token: &str, body: &str) -> (String, String) {
//! #     use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
//! #     let request = format!(
//! #         "{line} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\
//! #          Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len());
//! #     let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
//! #     stream.write_all(request.as_bytes()).await.unwrap();
//! #     let mut answer = String::new();
//! #     stream.read_to_string(&mut answer).await.unwrap();
//! #     let (head, body) = answer.split_once("\r\n\r\n").unwrap();
//! #     (head.to_owned(), body.to_owned())
//! # }
//! ```
//!
//! What has become of the session is known to this process at once, to others on the same store within a stated bound, and
//! it survives a crash; [`adieu`] says how.
//!
//! # What a handler can take
//!
//! | argument | lets in |
//! |---|---|
//! | [`AccessToken`] | whoever has a good access token; as [`AccessToken<C>`] with the claims of the application as a type |
//! | `Option<AccessToken>` | whoever has one or none; a bad one is refused, but a bad cookie is as none. So with all others |
//! | [`FreshAccessToken`] | whoever has typed a password recently |
//! | [`RefreshToken`], [`AnyToken`] | whoever has a good refresh token, or a good token of either type |
//! | [`CurrentUser`] | whoever has a good access token and is known to the application |
//! | [`PresentedToken`] | whoever has a token, good or not: to log out with |
//! | [`AfterBody`] | whoever is still let in when the body has come: takes one of these and the body |
//! | [`TokenEnd`] | whoever has a good access token; says when it is no longer good, to end a WebSocket |
//! | [`Auth`] | everyone; logs in, refreshes and logs out |
//!
//! [`Guard::protect`] is a layer that protects a whole router; [`Protect::except`] leaves a route open.
//!
//! # What can be relied on
//!
//! 1. Every extractor asks the one evaluator, [`adieu::token::Verifier`], on every request; nothing remembers a verdict.
//! 2. The state of the router has a [`Guard`] to give ([`FromRef`](axum::extract::FromRef)); an
//!    [`Arc<Sessions>`](adieu::session::Sessions) does as it is. A router without one does not compile; put
//!    `#[axum::debug_handler]` on the handler to read why.
//! 3. `Option` of an extractor is `None` only when there is no token, or one in a cookie that is no good. A bad one in a
//!    header is refused.
//! 4. Tokens are looked for in the `Authorization` header, or where [`Guard::look_in`] says. The first place with a token
//!    decides: a bad one there is refused, whatever is in the places after it.
//! 5. A token in a cookie does not let another site act for its user: see [`Cookies`].
//! 6. What is refused is answered as [`Guard::rejection_responses`] has it, and logged once, at [`REJECTION_LOG_TARGET`], with its
//!    true cause.
//! 7. A client decides when it sends the body of a request. Below [`Guard::protect`], and with [`AfterBody`], a token is judged
//!    again when the body has come; an extractor alone has judged the head.
//! 8. There is no way to leave the check for revoked tokens out.
//!
//! # What goes on after a logout
//!
//! After a logout no request is let in. A handler that was let in before goes on: a WebSocket, a stream of events. It takes
//! a [`TokenEnd`], and ends when that says so. The body of a request that is still being sent is cut off by
//! [`Guard::protect`].
//!
//! Whoever knows Flask-JWT-Extended finds every part of it in the [`guide`].

mod after_body;
mod auth;
mod cookies;
mod csrf;
pub mod dangerous;
mod extract;
mod guard;
pub mod guide;
mod layer;
mod location;
mod protect;
mod rejection;
mod renew;
mod watched;

pub use after_body::AfterBody;
pub use auth::{Auth, LoggedOut, Tokens};
pub use cookies::{Cookies, SameSite, SetCookies, TokenCookie};
pub use extract::{
    AccessToken, AnyToken, CurrentUser, FreshAccessToken, LoadUser, PresentedToken, RefreshToken, TokenEnd, Untyped,
    UserRejection,
};
pub use guard::{Guard, GuardedState, SessionState};
pub use layer::Wrapped;
pub use location::{BearerToken, DEFAULT_MAX_BODY_BYTES, Location, Locations, Place, ReadBodies, only_in};
pub use protect::Protect;
pub use rejection::{
    AuthRejection, FlaskJwtExtendedResponses, REJECTION_LOG_TARGET, RejectionKind, RejectionReason, RejectionResponses,
    Rfc6750Answers,
};
pub use renew::RenewCookies;
pub use watched::DEFAULT_BODY_TIMEOUT;
