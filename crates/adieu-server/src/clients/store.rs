//! Where clients are kept. What the engines ask in the same words is here.

mod postgres;
mod sqlite;

use adieu::Error;
use async_trait::async_trait;

pub use postgres::migrate_postgres;
pub use sqlite::migrate;

use super::{Client, ClientName};

/// Keeps clients. Each call is one atomic step, durable when it returns.
#[async_trait]
pub trait ClientStore: Send + Sync + 'static {
    /// Adds a client; false when the name is taken.
    ///
    /// # Errors
    /// When the store could not be written.
    async fn add_client(&self, client: Client) -> Result<bool, Error>;

    /// All clients, by name.
    ///
    /// # Errors
    /// When the store could not be read.
    async fn clients(&self) -> Result<Vec<Client>, Error>;

    /// Removes a client; false when there is none.
    ///
    /// # Errors
    /// When the store could not be written.
    async fn remove_client(&self, name: &ClientName) -> Result<bool, Error>;
}

const ADD: &str =
    "INSERT INTO client (name, secret, can, created_at) VALUES ($1, $2, $3, $4) ON CONFLICT (name) DO NOTHING";
const LIST: &str = "SELECT name, secret, can, created_at FROM client ORDER BY name";
const REMOVE: &str = "DELETE FROM client WHERE name = $1";

/// What a client may do, as it is kept.
fn capabilities(client: &Client) -> String {
    client.can.iter().map(|capability| capability.as_str()).collect::<Vec<_>>().join(" ")
}
