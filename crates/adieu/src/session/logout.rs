//! Logging out.

use std::sync::Arc;

use super::{LoggedOut, RefreshToken, Rotated, Selection, SessionError, Sessions};
use crate::{
    revocation::{Revocation, RevokedBy, Target},
    token::{Claims, Expiry, TokenError, TokenType},
};

/// Which sessions a logout ends.
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

impl Sessions {
    /// Logs out with an access or a refresh token of the session. A token that has expired or is not yet valid can
    /// end its own session only; any other [`Scope`] requires a token that is valid now. A refresh token that was
    /// used up ends its own session, as with [`Sessions::refresh`].
    ///
    /// A token of another issuer has no session here. It is revoked, together with every other token of its session
    /// if it names one. With [`Scope::All`], every token of its subject that its issuer has issued until now is
    /// revoked too. [`Scope::Others`] is not possible.
    ///
    /// When this returns, the revocation is durable and this node rejects every token of the ended sessions.
    ///
    /// If the key of the token is not known, and a task [follows](crate::token::KeySet::followed) the keys of its issuer, this waits until
    /// they have been read again, for at most eight seconds.
    ///
    /// # Errors
    /// [`TokenError::Stale`] if the token may be valid, but its key is not known: the client must not assume that it was revoked.
    /// [`TokenError::Revoked`] if the session had already ended, which is durable then, or the token was revoked without it: another
    /// token of the session can still end it. The same error is returned if a used-up refresh token asks for more than its own
    /// session, which has then ended. [`SessionError::UnknownSessions`] if the other sessions are not known: nothing has changed then.
    pub async fn log_out(&self, token: &str, scope: Scope) -> Result<LoggedOut, SessionError> {
        let (claims, expiry) = self.verifier.verify_to_log_out(token).await?;
        match expiry {
            _ if scope == Scope::This => {}
            Expiry::Live => {}
            Expiry::Expired => return Err(TokenError::Expired.into()),
            Expiry::NotYetValid => return Err(TokenError::NotYetValid.into()),
        }
        let ours = claims.issuer == self.issuer;
        let Some(session) = claims.session.clone().filter(|_| ours) else {
            // The token of an application without sessions: only the token itself can be revoked.
            self.log_out_without_session(&claims, scope).await?;
            return Ok(LoggedOut { claims, sessions: 0 });
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
            Some(sessions) => Ok(LoggedOut { claims, sessions }),
            None => Err(self.ended(&claims).await),
        }
    }

    /// Accepts a refresh token that could be used now. A used one counts as expired: it can end its own session only.
    async fn require_not_used_up(&self, claims: &Claims) -> Result<(), SessionError> {
        let token = RefreshToken(Arc::new(claims.clone()));
        match self.preview_refresh(&token).await? {
            Rotated::Reused(..) => self.refresh(&token).await.map(drop),
            Rotated::Fresh(_) | Rotated::WithinGrace(_) | Rotated::Ended => Ok(()),
        }
    }

    async fn log_out_without_session(&self, claims: &Claims, scope: Scope) -> Result<(), SessionError> {
        let mut ends = vec![token_of(claims)];
        // No node accepts a token whose revocations were pruned, and its revocation would be forgotten at once: it could be appended for ever.
        ends.retain(|end| end.lapses_at > self.verifier.index().pruned_through());
        let Some(decoder) = self.decoder_elsewhere(&claims.issuer) else {
            return match scope {
                Scope::This if ends.is_empty() => Err(TokenError::Expired.into()),
                Scope::This => Ok(self.append(ends).await?),
                Scope::Others | Scope::All => Err(SessionError::UnknownSessions),
            };
        };
        let rules = decoder.rules();
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
        if ends.is_empty() {
            return Err(TokenError::Expired.into());
        }
        self.append(ends).await?;
        if scope == Scope::All {
            self.wait_past_cut_off(skew).await;
        }
        Ok(())
    }

    /// Returns the error for a session that has ended, once its tokens are certain to be rejected: on this node, on
    /// others, and after a restart. Unless this node knows the revocation from the log, it is appended now, because the
    /// row may have been lost together with its revocation, or may have been missing from a standby that took over.
    pub(super) async fn ended(&self, claims: &Claims) -> SessionError {
        let Some(id) = claims.session.clone() else { return SessionError::ended() };
        if self.verifier.revoked_by(claims) == Some(RevokedBy::Session) {
            return SessionError::ended();
        }
        let latest = claims.expires_at.max(self.clock.now().plus(self.longest_own()));
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
}

/// Returns the revocation of this token alone.
fn token_of(claims: &Claims) -> Revocation {
    Revocation {
        issuer: claims.issuer.clone(),
        target: Target::Token { id: claims.token_id.clone(), expires_at: Some(claims.expires_at) },
        lapses_at: Revocation::lapse_for(claims.expires_at),
    }
}
