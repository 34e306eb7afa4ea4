//! Logging in.

use std::time::Duration;

use super::{Origin, Selection, Session, Sessions, TokenOptions, TokenPair};
use crate::{Error, SessionId, Subject, TokenId, revocation::TokenFacts, token::Fresh};

impl Sessions {
    /// Starts a session for a subject whose credentials the caller has checked. If the subject then has more sessions than
    /// [`SessionSettings::sessions_per_subject`](super::SessionSettings::sessions_per_subject), the oldest ends.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the store could not be written: the subject is not logged in.
    pub async fn log_in(&self, subject: Subject) -> Result<TokenPair, Error> {
        self.log_in_with(subject, Origin::default(), &TokenOptions::default()).await
    }

    /// Like [`log_in`](Self::log_in), from this address and client, with claims, headers or lifetimes for the tokens.
    ///
    /// # Errors
    /// As [`log_in`](Self::log_in); [`Error::InvalidSetting`] or [`Error::Claims`] if the options are invalid.
    pub async fn log_in_with(
        &self,
        subject: Subject,
        origin: Origin,
        options: &TokenOptions,
    ) -> Result<TokenPair, Error> {
        const MAX_ATTEMPTS: u32 = 30;
        const RETRY_DELAY: Duration = Duration::from_millis(100);

        // A cut-off covers the whole of its second. The tokens of a login in that second would be revoked already, so
        // the login waits for the next second, also if the cut-off was appended while the session was being stored.
        for _ in 0..MAX_ATTEMPTS {
            let session = self.new_session(subject.clone(), origin.clone(), options)?;
            if !self.is_revoked(&session) {
                let fresh = options.fresh.unwrap_or(Fresh::Yes);
                let pair = self.mint(&session, session.created_at, fresh, options)?;
                self.store.create(session.clone()).await?;
                if !self.is_revoked(&session) {
                    self.end_too_many(&session).await?;
                    return Ok(pair);
                }
                self.end_sessions(Selection::Owned(session.id, session.subject)).await?;
            }
            tokio::time::sleep(RETRY_DELAY).await;
        }
        Err(Error::unavailable("tokens are revoked up to a time that the wall clock has not reached"))
    }

    /// Ends the oldest sessions of a subject that has more than it may, except for the new one: it is not the latest by
    /// its id if the clock of another node is ahead.
    async fn end_too_many(&self, new: &Session) -> Result<(), Error> {
        let most = self.settings.load().sessions_per_subject.get();
        // Two at a time are enough for the number to decrease under concurrent logins.
        let oldest = self.store.sessions_of(&new.subject, None, most.saturating_add(2)).await?;
        let too_many = oldest.len().saturating_sub(most);
        for session in oldest.into_iter().filter(|session| session.id != new.id).take(too_many) {
            self.end_sessions(Selection::Owned(session.id, session.subject)).await?;
        }
        Ok(())
    }

    fn new_session(&self, subject: Subject, origin: Origin, options: &TokenOptions) -> Result<Session, Error> {
        let now = self.clock.now();
        let settings = self.settings.load();
        let (access_lifetime, refresh_lifetime) = options.lifetimes(&settings)?;
        let expires_at = now.plus(settings.session_lifetime);
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

    /// Returns whether the tokens of a new session would be rejected.
    fn is_revoked(&self, session: &Session) -> bool {
        let facts = TokenFacts {
            issuer: self.issuer.as_str(),
            token_id: session.refresh_id.as_str(),
            session: Some(session.id.as_str()),
            subject: session.subject.as_str(),
            issued_at: Some(session.created_at),
            expires_at: session.refresh_expires_at,
            key_id: None,
            claims: None,
        };
        self.verifier.index().check(&facts).is_some()
    }
}
