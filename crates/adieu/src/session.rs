//! Log in, refresh, log out.
//!
//! 1. A session is one row, whatever the number of its tokens; nothing is written when a token is used.
//! 2. Logging out ends the session: every access token of it, also those minted by refresh, and its refresh token. A
//!    logout that was answered is durable, and on this node the very next check refuses the token.
//! 3. A refresh token is good once. It gets the same successor again for as long as nobody has used that one, so that a
//!    lost response logs nobody out; once somebody has, it gets the one after that within a short grace, so that two tabs
//!    don't fight. Anything else is reuse, and ends the session. There is one successor: the chain never forks.
//! 4. A refresh and a logout that race have an order, which the store decides: after a logout no refresh succeeds,
//!    and what an earlier refresh minted is refused.
//!
//! Refresh tokens are judged here only, against the session: a verifier elsewhere accepts access tokens alone, since
//! it can't know which refresh tokens have been rotated.

mod keys;
mod last_seen;
mod options;
mod renewal;
mod revoke;
mod settings;
mod store;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use serde_json::{Map, Value};

pub use keys::{delete_lapsed_keys, retained_until};
pub use options::TokenOptions;
pub use revoke::{RevocationRequest, RevocationTarget};
pub use settings::SessionSettings;
pub use store::{
    EndSessions, Ended, Origin, Presented, Rotated, Rotation, Selection, Session, SessionKey, SessionStore, UsedRefresh,
};

use last_seen::LastSeen;

use crate::{
    Error, Issuer, SessionId, Subject, TokenId,
    revocation::{Revocation, RevokedBy, Target, TokenFacts},
    time::{Clock, Timestamp},
    token::{
        Claims, Expiry, Fresh, Rules, SigningKey, SigningKeys, TokenError, TokenType, Verifier, encode_with_header,
    },
};

/// What a login or a refresh gives. `Debug` shows the claims and not the tokens.
#[derive(Clone)]
pub struct TokenPair {
    /// The access token, to be sent with every request.
    pub access: String,
    /// The refresh token, good once.
    pub refresh: String,
    /// What the access token says.
    pub claims: Claims,
    /// When the refresh token expires.
    pub refresh_expires_at: Timestamp,
}

impl fmt::Debug for TokenPair {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("TokenPair").field("claims", &self.claims).finish_non_exhaustive()
    }
}

/// How much a logout ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scope {
    /// The session of the token that was presented.
    #[default]
    This,
    /// The subject's other sessions.
    Others,
    /// All of the subject's sessions.
    All,
}

/// Why a refresh or a logout was not done.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The token is not good for it.
    #[error(transparent)]
    InvalidToken(#[from] TokenError),
    /// The token is good, and no others can be ended with it: they are known to its issuer alone, or it is of no session.
    #[error("the other sessions of the token's subject are not known here")]
    UnknownSessions,
    /// It is not known whether it would be.
    #[error(transparent)]
    Failed(#[from] Error),
}

impl SessionError {
    /// The session of the token has ended.
    #[must_use]
    pub const fn ended() -> Self {
        Self::InvalidToken(TokenError::Revoked(RevokedBy::Session))
    }
}

/// A refresh token that was found good, before it is used up; see [`Sessions::refresh`].
#[derive(Debug, Clone)]
pub struct RefreshToken(Arc<Claims>);

impl RefreshToken {
    /// Who it is of, so that claims can be looked up for the new access token.
    #[must_use]
    pub fn subject(&self) -> &Subject {
        &self.0.subject
    }

    /// Its `jti`.
    #[must_use]
    pub fn token_id(&self) -> &TokenId {
        &self.0.token_id
    }

    /// What it says.
    #[must_use]
    pub fn claims(&self) -> &Arc<Claims> {
        &self.0
    }
}

/// Sessions of one issuer, on one store.
pub struct Sessions {
    store: Arc<dyn SessionStore>,
    verifier: Arc<Verifier>,
    keys: SigningKeys,
    settings: SessionSettings,
    clock: Arc<dyn Clock>,
    last_seen: LastSeen,
    appended: Arc<AtomicU64>,
}

impl fmt::Debug for Sessions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Sessions").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Sessions {
    /// Sessions whose tokens are signed with this key, or with that of these whose turn it is, and verified by this
    /// verifier.
    ///
    /// # Errors
    /// [`Error::InvalidSetting`] when the settings contradict each other.
    pub fn new(
        store: Arc<dyn SessionStore>,
        verifier: Arc<Verifier>,
        keys: impl Into<SigningKeys>,
        settings: SessionSettings,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Error> {
        settings.validate()?;
        Ok(Self {
            store,
            verifier,
            keys: keys.into(),
            settings,
            clock,
            last_seen: LastSeen::default(),
            appended: Arc::default(),
        })
    }

    /// What every path asks whether a token is good.
    #[must_use]
    pub fn verifier(&self) -> &Verifier {
        &self.verifier
    }

    /// Where the sessions are kept.
    #[must_use]
    pub fn store(&self) -> &dyn SessionStore {
        &*self.store
    }

    /// Notes that a token of a session was used just now; written down with the next [`Sessions::flush_last_seen`].
    pub fn record_use(&self, claims: &Claims) {
        // Of another issuer, the same two ids mean another session.
        if let Some(session) = claims.session.as_ref().filter(|_| claims.issuer == self.settings.issuer) {
            self.last_seen.note(session, &claims.subject, self.clock.now());
        }
    }

    /// Writes down which sessions were used since the last time; to be called every half a minute or so.
    ///
    /// # Errors
    /// When the store could not be written. What was noted is then lost; it only informs.
    pub async fn flush_last_seen(&self) -> Result<(), Error> {
        self.last_seen.write_to(&*self.store).await
    }

    /// Starts a session for a subject whose credentials the caller has checked. `custom` are claims of the access
    /// token beside the registered ones. Who has as many sessions as a subject may have loses the oldest.
    ///
    /// # Errors
    /// When the store could not be written: nobody is logged in.
    pub async fn log_in(
        &self,
        subject: Subject,
        origin: Origin,
        custom: Map<String, Value>,
    ) -> Result<TokenPair, Error> {
        self.log_in_with(subject, origin, &TokenOptions::with_access_claims(custom)).await
    }

    /// The same, with tokens that are not as the settings have them.
    ///
    /// # Errors
    /// As [`Sessions::log_in`]; [`Error::InvalidSetting`] or [`Error::Claims`] if the options are invalid.
    pub async fn log_in_with(
        &self,
        subject: Subject,
        origin: Origin,
        options: &TokenOptions,
    ) -> Result<TokenPair, Error> {
        const MAX_ATTEMPTS: u32 = 30;
        const RETRY_DELAY: Duration = Duration::from_millis(100);

        // A cut-off covers the whole of its second. A login in that second would be born revoked, so it waits for the
        // next; also when the cut-off came while the session was being written down.
        for _ in 0..MAX_ATTEMPTS {
            let session = self.new_session(subject.clone(), origin.clone(), options)?;
            if !self.is_revoked(&session) {
                let fresh = options.fresh.unwrap_or(Fresh::Yes);
                let pair = self.mint(&session, session.created_at, fresh, options)?;
                self.store.create(session.clone()).await?;
                if !self.is_revoked(&session) {
                    self.end_too_many(&session.subject).await?;
                    return Ok(pair);
                }
                self.end_sessions(Selection::Owned(session.id, session.subject)).await?;
            }
            tokio::time::sleep(RETRY_DELAY).await;
        }
        Err(Error::unavailable("tokens are revoked up to a time that the wall clock has not reached"))
    }

    /// Finds out whether a refresh token may be used, without using it.
    ///
    /// # Errors
    /// The [`TokenError`]: also when it is not a refresh token of a session.
    pub fn inspect(&self, token: &str) -> Result<RefreshToken, TokenError> {
        self.verifier.verify_refresh(token).map(RefreshToken)
    }

    /// Uses a refresh token up and gives its successor, with an access token that is not fresh.
    ///
    /// # Errors
    /// [`TokenError::Revoked`] when the session has ended, or ends now because the token had been used up before.
    pub async fn refresh(&self, token: &RefreshToken, custom: Map<String, Value>) -> Result<TokenPair, SessionError> {
        self.refresh_with(token, &TokenOptions::with_access_claims(custom)).await
    }

    /// The same, with tokens that are not as the settings have them.
    ///
    /// # Errors
    /// As [`Sessions::refresh`]; [`Error::InvalidSetting`] or [`Error::Claims`] if the options are invalid.
    pub async fn refresh_with(&self, token: &RefreshToken, options: &TokenOptions) -> Result<TokenPair, SessionError> {
        let RefreshToken(presented) = token;
        let session = presented.session.clone().ok_or(TokenError::MissingClaim("sid"))?;
        let used = Presented::Refresh(presented.token_id.clone());
        let rotation = self.rotation(&presented.subject, session, used, options)?;
        let now = rotation.now;
        let (store, verifier, appended) = self.shared();
        let rotated = to_its_end(async move {
            let rotated = store.rotate(rotation).await?;
            if let Rotated::Reused(_, revocation) = &rotated {
                verifier.index().insert(revocation);
                appended.fetch_add(1, Relaxed);
            }
            Ok(rotated)
        });
        match rotated.await? {
            Rotated::Fresh(session) | Rotated::WithinGrace(session) => {
                Ok(self.mint(&session, now, options.fresh.unwrap_or(Fresh::No), options)?)
            }
            Rotated::Reused(session, _) => {
                tracing::warn!(
                    target: "adieu::audit", event = "refresh_reused", subject = %session.subject, session = %session.id,
                    "a refresh token was used again; the session has ended"
                );
                Err(SessionError::ended())
            }
            Rotated::Ended => Err(self.ended(presented).await),
        }
    }

    /// Logs out, with an access or a refresh token of the session; one that has expired, or is not valid yet, will do to
    /// end its own session. Any other [`Scope`] takes a token that is in time; a refresh token that was used up before ends its
    /// own session then, as with [`Sessions::refresh`].
    ///
    /// A token of another issuer has no row here: the token is revoked, with every other of its session if it names one,
    /// and with [`Scope::All`] every token of its subject that its issuer has issued until now. [`Scope::Others`] is not possible
    /// with it.
    ///
    /// When this returns, the revocation is durable and this node refuses every token of what has ended. Gives the
    /// number of sessions that have.
    ///
    /// # Errors
    /// [`TokenError::Revoked`] when the session had ended already; [`SessionError::UnknownSessions`] when which others there are is
    /// not known. Nothing has changed then.
    pub async fn log_out(&self, token: &str, scope: Scope) -> Result<usize, SessionError> {
        let (claims, expiry) = self.verifier.verify_to_log_out(token)?;
        match expiry {
            _ if scope == Scope::This => {}
            Expiry::Live => {}
            Expiry::Expired => return Err(TokenError::Expired.into()),
            Expiry::NotYetValid => return Err(TokenError::NotYetValid.into()),
        }
        let ours = claims.issuer == self.settings.issuer;
        let Some(session) = claims.session.clone().filter(|_| ours) else {
            // Of an application that has no sessions: the token is all there is to end.
            self.log_out_without_session(claims, scope).await?;
            return Ok(0);
        };
        if scope != Scope::This && claims.token_type == TokenType::Refresh {
            self.require_not_used_up(&claims).await?;
        }
        let subject = claims.subject.clone();
        let selection = match scope {
            Scope::This => Selection::Owned(session.clone(), subject.clone()),
            Scope::Others => Selection::Others(subject.clone(), session.clone()),
            Scope::All => Selection::OfSubject(subject.clone()),
        };
        let ended = self.end(selection, Some((session, subject)), vec![]).await?;
        match ended {
            Some(ended) => Ok(ended),
            None => Err(self.ended(&claims).await),
        }
    }

    /// Passes on a refresh token that could be used now. One that was used up is as good as expired: it ends its own session.
    async fn require_not_used_up(&self, claims: &Claims) -> Result<(), SessionError> {
        let token = RefreshToken(Arc::new(claims.clone()));
        match self.preview_refresh(&token).await? {
            Rotated::Reused(..) => self.refresh(&token, Map::new()).await.map(drop),
            Rotated::Fresh(_) | Rotated::WithinGrace(_) | Rotated::Ended => Ok(()),
        }
    }

    async fn log_out_without_session(&self, claims: Claims, scope: Scope) -> Result<(), SessionError> {
        let mut ends = vec![token_of(&claims)];
        let Some(rules) = self.rules_elsewhere(&claims.issuer) else {
            return match scope {
                Scope::This => Ok(self.append(ends).await?),
                Scope::Others | Scope::All => Err(SessionError::UnknownSessions),
            };
        };
        let (now, skew) = (self.clock.now(), rules.skew());
        let mut end = |target, last_expiry| {
            ends.push(Revocation {
                issuer: claims.issuer.clone(),
                target,
                lapses_at: Revocation::lapse_for(claims.expires_at.max(last_expiry)),
            });
        };
        if let Some(id) = claims.session.clone() {
            end(Target::Session { id }, now.plus(rules.max_lifetime()));
        }
        match scope {
            Scope::This => {}
            Scope::Others => return Err(SessionError::UnknownSessions),
            Scope::All => {
                let issued_until = now.plus(skew);
                let target = Target::Subject { id: claims.subject.clone(), issued_until };
                end(target, issued_until.plus(rules.max_lifetime()));
            }
        }
        self.append(ends).await?;
        if scope == Scope::All {
            self.wait_past_cut_off(skew).await;
        }
        Ok(())
    }

    /// What tokens of another issuer are like; `None` if it is our own, or unknown.
    fn rules_elsewhere(&self, issuer: &Issuer) -> Option<&Rules> {
        Some(self.verifier.decoder_for(issuer).filter(|_| *issuer != self.settings.issuer)?.rules())
    }

    /// Ends sessions; gives how many there were.
    ///
    /// # Errors
    /// When the store could not be written: then none may be taken for ended.
    pub async fn end_sessions(&self, selection: Selection) -> Result<usize, Error> {
        Ok(self.end(selection, None, vec![]).await?.unwrap_or(0))
    }

    /// Appends revocations as they are, and returns when they are durable and known to this node.
    ///
    /// # Errors
    /// When the store could not be written.
    pub async fn append(&self, revocations: Vec<Revocation>) -> Result<(), Error> {
        self.end(Selection::Nothing, None, revocations).await.map(drop)
    }

    async fn end(
        &self,
        selection: Selection,
        only_if: Option<(SessionId, Subject)>,
        extra_revocations: Vec<Revocation>,
    ) -> Result<Option<usize>, Error> {
        let ending = EndSessions { issuer: self.settings.issuer.clone(), selection, only_if, extra_revocations };
        let (store, verifier, appended) = self.shared();
        to_its_end(async move {
            let Some(ended) = store.end(ending).await? else { return Ok(None) };
            // Durable first: what is refused here must not come back with a restart.
            verifier.index().extend(&ended.revocations);
            count(&appended, &ended);
            Ok(Some(ended.sessions))
        })
        .await
    }

    /// Whoever is told that a session has ended must find its tokens refused: here and elsewhere, and after a restart. So unless
    /// this node knows of its end from the log, it is appended to it now: the row may have been lost together with its revocation,
    /// or never have come from a store that took over.
    async fn ended(&self, claims: &Claims) -> SessionError {
        let Some(id) = claims.session.clone() else { return SessionError::ended() };
        if self.verifier.revoked_by(claims) == Some(RevokedBy::Session) {
            return SessionError::ended();
        }
        let latest = claims.expires_at.max(self.clock.now().plus(self.settings.max_lifetime()));
        let ended = Revocation {
            issuer: claims.issuer.clone(),
            target: Target::Session { id },
            lapses_at: Revocation::lapse_for(latest),
        };
        match self.append(vec![ended]).await {
            Ok(()) => SessionError::ended(),
            Err(error) => error.into(),
        }
    }

    /// Ends the oldest sessions of a subject that has more than it may.
    async fn end_too_many(&self, subject: &Subject) -> Result<(), Error> {
        let most = self.settings.sessions_per_subject.get();
        // Two at once are enough to make the number go down, whoever else is logging in.
        let oldest = self.store.sessions_of(subject, None, most.saturating_add(2)).await?;
        let too_many = oldest.len().saturating_sub(most);
        for session in oldest.into_iter().take(too_many) {
            self.end_sessions(Selection::Owned(session.id, session.subject)).await?;
        }
        Ok(())
    }

    fn new_session(&self, subject: Subject, origin: Origin, options: &TokenOptions) -> Result<Session, Error> {
        let now = self.clock.now();
        let (access_lifetime, refresh_lifetime) = options.lifetimes(&self.settings)?;
        let expires_at = now.plus(self.settings.session_lifetime);
        Ok(Session {
            id: SessionId::random(),
            subject,
            created_at: now,
            last_seen_at: now,
            origin,
            refresh_id: TokenId::random(),
            previous_refresh_id: None,
            used_refresh: None,
            refreshed_at: now,
            refresh_expires_at: now.plus(refresh_lifetime).min(expires_at),
            expires_at,
            access_expires_at: now.plus(access_lifetime).min(expires_at),
        })
    }

    /// Whether the tokens of a new session would be refused.
    fn is_revoked(&self, session: &Session) -> bool {
        let facts = TokenFacts {
            issuer: self.settings.issuer.as_str(),
            token_id: session.refresh_id.as_str(),
            session: Some(session.id.as_str()),
            subject: session.subject.as_str(),
            issued_at: Some(session.created_at),
            expires_at: session.refresh_expires_at,
        };
        self.verifier.index().check(&facts).is_some()
    }

    /// The key whose turn it is.
    fn signing_key(&self) -> SigningKey {
        self.keys.at(self.clock.now())
    }

    fn mint(
        &self,
        session: &Session,
        now: Timestamp,
        fresh: Fresh,
        options: &TokenOptions,
    ) -> Result<TokenPair, Error> {
        // Both with the same.
        let key = self.signing_key();
        let (access, claims) = self.mint_access(&key, session, now, fresh, options)?;
        // The same id and life whenever it is asked for: a second answer is the same token.
        let refresh = Claims {
            expires_at: session.refresh_expires_at,
            token_id: session.refresh_id.clone(),
            token_type: TokenType::Refresh,
            fresh: Fresh::No,
            custom: options.refresh_claims.clone(),
            ..claims.clone()
        };
        let refresh = encode_with_header(&key, &refresh, &options.header)?;
        Ok(TokenPair { access, refresh, claims, refresh_expires_at: session.refresh_expires_at })
    }

    fn mint_access(
        &self,
        key: &SigningKey,
        session: &Session,
        now: Timestamp,
        fresh: Fresh,
        options: &TokenOptions,
    ) -> Result<(String, Claims), Error> {
        let (lifetime, _) = options.lifetimes(&self.settings)?;
        let claims = Claims {
            issuer: self.settings.issuer.clone(),
            subject: session.subject.clone(),
            // Not later than the row says, also in a second answer: whether a cut-off covers every token
            // of a session is decided by its row.
            issued_at: Some(session.refreshed_at),
            not_before: Some(session.refreshed_at),
            expires_at: now.plus(lifetime).min(session.expires_at),
            token_id: TokenId::random(),
            session: Some(session.id.clone()),
            token_type: TokenType::Access,
            fresh,
            audience: self.settings.audience.clone(),
            custom: options.access_claims.clone(),
        };
        Ok((encode_with_header(key, &claims, &options.header)?, claims))
    }

    /// What a step needs that goes on when whoever asked for it goes away.
    fn shared(&self) -> (Arc<dyn SessionStore>, Arc<Verifier>, Arc<AtomicU64>) {
        (Arc::clone(&self.store), Arc::clone(&self.verifier), Arc::clone(&self.appended))
    }

    /// How many revocations were made durable through this, since it was made.
    #[must_use]
    pub fn revocations_appended(&self) -> u64 {
        self.appended.load(Relaxed)
    }

    /// After how long a session ends, by these settings: no token of it lives for longer.
    #[must_use]
    pub fn session_lifetime(&self) -> Duration {
        self.settings.session_lifetime
    }

    /// The `iss` of these sessions' tokens.
    #[must_use]
    pub fn issuer(&self) -> &Issuer {
        &self.settings.issuer
    }
}

/// That this token has ended, and no other.
fn token_of(claims: &Claims) -> Revocation {
    Revocation {
        issuer: claims.issuer.clone(),
        target: Target::Token { id: claims.token_id.clone(), expires_at: Some(claims.expires_at) },
        lapses_at: Revocation::lapse_for(claims.expires_at),
    }
}

fn count(appended: &AtomicU64, ended: &Ended) {
    appended.fetch_add(u64::try_from(ended.revocations.len()).unwrap_or(u64::MAX), Relaxed);
}

/// Does all of something, also when whoever asked for it goes away: what has been made durable must reach the index.
async fn to_its_end<T: Send + 'static>(
    step: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Result<T, Error> {
    tokio::spawn(step).await.map_err(Error::unavailable)?
}
