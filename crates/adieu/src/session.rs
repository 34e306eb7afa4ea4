//! Log in, refresh, log out.
//!
//! 1. A session is one row, whatever the number of its tokens. Using a token writes nothing.
//! 2. A logout ends the whole session: all of its access tokens, including those from refreshes, and its refresh
//!    token. When the logout returns, the revocation is durable, and this node rejects the tokens.
//! 3. A refresh token is used once. Until its successor has been used, it returns the same successor again, so that a
//!    lost response does not log the user out. After that it returns the current refresh token within a short grace
//!    period, so that two tabs do not conflict. Any other use is reuse and ends the session. The chain never forks.
//! 4. The store decides the order of a concurrent refresh and logout: after a logout no refresh succeeds, and the
//!    tokens of an earlier refresh are rejected.
//!
//! Only this module accepts refresh tokens, and checks them against the session. A verifier elsewhere accepts access
//! tokens only, because it does not know which refresh tokens have been rotated.

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
mod to_its_end;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
pub use error::SessionError;
pub use keys::{delete_lapsed_keys, retained_until};
pub use logout::Scope;
pub use mint::TokenPair;
pub use options::TokenOptions;
pub use refresh::{RefreshToken, VerifiedToken};
pub use revoke::{RevocationRequest, RevocationTarget};
pub use settings::SessionSettings;
pub use store::{
    EndSessions, Ended, Origin, Presented, Rotated, Rotation, Selection, Session, SessionKey, SessionStore, UsedRefresh,
};

#[doc(hidden)]
pub use to_its_end::to_its_end;

use last_seen::LastSeen;

use crate::{
    Error, Issuer,
    time::{Clock, Timestamp},
    token::{Claims, SigningKeys, Verifier},
};

/// The result of a logout.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct LoggedOut {
    /// The claims of the token that was presented.
    pub claims: Claims,
    /// How many sessions have ended; zero for a token without a session here.
    pub sessions: usize,
}

/// The sessions of one issuer, in one store.
pub struct Sessions {
    store: Arc<dyn SessionStore>,
    verifier: Arc<Verifier>,
    keys: SigningKeys,
    issuer: Issuer,
    settings: ArcSwap<SessionSettings>,
    /// The longest lifetime of a session in the settings so far, in seconds.
    longest_session: AtomicU64,
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
    /// Creates the sessions, whose tokens are signed with the current one of `keys` and verified by `verifier`.
    ///
    /// # Errors
    /// [`Error::InvalidSetting`] if the settings contradict each other.
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
            issuer: settings.issuer.clone(),
            longest_session: AtomicU64::new(settings.session_lifetime.as_secs()),
            settings: ArcSwap::from_pointee(settings),
            clock,
            last_seen: LastSeen::default(),
            appended: Arc::default(),
        })
    }

    /// Uses these lifetimes and limits from the next login and refresh on. Sessions that exist keep the end that they were given,
    /// and tokens that were issued keep their `exp`; every revocation lasts as long as the tokens that it matches, whichever settings
    /// they were issued with.
    ///
    /// # Errors
    /// [`Error::InvalidSetting`] if the settings contradict each other, or have another issuer or audience than before, which the
    /// verifier would reject; nothing is changed then.
    pub fn replace_settings(&self, settings: SessionSettings) -> Result<(), Error> {
        settings.validate()?;
        if settings.issuer != self.issuer {
            return Err(Error::setting("issuer", "the issuer of existing sessions cannot change"));
        }
        if settings.audience != self.settings.load().audience {
            return Err(Error::setting("audience", "the audience of existing sessions cannot change"));
        }
        // Before it is used, so that no session is longer.
        self.longest_session.fetch_max(settings.session_lifetime.as_secs(), Relaxed);
        self.settings.store(Arc::new(settings));
        Ok(())
    }

    /// Returns the verifier that every path uses.
    #[must_use]
    pub fn verifier(&self) -> &Verifier {
        &self.verifier
    }

    /// Returns the store of the sessions.
    #[must_use]
    pub fn store(&self) -> &dyn SessionStore {
        &*self.store
    }

    /// Records in memory that a token of a session was used now; the next [`Sessions::flush_last_seen`] writes it.
    pub fn record_use(&self, claims: &Claims) {
        // Another issuer may use the same session id for a different session.
        if let Some(session) = claims.session.as_ref().filter(|_| claims.issuer == self.issuer) {
            self.last_seen.note(session, &claims.subject, self.clock.now());
        }
    }

    /// Writes which sessions were used since the last call. Call it about every 30 seconds.
    ///
    /// # Errors
    /// If the store could not be written. The recorded uses are then lost; they are informational only.
    pub async fn flush_last_seen(&self) -> Result<(), Error> {
        self.last_seen.write_to(&*self.store).await
    }

    /// Returns what a task needs that continues after its caller has been dropped.
    fn shared(&self) -> (Arc<dyn SessionStore>, Arc<Verifier>, Arc<AtomicU64>) {
        (Arc::clone(&self.store), Arc::clone(&self.verifier), Arc::clone(&self.appended))
    }

    /// Returns since when the key that signs tokens now has done so; `None` if it is not from a store.
    #[must_use]
    pub fn signing_key_active_since(&self) -> Option<Timestamp> {
        self.keys.active_since(self.clock.now())
    }

    /// Returns how many revocations were made durable through this value.
    #[must_use]
    pub fn revocations_appended(&self) -> u64 {
        self.appended.load(Relaxed)
    }

    /// Returns the longest lifetime of a session in the [settings](Self::replace_settings) that this value has had. None of the tokens
    /// lives longer.
    #[must_use]
    pub fn longest_session(&self) -> Duration {
        Duration::from_secs(self.longest_session.load(Relaxed))
    }

    /// Returns the `iss` of these sessions' tokens.
    #[must_use]
    pub fn issuer(&self) -> &Issuer {
        &self.issuer
    }
}
