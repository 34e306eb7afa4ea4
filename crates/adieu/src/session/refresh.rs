//! Refresh tokens: rotation, renewal of access tokens, and checks that do not use a refresh token up.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use super::{
    Presented, Rotated, Rotation, Session, SessionError, Sessions, TokenOptions, TokenPair, revoke::to_its_end,
};
use crate::{
    Error, SessionId, Subject, TokenId,
    token::{Claims, Fresh, TokenError},
};

/// How many sessions are read at once when one is looked for.
const PAGE: usize = 128;

/// A refresh token that was found good, before it is used up; see [`Sessions::refresh`].
#[derive(Debug, Clone)]
pub struct RefreshToken(pub(super) Arc<Claims>);

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

impl Sessions {
    /// Finds out whether a refresh token may be used, without using it.
    ///
    /// # Errors
    /// The [`TokenError`]: also when it is not a refresh token of a session.
    pub fn inspect(&self, token: &str) -> Result<RefreshToken, TokenError> {
        self.verifier.verify_refresh(token).map(RefreshToken)
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

    /// Finds out whether a refresh token is good now, by asking the store, and does not use it up. One that was used up
    /// before ends its session, as with [`Sessions::refresh`].
    ///
    /// # Errors
    /// The [`TokenError`]; or when the store could not be read.
    pub async fn verify_refresh(&self, token: &str) -> Result<RefreshToken, SessionError> {
        let token = self.inspect(token)?;
        match self.preview_refresh(&token).await? {
            Rotated::Fresh(_) | Rotated::WithinGrace(_) => Ok(token),
            // Decided once more by the store itself.
            Rotated::Reused(..) => match self.refresh(&token).await {
                Ok(_) => Err(self.ended(token.claims()).await),
                Err(error) => Err(error),
            },
            Rotated::Ended => Err(self.ended(token.claims()).await),
        }
    }

    /// What [`Sessions::refresh`] would decide about the token now, without using it up: what is said of the session is not
    /// written down.
    ///
    /// # Errors
    /// When the store could not be read.
    pub async fn preview_refresh(&self, token: &RefreshToken) -> Result<Rotated, SessionError> {
        let claims = token.claims();
        let Some(id) = claims.session.clone() else { return Ok(Rotated::Ended) };
        let row = self.find(&claims.subject, &id).await?;
        let presented = Presented::Refresh(claims.token_id.clone());
        Ok(self.rotation(&claims.subject, id, presented, &TokenOptions::default())?.decide(row))
    }

    /// Gives another access token to whoever has one that is good; the refresh token stays as it is.
    ///
    /// The store decides, in the same step that decides refreshes and logouts: after a logout there is no other token,
    /// and a logout that comes later ends this one too. It is fresh only if the options say so, and never outlives the
    /// session; nor does the session last any longer for it.
    ///
    /// # Errors
    /// As [`Verifier::verify`](crate::token::Verifier::verify); [`TokenError::Revoked`] when the session has ended.
    pub async fn renew(&self, access_token: &str, options: &TokenOptions) -> Result<(String, Claims), SessionError> {
        let presented = self.verifier.verify(access_token)?;
        // The session of another issuer may have the same id.
        if presented.issuer != self.settings.issuer {
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

    /// One session of a subject.
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

    /// What is to be decided about a token that was presented now.
    pub(super) fn rotation(
        &self,
        subject: &Subject,
        session: SessionId,
        presented: Presented,
        options: &TokenOptions,
    ) -> Result<Rotation, Error> {
        let now = self.clock.now();
        let (access_lifetime, refresh_lifetime) = options.lifetimes(&self.settings)?;
        let grace = self.settings.rotation_grace;
        Ok(Rotation {
            issuer: self.settings.issuer.clone(),
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
