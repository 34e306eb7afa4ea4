//! axum extractors and refusals for [`adieu`]: a handler that takes an [`AccessToken`] is protected, and that is all.
//!
//! ```
//! use std::sync::Arc;
//!
//! use adieu::session::Sessions;
//! use adieu_axum::{AccessToken, FreshAccessToken};
//! use axum::{Router, routing::{get, post}};
//!
//! async fn greet(token: Option<AccessToken>) -> String {
//!     token.map_or("hello, stranger".into(), |token| format!("hello, {}", token.subject()))
//! }
//!
//! async fn profile(token: AccessToken) -> String {
//!     token.subject().to_string()
//! }
//!
//! async fn delete_profile(token: FreshAccessToken) -> String {
//!     format!("{} has just typed a password", token.subject())
//! }
//!
//! fn router(sessions: Arc<Sessions>) -> Router {
//!     Router::new()
//!         .route("/", get(greet))
//!         .route("/profile", get(profile).delete(delete_profile))
//!         .with_state(sessions)
//! }
//! ```
//!
//! 1. Every extractor asks the one evaluator, [`adieu::token::Verifier`], on every request; nothing waits and nothing
//!    remembers a verdict.
//! 2. The state of the router must have a [`Guard`] to give ([`FromRef`](axum::extract::FromRef)); an
//!    [`Arc<Sessions>`](adieu::session::Sessions) has one. A router that has none does not compile.
//! 3. [`Option<AccessToken>`] is `None` only when there is no token. A bad one is refused.
//! 4. What is refused is answered as [`Refused`] has it, and logged once, at [`REFUSAL_LOG_TARGET`], with its cause.

mod bearer;
mod extract;
mod guard;
mod refused;

pub use bearer::BearerToken;
pub use extract::{AccessToken, FreshAccessToken};
pub use guard::{Guard, GuardedState, SessionState};
pub use refused::{CourseAnswers, REFUSAL_LOG_TARGET, Reason, RefusalAnswers, RefusalKind, Refused, Rfc6750Answers};
