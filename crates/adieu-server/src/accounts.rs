//! Accounts: who may log in, and their sessions.
//!
//! 1. An account that is disabled or deleted, or whose password changes, loses its sessions: first the existing ones
//!    end, then the account changes, then sessions of logins in between end. If a step fails, all can be repeated.
//! 2. A login that overlaps such a change does not survive it: the account is read again after the session is stored.
//! 3. A failed login reveals nothing: neither whether the name exists, nor whether the account is disabled.

mod invite;
mod last_login;
mod reset;
mod store;

use std::{
    hash::{BuildHasher as _, RandomState},
    net::IpAddr,
    sync::Arc,
};

use adieu::{
    Subject,
    session::{Origin, RefreshToken, Selection, SessionError, Sessions, TokenOptions, TokenPair},
    time::Clock,
    token::Claims,
};
use serde_json::{Map, Value};
use tokio::sync::{Mutex, MutexGuard};
use uuid::Uuid;

pub(crate) use invite::MAX_INVITES;
pub use invite::{MAX_VALID_FOR as MAX_INVITE_VALID_FOR, VALID_FOR as INVITE_VALID_FOR};
use last_login::LastLogins;
pub use last_login::RecordingLogins;
pub use reset::VALID_FOR as RESET_VALID_FOR;
pub use store::{
    Account, AccountStore, Change, Direction, Filter, Invite, Invited, KnownAddress, LastAdmin, NextLogin, Order,
    PasswordReset, Whose, is_migrated, is_migrated_postgres, migrate, migrate_postgres,
};

use crate::{
    error::ApiError,
    password::{Hasher, PasswordHash, Verdict},
    text::{Password, Username},
};

/// The claim of an administrator's access tokens.
pub const ADMIN_CLAIM: &str = "is_admin";

/// The number of locks over which accounts are spread while their passwords change.
const LOCKS: usize = 64;

/// Accounts on a store, with the sessions that they start.
pub struct Accounts {
    store: Arc<dyn AccountStore>,
    sessions: Arc<Sessions>,
    hasher: Hasher,
    clock: Arc<dyn Clock>,
    last_logins: Arc<LastLogins>,
    /// Held while a user changes a password: of two concurrent changes, the second must not end the sessions of the
    /// first.
    changing: [Mutex<()>; LOCKS],
    spread: RandomState,
}

impl std::fmt::Debug for Accounts {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Accounts").finish_non_exhaustive()
    }
}

/// Returns the account with this id, or else with this name. The id comes first: a user may choose another user's id as a name.
///
/// # Errors
/// Fails if the store can't be read.
pub(crate) async fn find(accounts: &dyn AccountStore, name_or_id: &str) -> Result<Option<Account>, adieu::Error> {
    if let Ok(id) = Subject::new(name_or_id)
        && let Some(account) = accounts.by_id(&id).await?
    {
        return Ok(Some(account));
    }
    match Username::new(name_or_id) {
        Ok(name) => accounts.by_username(&name).await,
        Err(_) => Ok(None),
    }
}

impl Accounts {
    /// Returns the accounts of this store.
    #[must_use]
    pub fn new(store: Arc<dyn AccountStore>, sessions: Arc<Sessions>, hasher: Hasher, clock: Arc<dyn Clock>) -> Self {
        let changing = std::array::from_fn(|_| Mutex::new(()));
        let last_logins = Arc::new(LastLogins::default());
        Self { store, sessions, hasher, clock, last_logins, changing, spread: RandomState::new() }
    }

    /// Returns how many passwords are being hashed or wait, and how many places there are.
    pub(crate) fn hashing(&self) -> (usize, usize) {
        (self.hasher.pending(), self.hasher.places())
    }

    /// Returns the store of the accounts.
    #[must_use]
    pub fn store(&self) -> &dyn AccountStore {
        &*self.store
    }

    /// Adds an account, for a client at this address or for the operator.
    ///
    /// # Errors
    /// [`ApiError::Conflict`] if the name is taken.
    pub async fn add(
        &self,
        username: Username,
        password: &Password,
        role: Role,
        address: Option<IpAddr>,
    ) -> Result<Account, ApiError> {
        // Checked first, so that a taken name costs no hash.
        if self.store.by_username(&username).await?.is_some() {
            return Err(Self::taken());
        }
        let account = self.account(username, self.hasher.hash(password, address).await?, role);
        match self.store.add(vec![account.clone()]).await?.first() {
            Some(true) => Ok(account),
            _ => Err(Self::taken()),
        }
    }

    /// Returns a new account with a password that is hashed already, without storing it.
    #[must_use]
    pub fn account(&self, username: Username, password: PasswordHash, role: Role) -> Account {
        Account {
            id: Subject::from(Uuid::now_v7()),
            username,
            password,
            password_version: 1,
            is_admin: role == Role::Admin,
            is_disabled: false,
            created_at: self.clock.now(),
            last_login_at: None,
            must_change_password: false,
            reset: None,
        }
    }

    fn taken() -> ApiError {
        ApiError::Conflict("A user with that username already exists.".into())
    }

    /// Verifies a name and a password from a client at this address.
    ///
    /// # Errors
    /// [`ApiError::InvalidCredentials`], after the same time whichever of the two is wrong.
    pub async fn authenticate(
        &self,
        username: &Username,
        password: &Password,
        address: IpAddr,
    ) -> Result<Account, ApiError> {
        let address = Some(address);
        let Some(account) = self.store.by_username(username).await? else {
            self.hasher.verify_nobody(password, address).await?;
            return Err(ApiError::InvalidCredentials);
        };
        let verdict = self.hasher.verify(password, &account.password, address).await?;
        if verdict == Verdict::Wrong || account.is_disabled {
            return Err(ApiError::InvalidCredentials);
        }
        // If the queue is full, the password is hashed again at the next login.
        if verdict == Verdict::RightButOutdated
            && let Ok(hash) = self.hasher.hash(password, address).await
        {
            self.store.change(&account.id, Change::Rehash(hash, account.password_version)).await?;
        }
        Ok(account)
    }

    /// Starts a session of an account that has just been authenticated.
    ///
    /// # Errors
    /// [`ApiError::PasswordChangeRequired`] if the account must change its password first;
    /// [`ApiError::InvalidCredentials`] if the account has changed meanwhile.
    pub async fn log_in(
        &self,
        account: &Account,
        origin: Origin,
        options: TokenOptions,
    ) -> Result<TokenPair, ApiError> {
        let options = Self::login_options(account, options)?;
        let tokens = self.sessions.log_in_with(account.id.clone(), origin, &options).await?;
        self.confirm_login(account, &tokens.claims).await?;
        Ok(tokens)
    }

    /// Adds the claims of an account that has just been authenticated. The caller starts the session, and then calls
    /// [`Accounts::confirm_login`].
    ///
    /// # Errors
    /// [`ApiError::PasswordChangeRequired`] if the account must change its password first.
    pub fn login_options(account: &Account, mut options: TokenOptions) -> Result<TokenOptions, ApiError> {
        if account.must_change_password {
            return Err(ApiError::PasswordChangeRequired);
        }
        options.access_claims.extend(claims(account));
        Ok(options)
    }

    /// Ends a session that was just started if the account has changed since it was authenticated.
    ///
    /// # Errors
    /// [`ApiError::InvalidCredentials`] if the account has changed; the session has then ended.
    pub async fn confirm_login(&self, account: &Account, started: &Claims) -> Result<(), ApiError> {
        let same = self.store.by_id(&account.id).await?.is_some_and(|now| {
            !now.is_disabled
                && !now.must_change_password
                && now.password_version == account.password_version
                && now.is_admin == account.is_admin
        });
        if same {
            self.last_logins.note(&account.id, self.clock.now());
            return Ok(());
        }
        if let Some(session) = &started.session {
            self.sessions.end_sessions(Selection::Owned(session.clone(), account.id.clone())).await?;
        }
        Err(ApiError::InvalidCredentials)
    }

    /// Starts to write the times of logins to the store regularly, until the result is dropped.
    #[must_use]
    pub fn start_recording_logins(&self) -> RecordingLogins {
        RecordingLogins::start(Arc::clone(&self.last_logins), Arc::clone(&self.store))
    }

    /// Writes the times of the logins since the last write.
    ///
    /// # Errors
    /// Fails if the store cannot be written; the times are then kept for the next time.
    pub async fn flush_last_logins(&self) -> Result<(), adieu::Error> {
        self.last_logins.flush(&*self.store).await
    }

    /// Uses a refresh token, with the current claims of its account.
    ///
    /// # Errors
    /// See [`Sessions::refresh`]; also if the account is gone, which ends the session.
    pub async fn refresh(&self, token: &RefreshToken, options: TokenOptions) -> Result<TokenPair, SessionError> {
        let options = self.refresh_options(token.subject(), options).await?;
        self.sessions.refresh_with(token, &options).await
    }

    /// Adds the claims of an account, for new tokens of one of its sessions.
    ///
    /// # Errors
    /// If the account is gone or disabled, which ends its sessions.
    pub async fn refresh_options(&self, id: &Subject, mut options: TokenOptions) -> Result<TokenOptions, SessionError> {
        match self.store.by_id(id).await? {
            Some(account) if !account.is_disabled => {
                options.access_claims.extend(claims(&account));
                Ok(options)
            }
            _ => {
                self.sessions.end_sessions(Selection::OfSubject(id.clone())).await?;
                Err(SessionError::ended())
            }
        }
    }

    /// Sets the password of an account and ends its sessions.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] if there is no such account.
    pub async fn set_password(&self, id: &Subject, password: &Password, next: NextLogin) -> Result<(), ApiError> {
        let hash = self.hasher.hash(password, None).await?;
        self.change_and_end(id, Change::Password(hash, next), Selection::OfSubject(id.clone())).await.map(drop)
    }

    /// Refuses logins of an account until it has changed its password. Its sessions go on.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] if there is no such account.
    pub async fn require_password_change(&self, id: &Subject) -> Result<(), ApiError> {
        self.change(id, Change::RequirePasswordChange).await
    }

    /// Sets the password of an account that a client at this address has authenticated, and ends its sessions except
    /// the one that `stays`.
    ///
    /// # Errors
    /// [`ApiError::InvalidCredentials`] if the password of the account has changed since it was authenticated.
    pub async fn change_password(
        &self,
        account: &Account,
        password: &Password,
        stays: Option<adieu::SessionId>,
        address: IpAddr,
    ) -> Result<(), ApiError> {
        let (id, version) = (&account.id, account.password_version);
        let hash = self.hasher.hash(password, Some(address)).await?;
        let _changing = self.lock(id).await;
        // Also checked beforehand: a late change must not end the sessions of the one before it.
        if self.store.by_id(id).await?.is_none_or(|now| now.password_version != version) {
            return Err(ApiError::InvalidCredentials);
        }
        let ending = match stays {
            Some(session) => Selection::Others(id.clone(), session),
            None => Selection::OfSubject(id.clone()),
        };
        let changed = self.change_and_end(id, Change::OwnPassword(hash, version), ending).await;
        changed.map(drop).map_err(|error| match error {
            ApiError::NotFound => ApiError::InvalidCredentials,
            other => other,
        })
    }

    /// Makes an account an administrator's. The next refresh gives a token that says so.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] if there is no such account.
    pub async fn promote(&self, id: &Subject) -> Result<(), ApiError> {
        self.change(id, Change::Promote).await
    }

    /// Makes an account an ordinary user's, and ends its sessions, whose tokens say that it is an administrator. Returns how many there
    /// were.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] if there is no such account; [`ApiError::Conflict`] for the last
    /// administrator, who stays.
    pub async fn demote(&self, id: &Subject, last: LastAdmin) -> Result<usize, ApiError> {
        self.take_from_admins(id, Change::Demote(last), last).await
    }

    /// Disables an account and ends its sessions. Returns how many there were.
    ///
    /// # Errors
    /// See [`Accounts::demote`].
    pub async fn disable(&self, id: &Subject, last: LastAdmin) -> Result<usize, ApiError> {
        self.take_from_admins(id, Change::Disable(last), last).await
    }

    /// Enables a disabled account, which can then log in again.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] if there is no such account.
    pub async fn enable(&self, id: &Subject) -> Result<(), ApiError> {
        self.change(id, Change::Enable).await
    }

    /// Deletes an account and ends its sessions.
    ///
    /// # Errors
    /// See [`Accounts::demote`].
    pub async fn delete(&self, id: &Subject, last: LastAdmin) -> Result<(), ApiError> {
        self.take_from_admins(id, Change::Delete(last), last).await.map(drop)
    }

    async fn change(&self, id: &Subject, change: Change) -> Result<(), ApiError> {
        if self.store.change(id, change).await? { Ok(()) } else { Err(ApiError::NotFound) }
    }

    async fn take_from_admins(&self, id: &Subject, change: Change, last: LastAdmin) -> Result<usize, ApiError> {
        let is_last = || ApiError::Conflict("This is the last administrator.".into());
        if last == LastAdmin::Stays {
            // Also checked beforehand: a change that is refused must not end sessions.
            let admins = Filter { is_admin: Some(true), is_disabled: Some(false), ..Filter::default() };
            if let [only] = &*self.store.list(&admins, None, 2).await?
                && only.id == *id
            {
                return Err(is_last());
            }
        }
        match self.change_and_end(id, change, Selection::OfSubject(id.clone())).await {
            Err(ApiError::NotFound) if self.store.by_id(id).await?.is_some() => Err(is_last()),
            outcome => outcome,
        }
    }

    /// Holds back other changes of this account's password by users.
    async fn lock(&self, id: &Subject) -> Option<MutexGuard<'_, ()>> {
        let lock = usize::try_from(self.spread.hash_one(id)).unwrap_or_default() % LOCKS;
        match self.changing.get(lock) {
            Some(lock) => Some(lock.lock().await),
            None => None,
        }
    }

    /// Returns how many sessions ended. Runs to its end even if the caller is cancelled. Otherwise an overlapping login could outlive
    /// the change.
    async fn change_and_end(&self, id: &Subject, change: Change, ending: Selection) -> Result<usize, ApiError> {
        let (store, sessions, id) = (Arc::clone(&self.store), Arc::clone(&self.sessions), id.clone());
        let steps = tokio::spawn(async move {
            let before = sessions.end_sessions(ending.clone()).await?;
            let found = store.change(&id, change).await?;
            let meanwhile = sessions.end_sessions(ending).await?;
            Ok(found.then_some(before.saturating_add(meanwhile)))
        });
        match steps.await.map_err(ApiError::internal)? {
            Ok(Some(ended)) => Ok(ended),
            Ok(None) => Err(ApiError::NotFound),
            Err(error) => Err(adieu::Error::into(error)),
        }
    }
}

/// The permissions of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Its own account only.
    User,
    /// All accounts.
    Admin,
}

fn claims(account: &Account) -> Map<String, Value> {
    let mut claims = Map::new();
    if account.is_admin {
        claims.insert(ADMIN_CLAIM.to_owned(), Value::Bool(true));
    }
    claims
}
