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

mod error;
mod keys;
mod last_seen;
mod login;
mod logout;
mod mint;
mod options;
mod refresh;
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

pub use error::SessionError;
pub use keys::{delete_lapsed_keys, retained_until};
pub use logout::{LoggedOut, Scope};
pub use mint::TokenPair;
pub use options::TokenOptions;
pub use refresh::RefreshToken;
pub use revoke::{RevocationRequest, RevocationTarget};
pub use settings::SessionSettings;
pub use store::{
    EndSessions, Ended, Origin, Presented, Rotated, Rotation, Selection, Session, SessionKey, SessionStore, UsedRefresh,
};

use last_seen::LastSeen;

use crate::{
    Error, Issuer,
    time::Clock,
    token::{Claims, SigningKeys, Verifier},
};

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
