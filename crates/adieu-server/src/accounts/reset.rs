//! Tokens that reset a forgotten password once: an application sends them to its users.
//!
//! 1. The store has only the hash of a token. A token is valid for [`VALID_FOR`], until it is used, replaced by a newer one,
//!    the password changes, or the account is promoted, disabled or deleted.
//! 2. Every invalid token is answered alike, whether its account exists or not.

use std::{net::IpAddr, time::Duration};

use adieu::{Subject, session::Selection};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use super::{Account, Accounts, Change, PasswordReset, Whose};
use crate::{
    clients::{Secret, SecretHash},
    error::{ApiError, FieldErrors},
    password::Verdict,
    text::Password,
};

/// How long a token is valid.
pub const VALID_FOR: Duration = Duration::from_secs(3600);

impl Accounts {
    /// Issues a token that resets the password of an account, in place of an earlier one.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] if there is no such account, if it is disabled, or if it is an administrator's and the token is not for
    /// anyone.
    pub async fn issue_reset(&self, id: &Subject, whose: Whose) -> Result<String, ApiError> {
        let secret = Secret::random()?;
        let reset = PasswordReset { secret: secret.hash(), expires_at: self.clock.now().plus(VALID_FOR) };
        self.change(id, Change::IssueReset(reset, whose)).await?;
        Ok(format!("{}.{}", URL_SAFE_NO_PAD.encode(id.as_str()), secret.expose()))
    }

    /// Sets the password of the account that the token is for, and ends its sessions. Returns its id.
    ///
    /// # Errors
    /// [`ApiError::Invalid`] if the token is not valid, or if the account must change its password and this is the current one.
    pub async fn reset_password(&self, token: &str, password: &Password, address: IpAddr) -> Result<Subject, ApiError> {
        let (id, secret) = token.split_once('.').unwrap_or_default();
        let id = URL_SAFE_NO_PAD.decode(id).ok().and_then(|id| String::from_utf8(id).ok());
        let id = id.and_then(|id| Subject::new(id).ok()).ok_or_else(invalid)?;
        let secret = SecretHash::of(secret);
        // Checked first, so that an invalid token costs no hash.
        let account = self.check_reset(&id, &secret).await?;
        if account.must_change_password
            && self.hasher.verify(password, &account.password, Some(address)).await? != Verdict::Wrong
        {
            return Err(FieldErrors::one("new_password", "Must not be the current password.").into());
        }
        let hash = self.hasher.hash(password, Some(address)).await?;
        let _changing = self.lock(&id).await;
        // A late request must not end the sessions of a login after the one before it.
        self.check_reset(&id, &secret).await?;
        let ending = Selection::OfSubject(id.clone());
        self.change_and_end(&id, Change::Reset(hash, secret), ending).await.map_err(|error| match error {
            ApiError::NotFound => invalid(),
            other => other,
        })?;
        Ok(id)
    }

    async fn check_reset(&self, id: &Subject, secret: &SecretHash) -> Result<Account, ApiError> {
        let now = self.clock.now();
        let is_valid = |account: &Account| {
            let reset = account.reset.as_ref();
            !account.is_disabled && reset.is_some_and(|reset| reset.secret.is(secret) && now < reset.expires_at)
        };
        match self.store.by_id(id).await? {
            Some(account) if is_valid(&account) => Ok(account),
            _ => Err(invalid()),
        }
    }
}

fn invalid() -> ApiError {
    FieldErrors::one("token", "Not valid, or not any more.").into()
}
