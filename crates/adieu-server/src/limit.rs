//! Rate limits: failed logins per account and per address, registrations per address, revocations per client, and events per address
//! and issuer.
//!
//! 1. An attempt is counted before the password is verified, and the count is undone if the password was right. Many concurrent guesses
//!    therefore count the same as consecutive ones.
//! 2. Strangers can't lock a user out. An address from which the user has logged in has its own count, which strangers can't exhaust.
//!    They can exhaust the count that all other addresses share; then each party that has not failed lately still has `RESERVE`
//!    attempts.
//! 3. Memory is bounded, whatever names and addresses are tried. Names are stored only as hashes.
//! 4. A session has its own count of wrong passwords that confirm an action. Failed logins can't exhaust it, wherever they come from, and
//!    wrong confirmations never prevent a login.
//!
//! Counts belong to this process and end with it; addresses from which users have logged in are kept in the store.
//! A rejected attempt costs nothing and is not counted, so repeating it does not extend the rejection. Nor is an action counted that
//! the server could not do ([`Taken::unless_failed`]), so that an outage uses nothing up.

mod expiring;

use std::{
    hash::{BuildHasher, Hash, RandomState},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use adieu::{Issuer, time::Clock};
use aws_lc_rs::digest::{Context, SHA256};
use axum::http::StatusCode;

use self::expiring::Expiring;
use crate::{
    accounts::KnownAddress,
    address::party,
    clients::ClientName,
    config::{Rate, Settings},
    error::ApiError,
    text::Username,
};

/// How long an address from which a user logged in keeps its own count.
const KNOWN_FOR: Duration = Duration::from_secs(30 * 86_400);

/// If more than this remains of [`KNOWN_FOR`], a login does not write the address to the store again.
const KNOWN_ANEW: Duration = Duration::from_secs(29 * 86_400);

/// Attempts at an account that each party has after the shared count is exhausted: enough for a typing error, and few for one of many
/// addresses that guess together.
const RESERVE: u32 = 2;

/// Maximum number of entries in each table: accounts, addresses and pairs of the two. An entry takes 16 bytes, plus as much for the table.
pub const MAX_ENTRIES: usize = 200_000;

/// The time until the next attempt is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[error("too many failed attempts")]
pub struct RetryAfter(pub Duration);

impl From<RetryAfter> for ApiError {
    fn from(RetryAfter(retry_after): RetryAfter) -> Self {
        Self::TooManyAttempts { retry_after }
    }
}

/// The limits on failed logins. They may differ from one call to the next; what has been counted stays counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoginRates {
    /// For each account.
    pub per_account: Rate,
    /// For each address.
    pub per_address: Rate,
}

impl From<&Settings> for LoginRates {
    fn from(settings: &Settings) -> Self {
        Self { per_account: settings.login_attempts_per_account, per_address: settings.login_attempts_per_address }
    }
}

impl LoginRates {
    fn reserve(self) -> Rate {
        Rate { burst: RESERVE.min(self.per_account.burst), per: self.per_account.per }
    }
}

/// Counts failed logins.
#[derive(Debug)]
pub struct LoginLimits {
    clock: Arc<dyn Clock>,
    hasher: RandomState,
    counts: Mutex<Counts>,
    registrations: Quotas,
    resets: Quotas,
    confirmations: Quotas,
}

#[derive(Debug)]
struct Counts {
    accounts: Expiring,
    addresses: Expiring,
    reserves: Expiring,
    known: Expiring,
}

impl LoginLimits {
    /// Creates limits without any failures counted.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let [accounts, addresses, reserves, known] = [(); 4].map(|()| Expiring::new(MAX_ENTRIES));
        let counts = Mutex::new(Counts { accounts, addresses, reserves, known });
        let [registrations, resets, confirmations] = [(); 3].map(|()| Quotas::new(Arc::clone(&clock)));
        Self { clock, hasher: RandomState::new(), counts, registrations, resets, confirmations }
    }

    /// Adds the addresses from which users logged in before this process started.
    pub fn remember(&self, known: impl IntoIterator<Item = KnownAddress>) {
        let (now, wall_clock) = (self.now(), self.clock.now());
        let mut counts = self.counts();
        for KnownAddress { pair, until } in known {
            let left = Duration::from_secs(until.as_unix().saturating_sub(wall_clock.as_unix())).min(KNOWN_FOR);
            counts.known.set(pair, now.saturating_add(nanos(left)), now);
        }
    }

    /// Counts a login attempt, before the password is verified. It stays counted as a failure unless [`Attempt::succeeded`] or
    /// [`Attempt::release`] is called.
    ///
    /// # Errors
    /// [`RetryAfter`] if the account or the address has had too many attempts; this one is not counted then.
    pub fn attempt(&self, rates: LoginRates, account: &Username, address: IpAddr) -> Result<Attempt<'_>, RetryAfter> {
        let pair = pair(account, party(address));
        let address = self.hasher.hash_one(party(address));
        let account = self.hasher.hash_one(account);

        let now = self.now();
        let mut counts = self.counts();
        let mut attempt = Attempt { limits: self, rates, address, pair, shared: Shared::Nothing };
        take(&mut counts.addresses, address, rates.per_address, 1, now)?;
        if let Err(refused) = take(&mut counts.accounts, pair, rates.per_account, 1, now) {
            release(&mut counts.addresses, address, rates.per_address);
            return Err(refused);
        }
        if counts.known.get(pair) > now {
            return Ok(attempt);
        }
        attempt.shared = match take(&mut counts.accounts, account, rates.per_account, 1, now) {
            Ok(()) => Shared::Account(account),
            Err(refused) => match take(&mut counts.reserves, pair, rates.reserve(), 1, now) {
                Ok(()) => Shared::Reserve,
                Err(own) => {
                    attempt.release_to(&mut counts);
                    return Err(refused.min(own));
                }
            },
        };
        Ok(attempt)
    }

    /// Counts a registration, before the password is hashed. Hashing costs as much as a failed login, so an address may register as many
    /// accounts as it may fail logins.
    ///
    /// # Errors
    /// [`RetryAfter`] if the address has had too many; this one is not counted then.
    pub fn registration(&self, rates: LoginRates, address: IpAddr) -> Result<Taken<'_>, RetryAfter> {
        self.registrations.take(party(address), rates.per_address, 1)
    }

    /// Counts the use of a token that resets a password, before it is looked up. An address may use as many as it may fail logins.
    ///
    /// # Errors
    /// [`RetryAfter`] if the address has had too many; this one is not counted then.
    pub fn reset(&self, rates: LoginRates, address: IpAddr) -> Result<Taken<'_>, RetryAfter> {
        self.resets.take(party(address), rates.per_address, 1)
    }

    /// Counts a password with which a user who is logged in confirms an action, before it is verified. A session may have as many wrong ones
    /// as an account failed logins. It stays counted unless [`Taken::release`] is called.
    ///
    /// # Errors
    /// [`RetryAfter`] if the session has had too many; this one is not counted then.
    pub fn confirmation(&self, rates: LoginRates, session: &str) -> Result<Taken<'_>, RetryAfter> {
        self.confirmations.take(session, rates.per_account, 1)
    }

    fn now(&self) -> u64 {
        self.clock.moment().as_nanos()
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A login attempt; it counts as failed when dropped.
#[derive(Debug)]
#[must_use = "an attempt that is dropped counts as failed"]
pub struct Attempt<'a> {
    limits: &'a LoginLimits,
    rates: LoginRates,
    address: u64,
    pair: u64,
    shared: Shared,
}

/// The count that an attempt used in addition to the count of its own party.
#[derive(Debug)]
enum Shared {
    /// No other count, because the address is known.
    Nothing,
    /// The count shared by all unknown addresses.
    Account(u64),
    /// The party's reserve, because the shared count is exhausted.
    Reserve,
}

impl Attempt<'_> {
    /// Undoes the count, because the password was right, and marks this address as known. Returns the entry to write to the store, if the
    /// store needs it.
    pub fn succeeded(self) -> Option<KnownAddress> {
        let (limits, pair) = (self.limits, self.pair);
        self.release();
        let now = limits.now();
        let mut counts = limits.counts();
        if counts.known.get(pair) > now.saturating_add(nanos(KNOWN_ANEW)) {
            return None;
        }
        counts.known.set(pair, now.saturating_add(nanos(KNOWN_FOR)), now);
        Some(KnownAddress { pair, until: limits.clock.now().plus(KNOWN_FOR) })
    }

    /// Undoes the count, because the password was not verified.
    pub fn release(self) {
        self.release_to(&mut self.limits.counts());
    }

    fn release_to(&self, counts: &mut Counts) {
        let Self { rates, address, pair, ref shared, .. } = *self;
        release(&mut counts.addresses, address, rates.per_address);
        release(&mut counts.accounts, pair, rates.per_account);
        match *shared {
            Shared::Nothing => {}
            Shared::Account(account) => release(&mut counts.accounts, account, rates.per_account),
            Shared::Reserve => release(&mut counts.reserves, pair, rates.reserve()),
        }
    }
}

/// Hashes a name and a party. The hash is the same in every process, since it is kept in the store. A collision is harmless: it only
/// gives an address a count of its own.
fn pair(account: &Username, party: IpAddr) -> u64 {
    let mut context = Context::new(&SHA256);
    context.update(b"adieu known address\0");
    context.update(account.as_str().as_bytes());
    context.update(b"\0");
    context.update(party.to_string().as_bytes());
    let digest = context.finish();
    digest.as_ref().iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// The quota of each client for one kind of action.
#[derive(Debug)]
pub struct ClientQuotas(Quotas);

impl ClientQuotas {
    /// Creates quotas of which nothing is used.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self(Quotas::new(clock))
    }

    /// Counts `number` actions of a client against its `quota`.
    ///
    /// # Errors
    /// [`RetryAfter`] if the quota would be exceeded; nothing is counted then.
    pub fn take(&self, client: &ClientName, quota: Rate, number: usize) -> Result<Taken<'_>, RetryAfter> {
        self.0.take(client, quota, u32::try_from(number).unwrap_or(u32::MAX))
    }
}

/// The quota of events, for each address that sends them and for each issuer that signed them.
#[derive(Debug)]
pub struct EventQuotas(Quotas);

impl EventQuotas {
    /// Creates quotas without any events counted.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self(Quotas::new(clock))
    }

    /// Counts a message from this address, before it is read.
    ///
    /// # Errors
    /// [`RetryAfter`] if the quota would be exceeded; nothing is counted then.
    pub fn sent_from(&self, address: IpAddr, quota: Rate) -> Result<(), RetryAfter> {
        self.0.take(party(address), quota, 1).map(drop)
    }

    /// Counts an authentic message of this issuer.
    ///
    /// # Errors
    /// As [`EventQuotas::sent_from`].
    pub fn signed_by(&self, issuer: &Issuer, quota: Rate) -> Result<(), RetryAfter> {
        self.0.take(issuer, quota, 1).map(drop)
    }
}

/// Counts actions by a key.
#[derive(Debug)]
struct Quotas {
    clock: Arc<dyn Clock>,
    hasher: RandomState,
    used: Mutex<Expiring>,
}

impl Quotas {
    fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, hasher: RandomState::new(), used: Mutex::new(Expiring::new(MAX_ENTRIES)) }
    }

    fn take(&self, key: impl Hash, rate: Rate, number: u32) -> Result<Taken<'_>, RetryAfter> {
        let key = self.hasher.hash_one(key);
        take(&mut self.used(), key, rate, number, self.clock.moment().as_nanos())?;
        Ok(Taken { quotas: self, key, rate, number })
    }

    fn used(&self) -> MutexGuard<'_, Expiring> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Actions that were counted. They stay counted when this is dropped: what a request began to write before it was ended may still be
/// written.
#[derive(Debug)]
#[must_use = "actions stay counted when this is dropped"]
pub struct Taken<'a> {
    quotas: &'a Quotas,
    key: u64,
    rate: Rate,
    number: u32,
}

impl Taken<'_> {
    /// Undoes the count.
    pub fn release(self) {
        self.quotas.used().lower(self.key, interval(self.rate).saturating_mul(u64::from(self.number)));
    }

    /// Undoes the count if the server could not act, because its store failed or it was too busy. Returns `outcome`.
    ///
    /// # Errors
    /// Those of `outcome`.
    pub fn unless_failed<T>(self, outcome: Result<T, ApiError>) -> Result<T, ApiError> {
        let failed = |status: StatusCode| status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
        if outcome.as_ref().is_err_and(|error| failed(error.status())) {
            self.release();
        }
        outcome
    }
}

/// The generic cell rate algorithm (ITU-T I.371): a key stores only the time at which all its attempts are available again.
fn take(table: &mut Expiring, key: u64, rate: Rate, count: u32, now: u64) -> Result<(), RetryAfter> {
    let all_back = table.get(key).max(now).saturating_add(interval(rate).saturating_mul(u64::from(count)));
    let allowed_at = all_back.saturating_sub(interval(rate).saturating_mul(u64::from(rate.burst)));
    if allowed_at > now {
        return Err(RetryAfter(Duration::from_nanos(allowed_at - now)));
    }
    table.set(key, all_back, now);
    Ok(())
}

fn release(table: &mut Expiring, key: u64, rate: Rate) {
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
        rates: LoginRates,
    }

    impl Fixture {
        /// 3 per account and 10 per address, in a minute.
        fn new() -> Self {
            let clock = ManualClock::at(Timestamp::from_unix(1_700_000_000));
            let [per_account, per_address] = [3, 10].map(|burst| Rate { burst, per: Duration::from_secs(60) });
            let rates = LoginRates { per_account, per_address };
            Self { limits: LoginLimits::new(Arc::new(clock.clone())), clock, rates }
        }

        fn attempt(&self, account: &str, address: &str) -> Result<Attempt<'_>, RetryAfter> {
            self.limits.attempt(self.rates, &Username::new(account).unwrap(), address.parse().unwrap())
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
        for _ in 0..RESERVE {
            assert_eq!(fixture.fail("jose", "192.0.2.4"), Ok(()), "who has not failed yet has a few of its own");
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
    fn strangers_never_use_up_the_only_allowance() {
        let fixture = Fixture::new();
        // One address asks many times, and many addresses ask once.
        let mut guesses = 0;
        for second in 0..600 {
            guesses += usize::from(fixture.fail("jose", "203.0.113.6").is_ok());
            let _counted = fixture.fail("jose", &format!("198.51.{}.{}", second / 200, second % 200));
            let attempt = fixture.attempt("jose", "192.0.2.77");
            assert!(attempt.is_ok(), "refused after {second} s");
            attempt.unwrap().release();
            fixture.clock.advance(Duration::from_secs(1));
        }
        assert!(guesses <= 3 + 600 / 20, "the guesser gets no more than an account may fail: {guesses}");
    }

    #[test]
    fn where_a_user_has_logged_in_is_known_after_a_restart() {
        let before = Fixture::new();
        let known = before.attempt("jose", "2001:db8::1").unwrap().succeeded().unwrap();
        assert_eq!(before.attempt("jose", "2001:db8::1").unwrap().succeeded(), None, "it is kept already");

        let fixture = Fixture::new();
        fixture.limits.remember([known]);
        for address in ["203.0.113.6", "203.0.113.7"] {
            while fixture.fail("jose", address).is_ok() {}
        }
        for _ in 0..3 {
            assert_eq!(fixture.fail("jose", "2001:db8::2"), Ok(()), "the same network, with all of its own attempts");
        }
        assert!(fixture.fail("jose", "2001:db8::2").is_err());
        fixture.clock.advance(KNOWN_FOR);
        assert!(fixture.attempt("jose", "2001:db8::1").unwrap().succeeded().is_some(), "by then it has lapsed");
    }

    #[test]
    fn a_client_revokes_within_its_quota() {
        let clock = ManualClock::at(Timestamp::from_unix(1_700_000_000));
        let quotas = ClientQuotas::new(Arc::new(clock.clone()));
        let quota = Rate { burst: 600, per: Duration::from_secs(600) };
        let take = |client: &str, count| quotas.take(&ClientName::new(client).unwrap(), quota, count).map(drop);
        assert_eq!(take("shop", 500), Ok(()));
        assert_eq!(take("shop", 110), Err(RetryAfter(Duration::from_secs(10))));
        assert_eq!(take("shop", 100), Ok(()), "what was refused is not counted");
        assert_eq!(take("cart", 600), Ok(()), "each has its own");
        assert!(take("shop", 1).is_err());
        clock.advance(Duration::from_secs(1));
        assert_eq!(take("shop", 1), Ok(()));
        assert!(take("other", 601).is_err(), "more than there is at any time");
    }

    #[test]
    fn what_the_server_could_not_do_is_not_counted() {
        let clock = ManualClock::at(Timestamp::from_unix(1_700_000_000));
        let quotas = ClientQuotas::new(Arc::new(clock));
        let quota = Rate { burst: 3, per: Duration::from_secs(60) };
        let client = ClientName::new("shop").unwrap();
        let act =
            |outcome: Result<(), ApiError>| quotas.take(&client, quota, 3).map(|taken| taken.unless_failed(outcome));
        let unavailable = || ApiError::Unavailable("the disk is full".into());
        for error in
            [unavailable(), ApiError::internal("a bug"), ApiError::TooManyAttempts { retry_after: Duration::ZERO }]
        {
            assert!(act(Err(error)).is_ok_and(|outcome| outcome.is_err()), "the outcome is passed on");
        }
        assert!(act(Err(ApiError::NotFound)).is_ok_and(|outcome| outcome.is_err()));
        assert!(act(Err(unavailable())).is_err(), "what the client did wrong is counted");
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
            let _kept = fixture.attempt("jose", HOME).unwrap().succeeded();
        }
        for _ in 0..100 {
            fixture.attempt("jose", HOME).unwrap().release();
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
        let _kept = fixture.attempt("jose", HOME).unwrap().succeeded();
        for _ in 0..3 {
            fixture.fail("jose", "203.0.113.6").unwrap();
        }
        assert!(fixture.fail("jose", "203.0.113.6").is_err());
        let _kept = fixture.attempt("jose", HOME).unwrap().succeeded();

        for _ in 0..3 {
            assert_eq!(fixture.fail("jose", HOME), Ok(()), "home has as many");
        }
        assert!(fixture.fail("jose", HOME).is_err(), "and no more");
    }
}
