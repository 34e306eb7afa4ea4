//! How often a login may fail, per account and per address, and how many accounts one address may register.
//!
//! 1. An attempt is counted before the password is looked at, and given back when it was right: many guesses at the
//!    same moment are no more than as many one after another.
//! 2. Nobody can lock a user out for long: attempts come back one by one, and an address from which the user has
//!    logged in has a count of its own, which strangers can't use up.
//! 3. Memory is bounded, whatever names and addresses are tried; names are not kept, only a keyed hash of them.
//!
//! Counts are this process's own and are forgotten when it ends. A refused attempt is not looked at and costs nothing,
//! so whoever keeps trying is not refused for longer.

mod expiring;

use std::{
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use adieu::time::Clock;

use self::expiring::Expiring;
use crate::{address::party, config::Rate, error::ApiError, text::Username};

/// For how long an address from which a user logged in keeps its own count.
const KNOWN_FOR: Duration = Duration::from_secs(30 * 86_400);

/// How many accounts, addresses and pairs of them are kept of each; 16 bytes each, and as much again for the table.
const MOST_ENTRIES: usize = 200_000;

/// The next attempt may be made after this long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many failed attempts")]
pub struct RetryAfter(pub Duration);

impl From<RetryAfter> for ApiError {
    fn from(RetryAfter(retry_after): RetryAfter) -> Self {
        Self::TooManyAttempts { retry_after }
    }
}

/// Counts failed logins.
#[derive(Debug)]
pub struct LoginLimits {
    clock: Arc<dyn Clock>,
    hasher: RandomState,
    per_account: Rate,
    per_address: Rate,
    counts: Mutex<Counts>,
}

#[derive(Debug)]
struct Counts {
    accounts: Expiring,
    addresses: Expiring,
    known: Expiring,
    registrations: Expiring,
}

impl LoginLimits {
    /// No failures so far.
    #[must_use]
    pub fn new(per_account: Rate, per_address: Rate, clock: Arc<dyn Clock>) -> Self {
        let [accounts, addresses, known, registrations] = [(); 4].map(|()| Expiring::new(MOST_ENTRIES));
        let counts = Mutex::new(Counts { accounts, addresses, known, registrations });
        Self { clock, hasher: RandomState::new(), per_account, per_address, counts }
    }

    /// Counts an attempt to log in, before the password is looked at. It stays counted as a failure unless
    /// [`Attempt::succeeded`] or [`Attempt::give_back`] is called.
    ///
    /// # Errors
    /// When the account or the address has had too many; nothing is counted then.
    pub fn attempt(&self, account: &Username, address: IpAddr) -> Result<Attempt<'_>, RetryAfter> {
        let address = self.hasher.hash_one(party(address));
        let account = self.hasher.hash_one(account);
        let pair = self.hasher.hash_one((account, address));

        let now = self.now();
        let mut counts = self.counts();
        let account = if counts.known.get(pair) > now { pair } else { account };
        take(&mut counts.addresses, address, self.per_address, now)?;
        if let Err(refused) = take(&mut counts.accounts, account, self.per_account, now) {
            give_back(&mut counts.addresses, address, self.per_address);
            return Err(refused);
        }
        Ok(Attempt { limits: self, account, address, pair })
    }

    /// Counts a registration, before the password is hashed, which costs as much as a failed login: so an address may
    /// register as many as it may fail.
    ///
    /// # Errors
    /// When the address has had too many; nothing is counted then.
    pub fn registration(&self, address: IpAddr) -> Result<(), RetryAfter> {
        let address = self.hasher.hash_one(party(address));
        let now = self.now();
        take(&mut self.counts().registrations, address, self.per_address, now)
    }

    fn now(&self) -> u64 {
        self.clock.moment().as_nanos()
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An attempt that counts as failed when it is dropped.
#[derive(Debug)]
#[must_use = "an attempt that is dropped counts as failed"]
pub struct Attempt<'a> {
    limits: &'a LoginLimits,
    account: u64,
    address: u64,
    pair: u64,
}

impl Attempt<'_> {
    /// The password was right: nothing is counted, and this address is known from now on.
    pub fn succeeded(self) {
        let until = self.limits.now().saturating_add(nanos(KNOWN_FOR));
        let now = self.limits.now();
        self.limits.counts().known.set(self.pair, until, now);
        self.give_back();
    }

    /// The password was not looked at: nothing is counted.
    pub fn give_back(self) {
        let mut counts = self.limits.counts();
        give_back(&mut counts.accounts, self.account, self.limits.per_account);
        give_back(&mut counts.addresses, self.address, self.limits.per_address);
    }
}

/// The generic cell rate algorithm (ITU-T I.371): of each key only the moment is kept at which all its attempts will
/// have come back.
fn take(table: &mut Expiring, key: u64, rate: Rate, now: u64) -> Result<(), RetryAfter> {
    let all_back = table.get(key).max(now).saturating_add(interval(rate));
    let allowed_at = all_back.saturating_sub(interval(rate).saturating_mul(u64::from(rate.burst)));
    if allowed_at > now {
        return Err(RetryAfter(Duration::from_nanos(allowed_at - now)));
    }
    table.set(key, all_back, now);
    Ok(())
}

fn give_back(table: &mut Expiring, key: u64, rate: Rate) {
    table.lower(key, interval(rate));
}

fn interval(rate: Rate) -> u64 {
    nanos(rate.per) / u64::from(rate.burst.max(1))
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use adieu::time::{ManualClock, Timestamp};

    use super::*;

    const HOME: &str = "192.0.2.1";

    struct Fixture {
        clock: ManualClock,
        limits: LoginLimits,
    }

    impl Fixture {
        /// 3 per account and 10 per address, in a minute.
        fn new() -> Self {
            let clock = ManualClock::at(Timestamp::from_unix(1_700_000_000));
            let [account, address] = [3, 10].map(|burst| Rate { burst, per: Duration::from_secs(60) });
            Self { limits: LoginLimits::new(account, address, Arc::new(clock.clone())), clock }
        }

        fn attempt(&self, account: &str, address: &str) -> Result<Attempt<'_>, RetryAfter> {
            self.limits.attempt(&Username::new(account).unwrap(), address.parse().unwrap())
        }

        fn fail(&self, account: &str, address: &str) -> Result<(), Duration> {
            self.attempt(account, address).map(drop).map_err(|RetryAfter(wait)| wait)
        }
    }

    #[test]
    fn failures_are_counted_per_account_from_any_address() {
        let fixture = Fixture::new();
        for address in ["192.0.2.1", "192.0.2.2", "192.0.2.3"] {
            assert_eq!(fixture.fail("jose", address), Ok(()));
        }
        assert_eq!(fixture.fail("jose", "192.0.2.4"), Err(Duration::from_secs(20)));
        assert_eq!(fixture.fail("anna", "192.0.2.4"), Ok(()));

        fixture.clock.advance(Duration::from_secs(19));
        assert_eq!(fixture.fail("jose", "192.0.2.4"), Err(Duration::from_secs(1)));
        fixture.clock.advance(Duration::from_secs(1));
        assert_eq!(fixture.fail("jose", "192.0.2.4"), Ok(()), "one came back");
        assert!(fixture.fail("jose", "192.0.2.4").is_err(), "and only one");
    }

    #[test]
    fn failures_are_counted_per_address_for_any_account() {
        let fixture = Fixture::new();
        for number in 0..10 {
            assert_eq!(fixture.fail(&format!("user{number}"), &format!("2001:db8::{number}")), Ok(()));
        }
        assert_eq!(fixture.fail("user10", "2001:db8::ffff"), Err(Duration::from_secs(6)));
        assert_eq!(fixture.fail("user10", "2001:db8:0:1::1"), Ok(()), "the next network");
    }

    #[test]
    fn success_costs_nothing() {
        let fixture = Fixture::new();
        for _ in 0..100 {
            fixture.attempt("jose", HOME).unwrap().succeeded();
        }
        for _ in 0..100 {
            fixture.attempt("jose", HOME).unwrap().give_back();
        }
        assert_eq!(fixture.fail("jose", HOME), Ok(()));
    }

    #[test]
    fn guesses_at_the_same_moment_are_counted_before_any_is_answered() {
        let fixture = Fixture::new();
        let under_way: Vec<_> = std::iter::repeat_with(|| fixture.attempt("jose", HOME)).take(50).collect();
        assert_eq!(under_way.iter().filter(|attempt| attempt.is_ok()).count(), 3);
    }

    #[test]
    fn a_refused_attempt_counts_nowhere() {
        let fixture = Fixture::new();
        for _ in 0..3 {
            fixture.fail("jose", HOME).unwrap();
        }
        for _ in 0..100 {
            assert_eq!(fixture.fail("jose", HOME), Err(Duration::from_secs(20)));
        }
        assert_eq!(fixture.fail("anna", HOME), Ok(()), "the address has attempts left");
    }

    #[test]
    fn a_stranger_does_not_lock_a_user_out_at_home() {
        let fixture = Fixture::new();
        fixture.attempt("jose", HOME).unwrap().succeeded();
        for _ in 0..3 {
            fixture.fail("jose", "203.0.113.6").unwrap();
        }
        assert!(fixture.fail("jose", "203.0.113.6").is_err());
        fixture.attempt("jose", HOME).unwrap().succeeded();

        for _ in 0..3 {
            assert_eq!(fixture.fail("jose", HOME), Ok(()), "home has as many");
        }
        assert!(fixture.fail("jose", HOME).is_err(), "and no more");
    }
}
