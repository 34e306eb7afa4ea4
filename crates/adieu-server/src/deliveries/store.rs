//! How far the deliveries to each receiver are. SQL that the engines share is here.

mod postgres;
mod sqlite;

use adieu::{Error, revocation::Cursor, time::Timestamp};
use async_trait::async_trait;

use super::LEASE;

pub use postgres::{is_migrated_postgres, migrate_postgres};
pub use sqlite::{is_migrated, migrate};

/// The progress of the deliveries to one receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The name of the receiver.
    pub receiver: String,
    /// Everything up to here has been delivered; `None` before the beginning of the log.
    pub cursor: Option<Cursor>,
    /// The id of the last message that was delivered after that.
    pub delivered: Option<String>,
    /// When a message was last delivered.
    pub delivered_at: Option<Timestamp>,
    /// How many attempts have failed since then.
    pub failures: u32,
    /// When the first of them failed.
    pub failing_since: Option<Timestamp>,
    /// Why the last of them failed, or why the last message was passed over.
    pub error: Option<String>,
    /// The id of the message that failed: the one after `delivered`, which blocks those after it.
    pub message_id: Option<String>,
    /// When it is sent again.
    pub next_attempt_at: Option<Timestamp>,
}

impl Delivery {
    /// Returns the progress after a message, which was delivered unless there is an error.
    pub(super) fn after(self, message: String, error: Option<String>) -> Self {
        Self { delivered: Some(message), failures: 0, failing_since: None, error, ..self }.unblocked()
    }

    /// Returns the progress once no message is known to fail.
    pub(super) fn unblocked(self) -> Self {
        Self { message_id: None, next_attempt_at: None, ..self }
    }
}

/// The node that delivers to a receiver, until a time after which another may take over.
#[derive(Debug, Clone)]
pub struct Holder {
    /// The id of the node.
    pub id: String,
    /// Until when, by the clocks of the nodes.
    pub until: Timestamp,
}

/// A store of the progress of deliveries. Each call is one atomic step, durable when it returns.
#[async_trait]
pub trait DeliveryStore: Send + Sync + 'static {
    /// Makes this node the holder of a receiver, unless another one is at `now`, by a clock that is ahead by at most the time of a claim.
    /// Deliveries to a new receiver begin after `start`. Returns the progress, or `None` if another node is the holder.
    ///
    /// # Errors
    /// Fails if the store cannot be written.
    async fn claim(
        &self,
        receiver: &str,
        holder: &Holder,
        now: Timestamp,
        start: &Cursor,
    ) -> Result<Option<Delivery>, Error>;

    /// Records the progress. Returns `false`, and changes nothing, if this node is no longer the holder.
    ///
    /// # Errors
    /// Fails if the store cannot be written.
    async fn record(&self, delivery: &Delivery, holder: &Holder) -> Result<bool, Error>;

    /// Ends the claims of a node.
    ///
    /// # Errors
    /// Fails if the store cannot be written.
    async fn release(&self, holder_id: &str) -> Result<(), Error>;

    /// Returns the progress of all receivers that there ever were, by name.
    ///
    /// # Errors
    /// Fails if the store cannot be read.
    async fn deliveries(&self) -> Result<Vec<Delivery>, Error>;

    /// Begins, or begins again, after this cursor, whatever the progress was.
    ///
    /// # Errors
    /// Fails if the store cannot be written.
    async fn begin(&self, receiver: &str, after: &Cursor) -> Result<(), Error>;

    /// Begins again at the beginning of the log. Returns `false` if there is no such receiver.
    ///
    /// # Errors
    /// Fails if the store cannot be written.
    async fn replay(&self, receiver: &str) -> Result<bool, Error>;

    /// Passes over this message if it is the one that blocks the receiver. Returns `false`, and changes nothing, if it is not.
    ///
    /// # Errors
    /// Fails if the store cannot be written.
    async fn skip(&self, receiver: &str, message_id: &str) -> Result<bool, Error>;
}

/// The table, the same in both engines but for the collation.
macro_rules! table {
    ($text:literal) => {
        concat!(
            "CREATE TABLE delivery (receiver ",
            $text,
            " PRIMARY KEY, cursor ",
            $text,
            " NOT NULL, delivered ",
            $text,
            ", delivered_at BIGINT, failures BIGINT NOT NULL DEFAULT 0, failing_since BIGINT, error ",
            $text,
            ", holder ",
            $text,
            " NOT NULL, held_until BIGINT NOT NULL)"
        )
    };
}
use table;

const ADD_NEXT_ATTEMPT: &str = "ALTER TABLE delivery ADD COLUMN next_attempt_at BIGINT";

const CLAIM: &str = "INSERT INTO delivery (receiver, cursor, holder, held_until) VALUES ($1, $2, $3, $4) \
    ON CONFLICT (receiver) DO UPDATE SET holder = $3, held_until = $4 \
    WHERE delivery.holder = $3 OR delivery.held_until <= $5 OR delivery.held_until > $6 \
    RETURNING receiver, cursor, delivered, delivered_at, failures, failing_since, error, message_id, next_attempt_at";
// Here too, the holder notices.
const BEGIN: &str = "INSERT INTO delivery (receiver, cursor, holder, held_until) VALUES ($1, $2, '', 0) \
    ON CONFLICT (receiver) DO UPDATE SET cursor = $2, delivered = NULL, delivered_at = NULL, failures = 0, \
    failing_since = NULL, error = NULL, message_id = NULL, next_attempt_at = NULL, holder = '', held_until = 0";
const RECORD: &str = "UPDATE delivery SET cursor = $1, delivered = $2, delivered_at = $3, failures = $4, \
    failing_since = $5, error = $6, message_id = $7, next_attempt_at = $8, held_until = $9 \
    WHERE receiver = $10 AND holder = $11";
const RELEASE: &str = "UPDATE delivery SET held_until = 0 WHERE holder = $1";
const LIST: &str = "SELECT receiver, cursor, delivered, delivered_at, failures, failing_since, error, message_id, \
    next_attempt_at FROM delivery ORDER BY receiver";
// The holder notices with its next step that it is the holder no more.
const REPLAY: &str = "UPDATE delivery SET cursor = '', delivered = NULL, failures = 0, failing_since = NULL, \
    error = NULL, message_id = NULL, next_attempt_at = NULL, holder = '', held_until = 0 WHERE receiver = $1";
// Here too.
const SKIP: &str = "UPDATE delivery SET delivered = message_id, failures = 0, failing_since = NULL, \
    error = error || ', skipped', message_id = NULL, next_attempt_at = NULL, holder = '', held_until = 0 \
    WHERE receiver = $1 AND message_id = $2";

/// Returns the latest time until which another node may be the holder at `now`. A claim that is longer is from a clock that was wrong:
/// without this limit, it would hold for as long as the clock was ahead.
fn latest_claim(now: Timestamp) -> Timestamp {
    now.plus(LEASE + LEASE)
}

/// Returns a cursor as stored.
fn written(cursor: Option<&Cursor>) -> String {
    cursor.map(Cursor::to_string).unwrap_or_default()
}

/// Reads a stored cursor.
fn read(cursor: &str) -> Result<Option<Cursor>, Error> {
    if cursor.is_empty() {
        return Ok(None);
    }
    cursor.parse().map(Some).map_err(Error::unavailable)
}
