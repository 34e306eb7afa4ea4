//! Shares of a scarce resource by party: connections, places in a queue, or requests that wait.

use std::{
    collections::HashMap,
    hash::Hash,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::address::party;

/// Counts how many units each party holds. Its size is the number of parties that hold at least one.
#[derive(Debug)]
pub(crate) struct Shares<P: Eq + Hash = IpAddr> {
    most: usize,
    counts: Mutex<HashMap<P, usize>>,
}

/// Returns a quarter of `all`, and at least one.
pub(crate) fn quarter(all: usize) -> usize {
    all.div_ceil(4).max(1)
}

/// One unit, counted until this value is dropped.
#[derive(Debug)]
pub(crate) struct Share<P: Eq + Hash = IpAddr>(Arc<Shares<P>>, P);

impl Shares {
    /// Allows the [`party`] of each address a quarter of `all`, and at least one.
    pub(crate) fn of(all: usize) -> Arc<Self> {
        Self::at_most(quarter(all))
    }

    /// Counts one more unit for this address, unless its party has reached the maximum.
    pub(crate) fn take_for(self: &Arc<Self>, address: IpAddr) -> Option<Share> {
        self.take(party(address))
    }
}

impl<P: Eq + Hash + Clone> Shares<P> {
    /// Allows each party this many.
    pub(crate) fn at_most(most: usize) -> Arc<Self> {
        Arc::new(Self { most, counts: Mutex::default() })
    }

    /// Counts one more unit for this party, unless it has reached the maximum.
    pub(crate) fn take(self: &Arc<Self>, party: P) -> Option<Share<P>> {
        self.take_within(self.most, party)
    }

    /// Like [`Shares::take`], with another maximum.
    pub(crate) fn take_within(self: &Arc<Self>, most: usize, party: P) -> Option<Share<P>> {
        let mut counts = self.counts();
        let count = counts.entry(party.clone()).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Share(Arc::clone(self), party))
    }
}

impl<P: Eq + Hash> Shares<P> {
    /// Returns how many units all parties hold.
    pub(crate) fn held(&self) -> usize {
        self.counts().values().sum()
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<P, usize>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<P: Eq + Hash> Drop for Share<P> {
    fn drop(&mut self) {
        let Self(shares, party) = self;
        let mut counts = shares.counts();
        if let Some(count) = counts.get_mut(party) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                counts.remove(party);
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_given_back_and_leaves_nothing_behind() {
        let shares = Shares::of(8);
        let take = |address: &str| shares.take_for(address.parse().unwrap());
        let (one, two) = (take("2001:db8::1").unwrap(), take("2001:db8::2").unwrap());
        assert!(take("2001:db8::3").is_none(), "one party");
        let other = take("192.0.2.7").unwrap();
        drop(one);
        let again = take("2001:db8::3").unwrap();
        drop((two, again, other));
        assert!(shares.counts().is_empty());
    }
}
