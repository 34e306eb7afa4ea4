//! Failures of real processes: the binary is started, killed, and starved.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout)]

mod aliases;
mod kill_9;
mod lost_files;
mod stores_that_cannot_write;

use std::path::Path;

use reqwest::Method;
use test_servers::adieu::{Adieu, Tokens};

/// Prepares a server on this data folder.
fn adieu(data: &Path) -> Adieu {
    Adieu::new(env!("CARGO_BIN_EXE_adieu"))
        .with_data(data)
        .with("ADIEU_LOGIN_ATTEMPTS_PER_ADDRESS", "100000 per 1s")
        // A refresh whose response was lost is retried after the restart, however slow that is.
        .with("ADIEU_ROTATION_GRACE", "5m")
}

/// Logs a user in and out.
async fn log_in_and_out(server: &Adieu) -> Tokens {
    let tokens = server.log_in_for_both("jose").await;
    assert_eq!(server.post("/logout", &tokens.access).await.0, 200);
    tokens
}

/// Returns the status of a response, and whether it has a `Retry-After`.
async fn retry_after(server: &Adieu, path: &str, token: &str) -> (u16, bool) {
    let response = server.request(Method::POST, path).bearer_auth(token).send().await.unwrap();
    (response.status().as_u16(), response.headers().contains_key("retry-after"))
}
