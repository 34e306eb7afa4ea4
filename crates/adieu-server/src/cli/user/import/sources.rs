//! The exports of other software.

mod auth0;
mod django;
mod firebase;
mod keycloak;

use serde::de::DeserializeOwned;
use serde_json::Value;

pub(super) use firebase::HashConfig;

use super::record::{Record, RowError};

/// The software that has written the export.
pub(super) enum Source {
    Django,
    Keycloak,
    Firebase(HashConfig),
    Auth0,
}

impl Source {
    /// Returns whether an export is an object with all users, and never an object for each.
    pub(super) fn is_one_object(&self) -> bool {
        matches!(self, Self::Keycloak | Self::Firebase(_))
    }

    /// Converts a JSON object of the export; `None` if it is something else than a user.
    pub(super) fn record(&self, object: Value) -> Option<Result<Record, RowError>> {
        match self {
            Self::Django => django::record(object),
            Self::Keycloak => Some(keycloak::record(object)),
            Self::Firebase(config) => Some(config.record(object)),
            Self::Auth0 => Some(auth0::record(object)),
        }
    }
}

/// Converts an object. The error of serde may have values in it, and is therefore not shown.
fn typed<T: DeserializeOwned>(object: Value, source: &'static str) -> Result<T, RowError> {
    serde_json::from_value(object).map_err(|_| RowError::Export(source))
}
