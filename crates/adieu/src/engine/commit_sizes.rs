//! How many operations share a commit.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// Counts the commits of an engine by the number of operations in each. Clones share the counts.
#[derive(Debug, Clone, Default)]
pub struct CommitSizes(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    commits: [AtomicU64; CommitSizes::BOUNDS.len()],
    operations: AtomicU64,
}

impl CommitSizes {
    /// The upper bounds of [`CommitSizes::commits`], in operations. No engine commits more at once than the last.
    pub const BOUNDS: [usize; 11] = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024];

    /// Counts a commit of this many operations.
    pub fn record(&self, operations: usize) {
        let place = Self::BOUNDS.partition_point(|bound| *bound < operations).min(Self::BOUNDS.len() - 1);
        if let Some(commits) = self.0.commits.get(place) {
            commits.fetch_add(1, Ordering::Relaxed);
        }
        self.0.operations.fetch_add(u64::try_from(operations).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Returns the number of commits for each of the [`BOUNDS`](Self::BOUNDS): those that were not larger than it, and
    /// larger than the bound before it.
    #[must_use]
    pub fn commits(&self) -> [u64; Self::BOUNDS.len()] {
        self.0.commits.each_ref().map(|commits| commits.load(Ordering::Relaxed))
    }

    /// Returns the number of operations in all commits.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.0.operations.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_is_counted_at_the_first_bound_that_is_not_smaller() {
        let sizes = CommitSizes::default();
        for operations in [1, 2, 3, 4, 5, 1_023, 1_024, 9_999] {
            sizes.record(operations);
        }
        assert_eq!(sizes.commits(), [1, 1, 2, 1, 0, 0, 0, 0, 0, 0, 3]);
        assert_eq!(sizes.operations(), 1 + 2 + 3 + 4 + 5 + 1_023 + 1_024 + 9_999);
    }
}
