//! EndSessions things by their names, several in one step, also what another issuer has given.

use std::time::Duration;

use super::{EndSessions, Ended, Selection, SessionError, Sessions, count, to_its_end};
use crate::{
    Error, Issuer, SessionId, Subject, TokenId,
    revocation::{Revocation, RevokedBy, Target, TokenFacts},
    time::Timestamp,
    token::{DEFAULT_SKEW, Rules, TokenError, TokenType},
};

/// Something to be revoked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// What.
    pub what: Name,
    /// Who gave that name; `None` for these sessions' own issuer. What another one gave has no sessions here: its access
    /// tokens are refused wherever they are verified beside this log.
    pub issuer: Option<Issuer>,
    /// When no token that this matches will be good any more, if somebody knows: a revocation need not be kept for longer.
    /// Without it, as long as any token of these sessions lives. Of our own sessions and subjects it is known better here,
    /// and this is not looked at unless there is no such session.
    pub keep_until: Option<Timestamp>,
}

/// What is to be revoked.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Name {
    /// One token.
    Token {
        /// Its `jti`.
        id: TokenId,
        /// Its `exp` to the second, if it is known for certain: the index looks there, and with another one may not find the
        /// token. Otherwise `None`, and [`Named::keep_until`].
        expires_at: Option<Timestamp>,
    },
    /// One session, whoever it is of.
    Session(SessionId),
    /// One session of a subject.
    SessionOf(SessionId, Subject),
    /// All sessions of a subject, and every token of it that was issued until now, whatever its session.
    Subject(Subject),
    /// All sessions, and every token that was issued until now.
    Everything,
}

impl Name {
    /// Whether this is about whatever was issued until now, the whole of the current second included.
    #[must_use]
    pub fn is_cut_off(&self) -> bool {
        matches!(self, Self::Subject(_) | Self::Everything)
    }
}

impl From<Name> for Named {
    fn from(what: Name) -> Self {
        Self { what, issuer: None, keep_until: None }
    }
}

impl Sessions {
    /// What an authentic token names: an access token itself, a refresh token its session (RFC 7009 §2.1), a token of
    /// another issuer itself. It may have expired or been revoked before.
    ///
    /// # Errors
    /// When it is no authentic token.
    pub fn name(&self, token: &str) -> Result<Named, TokenError> {
        let claims = self.verifier.verify_to_revoke(token)?;
        let is_own = claims.issuer == self.settings.issuer;
        let what = match (claims.token_type, claims.session) {
            (TokenType::Refresh, Some(session)) if is_own => Name::SessionOf(session, claims.subject),
            _ => Name::Token { id: claims.token_id, expires_at: Some(claims.expires_at) },
        };
        Ok(Named { what, issuer: Some(claims.issuer), keep_until: None })
    }

    /// Revokes all of them in one step, which a store that can makes one commit; gives how many sessions ended by each.
    /// What is not there, or has been revoked before, is no error.
    ///
    /// A [cut-off](Name::is_cut_off) covers the whole of its second, so a token that is issued right after this may be born
    /// revoked: [`until_next_second`](Self::until_next_second) waits until none is.
    ///
    /// # Errors
    /// When the store could not be written: then none may be taken for revoked.
    pub async fn revoke_named(&self, named: Vec<Named>) -> Result<Vec<usize>, Error> {
        let now = self.clock.now();
        // Whatever the settings were when it was issued: a token that could still be used is of a session that is still
        // there.
        let latest = match named.iter().any(|one| self.needs_latest_expiry(one)) {
            true => self.store.latest_expiry().await?.max(now.plus(self.settings.longest_lifetime())),
            false => now,
        };
        let endings = named.into_iter().map(|one| self.ending(one, now, latest)).collect();
        let (store, verifier, appended) = self.shared();
        to_its_end(async move {
            let ended = store.end_all(endings).await?;
            let ended: Vec<Ended> = ended.into_iter().map(Option::unwrap_or_default).collect();
            // Durable first: what is refused here must not come back with a restart.
            for ended in &ended {
                verifier.index().extend(&ended.revocations);
                count(&appended, ended);
            }
            Ok(ended.iter().map(|ended| ended.sessions).collect())
        })
        .await
    }

    /// Revokes an access token alone, a refresh token with its whole session. Gives how many sessions ended by it. It may
    /// have expired or been revoked before.
    ///
    /// # Errors
    /// The [`TokenError`] when it is no authentic token of these sessions.
    pub async fn revoke_token(&self, token: &str) -> Result<usize, SessionError> {
        Ok(self.revoke_one(self.name(token)?).await?)
    }

    /// Revokes the token with this `jti`. `expires_at` is its `exp`, if it is known: until then the revocation is kept at
    /// least. The token is found whatever its `exp` is.
    ///
    /// # Errors
    /// When the store could not be written.
    pub async fn revoke_token_id(&self, id: TokenId, expires_at: Option<Timestamp>) -> Result<(), Error> {
        let what = Name::Token { id, expires_at: None };
        self.revoke_one(Named { what, issuer: None, keep_until: expires_at }).await.map(drop)
    }

    /// How far ahead of now the cut-offs among these reach; `None` when there is none.
    #[must_use]
    pub fn reach(&self, named: &[Named]) -> Option<Duration> {
        let cut_offs = named.iter().filter(|named| named.what.is_cut_off());
        cut_offs.map(|named| named.issuer.as_ref().map_or(Duration::ZERO, |issuer| self.skew_of(issuer))).max()
    }

    /// Returns when the second of the call is over, and as many more as cut-offs [reach](Self::reach) ahead: none from before
    /// the call is about what is issued after that.
    ///
    /// It takes a second more than they reach, also when the wall clock goes back meanwhile: a minute and a second at most, since
    /// no clock may be further [ahead](crate::token::Rules::with_skew).
    pub async fn until_next_second(&self, reach: Duration) {
        const SECOND: Duration = Duration::from_secs(1);
        const POLL_INTERVAL: Duration = Duration::from_millis(10);
        let (second, began_at) = (self.clock.now().plus(reach), tokio::time::Instant::now());
        while self.clock.now() <= second && began_at.elapsed() <= SECOND + reach {
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Ends all sessions of a subject, and every token of it that was issued until now, whatever its session. Returns in the
    /// next second, so that no token that is issued after that is covered.
    ///
    /// # Errors
    /// When the store could not be written.
    pub async fn revoke_subject(&self, subject: Subject) -> Result<usize, Error> {
        self.revoke_one(Name::Subject(subject).into()).await
    }

    /// Ends all sessions, and every token that was issued until now. Returns in the next second, as
    /// [`revoke_subject`](Self::revoke_subject).
    ///
    /// # Errors
    /// When the store could not be written.
    pub async fn revoke_everything(&self) -> Result<usize, Error> {
        self.revoke_one(Name::Everything.into()).await
    }

    async fn revoke_one(&self, named: Named) -> Result<usize, Error> {
        let named = vec![named];
        let reach = self.reach(&named);
        let ended = self.revoke_named(named).await?.into_iter().sum();
        if let Some(reach) = reach {
            self.until_next_second(reach).await;
        }
        Ok(ended)
    }

    fn is_own(&self, named: &Named) -> bool {
        named.issuer.as_ref().is_none_or(|issuer| *issuer == self.settings.issuer)
    }

    /// How far ahead the clock of another issuer may be; zero of our own.
    fn skew_of(&self, issuer: &Issuer) -> Duration {
        if *issuer == self.settings.issuer {
            return Duration::ZERO;
        }
        self.rules_elsewhere(issuer).map_or(DEFAULT_SKEW, Rules::skew)
    }

    fn needs_latest_expiry(&self, named: &Named) -> bool {
        let is_known = match &named.what {
            Name::Token { expires_at, .. } => expires_at.is_some(),
            _ => self.is_own(named),
        };
        !is_known && named.keep_until.is_none()
    }

    /// That a session of our issuer has ended, for when the store has no such session: its row was lost, or it is an
    /// application's whose tokens name no issuer. There may be tokens of it all the same, refresh tokens as well.
    fn unless_known(&self, id: SessionId, last_expiry: Timestamp) -> Vec<Revocation> {
        let issuer = self.settings.issuer.clone();
        // Of a token that nobody has, so that nothing but the session is found.
        let (token_id, expires_at) = (TokenId::random(), last_expiry);
        let facts = TokenFacts {
            issuer: issuer.as_str(),
            token_id: token_id.as_str(),
            session: Some(id.as_str()),
            subject: "",
            issued_at: None,
            expires_at,
        };
        if self.verifier.index().check(&facts) == Some(RevokedBy::Session) {
            return vec![];
        }
        vec![Revocation { issuer, target: Target::Session { id }, lapses_at: Revocation::lapse_for(last_expiry) }]
    }

    fn ending(&self, named: Named, now: Timestamp, latest: Timestamp) -> EndSessions {
        let is_own = self.is_own(&named);
        let Named { what, issuer, keep_until } = named;
        let issuer = issuer.unwrap_or_else(|| self.settings.issuer.clone());
        // Of another issuer whose tokens are accepted here it is known how long they live, and how far ahead its clock may be.
        // A cut-off reaches as far, as a token from there is accepted at once. (Our own sessions end by their names as well.)
        let rules = self.rules_elsewhere(&issuer);
        let issued_until = now.plus(self.skew_of(&issuer));
        let latest = rules.map_or(latest, |rules| latest.max(issued_until.plus(rules.longest_lifetime())));
        let keep_until = keep_until.unwrap_or(latest);
        let fact = |target, last_expiry| {
            vec![Revocation { issuer: issuer.clone(), target, lapses_at: Revocation::lapse_for(last_expiry) }]
        };
        let last_own = now.plus(self.settings.longest_lifetime());
        let until_now = |target| fact(target, if is_own { last_own } else { keep_until });
        let (selection, also) = match what {
            Name::Token { id, expires_at } => {
                let last_expiry = expires_at.unwrap_or(keep_until);
                (Selection::Nothing, fact(Target::Token { id, expires_at }, last_expiry))
            }
            Name::Session(id) if is_own => {
                (Selection::One(id.clone()), self.unless_known(id, last_own.max(keep_until)))
            }
            Name::SessionOf(id, subject) if is_own => {
                (Selection::Owned(id.clone(), subject), self.unless_known(id, last_own.max(keep_until)))
            }
            Name::Session(id) | Name::SessionOf(id, _) => {
                (Selection::Nothing, fact(Target::Session { id }, keep_until))
            }
            Name::Subject(id) => {
                let target = Target::Subject { id: id.clone(), issued_until };
                (if is_own { Selection::OfSubject(id) } else { Selection::Nothing }, until_now(target))
            }
            Name::Everything => {
                let selection = if is_own { Selection::All { issued_until: now } } else { Selection::Nothing };
                (selection, until_now(Target::Everything { issued_until }))
            }
        };
        EndSessions { issuer: self.settings.issuer.clone(), selection, provided: None, also }
    }
}
