//! An application that uses adieu-axum beside one that uses the real Flask-JWT-Extended, with the same key: each accepts the other's tokens
//! and honours the other's logouts.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod api;
mod axum_app;
mod discovery;
mod flask;
mod key;
mod logout;
mod provider;
mod tokens;
mod walk;
