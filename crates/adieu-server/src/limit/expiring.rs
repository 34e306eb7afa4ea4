//! A bounded table of times by key, in which past times have no effect.

use std::collections::HashMap;

/// Below this number of entries, expired ones are not searched for.
const FEW: usize = 1024;

/// A bounded table of times (in nanoseconds).
///
/// When the table is full, the half that expires first is dropped. In a flood of new keys, these are the keys with the fewest failures,
/// so the entries that the flood was meant to displace stay.
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

    /// Returns the time of a key, or zero if it has no entry.
    pub(super) fn get(&self, key: u64) -> u64 {
        self.moments.get(&key).copied().unwrap_or(0)
    }

    pub(super) fn set(&mut self, key: u64, moment: u64, now: u64) {
        if self.moments.len() >= self.sweep_at && !self.moments.contains_key(&key) {
            self.sweep(now);
        }
        self.moments.insert(key, moment);
    }

    /// Moves the time of a key `nanos` nanoseconds earlier.
    pub(super) fn lower(&mut self, key: u64, nanos: u64) {
        if let Some(moment) = self.moments.get_mut(&key) {
            *moment = moment.saturating_sub(nanos);
        }
    }

    /// Removes expired entries. Costs one step per entry, and runs once in half as many insertions.
    fn sweep(&mut self, now: u64) {
        self.moments.retain(|_, moment| *moment > now);
        if self.moments.len() >= self.most {
            let mut moments: Vec<u64> = self.moments.values().copied().collect();
            let middle = moments.len() / 2;
            let (_, &mut median, _) = moments.select_nth_unstable(middle);
            // At most half is later than the median; of the entries at the median, which may be nearly all, some are removed.
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
