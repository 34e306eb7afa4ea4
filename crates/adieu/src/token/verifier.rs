//! Token in, claims or a reason out.
//!
//! 1. The signature and the claims, strictly ([`Decoder`]).
//! 2. Whether it has been revoked ([`Index`]). Every path asks this, also refresh, and nothing remembers the answer.
//! 3. Whether this node can know that it has not: an index that is staler than allowed refuses, unless it was told to
//!    accept.
//!
//! Revoked comes before not-fresh: a revoked token is never told to authenticate again.

use std::{sync::Arc, time::Duration};

use crate::{
    revocation::{Freshness, Index, Revocation, TokenFacts},
    time::{Clock, Moment},
    token::{
        Claims, Decoder, JudgedWhileStale, ParsedClaims, Refusal, Scratch, TokenType, WhenStale, staleness::Staleness,
    },
};

/// Says whether a token is good, without asking anyone.
#[derive(Debug)]
pub struct Verifier {
    decoder: Arc<Decoder>,
    index: Arc<Index>,
    freshness: Freshness,
    clock: Arc<dyn Clock>,
    staleness: Staleness,
}

impl Verifier {
    /// A verifier of the tokens that `decoder` accepts, which refuses what `index` knows to be revoked, as long as
    /// `freshness` says that it knows enough.
    #[must_use]
    pub fn new(
        decoder: impl Into<Arc<Decoder>>,
        index: Arc<Index>,
        freshness: Freshness,
        clock: Arc<dyn Clock>,
        max_staleness: Duration,
        when_stale: WhenStale,
    ) -> Self {
        Self { decoder: decoder.into(), index, freshness, clock, staleness: Staleness::new(max_staleness, when_stale) }
    }

    /// Verifies an access token.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn verify(&self, token: &str) -> Result<Claims, Refusal> {
        self.verify_type(token, TokenType::Access)
    }

    /// Verifies an access token that must come from a recent login with credentials.
    ///
    /// # Errors
    /// As [`Verifier::verify`], and [`Refusal::NotFresh`] when that is all that is wrong with it.
    pub fn verify_fresh(&self, token: &str) -> Result<Claims, Refusal> {
        let claims = self.verify(token)?;
        claims.require_fresh(self.clock.now())?;
        Ok(claims)
    }

    /// Verifies a refresh token as far as that can be done without its session.
    pub(crate) fn verify_refresh(&self, token: &str) -> Result<Claims, Refusal> {
        self.verify_type(token, TokenType::Refresh)
    }

    /// Verifies a token of either type that may have expired: whoever can show one may end its session. A stale index
    /// does not matter, since the store decides.
    pub(crate) fn verify_to_log_out(&self, token: &str) -> Result<Claims, Refusal> {
        let mut scratch = Scratch::default();
        let (claims, _) = self.decoder.decode_even_expired_in(token, self.clock.now(), &mut scratch)?;
        match self.refuse_revoked(&claims) {
            // Nothing is known of it any more, but for what the store says of its session.
            Err(Refusal::Expired) | Ok(()) => claims.to_claims(),
            Err(refusal) => Err(refusal),
        }
    }

    /// Verifies no more than that the token is an authentic one.
    pub(crate) fn verify_to_revoke(&self, token: &str) -> Result<Claims, Refusal> {
        self.decoder.decode_even_expired(token, self.clock.now()).map(|(claims, _)| claims)
    }

    /// What this verifier asks.
    #[must_use]
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// How long ago the index was certainly complete; `None` when it never was.
    #[must_use]
    pub fn staleness(&self) -> Option<Duration> {
        self.freshness.age(self.clock.moment())
    }

    /// How stale the index may be.
    #[must_use]
    pub fn max_staleness(&self) -> Duration {
        self.staleness.longest
    }

    /// What happens when it is staler.
    #[must_use]
    pub fn when_stale(&self) -> WhenStale {
        self.staleness.policy
    }

    /// How many tokens were judged while it was, since this verifier was made. When that begins and when it ends is logged, once
    /// each.
    #[must_use]
    pub fn judged_while_stale(&self) -> JudgedWhileStale {
        self.staleness.judged()
    }

    fn is_recent(&self, complete_at: Option<Moment>) -> bool {
        complete_at.is_some_and(|complete_at| self.clock.moment().since(complete_at) <= self.staleness.longest)
    }

    /// Whether the index is fresh enough to be believed.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        self.is_recent(self.freshness.last_complete())
    }

    fn verify_type(&self, token: &str, expected: TokenType) -> Result<Claims, Refusal> {
        let mut scratch = Scratch::default();
        let claims = self.decoder.decode_in(token, self.clock.now(), &mut scratch)?;
        // When the index was complete is asked before it is, and what time it is after: a pause between the two counts.
        let complete_at = self.freshness.last_complete();
        self.refuse_revoked(&claims)?;
        // An index that was never complete is no stale one: nothing is known at all.
        let is_recent = self.is_recent(complete_at);
        if is_recent {
            self.staleness.fresh();
        } else if self.staleness.policy == WhenStale::Refuse || complete_at.is_none() {
            self.staleness.refused();
            return Err(Refusal::Stale);
        }
        claims.require_type(expected)?;
        if !is_recent {
            self.staleness.accepted();
        }
        // Copied last: a token that is refused costs no allocation for each of its claims.
        claims.to_claims()
    }

    fn refuse_revoked(&self, claims: &ParsedClaims<'_>) -> Result<(), Refusal> {
        let facts = TokenFacts {
            issuer: claims.issuer(),
            token_id: claims.token_id(),
            session: claims.session(),
            subject: claims.subject(),
            issued_at: claims.issued_at(),
            expires_at: claims.expires_at(),
        };
        if let Some(by) = self.index.check(&facts) {
            return Err(Refusal::Revoked(by));
        }
        // A token whose revocation may have been forgotten has expired, also when the clock has gone back. Asked after
        // the check: what was forgotten between the two is seen here.
        if Revocation::lapse_for(claims.expires_at()) <= self.index.pruned_through() {
            return Err(Refusal::Expired);
        }
        Ok(())
    }
}
