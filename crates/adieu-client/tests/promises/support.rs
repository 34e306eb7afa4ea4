//! What every test here is about.

use std::time::Duration;

use adieu::{Issuer, time::Timestamp};

/// The start of every test's time.
pub(crate) const NOON: Timestamp = Timestamp::from_unix(1_800_000_000);
pub(crate) const MAX_STALENESS: Duration = Duration::from_secs(2);

pub(crate) fn issuer() -> Issuer {
    Issuer::new("https://adieu.test").unwrap()
}
