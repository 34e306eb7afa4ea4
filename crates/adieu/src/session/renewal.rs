//! What is asked of the row of a session without using its refresh token up.

use std::sync::Arc;

use super::{Presented, RefreshToken, Rotated, Rotation, Session, SessionError, Sessions, TokenOptions, to_its_end};
use crate::{
    Error, SessionId, Subject, TokenId,
    token::{Claims, Fresh, TokenError},
};

/// How many sessions are read at once when one is looked for.
const PAGE: usize = 128;

impl Sessions {
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
            Rotated::Reused(..) => match self.refresh(&token, serde_json::Map::new()).await {
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
