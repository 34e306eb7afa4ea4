//! Shares of a scarce resource by party: connections, or places in a queue.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::address::party;

/// Counts how many units each [`party`] holds. Its size is the number of parties that hold at least one.
#[derive(Debug)]
pub(crate) struct Shares {
    most: usize,
    counts: Mutex<HashMap<IpAddr, usize>>,
}

/// One unit, counted until this value is dropped.
#[derive(Debug)]
pub(crate) struct Share(Arc<Shares>, IpAddr);

impl Shares {
    /// Allows each party a quarter of `all`, and at least one.
    pub(crate) fn of(all: usize) -> Arc<Self> {
        Arc::new(Self { most: all.div_ceil(4).max(1), counts: Mutex::default() })
    }

    /// Returns the maximum for each party.
    pub(crate) fn most(&self) -> usize {
        self.most
    }

    /// Returns how many units all parties hold.
    pub(crate) fn held(&self) -> usize {
        self.counts().values().sum()
    }

    /// Counts one more unit for this address, unless its party has reached the maximum.
    pub(crate) fn take(self: &Arc<Self>, address: IpAddr) -> Option<Share> {
        let party = party(address);
        let mut counts = self.counts();
        let count = counts.entry(party).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        Some(Share(Arc::clone(self), party))
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Share {
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
        let take = |address: &str| shares.take(address.parse().unwrap());
        let (one, two) = (take("2001:db8::1").unwrap(), take("2001:db8::2").unwrap());
        assert!(take("2001:db8::3").is_none(), "one party");
        let other = take("192.0.2.7").unwrap();
        drop(one);
        let again = take("2001:db8::3").unwrap();
        drop((two, again, other));
        assert!(shares.counts().is_empty());
    }
}
