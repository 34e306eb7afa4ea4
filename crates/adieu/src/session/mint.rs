//! The tokens of a session.

use std::fmt;

use super::{Session, Sessions, TokenOptions};
use crate::{
    Error, TokenId,
    time::Timestamp,
    token::{Claims, Fresh, SigningKey, TokenType, encode_with_header},
};

/// The tokens that a login or a refresh returns. `Debug` shows the claims, but not the tokens.
#[derive(Clone)]
#[non_exhaustive]
pub struct TokenPair {
    /// The access token, to be sent with every request.
    pub access: String,
    /// The refresh token, which is used once.
    pub refresh: String,
    /// The claims of the access token.
    pub claims: Claims,
    /// When the refresh token expires.
    pub refresh_expires_at: Timestamp,
}

impl fmt::Debug for TokenPair {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("TokenPair").field("claims", &self.claims).finish_non_exhaustive()
    }
}

impl Sessions {
    /// Returns the key that signs now.
    #[must_use]
    pub fn signing_key(&self) -> SigningKey {
        self.keys.at(self.clock.now())
    }

    pub(super) fn mint(
        &self,
        session: &Session,
        now: Timestamp,
        fresh: Fresh,
        options: &TokenOptions,
    ) -> Result<TokenPair, Error> {
        // Sign both tokens with the same key.
        let key = self.signing_key();
        let (access, claims) = self.mint_access(&key, session, now, fresh, options)?;
        // The same id and lifetime each time, so that a repeated response contains the same token.
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

    pub(super) fn mint_access(
        &self,
        key: &SigningKey,
        session: &Session,
        now: Timestamp,
        fresh: Fresh,
        options: &TokenOptions,
    ) -> Result<(String, Claims), Error> {
        let settings = self.settings.load();
        let (lifetime, _) = options.lifetimes(&settings)?;
        let claims = Claims {
            issuer: self.issuer.clone(),
            subject: session.subject.clone(),
            // Never later than the row says, also in a repeated response: the row decides whether a cut-off covers
            // every token of a session.
            issued_at: Some(session.refreshed_at),
            not_before: Some(session.refreshed_at),
            // The revocation of a session lasts until then: the lifetime may have been raised since the row was written.
            expires_at: now.plus(lifetime).min(session.access_expires_at),
            token_id: TokenId::random(),
            session: Some(session.id.clone()),
            token_type: TokenType::Access,
            fresh,
            audience: settings.audience.clone(),
            custom: options.access_claims.clone(),
            verified: Default::default(),
        };
        Ok((encode_with_header(key, &claims, &options.header)?, claims))
    }
}
