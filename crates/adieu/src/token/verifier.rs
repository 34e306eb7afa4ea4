//! Token in, claims or a reason out.
//!
//! 1. The signature and the claims, strictly ([`Decoder`]), with the keys and by the rules of the issuer that it names.
//!    That a signature was good may be [remembered](Decoder::with_cache).
//! 2. Whether it has been revoked ([`Index`]). Every path asks this, also refresh, and nothing remembers the answer.
//! 3. Whether this node can know that it has not: an index that is staler than allowed refuses, unless it was told to
//!    accept.
//!
//! Revoked comes before not-fresh: a revoked token is never told to authenticate again. A key that is not known is no
//! reason to refuse while it can't be known which keys there are.

use std::{sync::Arc, time::Duration};

use crate::{
    Error, Issuer, SessionId,
    revocation::{Freshness, Index, Revocation, RevokedBy, TokenFacts},
    time::{Clock, Moment, Timestamp},
    token::{
        Claims, Decoder, Expiry, StaleDecisions, StalePolicy, TokenError, TokenType, issuers::Issuers,
        staleness::Staleness,
    },
};

/// Says whether a token is good, without asking anyone.
#[derive(Debug)]
pub struct Verifier {
    issuers: Issuers,
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
        stale_policy: StalePolicy,
    ) -> Self {
        let issuers = Issuers::new(decoder.into());
        Self { issuers, index, freshness, clock, staleness: Staleness::new(max_staleness, stale_policy) }
    }

    /// Accepts the access tokens of another issuer as well; see [`Claims::issuer`] for whose a token is.
    ///
    /// A token is held against the keys and the rules of the issuer that it names, and no others. Whoever calls this
    /// must not take the [`Claims::subject`] of one issuer for that of another.
    ///
    /// # Errors
    /// [`Error::InvalidSetting`] when the issuer is there already, or more than four may leave out their name.
    pub fn with_issuer(mut self, decoder: impl Into<Arc<Decoder>>) -> Result<Self, Error> {
        self.issuers.add(decoder.into())?;
        Ok(self)
    }

    /// What decodes our own tokens, so that its keys can be replaced.
    #[must_use]
    pub fn decoder(&self) -> &Arc<Decoder> {
        self.issuers.own()
    }

    /// What decodes the tokens of an issuer, if they are accepted.
    #[must_use]
    pub fn decoder_for(&self, issuer: &Issuer) -> Option<&Arc<Decoder>> {
        self.issuers.all().find(|decoder| decoder.rules().issuer() == issuer)
    }

    /// Verifies an access token. What it says is shared with whatever remembers it.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn verify(&self, token: &str) -> Result<Arc<Claims>, TokenError> {
        let complete_at = self.freshness.last_complete();
        let decoded = self.issuers.decode_shared(token, self.clock.now());
        self.judge(self.unless_stale(decoded, complete_at)?, TokenType::Access, complete_at)
    }

    /// Verifies an access token that must come from a recent login with credentials.
    ///
    /// # Errors
    /// As [`Verifier::verify`], and [`TokenError::NotFresh`] when that is all that is wrong with it.
    pub fn verify_fresh(&self, token: &str) -> Result<Arc<Claims>, TokenError> {
        let claims = self.verify(token)?;
        claims.require_fresh(self.clock.now())?;
        Ok(claims)
    }

    /// Verifies a refresh token as far as that can be done without its session.
    pub(crate) fn verify_refresh(&self, token: &str) -> Result<Arc<Claims>, TokenError> {
        // Another issuer's is for that issuer to exchange.
        let complete_at = self.freshness.last_complete();
        let decoded = self.issuers.own().decode(token, self.clock.now());
        self.judge(self.unless_stale(decoded, complete_at)?.into(), TokenType::Refresh, complete_at)
    }

    /// Verifies a token of either type, decoding it once; a refresh token as far as that can be done without its session.
    pub(crate) fn verify_any(&self, token: &str) -> Result<Arc<Claims>, TokenError> {
        let complete_at = self.freshness.last_complete();
        let decoded = self.issuers.decode_shared(token, self.clock.now());
        let claims = self.unless_stale(decoded, complete_at)?;
        // A refresh token of another issuer is for that issuer to exchange.
        let is_own = claims.issuer == *self.issuers.own().rules().issuer();
        let expected = if is_own { claims.token_type } else { TokenType::Access };
        self.judge(claims, expected, complete_at)
    }

    /// Verifies a token of either type at any time of its life: whoever can show one may end its session. A stale index
    /// does not matter, since the store decides.
    pub(crate) fn verify_to_log_out(&self, token: &str) -> Result<(Claims, Expiry), TokenError> {
        let (claims, expiry) = self.issuers.decode_ignoring_expiry(token, self.clock.now())?;
        match self.refuse_revoked(&facts(&claims)) {
            // Nothing is known of it any more, but for what the store says of its session.
            Err(TokenError::Expired) => Ok((claims, Expiry::Expired)),
            Ok(()) => Ok((claims, expiry)),
            Err(refusal) => Err(refusal),
        }
    }

    /// What an authentic token of either type says, and whether it is in time. Whether it has been revoked is not asked:
    /// this is for reading a token, not for letting anyone in.
    ///
    /// # Errors
    /// As [`Decoder::decode_ignoring_expiry`].
    pub fn read_claims(&self, token: &str) -> Result<(Claims, Expiry), TokenError> {
        self.issuers.decode_ignoring_expiry(token, self.clock.now())
    }

    /// What time it is to this verifier.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
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
    pub fn stale_policy(&self) -> StalePolicy {
        self.staleness.policy
    }

    /// How many tokens were judged while it was, since this verifier was made. When that begins and when it ends is logged, once
    /// each.
    #[must_use]
    pub fn stale_decisions(&self) -> StaleDecisions {
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

    /// A token whose key is not known may be good: a key that others know is no news to whoever is fresh.
    fn unless_stale<T>(&self, decoded: Result<T, TokenError>, complete_at: Option<Moment>) -> Result<T, TokenError> {
        decoded.map_err(|refusal| {
            if refusal != TokenError::UnknownKey || self.is_recent(complete_at) {
                return refusal;
            }
            self.staleness.refused();
            TokenError::Stale
        })
    }

    /// Judges an authentic token. Asked of every one, remembered or not.
    ///
    /// `complete_at` is when the index and the keys were complete, asked before either of them; what time it is is
    /// asked after both. So a pause in between counts, and what was learned in it does not.
    fn judge(
        &self,
        claims: Arc<Claims>,
        expected: TokenType,
        complete_at: Option<Moment>,
    ) -> Result<Arc<Claims>, TokenError> {
        self.refuse_revoked(&facts(&claims))?;
        // An index that was never complete is no stale one: nothing is known at all.
        let is_recent = self.is_recent(complete_at);
        if is_recent {
            self.staleness.fresh();
        } else if self.staleness.policy == StalePolicy::Refuse || complete_at.is_none() {
            self.staleness.refused();
            return Err(TokenError::Stale);
        }
        claims.require_type(expected)?;
        if !is_recent {
            self.staleness.accepted();
        }
        Ok(claims)
    }

    /// The narrowest revocation that this index has of a token, whatever else the token is like.
    pub(crate) fn revoked_by(&self, claims: &Claims) -> Option<RevokedBy> {
        self.index.check(&facts(claims))
    }

    fn refuse_revoked(&self, facts: &TokenFacts<'_>) -> Result<(), TokenError> {
        if let Some(by) = self.index.check(facts) {
            return Err(TokenError::Revoked(by));
        }
        // A token whose revocation may have been forgotten has expired, also when the clock has gone back. Asked after
        // the check: what was forgotten between the two is seen here.
        if Revocation::lapse_for(facts.expires_at) <= self.index.pruned_through() {
            return Err(TokenError::Expired);
        }
        Ok(())
    }
}

fn facts(claims: &Claims) -> TokenFacts<'_> {
    TokenFacts {
        issuer: claims.issuer.as_str(),
        token_id: claims.token_id.as_str(),
        session: claims.session.as_ref().map(SessionId::as_str),
        subject: claims.subject.as_str(),
        issued_at: claims.issued_at,
        expires_at: claims.expires_at,
    }
}
