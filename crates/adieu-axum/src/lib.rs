//! Logout for axum applications: extractors, layers, cookies and rejections on top of [`adieu`].
//!
//! A handler that takes an [`AccessToken`] is protected. This is a whole application:
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
//!         return Err(auth.invalid_credentials());
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
//! This process sees a logout at once, other processes on the same store within a stated bound, and the logout survives a
//! crash; [`adieu`] explains how.
//!
//! # Extractors
//!
//! | argument | accepts |
//! |---|---|
//! | [`AccessToken`] | a valid access token; [`AccessToken<C>`] also deserializes the application's claims into `C` |
//! | `Option<AccessToken>` | a valid access token or none. An invalid token is rejected, but an invalid cookie counts as none; so with every `Option` |
//! | [`FreshAccessToken`] | an access token from a recent login with credentials |
//! | [`RefreshToken`], [`AnyToken`] | a valid refresh token, or a valid token of either type |
//! | [`CurrentUser`] | a valid access token whose user the application knows |
//! | [`PresentedToken`] | any token, valid or not, for a logout |
//! | [`AfterBody`] | one of these extractors and the body, if the extractor still succeeds after the body has been read |
//! | [`TokenEnd`] | a valid access token; reports when it stops being valid, to close a WebSocket |
//! | [`Auth`] | every request; logs in, refreshes and logs out |
//!
//! [`Guard::protect`] is a layer that protects a whole router; [`Protect::except`] exempts a route.
//!
//! # Guarantees
//!
//! 1. Every extractor asks the same [`adieu::token::Verifier`] on every request; no result is cached.
//! 2. The router's state must provide a [`Guard`] ([`FromRef`](axum::extract::FromRef)); an
//!    [`Arc<Sessions>`](adieu::session::Sessions) does. A router without one does not compile; put `#[axum::debug_handler]`
//!    on the handler to see why.
//! 3. `Option` of an extractor is `None` only without a token, or with an invalid token in a cookie. An invalid token in a
//!    header is rejected.
//! 4. The extractors look for tokens in the `Authorization` header, or in the places that [`Guard::with_locations`] sets. The first
//!    place with a token decides: an invalid token there is rejected, whatever the later places contain.
//! 5. A token in a cookie does not let another site act for its user: see [`Cookies`].
//! 6. Each rejection is answered as [`Guard::with_rejection_responses`] sets, and logged once at [`REJECTION_LOG_TARGET`] with its
//!    true cause.
//! 7. A client decides when it sends the body of a request. Below [`Guard::protect`], and with [`AfterBody`], the token is
//!    verified again when the body arrives; an extractor alone verifies it when the head arrives.
//! 8. The revocation check cannot be disabled.
//!
//! # Tests of an application
//!
//! [`testing::TestNode`] is a node in memory with a clock that the test advances. It has tokens that are valid, expired or revoked, and
//! it can be stale.
//!
//! # Examples
//!
//! Each example is a whole application that tests its handlers without a socket, with `tower`'s `oneshot`:
//!
//! | example | shows |
//! |---|---|
//! | [`minimal`] | login, a protected handler, logout |
//! | [`users_and_roles`] | a state of the application's own ([`FromRef`](axum::extract::FromRef)), its table of users, roles as claims |
//! | [`cookies`] | a browser application: tokens in cookies, the CSRF value, renewal |
//!
//! [`minimal`]: https://github.com/adieu-rs/adieu/blob/main/crates/adieu-axum/examples/minimal.rs
//! [`users_and_roles`]: https://github.com/adieu-rs/adieu/blob/main/crates/adieu-axum/examples/users_and_roles.rs
//! [`cookies`]: https://github.com/adieu-rs/adieu/blob/main/crates/adieu-axum/examples/cookies.rs
//!
//! # Requests that outlive a logout
//!
//! After a logout every new request is rejected. A handler that has already started, such as a WebSocket or a stream of
//! events, continues. Such a handler takes a [`TokenEnd`] and ends when the token ends. [`Guard::protect`] cuts off
//! request bodies that are still being sent.
//!
//! The [`guide`] maps every part of Flask-JWT-Extended to this crate.

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
mod place;
mod protect;
mod rejection;
mod renew;
pub mod testing;
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
pub use location::{
    BearerToken, DEFAULT_BODY_TIMEOUT, DEFAULT_MAX_BODY_BYTES, Location, Locations, ReadBodies, only_in,
};
pub use place::Place;
pub use protect::Protect;
pub use rejection::{
    AuthRejection, FlaskJwtExtendedResponses, REJECTION_LOG_TARGET, RejectionKind, RejectionReason, RejectionResponses,
    Rfc6750Responses,
};
pub use renew::RenewCookies;
