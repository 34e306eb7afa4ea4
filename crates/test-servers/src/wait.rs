//! Waiting for what a test expects.

use std::{
    fmt,
    time::{Duration, Instant},
};

/// Longer than anything takes on the slowest machine: only a test that hangs reaches it.
pub const TEST_TIMEOUT: Duration = Duration::from_secs(60);

/// Waits until a condition holds.
///
/// # Panics
/// If that takes longer than [`TEST_TIMEOUT`].
pub async fn until(what: &str, is_so: impl AsyncFn() -> bool) {
    let started = Instant::now();
    while !is_so().await {
        assert!(started.elapsed() < TEST_TIMEOUT, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Retries until the first success, and returns it.
///
/// # Panics
/// If that takes longer than [`TEST_TIMEOUT`].
pub async fn recovers<T, E: fmt::Debug>(mut attempt: impl AsyncFnMut() -> Result<T, E>) -> T {
    let started = Instant::now();
    loop {
        match attempt().await {
            Ok(success) => return success,
            Err(error) => assert!(started.elapsed() < TEST_TIMEOUT, "it does not recover: {error:?}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
