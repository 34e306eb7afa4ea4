//! How many connections each party has.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use ipnet::IpNet;

use crate::address::party;

/// Counts connections per party. As large as there are connections.
#[derive(Debug)]
pub(super) struct Shares {
    most: usize,
    exempt: Vec<IpNet>,
    counts: Mutex<HashMap<IpAddr, usize>>,
}

/// A connection that is counted until this is dropped.
#[derive(Debug)]
pub(super) struct Share(Option<(Arc<Shares>, IpAddr)>);

impl Shares {
    /// At most `most` for each party but these networks.
    pub(super) fn new(most: usize, exempt: Vec<IpNet>) -> Arc<Self> {
        Arc::new(Self { most, exempt, counts: Mutex::default() })
    }

    /// Counts one more of this address, unless it has as many as it may.
    pub(super) fn take(self: &Arc<Self>, address: IpAddr) -> Option<Share> {
        let address = address.to_canonical();
        if self.exempt.iter().any(|network| network.contains(&address)) {
            return Some(Share(None));
        }
        let party = party(address);
        let mut counts = self.counts();
        let count = counts.entry(party).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        Some(Share(Some((Arc::clone(self), party))))
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let Some((shares, party)) = self.0.take() else { return };
        let mut counts = shares.counts();
        if let Some(count) = counts.get_mut(&party) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                counts.remove(&party);
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
        let shares = Shares::new(2, vec!["10.0.0.0/8".parse().unwrap()]);
        let take = |address: &str| shares.take(address.parse().unwrap());
        let (one, two) = (take("2001:db8::1").unwrap(), take("2001:db8::2").unwrap());
        assert!(take("2001:db8::3").is_none(), "one party");
        let other = take("192.0.2.7").unwrap();
        let proxies: Vec<_> = (0..9).map(|_| take("::ffff:10.0.0.1").unwrap()).collect();
        drop(one);
        let again = take("2001:db8::3").unwrap();
        drop((two, again, other, proxies));
        assert!(shares.counts().is_empty());
    }
}
