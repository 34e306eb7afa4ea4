//! Options for the tokens of one call.

use std::time::Duration;

use serde_json::{Map, Value};

use super::SessionSettings;
use crate::{Error, token::Fresh};

/// Options for the tokens of a login, a refresh or a renewal, where they differ from the settings. They apply to one
/// call and are not stored.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct TokenOptions {
    /// Custom claims of the access token.
    pub access_claims: Map<String, Value>,
    /// Custom claims of the refresh token.
    pub refresh_claims: Map<String, Value>,
    /// Header parameters of both tokens in addition to `alg`, `kid` and `typ`.
    pub header: Map<String, Value>,
    /// The lifetime of the access token. It never outlives its session.
    pub access_lifetime: Option<Duration>,
    /// The lifetime of the refresh token. It never outlives its session.
    pub refresh_lifetime: Option<Duration>,
    /// Whether the access token is fresh. By default it is after a login, and is not after a refresh.
    pub fresh: Option<Fresh>,
}

impl TokenOptions {
    /// Returns options that leave everything to the settings.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the custom claims of the access token.
    #[must_use]
    pub fn with_access_claims(self, access_claims: Map<String, Value>) -> Self {
        Self { access_claims, ..self }
    }

    /// Sets the custom claims of the refresh token.
    #[must_use]
    pub fn with_refresh_claims(self, refresh_claims: Map<String, Value>) -> Self {
        Self { refresh_claims, ..self }
    }

    /// Sets additional header parameters of both tokens.
    #[must_use]
    pub fn with_header(self, header: Map<String, Value>) -> Self {
        Self { header, ..self }
    }

    /// Sets how long the access token is valid. It never outlives its session.
    #[must_use]
    pub fn with_access_lifetime(self, access_lifetime: Duration) -> Self {
        Self { access_lifetime: Some(access_lifetime), ..self }
    }

    /// Sets how long the refresh token is valid. It never outlives its session.
    #[must_use]
    pub fn with_refresh_lifetime(self, refresh_lifetime: Duration) -> Self {
        Self { refresh_lifetime: Some(refresh_lifetime), ..self }
    }

    /// Sets whether the access token is fresh. By default it is after a login, and is not after a refresh.
    #[must_use]
    pub fn with_fresh(self, fresh: Fresh) -> Self {
        Self { fresh: Some(fresh), ..self }
    }

    /// Returns the lifetimes of the access and the refresh token.
    pub(super) fn lifetimes(&self, settings: &SessionSettings) -> Result<(Duration, Duration), Error> {
        let own = |own: Option<Duration>, usual| match own {
            Some(own) if own < Duration::from_secs(1) => {
                Err(Error::setting("lifetime", "the lifetime of a token must be at least one second"))
            }
            own => Ok(own.unwrap_or(usual)),
        };
        Ok((
            own(self.access_lifetime, settings.access_lifetime)?,
            own(self.refresh_lifetime, settings.refresh_lifetime)?,
        ))
    }
}
