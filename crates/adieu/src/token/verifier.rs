//! Verifies a token: signature and claims, then revocation, then staleness.

use std::{sync::Arc, time::Duration};

use tokio::sync::Semaphore;

use crate::{
    Error, Issuer, SessionId,
    id::KeyId,
    revocation::{Freshness, Index, Revocation, RevokedBy, TokenFacts},
    time::{Clock, Moment, Timestamp},
    token::{
        Claims, Decoder, Expiry, StaleDecisions, StalePolicy, TokenError, TokenType, issuers::Issuers,
        staleness::Staleness,
    },
};

/// How long a logout waits for newer keys of the issuer of its token: longer than a task that follows them waits between two reads.
const KEYS_TIMEOUT: Duration = Duration::from_secs(8);

/// How many logouts wait for newer keys at once.
const MAX_WAITING_FOR_KEYS: usize = 1024;

/// Verifies tokens locally, without a request to another node.
///
/// 1. The [`Decoder`] of the issuer that the token names checks the signature and the claims. A decoder with a
///    [cache](Decoder::with_cache) checks the signature of a token once.
/// 2. The [`Index`] is checked for a revocation of the token. Every method that accepts tokens does this, and the
///    result is never cached.
/// 3. If the index is staler than `max_staleness`, the token is rejected with [`TokenError::Stale`], unless the policy
///    is [`StalePolicy::Accept`].
///
/// A revoked token is rejected as revoked even if the index is stale. If the index is stale and the key of a token is
/// unknown, the error is [`TokenError::Stale`], since the keys may be out of date as well.
#[derive(Debug)]
pub struct Verifier {
    issuers: Issuers,
    index: Arc<Index>,
    freshness: Freshness,
    clock: Arc<dyn Clock>,
    staleness: Staleness,
    waiting_for_keys: Semaphore,
}

impl Verifier {
    /// Creates a verifier for the tokens that `decoder` accepts.
    ///
    /// `index` holds the revocations and `freshness` tells when the index was last complete. If that is longer ago than
    /// `max_staleness`, `stale_policy` decides.
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
        let staleness = Staleness::new(max_staleness, stale_policy);
        let waiting_for_keys = Semaphore::new(MAX_WAITING_FOR_KEYS);
        Self { issuers, index, freshness, clock, staleness, waiting_for_keys }
    }

    /// Accepts the access tokens of another issuer as well. [`Claims::issuer`] is the issuer of a token.
    ///
    /// A token is verified only with the keys and the rules of the issuer that it names. The caller must not confuse
    /// the [`Claims::subject`] of one issuer with that of another.
    ///
    /// # Errors
    /// Returns [`Error::InvalidSetting`] if the issuer has a decoder already, or if more than four decoders accept
    /// tokens without an issuer.
    pub fn with_issuer(self, decoder: impl Into<Arc<Decoder>>) -> Result<Self, Error> {
        let mut others = self.issuers.others().to_vec();
        others.push(decoder.into());
        self.issuers.replace(others)?;
        Ok(self)
    }

    /// Accepts the access tokens of these other issuers from now on, and of no others but the verifier's own. A token
    /// that is being verified meanwhile is accepted or rejected by the old issuers or by the new ones.
    ///
    /// Revocations stay in the index: an issuer that is accepted again later has lost none of them. So that tokens stay
    /// cached, and keys known, pass the same decoder again for an issuer that does not change.
    ///
    /// # Errors
    /// Returns the same errors as [`Verifier::with_issuer`]; nothing is changed then.
    pub fn replace_issuers(&self, decoders: impl IntoIterator<Item = Arc<Decoder>>) -> Result<(), Error> {
        self.issuers.replace(decoders.into_iter().collect())
    }

    /// Returns the decoders of the other issuers.
    pub(crate) fn other_issuers(&self) -> Arc<Vec<Arc<Decoder>>> {
        self.issuers.others()
    }

    /// Returns the decoder of the verifier's own issuer, for example to replace its keys.
    #[must_use]
    pub fn decoder(&self) -> &Arc<Decoder> {
        self.issuers.own()
    }

    /// Returns the decoder of `issuer`, or `None` if its tokens are not accepted.
    #[must_use]
    pub fn decoder_for(&self, issuer: &Issuer) -> Option<Arc<Decoder>> {
        let others = self.issuers.others();
        let mut all = std::iter::once(self.decoder()).chain(&*others);
        all.find(|decoder| decoder.rules().issuer() == issuer).cloned()
    }

    /// Verifies an access token and returns its claims, which a cache may share.
    ///
    /// # Errors
    /// Returns the reason for rejecting the token.
    pub fn verify(&self, token: &str) -> Result<Arc<Claims>, TokenError> {
        self.verify_as(token, |_| TokenType::Access)
    }

    /// Verifies an access token that must come from a recent login with credentials.
    ///
    /// # Errors
    /// Returns the same errors as [`Verifier::verify`], and [`TokenError::NotFresh`] if nothing else is wrong with the
    /// token.
    pub fn verify_fresh(&self, token: &str) -> Result<Arc<Claims>, TokenError> {
        let claims = self.verify(token)?;
        claims.require_fresh(self.clock.now())?;
        Ok(claims)
    }

    /// Verifies a refresh token, except for the state of its session.
    pub(crate) fn verify_refresh(&self, token: &str) -> Result<Arc<Claims>, TokenError> {
        // A refresh token of another issuer is exchanged by that issuer.
        let complete_at = self.freshness.last_complete();
        let decoded = self.issuers.own().decode(token, self.clock.now());
        self.judge(self.unless_stale(decoded, complete_at)?.into(), TokenType::Refresh, complete_at)
    }

    /// Verifies a token of either type and decodes it once. The session state of a refresh token is not checked.
    pub(crate) fn verify_any(&self, token: &str) -> Result<Arc<Claims>, TokenError> {
        // A refresh token of another issuer is exchanged by that issuer.
        let own = self.issuers.own().rules().issuer();
        self.verify_as(token, |claims| if claims.issuer == *own { claims.token_type } else { TokenType::Access })
    }

    fn verify_as(&self, token: &str, expected: impl FnOnce(&Claims) -> TokenType) -> Result<Arc<Claims>, TokenError> {
        let complete_at = self.freshness.last_complete();
        let decoded = self.issuers.decode_shared(token, self.clock.now());
        let claims = self.unless_stale(decoded, complete_at)?;
        let expected = expected(&claims);
        self.judge(claims, expected, complete_at)
    }

    /// Verifies a token of either type at any time of its life, since the holder of a token may end its session. A
    /// stale index does not matter, since the store decides.
    ///
    /// A token whose key is not known waits until the keys of its issuer have been read again, if a task follows them. If that takes
    /// longer than [`KEYS_TIMEOUT`], or [`MAX_WAITING_FOR_KEYS`] wait already, the error is [`TokenError::Stale`]: other nodes may accept
    /// the token.
    pub(crate) async fn verify_to_log_out(&self, token: &str) -> Result<(Claims, Expiry), TokenError> {
        let verified = self.verify_at_any_time(token);
        if !matches!(verified, Err(TokenError::UnknownKey)) {
            return verified;
        }
        let mut reads = self.issuers.key_reads(token);
        if reads.is_empty() {
            return verified;
        }
        // They may have been read since.
        let verified = self.verify_at_any_time(token);
        if !matches!(verified, Err(TokenError::UnknownKey)) {
            return verified;
        }
        let Ok(_place) = self.waiting_for_keys.try_acquire() else { return Err(TokenError::Stale) };
        let read_again = async {
            for reads in &mut reads {
                // An error means that the keys are not followed any more.
                let _ = reads.changed().await;
            }
        };
        let were_read = tokio::time::timeout(KEYS_TIMEOUT, read_again).await.is_ok();
        match self.verify_at_any_time(token) {
            Err(TokenError::UnknownKey) if !were_read => Err(TokenError::Stale),
            verified => verified,
        }
    }

    fn verify_at_any_time(&self, token: &str) -> Result<(Claims, Expiry), TokenError> {
        let (claims, expiry) = self.read_claims(token)?;
        match self.refuse_revoked(&facts(&claims)) {
            // The index may no longer hold its revocations: only the store knows the state of its session.
            Err(TokenError::Expired) => Ok((claims, Expiry::Expired)),
            Ok(()) => Ok((claims, expiry)),
            Err(refusal) => Err(refusal),
        }
    }

    /// Returns the claims of an authentic token of either type, and whether it is within its validity period. Does not
    /// check for revocation: use it to read a token, not to grant access.
    ///
    /// # Errors
    /// Returns the same errors as [`Decoder::decode_ignoring_expiry`], but [`TokenError::Stale`] instead of
    /// [`TokenError::UnknownKey`] while the index is too stale: the key may be newer.
    pub fn read_claims(&self, token: &str) -> Result<(Claims, Expiry), TokenError> {
        let complete_at = self.freshness.last_complete();
        self.unless_stale(self.issuers.decode_ignoring_expiry(token, self.clock.now()), complete_at)
    }

    /// Returns the current time of the verifier's clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Returns the index of revocations.
    #[must_use]
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// Returns how long ago the index was known to be complete, or `None` if it never was.
    #[must_use]
    pub fn staleness(&self) -> Option<Duration> {
        self.freshness.age(self.clock.moment())
    }

    /// Returns the maximum staleness of the index.
    #[must_use]
    pub fn max_staleness(&self) -> Duration {
        self.staleness.longest
    }

    /// Returns the policy for an index that is staler than [`max_staleness`](Self::max_staleness).
    #[must_use]
    pub fn stale_policy(&self) -> StalePolicy {
        self.staleness.policy
    }

    /// Returns how many tokens were rejected or accepted while the index was too stale, since this verifier was
    /// created. The beginning and the end of each such period are logged once.
    #[must_use]
    pub fn stale_decisions(&self) -> StaleDecisions {
        self.staleness.judged()
    }

    fn is_recent(&self, complete_at: Option<Moment>) -> bool {
        complete_at.is_some_and(|complete_at| self.clock.moment().since(complete_at) <= self.staleness.longest)
    }

    /// Returns whether the staleness of the index is within [`max_staleness`](Self::max_staleness).
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        self.is_recent(self.freshness.last_complete())
    }

    /// Turns [`TokenError::UnknownKey`] into [`TokenError::Stale`] if the index is stale: a newer key may exist.
    fn unless_stale<T>(&self, decoded: Result<T, TokenError>, complete_at: Option<Moment>) -> Result<T, TokenError> {
        decoded.map_err(|refusal| {
            if refusal != TokenError::UnknownKey || self.is_recent(complete_at) {
                return refusal;
            }
            self.staleness.rejected();
            TokenError::Stale
        })
    }

    /// Checks an authentic token for revocation, staleness and type. Runs for every token, cached or not.
    ///
    /// `complete_at` is when the index and the keys were last complete. The caller reads it before both, and the clock
    /// is read after both, so a pause in between counts as staleness.
    fn judge(
        &self,
        claims: Arc<Claims>,
        expected: TokenType,
        complete_at: Option<Moment>,
    ) -> Result<Arc<Claims>, TokenError> {
        self.refuse_revoked(&facts(&claims))?;
        // An index that was never complete knows nothing: the policy does not apply to it.
        let is_recent = self.is_recent(complete_at);
        if is_recent {
            self.staleness.fresh();
        } else if self.staleness.policy == StalePolicy::Reject || complete_at.is_none() {
            self.staleness.rejected();
            return Err(TokenError::Stale);
        }
        claims.require_type(expected)?;
        if !is_recent {
            self.staleness.accepted();
        }
        Ok(claims)
    }

    /// Returns the narrowest revocation in the index that matches a token, without checking anything else.
    pub(crate) fn revoked_by(&self, claims: &Claims) -> Option<RevokedBy> {
        self.index.check(&facts(claims))
    }

    fn refuse_revoked(&self, facts: &TokenFacts<'_>) -> Result<(), TokenError> {
        if let Some(by) = self.index.check(facts) {
            return Err(TokenError::Revoked(by));
        }
        // A token whose revocation may have been removed from the index has expired, even if the clock was set back.
        // This is checked after the index, to see what was removed in between.
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
        key_id: claims.key_id().map(KeyId::as_str),
        claims: Some(claims),
    }
}
