//! Lifetimes of tokens and sessions.

use std::{num::NonZeroUsize, time::Duration};

use crate::{Error, Issuer};

/// The lifetimes of tokens and sessions, and the issuer and audience of the tokens.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SessionSettings {
    /// The `iss` of every token.
    pub issuer: Issuer,
    /// The `aud` of every token; empty for none.
    pub audience: Vec<String>,
    /// How long an access token is valid. Every revocation of a session is kept that long.
    pub access_lifetime: Duration,
    /// How long a refresh token is valid. A session that is not refreshed for that long ends.
    pub refresh_lifetime: Duration,
    /// The maximum lifetime of a session, however often it is refreshed.
    pub session_lifetime: Duration,
    /// The grace period for the refresh token before the previous one: for this long after its first use, it still
    /// returns the current one. The previous refresh token returns the current one at any time, until the current one
    /// is used. Any older one is reuse as soon as it is presented. Zero makes every second use of a refresh token
    /// reuse.
    pub rotation_grace: Duration,
    /// The maximum number of sessions of a subject. One more login ends the oldest.
    pub sessions_per_subject: NonZeroUsize,
}

impl SessionSettings {
    /// Returns the defaults: 15 minutes, 30 days, 90 days, 10 seconds and 100 sessions.
    #[must_use]
    pub fn new(issuer: Issuer) -> Self {
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        Self {
            issuer,
            audience: Vec::new(),
            access_lifetime: Duration::from_secs(15 * 60),
            refresh_lifetime: DAY * 30,
            session_lifetime: DAY * 90,
            rotation_grace: Duration::from_secs(10),
            sessions_per_subject: const { NonZeroUsize::new(100).unwrap() },
        }
    }

    /// Adds an `aud` to every token.
    #[must_use]
    pub fn with_audience(mut self, audience: impl Into<String>) -> Self {
        self.audience.push(audience.into());
        self
    }

    /// Sets how long an access token is valid; 15 minutes by default.
    #[must_use]
    pub fn with_access_lifetime(self, access_lifetime: Duration) -> Self {
        Self { access_lifetime, ..self }
    }

    /// Sets how long a refresh token is valid; 30 days by default.
    #[must_use]
    pub fn with_refresh_lifetime(self, refresh_lifetime: Duration) -> Self {
        Self { refresh_lifetime, ..self }
    }

    /// Sets how long a session lasts, however often it is refreshed; 90 days by default.
    #[must_use]
    pub fn with_session_lifetime(self, session_lifetime: Duration) -> Self {
        Self { session_lifetime, ..self }
    }

    /// Sets the [grace](Self::rotation_grace) for a used refresh token; 10 seconds by default.
    #[must_use]
    pub fn with_rotation_grace(self, rotation_grace: Duration) -> Self {
        Self { rotation_grace, ..self }
    }

    /// Sets how many sessions a subject may have; 100 by default.
    #[must_use]
    pub fn with_sessions_per_subject(self, sessions_per_subject: NonZeroUsize) -> Self {
        Self { sessions_per_subject, ..self }
    }

    /// Returns the maximum lifetime of any token with these settings.
    #[must_use]
    pub fn max_lifetime(&self) -> Duration {
        self.access_lifetime.max(self.refresh_lifetime).min(self.session_lifetime)
    }

    /// Checks that the settings do not contradict each other.
    ///
    /// # Errors
    /// [`Error::InvalidSetting`], which names the settings that contradict each other.
    pub fn validate(&self) -> Result<(), Error> {
        let wrong = |name: &'static str, message: &'static str| Err(Error::setting(name, message));
        if self.access_lifetime < Duration::from_secs(1) {
            return wrong("access_lifetime", "access_lifetime must be at least a second");
        }
        if self.refresh_lifetime < self.access_lifetime {
            return wrong("refresh_lifetime", "refresh_lifetime must not be shorter than access_lifetime");
        }
        if self.session_lifetime < self.refresh_lifetime {
            return wrong("session_lifetime", "session_lifetime must not be shorter than refresh_lifetime");
        }
        if self.rotation_grace >= self.access_lifetime {
            return wrong("rotation_grace", "rotation_grace must be shorter than access_lifetime");
        }
        Ok(())
    }
}
