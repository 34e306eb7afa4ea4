//! Values shared by all tests here.

use std::time::Duration;

use adieu::{Issuer, time::Timestamp};

/// The start time of every test.
pub(crate) const NOON: Timestamp = Timestamp::from_unix(1_800_000_000);
pub(crate) const MAX_STALENESS: Duration = Duration::from_secs(2);

pub(crate) fn issuer() -> Issuer {
    Issuer::new("https://adieu.test").unwrap()
}
