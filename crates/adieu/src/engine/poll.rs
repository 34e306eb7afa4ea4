//! Polling for new entries of a log.

use std::time::Duration;

use tokio::{sync::watch, time::Instant};

use crate::{Error, revocation::Page};

/// The way an engine waits in [`RevocationLog::read`](crate::revocation::RevocationLog::read).
#[derive(Debug, Clone, Copy)]
pub struct Polling {
    /// The maximum time between two reads of the storage, because notifications may get lost.
    pub interval: Duration,
    /// How long to wait for further appends after a notification. Reading after every commit of a burst would slow down
    /// the appends.
    pub burst: Duration,
}

impl Polling {
    /// Calls `read` at once, after each change of `appended`, and once per interval, until its page has something new
    /// or `wait` is over.
    ///
    /// # Errors
    /// The error of `read`.
    pub async fn read<T, F>(
        self,
        mut appended: watch::Receiver<T>,
        wait: Duration,
        read: impl Fn() -> F,
    ) -> Result<Page, Error>
    where
        F: Future<Output = Result<Page, Error>>,
    {
        let started = Instant::now();
        loop {
            appended.borrow_and_update();
            let page = read().await?;
            let left = wait.saturating_sub(started.elapsed());
            if !page.entries.is_empty() || page.from_start || left.is_zero() {
                return Ok(page);
            }
            let notified = tokio::time::timeout(left.min(self.interval), appended.changed()).await.is_ok();
            if notified && !self.burst.is_zero() {
                tokio::time::sleep(left.min(self.burst)).await;
            }
        }
    }
}
