//! The policy of a verifier whose index is too stale, and the counts of its decisions.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use crate::retry::Outage;

/// What a verifier does if its index is staler than `max_staleness`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StalePolicy {
    /// Rejects every token with [`TokenError::Stale`](super::TokenError::Stale). No token is accepted later than
    /// `max_staleness` after its logout.
    #[default]
    Reject,
    /// Accepts every valid token that the stale index does not know to be revoked. The verifier stays available, but
    /// may accept a token later than `max_staleness` after its logout.
    Accept,
}

/// The number of tokens that a verifier rejected or accepted while its index was too stale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct StaleDecisions {
    /// Tokens rejected only because the index was stale.
    pub rejected: u64,
    /// Tokens accepted although the index was stale.
    pub accepted: u64,
}

/// A policy and the counts of its decisions.
#[derive(Debug)]
pub(super) struct Staleness {
    pub(super) longest: Duration,
    pub(super) policy: StalePolicy,
    outage: Outage,
    rejected: AtomicU64,
    accepted: AtomicU64,
}

impl Staleness {
    pub(super) fn new(longest: Duration, policy: StalePolicy) -> Self {
        Self { longest, policy, outage: Outage::default(), rejected: AtomicU64::new(0), accepted: AtomicU64::new(0) }
    }

    pub(super) fn judged(&self) -> StaleDecisions {
        StaleDecisions { rejected: self.rejected.load(Relaxed), accepted: self.accepted.load(Relaxed) }
    }

    /// Records that a token is checked with a fresh index.
    pub(super) fn fresh(&self) {
        if self.outage.ends() {
            tracing::info!("the revocations known here are up to date again");
        }
    }

    /// Records that a token was rejected because the index is stale.
    pub(super) fn rejected(&self) {
        self.rejected.fetch_add(1, Relaxed);
        self.tell("tokens are rejected");
    }

    /// Records that a token was accepted although the index is stale.
    pub(super) fn accepted(&self) {
        self.accepted.fetch_add(1, Relaxed);
        self.tell("tokens are accepted that may have been revoked");
    }

    /// Logs a warning once per outage, not once per token.
    fn tell(&self, consequence: &str) {
        if self.outage.begins() {
            tracing::warn!(max_staleness = ?self.longest, consequence, "the revocations known here are not up to date");
        }
    }
}
