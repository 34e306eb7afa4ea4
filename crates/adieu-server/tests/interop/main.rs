//! An application on adieu-axum beside one with Flask-JWT-Extended, the real one, with the same key: each takes the other's
//! tokens, and each hears of the other's logouts.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod api;
mod axum_app;
mod flask;
mod key;
mod logout;
mod node;
mod tokens;
