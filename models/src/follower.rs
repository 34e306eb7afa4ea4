//! What the models of `?wait=everywhere` share: what a follower has applied, and the lease that its server keeps.

/// The greatest staleness of the node and of its followers.
pub(crate) const MAX_STALENESS: i8 = 1;

/// What a process has applied, and as of when that is complete.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) struct Applied {
    /// The position: the revocation is at 1.
    pub(crate) to: i8,
    /// `None` before the first page.
    pub(crate) as_of: Option<i8>,
}

impl Applied {
    /// Applies a page.
    pub(crate) fn apply(&mut self, to: i8, as_of: i8) {
        self.to = self.to.max(to);
        self.as_of = self.as_of.max(Some(as_of));
    }

    /// Returns whether the process accepts the revoked token.
    pub(crate) fn accepts(self, now: i8, max_staleness: i8) -> bool {
        self.to < 1 && self.as_of.is_some_and(|as_of| now - as_of <= max_staleness)
    }
}

/// `feed::Lease`: when the last request of a follower arrived, and the position that it had applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Lease {
    pub(crate) arrived: i8,
    pub(crate) settled: i8,
}

impl Lease {
    /// Returns whether the follower may accept tokens that were revoked after its last request.
    pub(crate) fn is_live(self, now: i8) -> bool {
        self.arrived + MAX_STALENESS > now
    }

    /// Returns whether the follower rejects the token that was revoked at `revoked_at`, as far as the server knows.
    pub(crate) fn is_done(self, revoked_at: i8, now: i8) -> bool {
        self.settled >= 1 || now >= self.arrived.min(revoked_at) + MAX_STALENESS
    }
}
