//! Moments by key, of which those in the past mean nothing.

use std::collections::HashMap;

/// Below this many entries it isn't worth looking for lapsed ones.
const FEW: usize = 1024;

/// A table of moments (nanoseconds) with a bound.
///
/// When it is full, the half that lapses first is dropped: in a flood of new keys these are the ones with the fewest
/// failures, so that what the flood was to hide stays.
#[derive(Debug)]
pub(super) struct Expiring {
    moments: HashMap<u64, u64>,
    most: usize,
    sweep_at: usize,
}

impl Expiring {
    pub(super) fn new(most: usize) -> Self {
        Self { moments: HashMap::new(), most, sweep_at: FEW.min(most) }
    }

    /// The moment of a key; zero when there is none.
    pub(super) fn get(&self, key: u64) -> u64 {
        self.moments.get(&key).copied().unwrap_or(0)
    }

    pub(super) fn set(&mut self, key: u64, moment: u64, now: u64) {
        if self.moments.len() >= self.sweep_at && !self.moments.contains_key(&key) {
            self.sweep(now);
        }
        self.moments.insert(key, moment);
    }

    /// Brings a moment forward by so many nanoseconds.
    pub(super) fn lower(&mut self, key: u64, nanos: u64) {
        if let Some(moment) = self.moments.get_mut(&key) {
            *moment = moment.saturating_sub(nanos);
        }
    }

    /// Costs as many steps as there are entries, and happens once in half as many insertions.
    fn sweep(&mut self, now: u64) {
        self.moments.retain(|_, moment| *moment > now);
        if self.moments.len() >= self.most {
            let mut moments: Vec<u64> = self.moments.values().copied().collect();
            let middle = moments.len() / 2;
            let (_, &mut median, _) = moments.select_nth_unstable(middle);
            // At most half is later than the median; of those at the median itself, which may be nearly all, some go.
            let later = self.moments.values().filter(|moment| **moment > median).count();
            let mut spare = (self.most / 2).saturating_sub(later);
            self.moments.retain(|_, moment| {
                let keep = *moment > median || (*moment == median && spare > 0);
                spare -= usize::from(keep && *moment == median);
                keep
            });
        }
        self.moments.shrink_to(self.moments.len() * 2);
        self.sweep_at = (self.moments.len() * 2).clamp(FEW.min(self.most), self.most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lapsed_entries_are_forgotten() {
        let mut table = Expiring::new(100_000);
        for key in 0..1_000_000 {
            table.set(key, key + 10, key);
            assert!(table.moments.len() <= FEW);
        }
        assert_eq!(table.get(999_999), 1_000_009);
        assert_eq!(table.get(1), 0);
    }

    #[test]
    fn a_flood_stays_within_the_bound_and_does_not_push_out_the_worst() {
        let mut table = Expiring::new(5000);
        table.set(u64::MAX, 1000, 0);
        for key in 0..100_000 {
            table.set(key, 100, 0);
            assert!(table.moments.len() <= 5000);
        }
        assert!(table.moments.len() >= 2500);
        assert_eq!(table.get(u64::MAX), 1000, "the worst is there");
        assert_eq!(table.get(99_999), 100, "what came last is there");
    }
}
