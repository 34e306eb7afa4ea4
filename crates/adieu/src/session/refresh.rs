//! Refresh tokens: rotation, renewal of access tokens, and checks that do not use a refresh token up.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use super::{
    Presented, Rotated, Rotation, Session, SessionError, Sessions, TokenOptions, TokenPair, to_its_end::to_its_end,
};
use crate::{
    Error, SessionId, Subject, TokenId,
    token::{Claims, Fresh, TokenError, TokenType},
};

/// The number of sessions read at once in a search.
const PAGE: usize = 128;

/// A refresh token that was verified. Only the store knows whether it was used before; see [`Sessions::refresh`].
#[derive(Debug, Clone)]
pub struct RefreshToken(pub(super) Arc<Claims>);

impl RefreshToken {
    /// Returns the subject of the token, for example to look up claims for the new access token.
    #[must_use]
    pub fn subject(&self) -> &Subject {
        &self.0.subject
    }

    /// Returns the id of the token (`jti`).
    #[must_use]
    pub fn token_id(&self) -> &TokenId {
        &self.0.token_id
    }

    /// Returns the claims of the token.
    #[must_use]
    pub fn claims(&self) -> &Arc<Claims> {
        &self.0
    }
}

/// A verified token of either type; see [`Sessions::verify_any`].
#[derive(Debug, Clone)]
pub enum VerifiedToken {
    /// The claims of a valid access token.
    Access(Arc<Claims>),
    /// A refresh token that is valid as far as that can be known without its session.
    Refresh(RefreshToken),
}

impl Sessions {
    /// Verifies a refresh token without using it. The store is not read.
    ///
    /// # Errors
    /// The [`TokenError`] if the token is rejected, or is not a refresh token of a session.
    pub fn inspect(&self, token: &str) -> Result<RefreshToken, TokenError> {
        self.verifier.verify_refresh(token).map(RefreshToken)
    }

    /// Verifies a token of either type, without using a refresh token.
    ///
    /// # Errors
    /// As [`Verifier::verify`](crate::token::Verifier::verify) and [`inspect`](Self::inspect).
    pub fn verify_any(&self, token: &str) -> Result<VerifiedToken, TokenError> {
        let claims = self.verifier.verify_any(token)?;
        Ok(match claims.token_type {
            TokenType::Access => VerifiedToken::Access(claims),
            TokenType::Refresh => VerifiedToken::Refresh(RefreshToken(claims)),
        })
    }

    /// Rotates a refresh token: returns its successor, and an access token that is not fresh.
    ///
    /// # Errors
    /// [`TokenError::Revoked`] if the session has ended, or ends now because the token was used before.
    pub async fn refresh(&self, token: &RefreshToken) -> Result<TokenPair, SessionError> {
        self.refresh_with(token, &TokenOptions::default()).await
    }

    /// Like [`refresh`](Self::refresh), with claims, headers or lifetimes for the tokens.
    ///
    /// # Errors
    /// As [`refresh`](Self::refresh); [`Error::InvalidSetting`] or [`Error::Claims`] if the options are invalid.
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
            Ok::<_, Error>(rotated)
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

    /// Verifies a refresh token against the store without using it. One that was used before ends its session, as with
    /// [`Sessions::refresh`].
    ///
    /// # Errors
    /// The [`TokenError`] if the token is rejected; [`SessionError::Failed`] if the store could not be read.
    pub async fn verify_refresh(&self, token: &str) -> Result<RefreshToken, SessionError> {
        let token = self.inspect(token)?;
        match self.preview_refresh(&token).await? {
            Rotated::Fresh(_) | Rotated::WithinGrace(_) => Ok(token),
            // The store makes the final decision.
            Rotated::Reused(..) => match self.refresh(&token).await {
                Ok(_) => Err(self.ended(token.claims()).await),
                Err(error) => Err(error),
            },
            Rotated::Ended => Err(self.ended(token.claims()).await),
        }
    }

    /// Returns what [`Sessions::refresh`] would decide about the token now, without using it. The returned session is
    /// not stored.
    ///
    /// # Errors
    /// [`SessionError::Failed`] if the store could not be read.
    pub async fn preview_refresh(&self, token: &RefreshToken) -> Result<Rotated, SessionError> {
        let claims = token.claims();
        let Some(id) = claims.session.clone() else { return Ok(Rotated::Ended) };
        let row = self.find(&claims.subject, &id).await?;
        let presented = Presented::Refresh(claims.token_id.clone());
        Ok(self.rotation(&claims.subject, id, presented, &TokenOptions::default())?.decide(row))
    }

    /// Exchanges a valid access token for another one; the refresh token does not change.
    ///
    /// The store decides this in the same step as refreshes and logouts: after a logout no token is returned, and a
    /// later logout ends the new token too. The new token is fresh only if the options say so. It never outlives the
    /// session, and does not extend it.
    ///
    /// # Errors
    /// As [`Verifier::verify`](crate::token::Verifier::verify); [`TokenError::Revoked`] if the session has ended.
    pub async fn renew(&self, access_token: &str, options: &TokenOptions) -> Result<(String, Claims), SessionError> {
        let presented = self.verifier.verify(access_token)?;
        // A session of another issuer may have the same id.
        if presented.issuer != self.issuer {
            return Err(TokenError::WrongIssuer.into());
        }
        let session = presented.session.clone().ok_or(TokenError::MissingClaim("sid"))?;
        let rotation = self.rotation(&presented.subject, session, Presented::Access, options)?;
        let now = rotation.now;
        let store = Arc::clone(&self.store);
        match to_its_end(async move { store.rotate(rotation).await }).await? {
            Rotated::Fresh(session) | Rotated::WithinGrace(session) => {
                let fresh = options.fresh.unwrap_or(Fresh::No);
                Ok(self.mint_access(&self.signing_key(), &session, now, fresh, options)?)
            }
            Rotated::Reused(..) | Rotated::Ended => Err(self.ended(&presented).await),
        }
    }

    /// Returns one session of a subject.
    pub(super) async fn find(&self, subject: &Subject, id: &SessionId) -> Result<Option<Session>, Error> {
        let mut after = None;
        loop {
            let page = self.store.sessions_of(subject, after.as_ref(), PAGE).await?;
            after = page.last().map(|session| session.id.clone());
            let is_last = page.len() < PAGE;
            if let Some(found) = page.into_iter().find(|session| session.id == *id) {
                return Ok(Some(found));
            }
            if is_last {
                return Ok(None);
            }
        }
    }

    /// Returns the rotation to decide for a token that is presented now.
    pub(super) fn rotation(
        &self,
        subject: &Subject,
        session: SessionId,
        presented: Presented,
        options: &TokenOptions,
    ) -> Result<Rotation, Error> {
        let now = self.clock.now();
        let settings = self.settings.load();
        let (access_lifetime, refresh_lifetime) = options.lifetimes(&settings)?;
        let grace = settings.rotation_grace;
        Ok(Rotation {
            issuer: self.issuer.clone(),
            subject: subject.clone(),
            session,
            presented,
            successor: TokenId::random(),
            now,
            forgiven_since: (!grace.is_zero()).then(|| now.minus(grace)),
            access_expires_at: now.plus(access_lifetime),
            refresh_expires_at: now.plus(refresh_lifetime),
        })
    }
}
