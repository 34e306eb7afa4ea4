//! Revocation of tokens, sessions and subjects by their ids, also of other issuers.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use super::{EndSessions, Ended, LoggedOut, Selection, SessionError, Sessions, to_its_end::to_its_end};
use crate::{
    Error, Issuer, SessionId, Subject, TokenId,
    id::KeyId,
    revocation::{Revocation, RevokedBy, RevokedClaim, Target, TokenFacts},
    time::Timestamp,
    token::{Claims, DEFAULT_SKEW, Decoder, TokenType},
};

/// A request to revoke a token, a session, a subject, a key, a claim or everything.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RevocationRequest {
    /// What to revoke.
    pub target: RevocationTarget,
    /// The issuer of the tokens; `None` for the issuer of these sessions. Another issuer has no sessions here: its
    /// access tokens are rejected wherever they are verified against this log.
    pub issuer: Option<Issuer>,
    /// The time after which every token that this matches has expired, if the caller knows it; the revocation is not
    /// kept longer. If `None`, it is kept as long as any token of these sessions can live, or as
    /// [`Rules::with_max_lifetime`](crate::token::Rules::with_max_lifetime) of their issuer says. For these sessions' own
    /// issuer, except for one token, an earlier time in this field has no effect; a later one is needed for tokens
    /// without a session that live longer than both. A session that is revoked already stays so for as long as the first
    /// call said.
    pub keep_until: Option<Timestamp>,
}

/// The target of a revocation.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RevocationTarget {
    /// One token.
    Token {
        /// The id of the token (`jti`).
        id: TokenId,
        /// The `exp` of the token in seconds, if it is certain: the index looks the token up by it, and may miss the
        /// token if the value is wrong. Otherwise `None`, with [`RevocationRequest::keep_until`].
        expires_at: Option<Timestamp>,
    },
    /// One session, whatever its subject.
    Session(SessionId),
    /// One session of a subject.
    SessionOf(SessionId, Subject),
    /// All sessions of a subject, and every token issued for it until now, whatever its session.
    Subject(Subject),
    /// All sessions, and every token issued until now.
    Everything,
    /// Every token that a key has signed or ever will, for example because it was stolen. The revocation never lapses. For
    /// a key of these sessions' own store use [`Node::remove_key`](crate::Node::remove_key), which also removes the key:
    /// otherwise it goes on signing tokens that are rejected.
    Key(KeyId),
    /// Every token issued until now that has this claim. Sessions do not end: a refresh issues a token with the claims that
    /// the application then gives it.
    Claim(RevokedClaim),
}

impl RevocationTarget {
    /// Returns whether this revokes everything issued until now, including the whole current second.
    #[must_use]
    pub fn is_cut_off(&self) -> bool {
        matches!(self, Self::Subject(_) | Self::Everything | Self::Claim(_))
    }
}

impl RevocationRequest {
    /// Returns a request about tokens of these sessions' own issuer.
    #[must_use]
    pub fn new(target: RevocationTarget) -> Self {
        Self { target, issuer: None, keep_until: None }
    }

    /// Sets the issuer of the tokens.
    #[must_use]
    pub fn with_issuer(self, issuer: Issuer) -> Self {
        Self { issuer: Some(issuer), ..self }
    }

    /// Sets [`keep_until`](Self::keep_until).
    #[must_use]
    pub fn with_keep_until(self, keep_until: Timestamp) -> Self {
        Self { keep_until: Some(keep_until), ..self }
    }
}

impl From<RevocationTarget> for RevocationRequest {
    fn from(target: RevocationTarget) -> Self {
        Self::new(target)
    }
}

impl Sessions {
    /// Returns the decoder for tokens of another issuer; `None` for our own issuer or an unknown one.
    pub(super) fn decoder_elsewhere(&self, issuer: &Issuer) -> Option<Arc<Decoder>> {
        self.verifier.decoder_for(issuer).filter(|_| *issuer != self.issuer)
    }

    /// Ends sessions and returns their number.
    ///
    /// # Errors
    /// If the store could not be written. The caller must not report any session as ended then.
    pub async fn end_sessions(&self, selection: Selection) -> Result<usize, Error> {
        Ok(self.end(selection, None, vec![]).await?.unwrap_or(0))
    }

    /// Appends revocations unchanged. When this returns, they are durable and in the index of this node.
    ///
    /// # Errors
    /// If the store could not be written.
    pub async fn append(&self, revocations: Vec<Revocation>) -> Result<(), Error> {
        self.end(Selection::Nothing, None, revocations).await.map(drop)
    }

    pub(super) async fn end(
        &self,
        selection: Selection,
        only_if: Option<(SessionId, Subject)>,
        extra_revocations: Vec<Revocation>,
    ) -> Result<Option<usize>, Error> {
        let ending = EndSessions { issuer: self.issuer.clone(), selection, only_if, extra_revocations };
        let (store, verifier, appended) = self.shared();
        to_its_end(async move {
            let Some(ended) = store.end(ending).await? else { return Ok(None) };
            // Durable first: a token that is rejected now must not be accepted after a restart.
            verifier.index().extend(&ended.revocations);
            count(&appended, &ended);
            Ok(Some(ended.sessions))
        })
        .await
    }

    /// Returns the request that revokes a token with these claims: an access token alone, a refresh token with its session
    /// (RFC 7009 §2.1), a token of another issuer alone. The claims must be those of an
    /// [authentic token](crate::token::Verifier::read_claims), which may have expired or been revoked.
    #[must_use]
    pub fn revocation_request(&self, claims: &Claims) -> RevocationRequest {
        let is_own = claims.issuer == self.issuer;
        let target = match (claims.token_type, &claims.session) {
            (TokenType::Refresh, Some(session)) if is_own => {
                RevocationTarget::SessionOf(session.clone(), claims.subject.clone())
            }
            _ => RevocationTarget::Token { id: claims.token_id.clone(), expires_at: Some(claims.expires_at) },
        };
        RevocationRequest { target, issuer: Some(claims.issuer.clone()), keep_until: None }
    }

    /// Revokes all targets in one step, which a store commits at once if it can. Returns how many sessions each request
    /// ended. A target that does not exist, or was revoked before, is not an error.
    ///
    /// A [cut-off](RevocationTarget::is_cut_off) covers the whole of its second, so a token issued right after this
    /// call may be revoked already. [`wait_past_cut_off`](Self::wait_past_cut_off) waits until new tokens are valid.
    ///
    /// # Errors
    /// If the store could not be written. The caller must not report any target as revoked then.
    pub async fn revoke(&self, requests: Vec<RevocationRequest>) -> Result<Vec<usize>, Error> {
        let now = self.clock.now();
        // A token that can still be used belongs to a session that still exists, whatever the settings were when it was
        // issued.
        let latest = match requests.iter().any(|one| self.needs_latest_expiry(one)) {
            true => self.store.latest_expiry().await?.max(now.plus(self.longest_own())),
            false => now,
        };
        let endings = requests.into_iter().map(|one| self.ending(one, now, latest)).collect();
        let (store, verifier, appended) = self.shared();
        to_its_end(async move {
            let ended = store.end_all(endings).await?;
            let ended: Vec<Ended> = ended.into_iter().map(Option::unwrap_or_default).collect();
            // Durable first: a token that is rejected now must not be accepted after a restart.
            for ended in &ended {
                verifier.index().extend(&ended.revocations);
                count(&appended, ended);
            }
            Ok(ended.iter().map(|ended| ended.sessions).collect())
        })
        .await
    }

    /// Revokes an access token alone, or a refresh token with its whole session. The token may have expired or been
    /// revoked before.
    ///
    /// # Errors
    /// The [`TokenError`](crate::token::TokenError) if the token is not an authentic token of these sessions;
    /// [`Error::Unavailable`] if the store could not be written.
    pub async fn revoke_token(&self, token: &str) -> Result<LoggedOut, SessionError> {
        let (claims, _) = self.verifier.read_claims(token)?;
        let sessions = self.revoke_one(self.revocation_request(&claims)).await?;
        Ok(LoggedOut { claims, sessions })
    }

    /// Revokes the token with this `jti`. If `expires_at`, its `exp`, is known, the revocation is kept at least until
    /// then. The token is rejected even if its `exp` is another one.
    ///
    /// # Errors
    /// If the store could not be written.
    pub async fn revoke_token_id(&self, id: TokenId, expires_at: Option<Timestamp>) -> Result<(), Error> {
        let target = RevocationTarget::Token { id, expires_at: None };
        self.revoke_one(RevocationRequest { target, issuer: None, keep_until: expires_at }).await.map(drop)
    }

    /// Returns how far in the future the cut-offs among these requests lie; `None` if none of them is a cut-off.
    #[must_use]
    pub fn cut_off_lead(&self, requests: &[RevocationRequest]) -> Option<Duration> {
        let cut_offs = requests.iter().filter(|request| request.target.is_cut_off());
        cut_offs.map(|request| self.skew_of(request)).max()
    }

    /// Waits until the current second plus [`reach`](Self::cut_off_lead) is over. Tokens issued after that are not
    /// covered by cut-offs from before the call.
    ///
    /// The wait is at most one second longer than `reach`, even if the wall clock goes back: at most a minute and a
    /// second, since no clock may be further [ahead](crate::token::Rules::with_skew).
    pub async fn wait_past_cut_off(&self, reach: Duration) {
        const SECOND: Duration = Duration::from_secs(1);
        const POLL_INTERVAL: Duration = Duration::from_millis(10);
        let (second, began_at) = (self.clock.now().plus(reach), tokio::time::Instant::now());
        while self.clock.now() <= second && began_at.elapsed() <= SECOND + reach {
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Ends all sessions of a subject, and revokes every token issued for it until now, whatever its session. Returns
    /// in the next second, so that tokens issued after the call are valid.
    ///
    /// # Errors
    /// If the store could not be written.
    pub async fn revoke_subject(&self, subject: Subject) -> Result<usize, Error> {
        self.revoke_one(RevocationTarget::Subject(subject).into()).await
    }

    /// Ends all sessions, and revokes every token issued until now. Returns in the next second, like
    /// [`revoke_subject`](Self::revoke_subject).
    ///
    /// # Errors
    /// If the store could not be written.
    pub async fn revoke_everything(&self) -> Result<usize, Error> {
        self.revoke_one(RevocationTarget::Everything.into()).await
    }

    async fn revoke_one(&self, request: RevocationRequest) -> Result<usize, Error> {
        let requests = vec![request];
        let reach = self.cut_off_lead(&requests);
        let ended = self.revoke(requests).await?.into_iter().sum();
        if let Some(reach) = reach {
            self.wait_past_cut_off(reach).await;
        }
        Ok(ended)
    }

    fn is_own(&self, request: &RevocationRequest) -> bool {
        request.issuer.as_ref().is_none_or(|issuer| *issuer == self.issuer)
    }

    /// Returns how far the clock that issued a token may be ahead. A cut-off is as far ahead, because such a token is
    /// accepted at once.
    ///
    /// Zero for our own sessions, which also end by their ids; not so for a claim.
    fn skew_of(&self, request: &RevocationRequest) -> Duration {
        match &request.issuer {
            Some(issuer) if *issuer != self.issuer => {
                self.decoder_elsewhere(issuer).map_or(DEFAULT_SKEW, |decoder| decoder.rules().skew())
            }
            _ if matches!(request.target, RevocationTarget::Claim(_)) => self.verifier.decoder().rules().skew(),
            _ => Duration::ZERO,
        }
    }

    /// Returns the maximum lifetime of our own tokens, as far as it is known: no token outlives its session, whatever the options of the
    /// login, but those without a session may live longer.
    pub(crate) fn longest_own(&self) -> Duration {
        let of_rules = self.verifier.decoder().rules().max_lifetime_set();
        self.longest_session().max(of_rules.unwrap_or_default())
    }

    fn needs_latest_expiry(&self, request: &RevocationRequest) -> bool {
        let is_known = match &request.target {
            RevocationTarget::Token { expires_at, .. } => expires_at.is_some(),
            RevocationTarget::Key(_) => true,
            // Our own tokens with it may be from a time when tokens lived longer, whatever the caller knows.
            RevocationTarget::Claim(_) if self.is_own(request) => return true,
            RevocationTarget::Claim(_) => false,
            _ => self.is_own(request),
        };
        !is_known && request.keep_until.is_none()
    }

    /// Returns the revocation of a session of our issuer that the store may not have: its row was lost, or it belongs
    /// to an application whose tokens name no issuer. Access and refresh tokens of it may exist nevertheless. Returns
    /// nothing if the index has the revocation.
    fn unless_known(&self, id: SessionId, last_expiry: Timestamp) -> Vec<Revocation> {
        let issuer = self.issuer.clone();
        // The facts of a token that does not exist, so that only a revoked session can match.
        let (token_id, expires_at) = (TokenId::random(), last_expiry);
        let facts = TokenFacts {
            issuer: issuer.as_str(),
            token_id: token_id.as_str(),
            session: Some(id.as_str()),
            subject: "",
            issued_at: None,
            expires_at,
            key_id: None,
            claims: None,
        };
        if self.verifier.index().check(&facts) == Some(RevokedBy::Session) {
            return vec![];
        }
        vec![Revocation { issuer, target: Target::Session { id }, lapses_at: Revocation::lapse_for(last_expiry) }]
    }

    fn ending(&self, request: RevocationRequest, now: Timestamp, latest: Timestamp) -> EndSessions {
        let is_own = self.is_own(&request);
        let issued_until = now.plus(self.skew_of(&request));
        let RevocationRequest { target, issuer, keep_until } = request;
        let issuer = issuer.unwrap_or_else(|| self.issuer.clone());
        // For another issuer whose tokens are accepted here, the rules say how long they live.
        let elsewhere = self.decoder_elsewhere(&issuer);
        let latest = elsewhere.map_or(latest, |decoder| latest.max(issued_until.plus(decoder.rules().max_lifetime())));
        let asked_for = keep_until;
        let keep_until = keep_until.unwrap_or(latest);
        let fact = |target, last_expiry| {
            vec![Revocation { issuer: issuer.clone(), target, lapses_at: Revocation::lapse_for(last_expiry) }]
        };
        let last_own = now.plus(self.longest_own()).max(asked_for.unwrap_or(now));
        let until_now = |target| fact(target, if is_own { last_own } else { keep_until });
        let (selection, also) = match target {
            RevocationTarget::Token { id, expires_at } => {
                let last_expiry = expires_at.unwrap_or(keep_until);
                (Selection::Nothing, fact(Target::Token { id, expires_at }, last_expiry))
            }
            RevocationTarget::Session(id) if is_own => {
                (Selection::One(id.clone()), self.unless_known(id, last_own.max(keep_until)))
            }
            RevocationTarget::SessionOf(id, subject) if is_own => {
                (Selection::Owned(id.clone(), subject), self.unless_known(id, last_own.max(keep_until)))
            }
            RevocationTarget::Session(id) | RevocationTarget::SessionOf(id, _) => {
                (Selection::Nothing, fact(Target::Session { id }, keep_until))
            }
            RevocationTarget::Subject(id) => {
                let target = Target::Subject { id: id.clone(), issued_until };
                (if is_own { Selection::OfSubject(id) } else { Selection::Nothing }, until_now(target))
            }
            RevocationTarget::Everything => {
                let selection = if is_own { Selection::All { issued_until: now } } else { Selection::Nothing };
                (selection, until_now(Target::Everything { issued_until }))
            }
            RevocationTarget::Key(id) => (Selection::Nothing, vec![Revocation::of_key(issuer.clone(), id)]),
            RevocationTarget::Claim(claim) => {
                let last_expiry = if is_own { latest.max(keep_until) } else { keep_until };
                (Selection::Nothing, fact(Target::Claim { claim, issued_until }, last_expiry))
            }
        };
        EndSessions { issuer: self.issuer.clone(), selection, only_if: None, extra_revocations: also }
    }
}

fn count(appended: &AtomicU64, ended: &Ended) {
    appended.fetch_add(u64::try_from(ended.revocations.len()).unwrap_or(u64::MAX), Relaxed);
}
