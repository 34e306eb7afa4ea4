//! The store of clients. SQL that the engines share is here.

mod postgres;
mod sqlite;

use std::time::Duration;

use adieu::Error;
use async_trait::async_trait;

pub use postgres::{is_migrated_postgres, migrate_postgres};
pub use sqlite::{is_migrated, migrate};

use super::{Capability, Client, ClientName, Limits, SecretHash};
use crate::config::Rate;

/// A store of clients. Each call is one atomic step, durable when it returns.
#[async_trait]
pub trait ClientStore: Send + Sync + 'static {
    /// Adds a client. Returns `false` if the name is taken.
    ///
    /// # Errors
    /// Fails if the store cannot be written.
    async fn add_client(&self, client: Client) -> Result<bool, Error>;

    /// Returns all clients, ordered by name.
    ///
    /// # Errors
    /// Fails if the store cannot be read.
    async fn clients(&self) -> Result<Vec<Client>, Error>;

    /// Sets the limits of a client, and its capabilities if there are any here: those that only a later version knows are kept otherwise.
    /// Returns `false` if there is no such client.
    ///
    /// # Errors
    /// Fails if the store cannot be written.
    async fn change_client(&self, name: &ClientName, can: Option<&[Capability]>, limits: Limits)
    -> Result<bool, Error>;

    /// Sets the secret of a client, and nothing else: a concurrent change must not bring an old secret back. Returns `false` if there is
    /// no such client.
    ///
    /// # Errors
    /// Fails if the store cannot be written.
    async fn set_client_secret(&self, name: &ClientName, secret: SecretHash) -> Result<bool, Error>;

    /// Removes a client. Returns `false` if there is no such client.
    ///
    /// # Errors
    /// Fails if the store cannot be written.
    async fn remove_client(&self, name: &ClientName) -> Result<bool, Error>;
}

const ADD: &str = "INSERT INTO client (name, secret, can, created_at, revocation_quota, revocation_horizon, \
    backchannel_logout_uri, backchannel_logout_private) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) \
    ON CONFLICT (name) DO NOTHING";
const LIST: &str = "SELECT name, secret, can, created_at, revocation_quota, revocation_horizon, \
    backchannel_logout_uri, backchannel_logout_private FROM client ORDER BY name";
const CHANGE: &str =
    "UPDATE client SET can = COALESCE($1, can), revocation_quota = $2, revocation_horizon = $3 WHERE name = $4";
const SET_SECRET: &str = "UPDATE client SET secret = $1 WHERE name = $2";
const REMOVE: &str = "DELETE FROM client WHERE name = $1";

/// Returns the quota and the horizon, in seconds, as stored.
fn written(limits: Limits) -> (Option<String>, Option<i64>) {
    let seconds = |horizon: Duration| i64::try_from(horizon.as_secs()).unwrap_or(i64::MAX);
    (limits.quota.map(|quota| quota.to_string()), limits.horizon.map(seconds))
}

fn read(quota: Option<&str>, horizon: Option<i64>) -> Option<Limits> {
    let quota = match quota {
        Some(quota) => Some(Rate::stored(quota)?),
        None => None,
    };
    let horizon = horizon.map(u64::try_from).transpose().ok()?.map(Duration::from_secs);
    Some(Limits { quota, horizon })
}

/// Returns the URL of a relying party as stored, and whether its address may be private.
fn told_at(client: &Client) -> (Option<&str>, bool) {
    let to = client.backchannel_logout.as_ref();
    (to.map(|to| to.uri.as_str()), to.is_some_and(|to| to.allow_private))
}

/// Returns capabilities as stored.
fn capabilities(can: &[Capability]) -> String {
    can.iter().map(|capability| capability.as_str()).collect::<Vec<_>>().join(" ")
}
