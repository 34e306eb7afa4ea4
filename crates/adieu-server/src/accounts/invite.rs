//! Invitations: codes with which someone registers once, if registration is by invitation.
//!
//! 1. The store has only the hash of a code. A code is valid until it is used, revoked, or expires.
//! 2. The account is added and the code is used up in one step: of several registrations with one code, one succeeds.
//! 3. Every invalid code is answered alike, and before anything is said about the name.

use std::{net::IpAddr, time::Duration};

use uuid::Uuid;

use super::{Account, Accounts, Invite, Invited, Role};
use crate::{
    clients::{Secret, SecretHash},
    error::ApiError,
    text::{Password, Username},
};

/// How long an invitation is valid if it is not said.
pub const VALID_FOR: Duration = Duration::from_secs(7 * 86_400);

/// How long an invitation is valid at most.
pub const MAX_VALID_FOR: Duration = Duration::from_secs(90 * 86_400);

/// The maximum number of invitations that are valid at the same time.
pub(crate) const MAX_INVITES: usize = 1_000;

impl Accounts {
    /// Makes an invitation that is valid for this time. Returns it with its code.
    ///
    /// # Errors
    /// [`ApiError::Conflict`] if 1,000 are valid already.
    pub async fn invite(&self, valid_for: Duration) -> Result<(Invite, String), ApiError> {
        if self.invites().await?.len() >= MAX_INVITES {
            return Err(ApiError::Conflict("There are too many invitations; revoke some.".into()));
        }
        let (secret, now) = (Secret::random()?, self.clock.now());
        let expires_at = now.plus(valid_for.min(MAX_VALID_FOR));
        let invite = Invite { id: Uuid::now_v7().to_string(), secret: secret.hash(), created_at: now, expires_at };
        self.store.add_invite(invite.clone()).await?;
        Ok((invite, secret.expose().to_owned()))
    }

    /// Returns the invitations that are valid, oldest first.
    ///
    /// # Errors
    /// Fails if the store cannot be read.
    pub async fn invites(&self) -> Result<Vec<Invite>, ApiError> {
        Ok(self.store.invites(self.clock.now(), MAX_INVITES).await?)
    }

    /// Revokes an invitation.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] if there is none with this id.
    pub async fn revoke_invite(&self, id: &str) -> Result<(), ApiError> {
        if self.store.remove_invite(id).await? { Ok(()) } else { Err(ApiError::NotFound) }
    }

    /// Adds an account for the holder of an invitation, which is then used up. Returns both.
    ///
    /// # Errors
    /// [`ApiError::Forbidden`] if the code is not valid; [`ApiError::Conflict`] if the name is taken: the code stays valid then.
    pub async fn add_invited(
        &self,
        username: Username,
        password: &Password,
        code: &str,
        address: IpAddr,
    ) -> Result<(Account, Invite), ApiError> {
        let secret = SecretHash::of(code);
        // Checked first, so that neither an invalid code nor a taken name costs a hash.
        let invite = self.store.invite(&secret, self.clock.now()).await?.ok_or_else(invalid)?;
        if self.store.by_username(&username).await?.is_some() {
            return Err(Self::taken());
        }
        let account = self.account(username, self.hasher.hash(password, Some(address)).await?, Role::User);
        match self.store.add_invited(account.clone(), &secret, self.clock.now()).await? {
            Invited::Added => Ok((account, invite)),
            Invited::NotInvited => Err(invalid()),
            Invited::NameTaken => Err(Self::taken()),
        }
    }
}

fn invalid() -> ApiError {
    ApiError::Forbidden("Registration needs an invitation that is valid.".into())
}
