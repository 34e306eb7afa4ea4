//! What a verifier does when its index is too stale, and what that came to.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use crate::retry::Outage;

/// What a verifier does when its index is staler than `max_staleness`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StalePolicy {
    /// Refuse every token with [`TokenError::Stale`](super::TokenError::Stale): no token is accepted later than the bound after its
    /// logout.
    #[default]
    Refuse,
    /// Accept what the stale index does not know: available, but the bound no longer holds.
    Accept,
}

/// How many tokens a verifier has judged by an index that was too stale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct StaleDecisions {
    /// Refused for that reason alone.
    pub refused: u64,
    /// Accepted all the same.
    pub accepted: u64,
}

/// A policy and what came of it.
#[derive(Debug)]
pub(super) struct Staleness {
    pub(super) longest: Duration,
    pub(super) policy: StalePolicy,
    outage: Outage,
    refused: AtomicU64,
    accepted: AtomicU64,
}

impl Staleness {
    pub(super) fn new(longest: Duration, policy: StalePolicy) -> Self {
        Self { longest, policy, outage: Outage::default(), refused: AtomicU64::new(0), accepted: AtomicU64::new(0) }
    }

    pub(super) fn judged(&self) -> StaleDecisions {
        StaleDecisions { refused: self.refused.load(Relaxed), accepted: self.accepted.load(Relaxed) }
    }

    /// A token is being judged by a fresh index.
    pub(super) fn fresh(&self) {
        if self.outage.ends() {
            tracing::info!("the revocations known here are up to date again");
        }
    }

    /// A token was refused because the index is stale.
    pub(super) fn refused(&self) {
        self.refused.fetch_add(1, Relaxed);
        self.tell("tokens are refused");
    }

    /// A token was accepted although the index is stale.
    pub(super) fn accepted(&self) {
        self.accepted.fetch_add(1, Relaxed);
        self.tell("tokens are accepted that may have been revoked");
    }

    /// Once a change, not once a token.
    fn tell(&self, consequence: &str) {
        if self.outage.begins() {
            tracing::warn!(max_staleness = ?self.longest, consequence, "the revocations known here are not up to date");
        }
    }
}
